//! Watching a directory of a sandbox from outside, by inotify on directories already opened.

use super::link::poll;
use super::live::Live;
use super::walk;
use crate::sandbox::tree::{TreeChange, TreeEvent};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Events waiting for a reader; more are dropped by the kernel's own queue.
const BACKLOG: usize = 1024;
/// Directories below one watch.
const DIRECTORIES_MAX: usize = 8192;

/// Starts to watch. The task, one of the sandbox's, ends when the receiver is dropped, with the directory, or with the
/// sandbox.
pub fn start(directory: OwnedFd, recursive: bool, live: &Live) -> io::Result<mpsc::Receiver<TreeEvent>> {
    let queue = poll(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
    let mut watch = Watch { queue, directory, recursive, names: HashMap::new() };
    watch.add("")?;
    let (tell, events) = mpsc::channel(BACKLOG);
    let closed = live.closed.clone();
    let stop = live.stop.clone();
    live.tasks.spawn(async move {
        tokio::select! {
            () = tell.closed() => {}
            () = stop.cancelled() => {}
            () = closed.cancelled() => {}
            () = watch.run(&tell) => {}
        }
    });
    Ok(events)
}

struct Watch {
    queue: AsyncFd<OwnedFd>,
    directory: OwnedFd,
    recursive: bool,
    /// Path below the watched directory of each of the kernel's watches.
    names: HashMap<i32, String>,
}

/// One event of the kernel, copied out of its buffer.
struct Raw {
    watch: i32,
    flags: ReadFlags,
    name: String,
}

impl Watch {
    async fn run(&mut self, tell: &mpsc::Sender<TreeEvent>) {
        loop {
            let Ok(events) = self.queue.async_io(tokio::io::Interest::READABLE, read).await else { return };
            for event in events {
                if self.handle(event, tell).await.is_err() {
                    return;
                }
            }
        }
    }

    /// An error ends the watch: nobody listens, or the directory itself is gone.
    async fn handle(&mut self, event: Raw, tell: &mpsc::Sender<TreeEvent>) -> Result<(), ()> {
        let Some(folder) = self.names.get(&event.watch).cloned() else { return Ok(()) };
        if event.flags.contains(ReadFlags::IGNORED) {
            self.names.remove(&event.watch);
            return if folder.is_empty() { Err(()) } else { Ok(()) };
        }
        if event.name.is_empty() {
            return Ok(());
        }
        let name = if folder.is_empty() { event.name } else { format!("{folder}/{}", event.name) };
        let changes = [
            (ReadFlags::CREATE | ReadFlags::MOVED_TO, TreeChange::Create),
            (ReadFlags::MODIFY, TreeChange::Write),
            (ReadFlags::DELETE, TreeChange::Remove),
            (ReadFlags::MOVED_FROM, TreeChange::Rename),
            (ReadFlags::ATTRIB, TreeChange::Chmod),
        ];
        for (flags, change) in changes {
            if event.flags.intersects(flags) {
                tell.send(TreeEvent { name: name.clone(), change }).await.map_err(drop)?;
            }
        }
        let new = event.flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        if self.recursive && new && event.flags.contains(ReadFlags::ISDIR) {
            // It may be gone again, and what was made in it before we looked is told as new.
            for name in self.add(&name).unwrap_or_default() {
                tell.send(TreeEvent { name, change: TreeChange::Create }).await.map_err(drop)?;
            }
        }
        Ok(())
    }

    /// Watches a directory and, if asked to, all below. Returns what is in those.
    fn add(&mut self, name: &str) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            if self.names.len() >= DIRECTORIES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!("more than {DIRECTORIES_MAX} directories to watch"),
                ));
            }
            let directory = self.open(&name)?;
            let flags = WatchFlags::CREATE
                | WatchFlags::MODIFY
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR;
            // The descriptor's own name in /proc leads to the directory, which has no path in this mount namespace.
            let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
            let watch = inotify::add_watch(self.queue.get_ref(), path, flags)?;
            self.names.insert(watch, name.clone());
            if !self.recursive {
                break;
            }
            for (entry, kind) in walk::names(&directory)? {
                let Ok(entry) = entry.into_string() else { continue };
                let below = if name.is_empty() { entry } else { format!("{name}/{entry}") };
                if kind == rustix::fs::FileType::Directory {
                    open.push(below.clone());
                }
                found.push(below);
            }
        }
        Ok(found)
    }

    fn open(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let name = if name.is_empty() { "." } else { name };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(&self.directory, name, flags, Mode::empty(), resolve)?)
    }
}

fn read(queue: &OwnedFd) -> io::Result<Vec<Raw>> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut reader = inotify::Reader::new(queue.as_fd(), &mut buffer);
    let mut events = Vec::new();
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(error) if events.is_empty() => return Err(error.into()),
            Err(_) => return Ok(events),
        };
        let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        events.push(Raw { watch: event.wd(), flags: event.events(), name });
        if reader.is_buffer_empty() {
            return Ok(events);
        }
    }
}
