//! What sandboxes use over time.

use super::sandbox::Sandbox;
use super::{Fleet, lock, now_ms};
use std::sync::Arc;
use std::time::Duration;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(5);
/// Samples kept: an hour.
pub(super) const KEPT: usize = 720;

/// What a sandbox used at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When (Unix ms).
    pub at: u64,
    /// Processors it may use.
    pub cpus: u64,
    /// Share of one processor since the last sample, in percent.
    pub cpu_percent: f64,
    /// Memory used, in bytes.
    pub memory: u64,
    /// Memory it may use.
    pub memory_total: u64,
    /// Disk used by its workspace, in bytes.
    pub disk: u64,
    /// Disk it may use.
    pub disk_total: u64,
    cpu_ms: u64,
}

impl Fleet {
    pub(super) async fn measure(&self) {
        let mut tick = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.inner.closing.cancelled() => return,
            }
            let all: Vec<Arc<Sandbox>> = lock(&self.inner.sandboxes).values().cloned().collect();
            for sandbox in all {
                self.sample(&sandbox).await;
            }
            if let Err(error) = self.retire().await {
                tracing::warn!(%error, "whether keys were revoked is not known");
            }
        }
    }

    /// Takes a sample now, if it is alive.
    pub async fn sample(&self, sandbox: &Sandbox) -> Option<Sample> {
        let live = sandbox.live().filter(|live| !live.frozen())?;
        let usage = live.instance.usage().await.ok()?;
        let (memory_mib, disk_mib) = self.size();
        let at = now_ms();
        let mut samples = lock(&sandbox.samples);
        let last = samples.back().copied();
        let cpu_percent = last.map_or(0.0, |last| {
            let (used, passed) = (usage.cpu_ms.saturating_sub(last.cpu_ms), at.saturating_sub(last.at).max(1));
            (used as f64 * 1000.0 / passed as f64).round() / 10.0
        });
        let sample = Sample {
            at,
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            cpu_percent,
            memory: usage.memory,
            memory_total: memory_mib << 20,
            disk: usage.disk,
            disk_total: disk_mib << 20,
            cpu_ms: usage.cpu_ms,
        };
        if samples.len() >= KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
        Some(sample)
    }
}
