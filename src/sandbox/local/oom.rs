//! Running out of memory under control groups of version 1: what allocates is stopped instead of killed, so that the
//! one to end can be chosen and named. The kernel's own choice leaves no name behind.

use super::cgroup::Group;
use super::link::poll;
use super::live::Live;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Between two looks at whether the end of a process has helped.
const LOOK: Duration = Duration::from_millis(20);
/// A killed process gives its memory back within this many looks, or another has to go.
const LOOKS: usize = 50;

/// Told by the kernel when the group is out of memory.
struct Alarm {
    event: AsyncFd<OwnedFd>,
    _control: File,
}

impl Alarm {
    /// `None` where the kernel has no such thing; then it kills by itself.
    fn set(folder: &Path) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let control = File::open(folder.join("memory.oom_control"))?;
        let pair = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        std::fs::write(folder.join("cgroup.event_control"), pair)?;
        std::fs::write(folder.join("memory.oom_control"), "1")?;
        Ok(Self { event: poll(event)?, _control: control })
    }

    async fn rings(&self) -> io::Result<()> {
        loop {
            let mut ready = self.event.readable().await?;
            let read = ready.try_io(|event| Ok(rustix::io::read(event, &mut [0u8; 8])?));
            if let Ok(read) = read {
                return read.map(drop);
            }
        }
    }
}

/// Serves a sandbox's alarm for ever; does nothing where there is none.
pub async fn watch(live: &Arc<Live>) {
    let Some(group) = live.group.as_ref().filter(|group| group.stops_at_oom()) else {
        return std::future::pending().await;
    };
    match Alarm::set(group.memory_folder()) {
        Ok(alarm) => {
            while alarm.rings().await.is_ok() {
                relieve(live, group).await;
            }
        }
        Err(error) => tracing::debug!(%error, "the kernel chooses what to end when memory runs out"),
    }
    std::future::pending().await
}

/// Ends the largest process, and the next one, until the rest can go on. With nothing left to end but init, what is
/// full are the sandbox's own file systems, and it goes as a whole.
async fn relieve(live: &Arc<Live>, group: &Group) {
    let mut ended = HashSet::new();
    while group.is_out_of_memory() {
        let largest =
            group.pids().into_iter().filter(|pid| *pid != live.pid && !ended.contains(pid)).map(Holder::of).max();
        let Some(holder) = largest else {
            live.died(live.memory_reason());
            live.stop.cancel();
            return;
        };
        ended.insert(holder.pid);
        live.news.ended_for_memory(holder.program);
        end(group, holder.pid);
        for _ in 0..LOOKS {
            if !group.is_out_of_memory() || !group.pids().contains(&holder.pid) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A process and what it holds. Ordered by that first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    memory: u64,
    pid: u32,
    program: String,
}

impl Holder {
    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let program = exe.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { memory: value("RssAnon:") + value("RssShmem:"), pid, program }
    }
}

/// Kills a process of the group. The pid may be another's by now, so it is held before the group is asked once more.
fn end(group: &Group, pid: u32) {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(held) = pidfd_open(id, PidfdFlags::empty()) else { return };
    if group.pids().contains(&pid) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(held, Signal::KILL);
    }
}
