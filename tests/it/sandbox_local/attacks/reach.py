"""Tries to reach the host from inside, in every spelling. Prints `target answer` for each."""
import socket
import urllib.error
import urllib.request

OWN, METADATA = "192.0.2.77", "169.254.169.254"
SPELLINGS = ["127.0.0.1", "127.1.2.3", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]",
             OWN, METADATA, "2852039166", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "198.18.200.200"]
NAMES = ["loopback", "loopback6", "mapped", "own", "metadata", "private", "rebind", "rebind", "rebind"]

for target in [f"http://{host}/" for host in SPELLINGS] + [f"http://{name}.example.com/" for name in NAMES]:
    try:
        print(target, urllib.request.urlopen(target, timeout=20).status)
    except urllib.error.HTTPError as error:
        print(target, error.code)
    except OSError as error:
        print(target, "refused")

for host, port in [("127.0.0.1", 443), (OWN, 443), (METADATA, 443), ("::1", 443), ("loopback.example.com", 443),
                   ("127.0.0.1", 8080), (OWN, 8080), (METADATA, 8080)]:
    try:
        with socket.create_connection((host, port), 20) as connection:
            connection.sendall(b"x")
            print(host, port, "reached" if connection.recv(1) else "refused")
    except OSError:
        print(host, port, "refused")
