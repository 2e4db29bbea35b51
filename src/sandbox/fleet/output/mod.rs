//! A command's output as long as its sandbox lives: for any number of viewers, early or late, from any byte on.
//!
//! What was written last is in memory; what is older goes to a spool on disk (`spool`). Only where that has no room is
//! output forgotten, the oldest first. A viewer that reads holds the command back before it would miss something; one
//! that stops reading is cut off then, so that nobody can hold a command up by looking at it.

mod blocks;
mod spool;

pub use spool::Spool;

use crate::sandbox::entry::lock;
use crate::sandbox::provider::ExitStatus;
use blocks::{Block, Blocks, Found, Place};
use bytes::Bytes;
use spool::{Part, Segment};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Output of one command in memory, in bytes.
pub const KEPT: usize = 1 << 20;
/// What goes to disk, or is forgotten, at once.
const BATCH: usize = KEPT / 2;
/// A viewer that takes nothing for so long while the command waits for it is cut off. Tests need not wait as long.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 30_000 });

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Its terminal.
    Terminal,
}

/// What a viewer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Output.
    Output(Source, Bytes),
    /// The end; nothing follows.
    End(ExitStatus),
    /// What comes next is kept no longer: the viewer was too slow, or the disk has failed.
    Lost,
}

/// One command's output.
pub struct Output {
    spool: Arc<Spool>,
    number: u64,
    kept: Mutex<Kept>,
    changed: watch::Sender<()>,
    /// A viewer has taken something or has left.
    taken: Notify,
}

#[derive(Default)]
struct Kept {
    blocks: Blocks,
    end: Option<ExitStatus>,
    /// The next byte of each viewer.
    viewers: HashMap<u64, u64>,
    viewer: u64,
    /// Nothing is kept beyond the last viewer.
    given_up: bool,
}

impl Kept {
    fn is_needed(&self, until: u64) -> bool {
        self.viewers.values().any(|next| *next < until)
    }

    /// What goes because it is given up and nobody looks.
    fn without_viewers(&mut self) -> Vec<Block> {
        if self.given_up && self.viewers.is_empty() { self.blocks.forget(u64::MAX) } else { Vec::new() }
    }
}

impl Output {
    /// Nothing yet. Its old output goes to this spool.
    pub fn new(spool: &Arc<Spool>) -> Self {
        Self {
            spool: Arc::clone(spool),
            number: spool.number(),
            kept: Mutex::default(),
            changed: watch::Sender::new(()),
            taken: Notify::new(),
        }
    }

    /// Its number among those of its spool, in the order of their start.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Adds output. Waits for the disk, and for viewers that would miss something. One caller at a time.
    pub async fn add(self: &Arc<Self>, source: Source, bytes: &[u8]) {
        lock(&self.kept).blocks.push(source, bytes);
        self.changed.send_replace(());
        while self.memory() > KEPT {
            if !self.store(BATCH).await {
                self.forget_oldest().await;
            }
        }
    }

    /// Moves the oldest output in memory to disk, about so many bytes. False if it has no place there.
    pub async fn store(self: &Arc<Self>, bytes: usize) -> bool {
        let output = Arc::clone(self);
        tokio::task::spawn_blocking(move || output.spool.take(&output, bytes)).await.unwrap_or(false)
    }

    /// Forgets the oldest output once no viewer needs it. One that takes nothing any more is not waited for.
    async fn forget_oldest(&self) {
        let until = {
            let blocks = &lock(&self.kept).blocks;
            blocks.first_segment().unwrap_or_else(|| blocks.end_of_block(blocks.begin()))
        };
        while self.is_needed(until) {
            if tokio::time::timeout(PATIENCE, self.taken.notified()).await.is_err() {
                lock(&self.kept).viewers.retain(|_, next| *next >= until);
            }
        }
        let gone = lock(&self.kept).blocks.forget(until);
        // The end of a file is work for the disk. Nobody has to know how it went.
        let _ = tokio::task::spawn_blocking(move || drop(gone)).await;
    }

    fn is_needed(&self, until: u64) -> bool {
        lock(&self.kept).is_needed(until)
    }

    /// Gives up what is kept, now or when the last viewer leaves. Its end is still told. Blocks.
    pub fn give_up(&self) {
        let mut kept = lock(&self.kept);
        kept.given_up = true;
        let gone = kept.without_viewers();
        drop(kept);
        drop(gone);
    }

    /// Tells the end.
    pub fn end(&self, status: ExitStatus) {
        lock(&self.kept).end = Some(status);
        self.changed.send_replace(());
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        lock(&self.kept).end.clone()
    }

