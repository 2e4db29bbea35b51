//! The relay over real sockets, with lookups and an upstream of the test's own.

use super::*;
use crate::domain::NetworkMode;
use crate::sandbox::local::Inside;
use async_trait::async_trait;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// A sandbox in which every socket is curl's.
struct Curl;

#[async_trait]
impl Inside for Curl {
    async fn owner(&self, _: u16, _: u16) -> Option<String> {
        Some("curl".to_owned())
    }

    async fn socket(&self) -> Option<OwnedFd> {
        None
    }
}

fn id() -> SandboxId {
    SandboxId::parse("i1234567890abcdefghi").unwrap()
}

fn outlet(egress: &Egress) -> Outlet {
    Outlet::new(egress.clone(), &id(), egress.site(&id()), Arc::new(Curl), CancellationToken::new())
}

fn policy(mode: NetworkMode, allow: &[&str]) -> NetworkPolicy {
    NetworkPolicy { mode, allow: allow.iter().map(|rule| (*rule).to_owned()).collect(), deny: Vec::new() }
}

/// A connected pair: the program's end and the relay's end.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (program, relay) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (program.unwrap(), relay.unwrap().0)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// What a program gets that sends this to `ip` through the relay.
async fn say(outlet: &Outlet, ip: IpAddr, port: u16, words: &[u8]) -> std::io::Result<String> {
    let (mut program, relay) = pair().await;
    let from = relay.peer_addr()?;
    let talk = async {
        program.write_all(words).await?;
        program.shutdown().await?;
        let mut answer = String::new();
        program.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let (answer, ()) = tokio::join!(talk, outlet.connect(relay, from, SocketAddr::new(ip, port)));
    answer
}

fn is_reset(answer: std::io::Result<String>) -> bool {
    use std::io::ErrorKind;
    answer.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
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
    let outlet = outlet(&egress);
    let ip = outlet.names.address_of("registry.example.com");
    assert_eq!(say(&outlet, ip.into(), 443, GET).await.unwrap(), "got 27 bytes");
    let head = asked.await.unwrap();
    assert!(head.starts_with("CONNECT 203.0.113.80:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic bWU6cHc=\r\n"), "{head}");
    let entries = egress.ledger(&id());
    assert_eq!((entries[0].target.as_str(), entries[0].allowed), ("registry.example.com", true));
    assert_eq!((entries[0].sent, entries[0].received, entries[0].program.as_str()), (27, 12, "curl"));
}

#[tokio::test]
async fn a_name_with_any_forbidden_address_is_refused_in_words_on_port_80() {
    for list in [&["127.0.0.1"][..], &["203.0.113.80", "10.0.0.1"], &["::1"], &["169.254.169.254"]] {
        let egress = Egress::new(addresses(list), None);
        let outlet = outlet(&egress);
        let ip = outlet.names.address_of("rebind.example.com");
        let answer = say(&outlet, ip.into(), 80, GET).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden"), "{answer}");
        assert!(answer.contains("rebind.example.com is in"), "{answer}");
        assert!(!egress.ledger(&id())[0].allowed);
    }
}

#[tokio::test]
async fn forbidden_addresses_are_reset_also_without_a_name_and_behind_a_proxy() {
    let (proxy, asked) = proxy().await;
    for egress in [Egress::new(addresses(&[]), None), Egress::new(addresses(&[]), Some(proxy))] {
        // No rule changes that.
        egress
            .set_policy(&id(), &policy(NetworkMode::Internet, &["0.0.0.0/0", "127.0.0.1", "169.254.169.254"]))
            .await
            .unwrap();
        let outlet = outlet(&egress);
        for ip in ["127.0.0.1", "169.254.169.254", "198.18.77.7"] {
            assert!(is_reset(say(&outlet, ip.parse().unwrap(), 443, GET).await), "{ip}");
        }
    }
    assert!(!asked.is_finished(), "the proxy was never asked");
    asked.abort();
}

/// A proxy that takes names only, and notes all it is asked for.
async fn proxy_for_names() -> (UpstreamProxy, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = UpstreamProxy::parse(&listener.local_addr().unwrap().to_string(), "").unwrap();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned();
            let answer = if line.starts_with("203.") { "403 Forbidden" } else { "200 OK" };
            noted.lock().unwrap().push(line);
            let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await;
        }
    });
    (proxy, asked)
}

