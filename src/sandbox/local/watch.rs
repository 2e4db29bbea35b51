//! Holds the limits that the kernel does not hold here: the workspace's size, the host's free disk, and memory where
//! there are no control groups. Sleeps while nothing runs.

use super::live::Live;
use super::{blocking, walk, workspace};
use rustix::fs::fstatvfs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the cheap checks are made.
const PERIOD: Duration = Duration::from_secs(1);
/// The workspace is measured again after so long even if the disk's free space says that nothing grew.
const REMEASURE: Duration = Duration::from_secs(60);
/// A walk may take at most this share of the time.
const WALK_SHARE: u32 = 20;

/// Watches until the sandbox ends.
pub async fn run(live: Arc<Live>) {
    tokio::select! {
        () = live.stop.cancelled() => {}
        () = live.closed.cancelled() => {}
        () = watch(&live) => {}
    }
}

async fn watch(live: &Arc<Live>) {
    let mut running = live.running.subscribe();
    let mut disk = Disk::default();
    loop {
        // The sender lives as long as we do, so this ends only with a command.
        if running.wait_for(|count| *count > 0).await.is_err() {
            return;
        }
        tokio::time::sleep(PERIOD).await;
        if let Some(reason) = disk.breach(live).await {
            live.kill_all(&reason).await;
        }
        if live.group.is_none()
            && let Ok(usage) = live.usage().await
            && usage.memory > live.shared.config.memory_mib << 20
        {
            live.kill_all(&live.memory_reason()).await;
        }
    }
}

#[derive(Default)]
struct Disk {
    measured: Option<Measured>,
}

struct Measured {
    at: Instant,
    took: Duration,
    bytes: u64,
    free: u64,
}

impl Disk {
    /// Why everything must be killed, if it must.
    async fn breach(&mut self, live: &Arc<Live>) -> Option<String> {
        let (limit, floor) = (live.shared.config.disk_mib << 20, live.shared.config.disk_floor_mib << 20);
        let directory = workspace::open_root(&live.workspace.files).ok()?;
        let space = fstatvfs(&directory).ok()?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < floor {
            return Some(format!("the host's disk is nearly full: less than {} MiB are free", floor >> 20));
        }
        if !self.due(free, limit) {
            return None;
        }
        let started = Instant::now();
        let folders = [live.workspace.files.clone(), live.workspace.state.clone()];
        let measure = move || {
            let sizes = folders.iter().map(|folder| walk::disk_usage(&workspace::open_root(folder)?));
            sizes.sum::<Result<u64, _>>()
        };
        let bytes = match blocking(measure).await {
            Ok(bytes) => bytes,
            Err(crate::sandbox::SandboxError::Limit(reason)) => return Some(reason),
            Err(_) => return None,
        };
        self.measured = Some(Measured { at: Instant::now(), took: started.elapsed(), bytes, free });
        live.disk.store(bytes, Ordering::Relaxed);
        (bytes > limit).then(|| format!("out of disk: {} MiB limit of the workspace", limit >> 20))
    }

    /// The workspace can have grown only by what the disk lost, so most walks are saved.
    fn due(&self, free: u64, limit: u64) -> bool {
        let Some(last) = &self.measured else { return true };
        let age = last.at.elapsed();
        let room = limit.saturating_sub(last.bytes);
        let lost = last.free.saturating_sub(free);
        age > last.took * WALK_SHARE && (lost > room / 2 || age > REMEASURE)
    }
}
