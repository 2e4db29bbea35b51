//! The way out of a real sandbox: what is reachable from inside, and what is not.

use async_trait::async_trait;
use sandcastle::config::SandboxConfig;
use sandcastle::domain::*;
use sandcastle::sandbox::egress::{Egress, Resolver, UpstreamProxy};
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::Network;
use sandcastle::sandbox::*;
use sandcastle::store::Store;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Knows two names.
struct Names;

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        match name {
            "web.example.com" => Ok(vec!["203.0.113.80".parse().unwrap()]),
            "rebind.example.com" => Ok(vec!["127.0.0.1".parse().unwrap()]),
            _ => Err(std::io::Error::other("no such name")),
        }
    }
}

/// A project with a real sandbox whose way out leads to this test.
struct Inside {
    service: Service,
    egress: Egress,
    project: ProjectId,
    store: Store,
    dir: tempfile::TempDir,
}

fn address() -> PreviewAddress {
    PreviewAddress { scheme: "http".to_owned(), domain: "localhost".to_owned(), port: 3000 }
}

impl Inside {
    async fn new(proxy: Option<UpstreamProxy>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let egress = Egress::new(Arc::new(Names), proxy);
        let hook = Arc::new(egress.clone());
        let provider = Arc::new(LocalProvider::new(SandboxConfig::default(), dir.path().to_owned(), hook));
        let project = store.events().create_project("egress").await.unwrap();
        let service = Service::new(SandboxConfig::default(), address(), provider, store.clone(), dir.path().to_owned());
        Self { service, egress, project, store, dir }
    }

    /// What a python program prints inside.
    async fn python(&self, program: &str) -> String {
        let spec = CommandSpec { line: format!("python3 - <<'END'\n{program}\nEND"), ..CommandSpec::default() };
        let command = self.service.start_command(&self.project, spec).await.unwrap();
        self.service.wait_command(&self.project, &command, &CancellationToken::new()).await.unwrap();
        self.service.read_log(&self.project, &command, LogFrom::Offset(0), 1 << 20).await.unwrap().text
    }

    async fn end(self) {
        self.service.shutdown().await;
        self.egress.shutdown().await;
    }
}

/// An upstream that takes `CONNECT` and then answers one HTTP request with what it was asked.
pub async fn upstream() -> UpstreamProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = UpstreamProxy::parse(&listener.local_addr().unwrap().to_string(), "").unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heads = Vec::new();
            for answer in ["HTTP/1.1 200 OK\r\n\r\n", ""] {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                heads.push(String::from_utf8(head).unwrap().lines().next().unwrap().to_owned());
            }
            let body = heads.join(" | ");
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reaches_the_internet_by_name_without_knowing_of_a_proxy() {
    let inside = Inside::new(Some(upstream().await)).await;
    let program = "import urllib.request as u\nprint(u.urlopen('http://web.example.com/pkg').read().decode())";
    let output = inside.python(program).await;
    assert_eq!(output.trim(), "CONNECT 203.0.113.80:80 HTTP/1.1 | GET /pkg HTTP/1.1");
    let id = inside.service.status(&inside.project).await.unwrap().unwrap().id;
    let entry = inside.egress.ledger(&id).remove(0);
    assert_eq!((entry.target.as_str(), entry.port, entry.allowed), ("web.example.com", 80, true));
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_its_networks_and_rebinding_names_are_out_of_reach() {
    let secret = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = secret.local_addr().unwrap().port();
    let own = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Not sent: only asks the routing table for the host's own address.
    let own = match own.connect("203.0.113.1:9").and_then(|()| own.local_addr()) {
        Ok(address) => address.ip().to_string(),
        Err(_) => "192.168.0.1".to_owned(),
    };
    let inside = Inside::new(None).await;
    let program = format!(
        r#"
import socket, urllib.request as u
for host, port in [("127.0.0.1", {port}), ("{own}", {port}), ("{own}", 80), ("169.254.169.254", 80), ("10.0.0.1", 443),
                   ("2130706433", {port}), ("::ffff:127.0.0.1", {port})]:
    try:
        with socket.create_connection((host, port), 5) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = s.recv(100).decode().split("\r\n")[0]
            print(host, port, answer or "closed")
    except OSError as error:
        print(host, port, "refused")
for name in ["http://rebind.example.com/", "http://unknown.example.com/", "http://printer.local/"]:
    try:
        print(name, u.urlopen(name, timeout=5).status)
    except Exception as error:
        print(name, getattr(error, "code", "refused"))
"#
    );
    let output = inside.python(&program).await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 10, "{output}");
    for line in &lines[..7] {
        let refused = line.ends_with("refused") || line.ends_with("closed") || line.ends_with("403 Forbidden");
        assert!(refused, "{line} in\n{output}");
    }
    assert!(lines[7].ends_with("403") && lines[8].ends_with("502") && lines[9].ends_with("refused"), "{output}");
    assert!(futures::FutureExt::now_or_never(secret.accept()).is_none(), "a service of the host was reached");
    inside.end().await;
}

