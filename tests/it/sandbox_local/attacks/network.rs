//! Row 21: services of the host and its networks, each with a canary that notices a visit.
//!
//! Run as root, the tests see a network of their own, in which the ports and addresses that matter can be had.

use super::super::support::*;
use async_trait::async_trait;
use sandcastle::config::SandboxConfig;
use sandcastle::sandbox::egress::{Egress, Resolver};
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::{Network, ProcessConfig, Provider};
use std::net::{IpAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The host's own address, besides loopback, in the network of these tests.
const OWN: &str = "192.0.2.77";
const METADATA: &str = "169.254.169.254";

/// Names that lead where they must not.
#[derive(Default)]
struct Names {
    turns: AtomicUsize,
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let list: &[&str] = match name {
            "loopback.example.com" => &["127.0.0.1"],
            "loopback6.example.com" => &["::1"],
            "mapped.example.com" => &["::ffff:127.0.0.1"],
            "own.example.com" => &[OWN],
            "metadata.example.com" => &[METADATA],
            "private.example.com" => &["203.0.113.80", "10.0.0.1"],
            // A second lookup for the same connection would give the forbidden address.
            "rebind.example.com" if self.turns.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => &["203.0.113.80"],
            "rebind.example.com" => &["127.0.0.1"],
            _ => return Err(std::io::Error::other("no such name")),
        };
        Ok(list.iter().map(|address| address.parse().unwrap()).collect())
    }
}

/// Listens where it can and counts as untouched while nobody connected.
fn canaries() -> Vec<TcpListener> {
    let places = ["127.0.0.1", "0.0.0.0", OWN, METADATA, "::1"];
    let all = places.iter().flat_map(|place| [80, 443, 8080].map(|port| TcpListener::bind((*place, port))));
    let listening: Vec<TcpListener> = all.flatten().collect();
    listening.iter().for_each(|canary| canary.set_nonblocking(true).unwrap());
    listening
}

#[tokio::test]
async fn the_hosts_services_and_networks_are_out_of_reach() {
    if rustix::process::geteuid().is_root() && std::env::var_os(OWN_NETWORK).is_none() {
        return run_again_in_own_network("attacks::network::the_hosts_services_and_networks_are_out_of_reach");
    }
    let canaries = canaries();
    if std::env::var_os(OWN_NETWORK).is_some() {
        assert!(canaries.len() >= 9, "only {} canaries could listen", canaries.len());
    }
    let folder = tempfile::tempdir().unwrap();
    let names = Arc::new(Names::default());
    let egress = Egress::new(Arc::clone(&names) as _, None);
    let hook = Arc::new(egress.clone());
    let provider = LocalProvider::new(SandboxConfig::default(), folder.path().to_owned(), hook);
    let spec = new_spec(folder.path());
    let live = provider.start(spec.clone()).await.unwrap();
    let config = ProcessConfig {
        cmd: "python3".to_owned(),
        args: vec!["-c".to_owned(), include_str!("reach.py").to_owned()],
        ..Default::default()
    };
    let run = finish(live.spawn(config).await.unwrap()).await;
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 33, "{run:?}");
    for line in &lines {
        let (_, answer) = line.rsplit_once(' ').unwrap();
        assert!(["403", "502", "refused"].contains(&answer), "{line} in {run:?}");
    }
    for name in ["loopback", "loopback6", "mapped", "own", "metadata", "private"] {
        let line = format!("http://{name}.example.com/ 403");
        assert!(lines.contains(&line.as_str()), "{line} is not in {run:?}");
    }
    for canary in &canaries {
        let visit = canary.accept();
        assert!(visit.is_err(), "{:?} was reached: {run:?}", canary.local_addr());
    }
    assert!(egress.ledger(&spec.id).iter().all(|line| !line.allowed));
    live.shutdown().await;
    egress.shutdown().await;
}

#[tokio::test]
async fn a_socket_of_the_host_without_a_file_is_not_found() {
    let name = format!("sandcastle-canary-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let sandbox = Fixture::new().await;
    let program = format!("import socket\nsocket.socket(socket.AF_UNIX).connect('\\0{name}')");
    sandbox.write("abstract.py", &program).await;
    let run = sandbox.sh("python3 abstract.py").await;
    assert!(run.stderr.contains("ConnectionRefusedError") || run.stderr.contains("PermissionError"), "{run:?}");
    assert!(listener.accept().is_err(), "the host's socket was reached");
    sandbox.live.shutdown().await;
}
