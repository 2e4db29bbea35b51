//! Holds the limits that the kernel does not hold here: the workspace's size and number of files, the host's free disk,
//! and memory where there are no control groups. Says when a limit is near or was hit. Sleeps while nothing runs.

use super::live::Live;
use super::walk::{self, TreeSize};
use super::{blocking, oom};
use crate::sandbox::SandboxError;
use rustix::fs::fstatvfs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often memory is looked at, and with it how often its holders are told apart when it gets scarce.
const MEMORY_PERIOD: Duration = Duration::from_millis(200);
/// How often everything else is.
const PERIOD: Duration = Duration::from_secs(1);
/// The workspace is measured again after so long even if the disk's free space says that nothing grew.
const REMEASURE: Duration = Duration::from_secs(60);
/// A walk may take at most this share of the time.
const WALK_SHARE: u32 = 20;
/// For how long the kernel's kill for want of memory is news.
const NEWS: Duration = Duration::from_secs(60);
/// From this percentage of a limit on a person is told.
const WARN_PERCENT: u64 = 80;

/// Watches until the sandbox ends.
pub async fn run(live: Arc<Live>) {
    tokio::select! {
        () = live.stop.cancelled() => {}
        () = live.closed.cancelled() => {}
        _ = futures::future::join3(oom::watch(&live), watch_memory(&live), watch_rest(&live)) => {}
    }
    live.shared.floor.forget(&live.id);
}

/// Waits until a command runs. False when none can run any more.
async fn something_runs(live: &Live) -> bool {
    live.running.subscribe().wait_for(|count| *count > 0).await.is_ok()
}

/// Knows who holds the memory before it runs out, because afterwards nobody holds it.
async fn watch_memory(live: &Arc<Live>) {
    let limit = live.shared.config.memory_mib << 20;
    while something_runs(live).await {
        // Without a control group only init can tell, by a walk over all processes: that is done less often.
        let (known, pause) = match &live.group {
            Some(group) => (group.memory().unwrap_or(0), MEMORY_PERIOD),
            None => (live.news.last_memory(), PERIOD),
        };
        let scarce = known > limit / 2;
        tokio::time::sleep(if scarce { MEMORY_PERIOD } else { pause }).await;
        if live.group.is_some() && !scarce {
            continue;
        }
        if let Ok(usage) = live.usage().await
            && live.group.is_none()
            && usage.memory > limit
        {
            live.kill_all(&live.memory_reason()).await;
        }
    }
}

async fn watch_rest(live: &Arc<Live>) {
    let mut disk = Disk::default();
    let (mut ooms, mut out_of_memory) = (live.ooms(), None::<Instant>);
    while something_runs(live).await {
        tokio::time::sleep(PERIOD).await;
        let now = live.ooms();
        if now > std::mem::replace(&mut ooms, now) {
            out_of_memory = Some(Instant::now());
        }
        let notice = if let Some(reason) = disk.breach(live).await {
            live.kill_all(&reason).await;
            Some(reason)
        } else if out_of_memory.is_some_and(|at| at.elapsed() < NEWS) {
            Some(live.memory_reason())
        } else if let Some(notice) = disk.warning(live) {
            Some(notice)
        } else {
            processes_warning(live).await
        };
        live.news.tell(notice);
        if *live.running.borrow() == 0 {
            live.shared.floor.rests(&live.id);
        }
    }
}

async fn processes_warning(live: &Live) -> Option<String> {
    let limit = live.shared.config.processes;
    // Init is asked only when there can be so many at all: the host's own count is cheap, but not everywhere there.
    if live.group.as_ref().and_then(super::cgroup::Group::processes).is_some_and(|count| count * 10 < limit * 9) {
        return None;
    }
    let usage = live.usage().await.ok()?;
    // The shims of commands and init count too, so the last few are never all a person's.
    (usage.processes * 100 >= limit * 95).then(|| format!("at the limit of {limit} processes"))
}

#[derive(Default)]
struct Disk {
    measured: Option<Measured>,
    /// Whether the host's free space is below what stays free.
    scarce: bool,
}

struct Measured {
    at: Instant,
    took: Duration,
    size: TreeSize,
    /// Free bytes and inodes of the host's file system then.
    free: TreeSize,
}