    /// Waits for the end.
    pub async fn until_end(&self) {
        let mut changed = self.changed.subscribe();
        while self.ended().is_none() && changed.changed().await.is_ok() {}
    }

    /// Bytes in memory.
    pub fn memory(&self) -> usize {
        lock(&self.kept).blocks.memory()
    }

    /// Looks from this byte on; from the first kept one if that is gone, from now on if it is not there yet.
    pub fn view(self: &Arc<Self>, from: u64) -> Viewer {
        let mut kept = lock(&self.kept);
        let from = from.clamp(kept.blocks.begin(), kept.blocks.end());
        kept.viewer += 1;
        let id = kept.viewer;
        kept.viewers.insert(id, from);
        drop(kept);
        let changed = self.changed.subscribe();
        Viewer { output: Arc::clone(self), changed, id, from, place: Place::default(), read: None }
    }

    fn oldest_in_memory(&self, bytes: usize) -> (Option<Arc<Segment>>, Vec<Arc<Vec<u8>>>) {
        lock(&self.kept).blocks.oldest_in_memory(bytes)
    }

    fn moved(&self, parts: Vec<Part>) {
        lock(&self.kept).blocks.moved(parts);
    }

    fn on_disk(&self) -> u64 {
        lock(&self.kept).blocks.disk()
    }

    /// Forgets its first segment. False if it has none or a viewer needs it.
    fn drop_segment(&self) -> bool {
        let mut kept = lock(&self.kept);
        let Some(until) = kept.blocks.first_segment().filter(|until| !kept.is_needed(*until)) else { return false };
        let gone = kept.blocks.forget(until);
        drop(kept);
        drop(gone);
        true
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.spool.forget(self.number);
    }
}

/// Someone who looks at a command's output.
pub struct Viewer {
    output: Arc<Output>,
    changed: watch::Receiver<()>,
    id: u64,
    /// The first byte it sees, which is a later one than was wanted if that is gone.
    pub from: u64,
    place: Place,
    /// The last block that was read from the disk, and the number of its first byte.
    read: Option<(u64, Bytes)>,
}

/// What a viewer finds.
enum Look {
    Seen(Seen),
    OnDisk(u64, Part),
    Nothing,
}

impl Viewer {
    /// What comes next. Safe to cancel.
    pub async fn next(&mut self) -> Seen {
        loop {
            self.changed.borrow_and_update();
            match self.look() {
                Look::Seen(seen) => return seen,
                Look::OnDisk(start, part) => {
                    let read = tokio::task::spawn_blocking(move || part.read()).await;
                    match read.map_err(std::io::Error::other).flatten() {
                        Ok(bytes) => self.read = Some((start, bytes)),
                        Err(error) => {
                            tracing::warn!(%error, "old output of a command cannot be read");
                            return self.lose(start);
                        }
                    }
                }
                // The sender is ours too, so it cannot be gone.
                Look::Nothing => drop(self.changed.changed().await),
            }
        }
    }

    fn look(&mut self) -> Look {
        let mut kept = lock(&self.output.kept);
        let next = kept.viewers.get(&self.id).copied().filter(|next| *next >= kept.blocks.begin());
        let Some(next) = next else { return Look::Seen(Seen::Lost) };
        let Some((start, found)) = kept.blocks.find(next) else {
            self.read = None;
            return kept.end.clone().map_or(Look::Nothing, |status| Look::Seen(Seen::End(status)));
        };
        let place = &mut self.place;
        let bytes = match (found, &self.read) {
            (Found::Memory(block), _) => {
                place.find(start, block, next).map(|(source, range)| (source, Bytes::copy_from_slice(&block[range])))
            }
            (Found::Disk(_), Some((read, block))) if *read == start => {
                place.find(start, block, next).map(|(source, range)| (source, block.slice(range)))
            }
            (Found::Disk(part), _) => return Look::OnDisk(start, part.clone()),
        };
        let Some((source, bytes)) = bytes else {
            drop(kept);
            return Look::Seen(self.lose(start));
        };
        kept.viewers.insert(self.id, next + bytes.len() as u64);
        drop(kept);
        self.output.taken.notify_one();
        Look::Seen(Seen::Output(source, bytes))
    }

    /// Forgets what is kept up to the end of a block that cannot be read.
    fn lose(&self, start: u64) -> Seen {
        let mut kept = lock(&self.output.kept);
        let until = kept.blocks.end_of_block(start);
        let gone = kept.blocks.forget(until);
        drop(kept);
        drop(gone);
        Seen::Lost
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut kept = lock(&self.output.kept);
        kept.viewers.remove(&self.id);
        let gone = kept.without_viewers();
        drop(kept);
        drop(gone);
        self.output.taken.notify_one();
    }
}

#[cfg(test)]
mod tests;
