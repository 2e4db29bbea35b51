//! A command's output as long as its sandbox lives: bounded, for any number of viewers, early or late.
//!
//! A viewer that reads holds the command back for as long as it needs, as a terminal would; one that stops reading is
//! cut off after a while, so that nobody can hold a command up by looking at it.

use crate::sandbox::entry::lock;
use crate::sandbox::provider::ExitStatus;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Output kept of one command, in bytes.
pub const KEPT: usize = 1 << 20;
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
    /// The viewer was too slow and has missed output.
    TooSlow,
}

/// One command's output.
pub struct Output {
    kept: Mutex<Kept>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Kept {
    chunks: VecDeque<(Source, Bytes)>,
    /// Number of the first kept chunk, and bytes that came before it.
    first: u64,
    dropped: u64,
    bytes: usize,
    end: Option<ExitStatus>,
    /// The next chunk of each viewer.
    viewers: HashMap<u64, u64>,
    viewer: u64,
}

impl Kept {
    /// Makes room; whether there is enough.
    fn shrink(&mut self, room: usize) -> bool {
        let needed = self.viewers.values().min().copied().unwrap_or(u64::MAX);
        while self.bytes + room > KEPT && self.first < needed {
            let Some((_, chunk)) = self.chunks.pop_front() else { break };
            self.first += 1;
            self.bytes -= chunk.len();
            self.dropped += chunk.len() as u64;
        }
        self.chunks.is_empty() || self.bytes + room <= KEPT
    }
}

impl Output {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { kept: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Adds output; waits for viewers that have not seen the oldest.
    pub async fn add(&self, source: Source, chunk: Bytes) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if lock(&self.kept).shrink(chunk.len()) {
                break;
            }
            if tokio::time::timeout(PATIENCE, changed.changed()).await.is_err() {
                let mut kept = lock(&self.kept);
                let first = kept.first;
                kept.viewers.retain(|_, next| *next > first);
            }
        }
        let mut kept = lock(&self.kept);
        kept.bytes += chunk.len();
        kept.chunks.push_back((source, chunk));
        drop(kept);
        self.changed.send_replace(());
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

    /// Bytes kept.
    pub fn size(&self) -> usize {
        lock(&self.kept).bytes
    }

    /// Looks from this byte on; from the first kept one if that is gone, from now on if it is not there yet.
    pub fn view(self: &Arc<Self>, from: u64) -> Viewer {
        let mut kept = lock(&self.kept);
        let (mut next, mut position, mut skip) = (kept.first, kept.dropped, 0);
        for (_, chunk) in &kept.chunks {
            let length = chunk.len() as u64;
            if position + length > from {
                skip = usize::try_from(from.saturating_sub(position)).unwrap_or(0);
                break;
            }
            position += length;
            next += 1;
        }
        let from = position + skip as u64;
        kept.viewer += 1;
        let id = kept.viewer;
        kept.viewers.insert(id, next);
        drop(kept);
        Viewer { output: Arc::clone(self), changed: self.changed.subscribe(), id, from, skip }
    }
}

/// Someone who looks at a command's output.
pub struct Viewer {
    output: Arc<Output>,
    changed: watch::Receiver<()>,
    id: u64,
    /// The first byte it sees, which is a later one than was wanted if that is gone.
    pub from: u64,
    /// Bytes of the next chunk that were seen before.
    skip: usize,
}

impl Viewer {
    /// What comes next. Safe to cancel.
    pub async fn next(&mut self) -> Seen {
        loop {
            self.changed.borrow_and_update();
            if let Some(seen) = self.now() {
                return seen;
            }
            // The sender is ours too, so it cannot be gone.
            let _ = self.changed.changed().await;
        }
    }

    fn now(&mut self) -> Option<Seen> {
        let mut kept = lock(&self.output.kept);
        let Some(next) = kept.viewers.get(&self.id).copied() else { return Some(Seen::TooSlow) };
        let at = usize::try_from(next.saturating_sub(kept.first)).unwrap_or(usize::MAX);
        let Some((source, chunk)) = kept.chunks.get(at).cloned() else { return kept.end.clone().map(Seen::End) };
        kept.viewers.insert(self.id, next + 1);
        let waits = kept.bytes + chunk.len() > KEPT / 2;
        drop(kept);
        if waits {
            self.output.changed.send_replace(());
        }
        let skip = std::mem::take(&mut self.skip);
        Some(Seen::Output(source, chunk.slice(skip.min(chunk.len())..)))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        lock(&self.output.kept).viewers.remove(&self.id);
        self.output.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(length: usize, byte: u8) -> Bytes {
        vec![byte; length].into()
    }

    fn exited(code: i32) -> ExitStatus {
        ExitStatus { code: Some(code), ..ExitStatus::default() }
    }

    #[tokio::test]
    async fn a_late_viewer_sees_all_that_is_kept_and_the_end() {
        let output = Arc::new(Output::new());
        output.add(Source::Stdout, chunk(3, b'a')).await;
        output.add(Source::Stderr, chunk(2, b'b')).await;
        output.end(exited(7));
        for _ in 0..2 {
            let mut viewer = output.view(0);
            assert_eq!(viewer.next().await, Seen::Output(Source::Stdout, "aaa".into()));
            assert_eq!(viewer.next().await, Seen::Output(Source::Stderr, "bb".into()));
            assert_eq!(viewer.next().await, Seen::End(exited(7)));
        }
        let mut later = output.view(4);
        assert_eq!(later.next().await, Seen::Output(Source::Stderr, "b".into()));
        let mut last = output.view(u64::MAX);
        assert_eq!(last.next().await, Seen::End(exited(7)));
    }

    #[tokio::test]
    async fn without_viewers_the_oldest_output_makes_room() {
        let output = Arc::new(Output::new());
        for byte in 0..5 {
            output.add(Source::Stdout, chunk(KEPT / 2, byte)).await;
        }
        assert!(output.size() <= KEPT);
        let mut viewer = output.view(0);
        assert_eq!(viewer.from, 3 * KEPT as u64 / 2);
        assert_eq!(viewer.next().await, Seen::Output(Source::Stdout, chunk(KEPT / 2, 3)));
        let half = 2 * KEPT as u64 + 5;
        assert_eq!((output.view(half).from, output.view(u64::MAX).from), (half, 5 * KEPT as u64 / 2));
    }

    #[tokio::test]
    async fn a_reading_viewer_misses_nothing_and_one_that_stops_is_cut_off() {
        let output = Arc::new(Output::new());
        let mut reading = output.view(0);
        let mut stuck = output.view(0);
        let write = async {
            for byte in 0..8 {
                output.add(Source::Stdout, chunk(KEPT / 2, byte)).await;
            }
            output.end(exited(0));
        };
        let read = async {
            let mut seen = 0;
            while let Seen::Output(_, bytes) = reading.next().await {
                assert_eq!(bytes, chunk(KEPT / 2, seen));
                seen += 1;
            }
            seen
        };
        let ((), seen) = tokio::join!(write, read);
        assert_eq!(seen, 8);
        assert_eq!(stuck.next().await, Seen::TooSlow);
    }
}