fn allowlist(rules: &[&str]) -> NetworkPolicy {
    let allow = rules.iter().map(|rule| (*rule).to_owned()).collect();
    NetworkPolicy { mode: NetworkMode::Allowlist, allow, deny: Vec::new() }
}

const FETCH: &str = "
import urllib.request as u, urllib.error
def fetch(url):
    try:
        return u.urlopen(url, timeout=20).read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_at_once_and_what_it_refused_can_be_allowed() {
    let inside = Inside::new(Some(upstream().await)).await;
    let fetch = format!("{FETCH}\nprint(fetch('http://web.example.com/pkg'))");
    assert!(inside.python(&fetch).await.starts_with("CONNECT 203.0.113.80:80"));
    inside.service.set_network_policy(&inside.project, allowlist(&["other.example.com"])).await.unwrap();
    let refused = inside.python(&fetch).await;
    assert_eq!(refused.trim(), "web.example.com may not be reached: not on the allowlist");
    let line = inside.service.network(&inside.project).await.unwrap().lines.remove(0);
    assert_eq!((line.target.as_str(), line.port, line.allowed), ("web.example.com", 80, false));
    assert!(line.program.starts_with("python3"), "{line:?}");
    inside.service.allow_destination(&inside.project, &line.target).await.unwrap();
    assert!(inside.python(&fetch).await.starts_with("CONNECT 203.0.113.80:80"));
    let policy = inside.service.network(&inside.project).await.unwrap().policy;
    assert_eq!(policy, allowlist(&["other.example.com", "web.example.com"]));
    let off = NetworkPolicy { mode: NetworkMode::Off, ..policy };
    inside.service.set_network_policy(&inside.project, off).await.unwrap();
    assert!(inside.python(&fetch).await.contains("the network is off"));
    let wrong = inside.service.set_network_policy(&inside.project, allowlist(&["no name"])).await;
    assert!(matches!(wrong, Err(SandboxError::Invalid(_))), "{wrong:?}");
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_policy_at_the_same_time_do_not_undo_each_other() {
    let inside = Inside::new(None).await;
    let names: Vec<String> = (0..10).map(|number| format!("name-{number}.example.com")).collect();
    let allow = names.iter().map(|name| inside.service.allow_destination(&inside.project, name));
    let off = |policy| NetworkPolicy { mode: NetworkMode::Off, ..policy };
    let off = inside.service.change_network_policy(&inside.project, off);
    let (off, allowed) = tokio::join!(off, futures::future::join_all(allow));
    off.unwrap();
    allowed.into_iter().for_each(|done| done.unwrap());
    let policy = inside.service.network(&inside.project).await.unwrap().policy;
    assert_eq!((policy.mode, policy.allow), (NetworkMode::Off, names));
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_part_of_the_projects_events_and_outlives_the_sandbox() {
    let inside = Inside::new(Some(upstream().await)).await;
    for _ in 0..3 {
        inside.python(&format!("{FETCH}\nfetch('http://web.example.com/pkg'); fetch('http://10.0.0.1/')")).await;
    }
    inside.service.sleep(&inside.project).await.unwrap();
    let state = inside.store.events().state(&inside.project).await.unwrap();
    let lines = &state.network.lines;
    let found = |target: &str| lines.iter().find(|line| line.target == target).unwrap();
    let (web, private) = (found("web.example.com"), found("10.0.0.1"));
    assert_eq!((web.connections, web.allowed, private.connections, private.allowed), (3, true, 3, false));
    assert!(web.sent > 0 && web.received > 0 && private.why == "a private network", "{lines:?}");
    // A server that starts over the same data goes on counting.
    let other = Egress::new(Arc::new(Names), None);
    let hook = Arc::new(other.clone());
    let provider = Arc::new(LocalProvider::new(SandboxConfig::default(), inside.dir.path().to_owned(), hook));
    let folder = inside.dir.path().to_owned();
    let again = Service::new(SandboxConfig::default(), address(), provider, inside.store.clone(), folder);
    assert_eq!(again.network(&inside.project).await.unwrap().lines, *lines);
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_a_port_opens_that_port_for_that_name_only() {
    let inside = Inside::new(Some(upstream().await)).await;
    let program = "
import socket
def say(host, port):
    try:
        with socket.create_connection((host, port), 20) as s:
            s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
            return s.makefile().read().splitlines()[-1]
    except OSError as error:
        return type(error).__name__
own = socket.create_server(('127.0.0.1', 5432))
print(say('web.example.com', 5432)); print(say('other.example.com', 5432)); print(say('web.example.com', 5433))";
    let refused = "ConnectionRefusedError";
    assert_eq!(inside.python(program).await.lines().collect::<Vec<_>>(), [refused, refused, refused]);
    inside.service.allow_destination(&inside.project, "web.example.com:5432").await.unwrap();
    // The listener is made as soon as the new rule has come through.
    let reached = loop {
        let output = inside.python(program).await;
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[1..], [refused, refused], "{output}");
        if lines[0] != refused {
            break lines[0].to_owned();
        }
    };
    assert_eq!(reached, "CONNECT 203.0.113.80:5432 HTTP/1.1 | GET / HTTP/1.1");
    let ports = inside.store.events().state(&inside.project).await.unwrap().ports.clone();
    assert!(ports.iter().all(|port| port.port == 5432), "{ports:?}");
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_read_and_set_over_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = sandcastle::config::Config::defaults(dir.path().to_owned());
    config.server.addr = ([127, 0, 0, 1], 0).into();
    let app = sandcastle::boot::App::start(config).await.unwrap();
    let project = app.services().store.events().create_project("rest").await.unwrap();
    let url = format!("http://{}/api/projects/{project}/network", app.addr());
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let put = async |body: &str| {
        let sent =
            http.put(&url).header("content-type", "application/json").body(body.to_owned()).send().await.unwrap();
        (sent.status().as_u16(), sent.json::<serde_json::Value>().await.unwrap())
    };
    let (status, view) = put(r#"{"mode": "allowlist", "allow": ["example.com"]}"#).await;
    assert_eq!((status, &view["policy"]["mode"]), (200, &"allowlist".into()), "{view}");
    let got: serde_json::Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(got, view);
    for body in [r#"{"mode": "everything"}"#, r#"{"mode": "off", "allow": ["no name"]}"#, "[]", r#"{"allow": []}"#, "{"]
    {
        let (status, error) = put(body).await;
        assert_eq!((status, &error["code"]), (400, &"invalid_input".into()), "{body}: {error}");
    }
    let state = app.services().store.events().state(&project).await.unwrap();
    assert_eq!(state.network.policy, allowlist(&["example.com"]));
    app.stop().await;
}
