//! What the embedded sandbox costs: starts, commands, ports, output and files, each beside a baseline of the same run.
//!
//! Run by `make bench`; prints one JSON line a figure.

mod crowd;
mod files;
mod streams;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandcastle::config::SandboxConfig;
use sandcastle::domain::SandboxId;
use sandcastle::sandbox::local::{EgressHook, EgressSockets, LocalProvider};
use sandcastle::sandbox::provider::{Instance, ProcessConfig, ProcessEvent, Provider, SandboxSpec};
use tokio_util::sync::CancellationToken;

const SANDBOXES: usize = 100;
const COMMANDS: usize = 500;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// No way out is needed here.
struct NoEgress;

impl EgressHook for NoEgress {
    fn attach(&self, _: &SandboxId, _: EgressSockets, _: CancellationToken) {}
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let config = SandboxConfig { init: std::env::var_os("SANDCASTLE_INIT").map(Into::into), ..Default::default() };
    let provider = LocalProvider::new(config, folder.path().to_path_buf(), Arc::new(NoEgress));
    // The first one looks at the host's toolchains.
    start(&provider, folder.path(), 0).await?.shutdown().await;

    let mut ready = Vec::new();
    for number in 1..=SANDBOXES {
        let begun = Instant::now();
        let sandbox = start(&provider, folder.path(), number).await?;
        ready.push(begun.elapsed());
        sandbox.shutdown().await;
    }
    report("sandbox ready, p50", quantile(&mut ready, 50), Some(4.0), "start of a sandbox on an empty workspace");
    report("sandbox ready, p99", quantile(&mut ready, 99), Some(15.0), "");

    let mut bare = Vec::new();
    for _ in 0..COMMANDS {
        let begun = Instant::now();
        Command::new("/bin/true").stdout(Stdio::piped()).output()?;
        bare.push(begun.elapsed());
    }
    let bare = quantile(&mut bare, 50);

    let sandbox = start(&provider, folder.path(), SANDBOXES + 1).await?;
    let mut commands = Vec::new();
    for _ in 0..COMMANDS {
        let begun = Instant::now();
        run_true(sandbox.as_ref()).await?;
        commands.push(begun.elapsed());
    }
    let command = quantile(&mut commands, 50);
    let ratio = format!("{:.1} x a bare fork and exec ({:.2} ms)", command.div_duration_f64(bare), millis(bare));
    report("command in a live sandbox, p50", command, Some(5.0), &ratio);
    report("command in a live sandbox, p99", quantile(&mut commands, 99), None, "");
    streams::forwarded_port(sandbox.as_ref()).await?;
    streams::flood(sandbox.as_ref()).await?;
    sandbox.shutdown().await;
    files::measure(&provider, folder.path()).await?;
    crowd::at_once(&provider, folder.path()).await?;
    crowd::idle(&provider, folder.path()).await
}

async fn start(provider: &LocalProvider, folder: &Path, number: usize) -> Outcome<Arc<dyn Instance>> {
    let id = SandboxId::parse(format!("i{number:019}"))?;
    let spec = SandboxSpec { workspace: folder.join(id.as_str()), id, env: BTreeMap::new() };
    Ok(provider.start(spec).await?)
}

async fn run_true(sandbox: &dyn Instance) -> Outcome<()> {
    let mut process = sandbox.spawn(ProcessConfig { cmd: "/bin/true".into(), ..Default::default() }).await?;
    while let Some(event) = process.events.recv().await {
        if let ProcessEvent::End(status) = event {
            return if status.code == Some(0) { Ok(()) } else { Err(format!("true ended with {status:?}").into()) };
        }
    }
    Err("the process ended without a status".into())
}

fn quantile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort();
    samples.get(samples.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn report(what: &str, took: Duration, goal_ms: Option<f64>, note: &str) {
    println!("{}", serde_json::json!({ "what": what, "ms": millis(took), "goal_ms": goal_ms, "note": note }));
}
