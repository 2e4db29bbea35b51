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

    /// By what limits are held.
    pub fn provider_limits(&self) -> String {
        self.provider.limits().mechanism
    }

    /// Runs a shell line to its end.
    pub async fn sh(&self, line: &str) -> Outcome {
        finish(self.start(line).await).await
    }

    pub async fn write(&self, path: &str, content: &str) {
        self.files.write(path, Bytes::copy_from_slice(content.as_bytes()), false).await.unwrap();
    }
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
