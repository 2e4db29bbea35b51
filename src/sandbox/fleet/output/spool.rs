//! Old output of a sandbox's commands on disk, in segments: files that are removed with the last block in them.
//!
//! All commands of a sandbox share one limit. Where it is reached, the oldest segment of the oldest ended command goes;
//! where none of those is left, the beginning of the running command that keeps most. What a viewer has still to read
//! does not go. Everything here blocks and is called from blocking threads. No file stays open.

use super::Output;
use crate::sandbox::entry::lock;
use crate::sandbox::space;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A segment takes no more once it has so many bytes.
const SEGMENT: u64 = 4 << 20;
/// The next segment of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Where a sandbox's old output goes.
pub struct Spool {
    dir: PathBuf,
    limit: u64,
    /// Free space on the host that is left alone, in bytes.
    floor: u64,
    used: AtomicU64,
    /// The commands with something here, in the order of their start.
    outputs: Mutex<BTreeMap<u64, Weak<Output>>>,
    /// The number of the next command.
    next: AtomicU64,
    closed: AtomicBool,
    /// Whether the last write failed.
    failed: AtomicBool,
}

/// A file with blocks of one command.
pub struct Segment {
    spool: Arc<Spool>,
    path: PathBuf,
    size: AtomicU64,
}

/// One block on disk.
#[derive(Clone)]
pub struct Part {
    /// Where it is.
    pub segment: Arc<Segment>,
    offset: u64,
    /// Its bytes there.
    pub length: usize,
}

impl Spool {
    /// A spool in a folder that others may share, of at most `limit` bytes; nothing is written while less than `floor`
    /// bytes are free.
    pub fn new(dir: PathBuf, limit: u64, floor: u64) -> Self {
        Self {
            dir,
            limit,
            floor,
            used: AtomicU64::new(0),
            outputs: Mutex::default(),
            next: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// Nothing is written any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The number of a command that starts.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Moves a command's oldest output in memory here, about so many bytes. False if it has no place here.
    pub(super) fn take(self: &Arc<Self>, output: &Arc<Output>, bytes: usize) -> bool {
        let (segment, blocks) = output.oldest_in_memory(bytes);
        if blocks.is_empty() {
            return true;
        }
        let size = blocks.iter().map(|block| block.len() as u64).sum();
        if !self.make_room(output, size) {
            return false;
        }
        match self.write(segment, &blocks) {
            Ok(parts) => {
                self.failed.store(false, Ordering::Relaxed);
                lock(&self.outputs).entry(output.number).or_insert_with(|| Arc::downgrade(output));
                output.moved(parts);
                true
            }
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "old output of API sandboxes' commands is not kept");
                }
                self.used.fetch_sub(size, Ordering::AcqRel);
                false
            }
        }
    }

    pub(super) fn forget(&self, number: u64) {
        lock(&self.outputs).remove(&number);
    }

    fn write(self: &Arc<Self>, segment: Option<Arc<Segment>>, blocks: &[Arc<Vec<u8>>]) -> io::Result<Vec<Part>> {
        std::fs::create_dir_all(&self.dir)?;
        if space::is_scarce(&self.dir, self.floor)? {
            return Err(io::Error::other("the host's disk is nearly full"));
        }
        let segment = segment.filter(|segment| segment.size.load(Ordering::Acquire) < SEGMENT);
        let segment = segment.unwrap_or_else(|| self.segment());
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&segment.path)?;
        let mut offset = segment.size.load(Ordering::Acquire);
        let mut parts = Vec::new();
        for block in blocks {
            // What a write that failed left is written over.
            file.write_all_at(block, offset)?;
            parts.push(Part { segment: Arc::clone(&segment), offset, length: block.len() });
            offset += block.len() as u64;
        }
        segment.size.store(offset, Ordering::Release);
        Ok(parts)
    }

    fn segment(self: &Arc<Self>) -> Arc<Segment> {
        let path = self.dir.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(Segment { spool: Arc::clone(self), path, size: AtomicU64::new(0) })
    }

    fn make_room(&self, output: &Output, size: u64) -> bool {
        let fits = |used: u64| Some(used + size).filter(|used| *used <= self.limit);
        while !self.closed.load(Ordering::Acquire) {
            if self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok() {
                return true;
            }
            if !self.drop_oldest(output) {
                return false;
            }
        }
        false
    }

    /// Lets a segment go. A running command that writes takes nothing from those that keep less than it.
    fn drop_oldest(&self, writes: &Output) -> bool {
        let all: Vec<Arc<Output>> = lock(&self.outputs).values().filter_map(Weak::upgrade).collect();
        let (ended, mut running): (Vec<_>, Vec<_>) = all.iter().partition(|output| output.ended().is_some());
        let own = writes.on_disk();
        running.retain(|output| output.on_disk() >= own);
        running.sort_by_key(|output| Reverse(output.on_disk()));
        ended.into_iter().chain(running).any(|output| output.drop_segment())
    }
}

impl Part {
    /// Its frames.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.length];
        File::open(&self.segment.path)?.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes.into())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.spool.used.fetch_sub(*self.size.get_mut(), Ordering::AcqRel);
        // One that cannot be removed goes at the next start of the server.
        let _ = std::fs::remove_file(&self.path);
    }
}
