//! Many sandboxes: at once, and idle beside each other.

use super::{Outcome, report, run_true, start};
use futures::future::try_join_all;
use sandcastle::sandbox::local::LocalProvider;
use std::path::Path;
use std::time::Instant;

const AT_ONCE: usize = 100;
const IDLE: usize = 500;
/// Numbers of these sandboxes begin here.
const FIRST: usize = 10_000;

/// A hundred asked for at the same moment, until the last is ready.
pub async fn at_once(provider: &LocalProvider, folder: &Path) -> Outcome<()> {
    let begun = Instant::now();
    let sandboxes = try_join_all((0..AT_ONCE).map(|number| start(provider, folder, FIRST + number))).await?;
    report("100 sandboxes at once, all ready", begun.elapsed(), Some(300.0), "");
    for sandbox in sandboxes {
        sandbox.shutdown().await;
    }
    Ok(())
}

/// Five hundred alive together, each of which still runs a command.
pub async fn idle(provider: &LocalProvider, folder: &Path) -> Outcome<()> {
    let before = available()?;
    let begun = Instant::now();
    let mut sandboxes = Vec::new();
    for number in 0..IDLE {
        sandboxes.push(start(provider, folder, FIRST * 2 + number).await?);
    }
    let took = begun.elapsed();
    let each = before.saturating_sub(available()?) as f64 / IDLE as f64 / 1024.0;
    for sandbox in &sandboxes {
        run_true(sandbox.as_ref()).await?;
    }
    let note = format!("{each:.2} MiB each of the whole system (goal 1.5), all still run a command");
    report("500 idle sandboxes, one after another", took, None, &note);
    for sandbox in sandboxes {
        sandbox.shutdown().await;
    }
    Ok(())
}

/// Memory of the machine that can be had, in KiB.
fn available() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).ok_or("no MemAvailable")?;
    Ok(line.split_ascii_whitespace().next().ok_or("no number")?.parse()?)
}
