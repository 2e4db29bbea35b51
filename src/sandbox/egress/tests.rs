//! The relay over real sockets, with lookups and an upstream of the test's own.

use super::*;
use async_trait::async_trait;
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers every name with the same addresses.
struct Fixed(Vec<IpAddr>);

#[async_trait]
impl Resolver for Fixed {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        if self.0.is_empty() { Err(std::io::Error::other(format!("no such name: {name}"))) } else { Ok(self.0.clone()) }
    }
}

fn addresses(list: &[&str]) -> Arc<Fixed> {
    Arc::new(Fixed(list.iter().map(|address| address.parse().unwrap()).collect()))
}

fn outlet() -> Outlet {
    Outlet {
        names: FakeNames::new(&SandboxId::parse("i1234567890abcdefghi").unwrap()),
        ledger: Ledger::default(),
        connections: Arc::new(Semaphore::new(8)),
    }
}

/// A connected pair: the program's end and the relay's end.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (program, relay) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (program.unwrap(), relay.unwrap().0)
}

/// What a program gets that sends a request to `target` through the relay.
async fn request(egress: &Egress, outlet: &Outlet, ip: IpAddr, port: u16) -> std::io::Result<String> {
    let (mut program, relay) = pair().await;
    let talk = async {
        program.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        program.shutdown().await?;
        let mut answer = String::new();
        program.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let (answer, ()) = tokio::join!(talk, egress.connect(relay, SocketAddr::new(ip, port), outlet));
    answer
}

/// A proxy that notes what it was asked for and answers like a server that reads to the end first.
async fn proxy() -> (UpstreamProxy, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).await.unwrap();
        stream.write_all(format!("got {} bytes", sent.len()).as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (UpstreamProxy::parse(&format!("http://me:pw@{address}"), "").unwrap(), task)
}

#[tokio::test]
async fn an_allowed_name_is_reached_and_one_side_may_end_before_the_other() {
    let (proxy, asked) = proxy().await;
    let egress = Egress::new(addresses(&["203.0.113.80"]), Some(proxy));
    let outlet = outlet();
    let ip = outlet.names.address_of("registry.example.com");
    assert_eq!(request(&egress, &outlet, ip.into(), 443).await.unwrap(), "got 27 bytes");
    let head = asked.await.unwrap();
    assert!(head.starts_with("CONNECT registry.example.com:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic bWU6cHc=\r\n"), "{head}");
    let entries = outlet.ledger.entries();
    assert_eq!((entries[0].target.as_str(), entries[0].allowed), ("registry.example.com", true));
    assert_eq!((entries[0].sent, entries[0].received), (27, 12));
}

#[tokio::test]
async fn a_name_with_any_forbidden_address_is_refused_in_words_on_port_80() {
    for list in [&["127.0.0.1"][..], &["203.0.113.80", "10.0.0.1"], &["::1"], &["169.254.169.254"]] {
        let egress = Egress::new(addresses(list), None);
        let outlet = outlet();
        let ip = outlet.names.address_of("rebind.example.com");
        let answer = request(&egress, &outlet, ip.into(), 80).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden"), "{answer}");
        assert!(answer.contains("rebind.example.com is in"), "{answer}");
        assert!(!outlet.ledger.entries()[0].allowed);
    }
}

#[tokio::test]
async fn forbidden_addresses_are_reset_also_without_a_name_and_behind_a_proxy() {
    let outlet = outlet();
    let (proxy, asked) = proxy().await;
    for egress in [Egress::new(addresses(&[]), None), Egress::new(addresses(&[]), Some(proxy))] {
        for ip in ["127.0.0.1", "169.254.169.254", "198.18.77.7"] {
            let error = request(&egress, &outlet, ip.parse().unwrap(), 443).await.unwrap_err();
            assert!(
                matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
                "{error}"
            );
        }
    }
    assert!(!asked.is_finished(), "the proxy was never asked");
    asked.abort();
}

#[tokio::test]
async fn a_name_that_does_not_exist_says_so() {
    let egress = Egress::new(addresses(&[]), None);
    let outlet = outlet();
    let ip = outlet.names.address_of("typo.example.com");
    let answer = request(&egress, &outlet, ip.into(), 80).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("no such name"), "{answer}");
}

#[tokio::test]
async fn served_sockets_answer_until_the_sandbox_is_closed() {
    let egress = Egress::new(addresses(&["127.0.0.1"]), None);
    let id = SandboxId::parse("i1234567890abcdefghi").unwrap();
    let closed = CancellationToken::new();
    let dns = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (names, web) = (dns.local_addr().unwrap(), listener.local_addr().unwrap());
    egress.serve(&id, dns, [listener], closed.clone()).unwrap();

    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"\x00\x01\x01\x00\x00\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01", names).await.unwrap();
    let mut answer = [0; 512];
    let length = client.recv(&mut answer).await.unwrap();
    assert_eq!(answer[length - 4], 198);

    let mut program = TcpStream::connect(web).await.unwrap();
    assert!(program.read_u8().await.is_err(), "the host's loopback is not reachable");
    assert_eq!(egress.ledger(&id)[0].target, "127.0.0.1");

    closed.cancel();
    egress.shutdown().await;
    assert!(egress.ledger(&id).is_empty());
    assert!(TcpStream::connect(web).await.is_err());
}