impl Disk {
    /// Why everything must be killed, if it must.
    async fn breach(&mut self, live: &Arc<Live>) -> Option<String> {
        let limit = limits(live);
        let free = match free(live) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(sandbox = %live.id, %error, "the disk's free space is not known");
                return None;
            }
        };
        let before = std::mem::replace(&mut self.scarce, free.bytes < floor(live));
        live.shared.floor.is_scarce(self.scarce);
        if ((self.scarce && !before) || self.due(free, limit))
            && let Some(reason) = self.measure(live, free, limit).await
        {
            return Some(reason);
        }
        live.shared.floor.must_end(&live.id).then(|| format!("{}, and it was still growing", nearly_full(live)))
    }

    /// Measures the workspace. Why everything must be killed, if it must.
    async fn measure(&mut self, live: &Arc<Live>, free: TreeSize, limit: TreeSize) -> Option<String> {
        let started = Instant::now();
        let measured = Arc::clone(live);
        let size = match blocking(move || measure(&measured)).await {
            Ok(size) => size,
            Err(SandboxError::Limit(reason)) => return Some(reason),
            Err(error) => {
                tracing::warn!(sandbox = %live.id, %error, "a workspace was not measured");
                return None;
            }
        };
        self.measured = Some(Measured { at: Instant::now(), took: started.elapsed(), size, free });
        live.disk.store(size.bytes, Ordering::Relaxed);
        live.shared.floor.measured(&live.id, size.bytes);
        if size.bytes > limit.bytes {
            let mib = live.shared.config.disk_mib;
            return Some(format!("out of disk: {mib} MiB limit of the workspace"));
        }
        (size.files > limit.files).then(|| format!("too many files: {} is the limit of the workspace", limit.files))
    }

    /// That a limit is near, as of the last measurement.
    fn warning(&self, live: &Live) -> Option<String> {
        if self.scarce {
            return Some(nearly_full(live));
        }
        let (size, limit) = (self.measured.as_ref()?.size, limits(live));
        if size.bytes * 100 >= limit.bytes * WARN_PERCENT {
            return Some(format!("disk nearly full: {} of {} MiB", size.bytes >> 20, limit.bytes >> 20));
        }
        let many = size.files * 100 >= limit.files * WARN_PERCENT;
        many.then(|| format!("nearly too many files: {} of {}", size.files, limit.files))
    }

    /// The workspace can have grown only by what the disk lost, so most walks are saved.
    fn due(&self, free: TreeSize, limit: TreeSize) -> bool {
        let Some(last) = &self.measured else { return true };
        let age = last.at.elapsed();
        let grown =
            |now: u64, then: u64, used: u64, limit: u64| then.saturating_sub(now) > limit.saturating_sub(used) / 4;
        let grown = grown(free.bytes, last.free.bytes, last.size.bytes, limit.bytes)
            || grown(free.files, last.free.files, last.size.files, limit.files);
        age > last.took * WALK_SHARE && (grown || self.scarce || age > REMEASURE)
    }
}

/// Bytes that may still be written: what the limit and the host's free space leave, measured now.
pub fn room(live: &Live) -> Result<u64, SandboxError> {
    let used = measure(live)?.bytes;
    live.disk.store(used, Ordering::Relaxed);
    let free = free(live)?.bytes.saturating_sub(floor(live));
    Ok(limits(live).bytes.saturating_sub(used).min(free))
}

/// What the files of both folders take.
fn measure(live: &Live) -> Result<TreeSize, SandboxError> {
    live.folders.iter().try_fold(TreeSize::default(), |sum, folder| {
        let size = walk::disk_usage(folder)?;
        Ok(TreeSize { bytes: sum.bytes + size.bytes, files: sum.files + size.files })
    })
}

/// Free bytes and inodes of the host's file system.
fn free(live: &Live) -> Result<TreeSize, SandboxError> {
    let [files, _] = &live.folders;
    let space = fstatvfs(files).map_err(std::io::Error::from)?;
    Ok(TreeSize { bytes: space.f_bavail.saturating_mul(space.f_frsize), files: space.f_favail })
}

/// What people are told when too little of it is left.
fn nearly_full(live: &Live) -> String {
    format!("the host's disk is nearly full: less than {} MiB are free", live.shared.config.disk_floor_mib)
}

/// Bytes that stay free on the host.
fn floor(live: &Live) -> u64 {
    live.shared.config.disk_floor_mib << 20
}

fn limits(live: &Live) -> TreeSize {
    TreeSize { bytes: live.shared.config.disk_mib << 20, files: live.shared.config.files }
}