#[tokio::test]
async fn the_hosts_proxy_gets_names_only_where_a_rule_names_them() {
    let all = policy(NetworkMode::Internet, &[]);
    let named = policy(NetworkMode::Internet, &["web.example.com"]);
    for (known, policy, expected) in [
        // The host cannot look it up: the proxy might find it in a private network.
        (&[][..], &all, &[][..]),
        (&[], &named, &["web.example.com:443"]),
        // A lookup of the proxy's own could have another answer than the one that was checked.
        (&["203.0.113.80"], &all, &["203.0.113.80:443"]),
        (&["203.0.113.80"], &named, &["203.0.113.80:443", "web.example.com:443"]),
        (&["10.0.0.1"], &named, &[]),
    ] {
        let (proxy, asked) = proxy_for_names().await;
        let egress = Egress::new(addresses(known), Some(proxy));
        egress.set_policy(&id(), policy).await.unwrap();
        let outlet = outlet(&egress);
        let ip = outlet.names.address_of("web.example.com");
        let _ = say(&outlet, ip.into(), 443, GET).await;
        assert_eq!(*asked.lock().unwrap(), expected, "{known:?} {policy:?}");
        let line = egress.ledger(&id()).remove(0);
        assert_eq!(line.allowed, expected.last().is_some_and(|last| last.starts_with("web")), "{line:?}");
        assert_eq!(line.can_be_allowed(), known.is_empty() && !line.allowed, "{line:?}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_says_so() {
    let egress = Egress::new(addresses(&[]), None);
    let outlet = outlet(&egress);
    let ip = outlet.names.address_of("typo.example.com");
    let answer = say(&outlet, ip.into(), 80, GET).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("no such name"), "{answer}");
}

/// Counts lookups.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Resolver for Counting {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(vec!["127.0.0.1".parse().unwrap()])
    }
}

#[tokio::test]
async fn a_name_is_looked_up_once_a_connection_and_not_at_all_where_it_may_not_pass() {
    let names = Arc::new(Counting::default());
    let egress = Egress::new(Arc::clone(&names) as _, None);
    let outlet = outlet(&egress);
    let ip = outlet.names.address_of("secret-in-a-name.example.com").into();
    say(&outlet, ip, 80, GET).await.unwrap();
    assert_eq!(names.0.load(Ordering::Relaxed), 1);
    for mode in [NetworkMode::Off, NetworkMode::Allowlist] {
        egress.set_policy(&id(), &policy(mode, &["other.example.com"])).await.unwrap();
        assert!(say(&outlet, ip, 80, GET).await.unwrap().starts_with("HTTP/1.1 403"));
        assert_eq!(names.0.load(Ordering::Relaxed), 1, "the name leaked to a name server");
    }
    let line = egress.ledger(&id()).remove(0);
    assert_eq!((line.why.as_str(), line.program.as_str(), line.connections), ("not on the allowlist", "curl", 3));
}

#[tokio::test]
async fn on_an_allowlist_the_name_inside_the_connection_counts_too() {
    let hello = |name| hello::tests::client_hello(name, 10_000);
    let host = |name| format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
    let cases = [
        (443, hello("cdn.example.com"), true),
        (443, hello("also.example.com"), true),
        (443, hello("evil.example.org"), false),
        (443, b"SSH-2.0-OpenSSH\r\n".to_vec(), false),
        (80, host("cdn.example.com"), true),
        (80, host("CDN.example.com:80"), true),
        (80, host("evil.example.org"), false),
        (80, b"GET / HTTP/1.0\r\n\r\n".to_vec(), false),
    ];
    for (port, words, passes) in cases {
        let (proxy, asked) = proxy().await;
        let egress = Egress::new(addresses(&["203.0.113.80"]), Some(proxy));
        egress
            .set_policy(&id(), &policy(NetworkMode::Allowlist, &["cdn.example.com", "also.example.com"]))
            .await
            .unwrap();
        let outlet = outlet(&egress);
        let ip = outlet.names.address_of("cdn.example.com");
        let answer = say(&outlet, ip.into(), port, &words).await;
        assert_eq!(asked.is_finished(), passes, "{port} {:?}", String::from_utf8_lossy(&words));
        let line = egress.ledger(&id()).remove(0);
        assert_eq!((line.allowed, line.why.is_empty()), (passes, passes), "{line:?}");
        assert!(passes || port == 80 || is_reset(answer));
        asked.abort();
    }
}

