//! Running out of memory under control groups. The kernel's own choice of whom to end leaves no name behind.
//!
//! So the one to end is chosen here, and named. Under version 1 what allocates is stopped meanwhile, under version 2 it is
//! slowed down near the limit. What grows too fast for that the kernel ends, and who had most just before is remembered.

use super::cgroup::Group;
use super::link::poll;
use super::live::Live;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
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
/// It is out of sight before it has given back anything, so that many looks follow.
const LOOKS_AFTER: usize = 15;

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
    let Some(group) = &live.group else { return std::future::pending().await };
    let watched = if group.stops_at_oom() { choose(live, group).await } else { look(live, group).await };
    if let Err(error) = watched {
        tracing::debug!(sandbox = %live.id, %error, "what ends when memory runs out may not be named");
    }
    std::future::pending().await
}

/// Version 1: whenever memory runs out, someone has to go.
async fn choose(live: &Arc<Live>, group: &Group) -> io::Result<()> {
    let alarm = Alarm::set(group.memory_folder())?;
    loop {
        alarm.rings().await?;
        relieve(live, group).await;
    }
}

/// Version 2: whenever memory gets scarce, remembers who has most of it, and ends that if nothing else helps. Of the
/// kernel's own kill it is told too, but then the one it would name is gone.
async fn look(live: &Arc<Live>, group: &Group) -> io::Result<()> {
    let queue = poll(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
    inotify::add_watch(queue.get_ref(), group.memory_folder().join("memory.events"), WatchFlags::MODIFY)?;
    let mut kills = group.ooms();
    loop {
        let mut ready = queue.readable().await?;
        let read = ready.try_io(|queue| Ok(rustix::io::read(queue, &mut [0u8; 1024])?));
        let Ok(read) = read else { continue };
        read?;
        let killed = std::mem::replace(&mut kills, group.ooms()) != kills;
        let largest = (!killed).then(|| largest(live, group, &HashSet::new())).flatten();
        if let Some(holder) = largest {
            live.news.scarce(holder.program);
            relieve(live, group).await;
        }
    }
}

/// Ends the largest process, and the next one, until the rest can go on. With nothing left to end but init, what is
/// full are the sandbox's own file systems, and it goes as a whole.
async fn relieve(live: &Arc<Live>, group: &Group) {
    let mut ended = HashSet::new();
    while group.is_out_of_memory() {
        let Some(holder) = largest(live, group, &ended) else {
            live.died(live.memory_reason());
            live.stop.cancel();
            return;
        };
        ended.insert(holder.pid);
        live.news.ended_for_memory(holder.program);
        end(group, holder.pid);
        let mut gone = 0;
        for _ in 0..LOOKS {
            gone += usize::from(!group.pids().contains(&holder.pid));
            if !group.is_out_of_memory() || gone > LOOKS_AFTER {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Who has most of the memory, init and those that have been ended aside.
fn largest(live: &Live, group: &Group, ended: &HashSet<u32>) -> Option<Holder> {
    group.pids().into_iter().filter(|pid| *pid != live.pid && !ended.contains(pid)).map(Holder::of).max()
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
        let named = || status.lines().find_map(|line| line.strip_prefix("Name:")).unwrap_or_default().trim().to_owned();
        let program = exe.file_name().map_or_else(named, |name| name.to_string_lossy().into_owned());
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
