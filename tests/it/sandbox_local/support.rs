//! A sandbox in a temporary folder, and short ways to use it.

use bytes::Bytes;
use sandcastle::config::SandboxConfig;
use sandcastle::domain::SandboxId;
use sandcastle::sandbox::local::{EgressHook, EgressSockets, LocalProvider};
use sandcastle::sandbox::provider::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Keeps the egress sockets open and unserved.
#[derive(Default)]
pub struct Silent(Mutex<Vec<EgressSockets>>);

impl EgressHook for Silent {
    fn attach(&self, _: &SandboxId, sockets: EgressSockets, _: CancellationToken) {
        self.0.lock().unwrap().push(sockets);
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub status: ExitStatus,
}

pub struct Fixture {
    pub provider: LocalProvider,
    pub spec: SandboxSpec,
    pub live: Arc<dyn Instance>,
    pub files: Arc<dyn Files>,
    _folder: tempfile::TempDir,
}

pub fn new_spec(folder: &std::path::Path) -> SandboxSpec {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = u64::from(std::process::id()) * 1000 + NEXT.fetch_add(1, Ordering::Relaxed);
    let id = SandboxId::parse(format!("i{number:019}")).unwrap();
    SandboxSpec { workspace: folder.join(id.as_str()).join("workspace"), id, env: Default::default() }
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(SandboxConfig::default()).await
    }

    pub async fn with(config: SandboxConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = LocalProvider::new(config, folder.path().to_owned(), Arc::new(Silent::default()));
        let spec = new_spec(folder.path());
        let live = provider.start(spec.clone()).await.unwrap();
        let files = provider.files(&spec);
        Self { provider, spec, live, files, _folder: folder }
    }

    pub async fn start(&self, line: &str) -> Process {
        let args = vec!["-c".to_owned(), line.to_owned()];
        self.live.spawn(ProcessConfig { cmd: "/bin/sh".to_owned(), args, ..Default::default() }).await.unwrap()
    }

    /// Whether control groups hold memory here.
    pub fn has_groups(&self) -> bool {
        self.provider.limits().mechanism.contains("cgroup")
    }

    /// Runs a shell line to its end.
    pub async fn sh(&self, line: &str) -> Outcome {
        finish(self.start(line).await).await
    }

    /// Compiles a C program into the workspace.
    pub fn compile(&self, source: &str, name: &str) {
        compile(source, &self.spec.workspace.join(name));
    }

    pub async fn write(&self, path: &str, content: &str) {
        self.files.write(path, Bytes::copy_from_slice(content.as_bytes()), false).await.unwrap();
    }
}

/// Set in a process that has a network of its own, with the addresses and ports that attacks aim at.
pub const OWN_NETWORK: &str = "SANDCASTLE_TEST_OWN_NETWORK";
/// Makes that network; what follows it on the command line is run there.
const NETWORK: &str = "ip link set lo up && ip addr add 169.254.169.254/32 dev lo && ip addr add 192.0.2.77/24 dev lo \
                       && echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start && exec \"$@\"";

/// A command that runs in a network of its own, for tests that run as root.
pub fn in_own_network() -> std::process::Command {
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", "sh", "-c", NETWORK, "sh"]).env(OWN_NETWORK, "1");
    command
}

/// Runs a test of this folder in a process of its own, with these variables.
pub fn run_again(test: &str, env: &[(&str, &str)]) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    expect_success(command.args([&format!("sandbox_local::{test}"), "--exact"]).envs(env.iter().copied()));
}

/// Runs a test of this folder in a network of its own.
pub fn run_again_in_own_network(test: &str) {
    let exe = std::env::current_exe().unwrap();
    expect_success(in_own_network().arg(exe).args([&format!("sandbox_local::{test}"), "--exact"]));
}

/// Runs a program that runs tests, of which all must pass and at least one must be.
pub fn expect_success(command: &mut std::process::Command) {
    let run = command.output().unwrap_or_else(|error| panic!("{command:?} is needed to run these tests: {error}"));
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && !out.contains(" 0 passed"), "{out}\n{err}");
}

/// Compiles a C program of the tests.
pub fn compile(source: &str, to: &std::path::Path) {
    let file = to.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let cc = std::process::Command::new("cc").args(["-O1", "-w", "-static", "-o"]).arg(to).arg(&file).status();
    assert!(cc.expect("a C compiler is needed for this test").success());
}

/// Collects a command's output to its end. A hang is a failure, not a wait for ever.
pub async fn finish(mut process: Process) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let collect = async {
        while let Some(event) = process.events.recv().await {
            match event {
                ProcessEvent::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                ProcessEvent::Stderr(bytes) => stderr.extend_from_slice(&bytes),
                ProcessEvent::End(status) => return status,
            }
        }
        panic!("the command's events ended without an end");
    };
    let status = tokio::time::timeout(Duration::from_secs(120), collect).await.expect("the command hangs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { stdout: text(stdout), stderr: text(stderr), status }
}