#[tokio::test]
async fn a_name_that_is_denied_is_not_reached_by_an_address_either() {
    let hello = |name| hello::tests::client_hello(name, 10_000);
    let host = |name| format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
    let cases = [
        (443, hello("evil.example.org"), false),
        (443, hello("EVIL.example.org."), false),
        (443, hello("a.bad.example"), false),
        (443, hello("good.bad.example"), true),
        (443, hello("cdn.example.com"), true),
        (443, b"SSH-2.0-OpenSSH\r\n".to_vec(), true),
        (80, host("evil.example.org.:80"), false),
        (80, host("203.0.113.80"), true),
    ];
    for (port, words, passes) in cases {
        let (proxy, asked) = proxy().await;
        let egress = Egress::new(addresses(&[]), Some(proxy));
        let deny = vec!["evil.example.org".to_owned(), "*.bad.example".to_owned()];
        let policy = NetworkPolicy { deny, ..policy(NetworkMode::Internet, &["good.bad.example"]) };
        egress.set_policy(&id(), &policy).await.unwrap();
        let answer = say(&outlet(&egress), "203.0.113.80".parse().unwrap(), port, &words).await;
        assert_eq!(asked.is_finished(), passes, "{port} {:?}", String::from_utf8_lossy(&words));
        assert!(passes || port == 80 || is_reset(answer));
        asked.abort();
    }
}

#[tokio::test]
async fn a_connection_ends_when_the_policy_forbids_it() {
    let (proxy, asked) = proxy().await;
    let egress = Egress::new(addresses(&["203.0.113.80"]), Some(proxy));
    let outlet = outlet(&egress);
    let ip = outlet.names.address_of("stream.example.com");
    let (mut program, relay) = pair().await;
    let from = relay.peer_addr().unwrap();
    let talk = async {
        while egress.ledger(&id()).is_empty() {
            tokio::task::yield_now().await;
        }
        egress.set_policy(&id(), &policy(NetworkMode::Allowlist, &["stream.example.com"])).await.unwrap();
        program.write_all(b"still allowed").await.unwrap();
        egress.set_policy(&id(), &policy(NetworkMode::Off, &[])).await.unwrap();
        program.read_to_end(&mut Vec::new()).await
    };
    let (ended, ()) = tokio::join!(talk, outlet.connect(relay, from, SocketAddr::new(ip.into(), 443)));
    assert!(ended.is_err() || ended.is_ok_and(|length| length == 0));
    asked.abort();
}

#[tokio::test]
async fn served_sockets_answer_until_the_sandbox_is_closed_and_its_ledger_stays_until_it_is_forgotten() {
    let egress = Egress::new(addresses(&["127.0.0.1"]), None);
    let closed = CancellationToken::new();
    let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (dns, http, https) = (UdpSocket::bind("127.0.0.1:0").unwrap(), bound(), bound());
    let (names, web) = (dns.local_addr().unwrap(), http.local_addr().unwrap());
    egress.serve(&id(), EgressSockets { dns, http, https, inside: Arc::new(Curl) }, closed.clone()).unwrap();

    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"\x00\x01\x01\x00\x00\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01", names).await.unwrap();
    let mut answer = [0; 512];
    let length = client.recv(&mut answer).await.unwrap();
    assert_eq!(answer[length - 4], 198);

    let mut program = TcpStream::connect(web).await.unwrap();
    assert!(program.read_u8().await.is_err(), "the host's loopback is not reachable");
    assert_eq!(egress.ledger(&id())[0].target, "127.0.0.1");

    closed.cancel();
    egress.shutdown().await;
    assert!(TcpStream::connect(web).await.is_err());
    assert_eq!(egress.ledger(&id()).len(), 1);
    egress.forget(&id());
    assert!(egress.ledger(&id()).is_empty());
}
