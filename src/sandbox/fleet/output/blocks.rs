//! What is kept of one command's output: a run of bytes without a gap, in blocks, the older ones on disk.
//!
//! A block is a row of frames: where bytes came from, how many, and the bytes. It is the same in memory and on disk, so a
//! reader's place in it holds when it moves there. It must not know who reads, nor how a disk is written.

use super::Source;
use super::spool::{Part, Segment};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// The largest block, in bytes.
const BLOCK: usize = 256 << 10;
/// The most output of one frame.
const FRAME: usize = 32 << 10;
/// A frame's source and length.
const HEAD: usize = 5;

/// The output that is kept.
#[derive(Default)]
pub struct Blocks {
    full: VecDeque<Block>,
    /// The block that grows, the number of its first byte, and where its last frame begins.
    open: Vec<u8>,
    open_start: u64,
    last: usize,
    /// The number of the byte that comes next.
    end: u64,
    memory: usize,
    disk: u64,
}

/// A block that does not grow any more.
pub struct Block {
    start: u64,
    content: Content,
}

enum Content {
    Memory(Arc<Vec<u8>>),
    Disk(Part),
}

/// The block with a byte.
pub enum Found<'a> {
    /// Its frames.
    Memory(&'a [u8]),
    /// Where they are.
    Disk(&'a Part),
}

impl Blocks {
    /// The number of the first byte that is kept; of the next one if none is.
    pub fn begin(&self) -> u64 {
        self.full.front().map_or(self.open_start, |block| block.start)
    }

    /// The number of the byte that comes next.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes in memory.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Bytes on disk.
    pub fn disk(&self) -> u64 {
        self.disk
    }

    /// Adds output at the end.
    pub fn push(&mut self, source: Source, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.open.len() + HEAD >= BLOCK {
                self.close();
                self.open.reserve_exact(BLOCK);
            }
            bytes = &bytes[self.push_some(source, bytes)..];
        }
    }

    /// Into the last frame, if that is of the same source, else into a new one.
    fn push_some(&mut self, source: Source, bytes: &[u8]) -> usize {
        let before = self.open.len();
        let seen = match frame(&self.open, self.last) {
            Some((same, seen)) if same == source && seen.len() < FRAME => seen.len(),
            _ => {
                self.last = before;
                self.open.extend([source as u8, 0, 0, 0, 0]);
                0
            }
        };
        let taken = bytes.len().min(FRAME - seen).min(BLOCK - self.open.len());
        self.open.extend_from_slice(&bytes[..taken]);
        let length = u32::try_from(seen + taken).unwrap_or(u32::MAX);
        self.open[self.last + 1..self.last + HEAD].copy_from_slice(&length.to_le_bytes());
        self.memory += self.open.len() - before;
        self.end += taken as u64;
        taken
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let content = Content::Memory(Arc::new(std::mem::take(&mut self.open)));
            self.full.push_back(Block { start: self.open_start, content });
            (self.open_start, self.last) = (self.end, 0);
        }
    }

    /// The block with this byte and the number of its first one. None if it is not there yet, or no longer.
    pub fn find(&self, position: u64) -> Option<(u64, Found<'_>)> {
        if position >= self.end {
            return None;
        }
        if position >= self.open_start {
            return Some((self.open_start, Found::Memory(&self.open)));
        }
        let at = self.full.partition_point(|block| block.start <= position).checked_sub(1)?;
        let Block { start, content } = self.full.get(at)?;
        Some(match content {
            Content::Memory(bytes) => (*start, Found::Memory(bytes)),
            Content::Disk(part) => (*start, Found::Disk(part)),
        })
    }

    /// The oldest blocks in memory, about so many bytes, and the segment that what is before them ends in.
    pub fn oldest_in_memory(&mut self, bytes: usize) -> (Option<Arc<Segment>>, Vec<Arc<Vec<u8>>>) {
        if bytes >= self.memory {
            self.close();
        }
        let (mut segment, mut blocks, mut size) = (None, Vec::new(), 0);
        for block in &self.full {
            match &block.content {
                Content::Disk(part) => segment = Some(Arc::clone(&part.segment)),
                Content::Memory(block) if size < bytes => {
                    size += block.len();
                    blocks.push(Arc::clone(block));
                }
                Content::Memory(_) => break,
            }
        }
        (segment, blocks)
    }

    /// The oldest blocks in memory are on disk now.
    pub fn moved(&mut self, parts: Vec<Part>) {
        let in_memory = self.full.iter_mut().filter(|block| matches!(block.content, Content::Memory(_)));
        for (block, part) in in_memory.zip(parts) {
            self.memory -= part.length;
            self.disk += part.length as u64;
            block.content = Content::Disk(part);
        }
    }

    /// Where the first segment ends; none if there is none.
    pub fn first_segment(&self) -> Option<u64> {
        let Content::Disk(first) = &self.full.front()?.content else { return None };
        let another = |block: &&Block| match &block.content {
            Content::Disk(part) => !Arc::ptr_eq(&part.segment, &first.segment),
            Content::Memory(_) => true,
        };
        Some(self.full.iter().find(another).map_or(self.open_start, |block| block.start))
    }

    /// Where the block ends that a byte is in.
    pub fn end_of_block(&self, position: u64) -> u64 {
        let next = self.full.partition_point(|block| block.start <= position);
        let end = if position < self.open_start { self.open_start } else { self.end };
        self.full.get(next).map_or(end, |block| block.start)
    }

    /// Forgets the blocks that end up to this byte, and hands them out, because their end may be work for a disk.
    pub fn forget(&mut self, until: u64) -> Vec<Block> {
        if until >= self.end {
            self.close();
        }
        let ends = self.full.iter().skip(1).map(|block| block.start).chain([self.open_start]);
        let count = ends.take_while(|end| *end <= until).count().min(self.full.len());
        let gone: Vec<Block> = self.full.drain(..count).collect();
        for block in &gone {
            match &block.content {
                Content::Memory(bytes) => self.memory -= bytes.len(),
                Content::Disk(part) => self.disk -= part.length as u64,
            }
        }
        gone
    }
}

/// A reader's place.
#[derive(Default)]
pub struct Place {
    /// The block, where in it a frame begins, and the number of that frame's first byte.
    block: u64,
    at: usize,
    position: u64,
}

impl Place {
    /// Where a byte of a block is, and what follows it in its frame.
    pub fn find(&mut self, start: u64, block: &[u8], position: u64) -> Option<(Source, Range<usize>)> {
        if self.block != start || self.position > position {
            *self = Self { block: start, at: 0, position: start };
        }
        loop {
            let (source, frame) = frame(block, self.at)?;
            let skip = usize::try_from(position - self.position).ok()?;
            if skip < frame.len() {
                return Some((source, frame.start + skip..frame.end));
            }
            self.at = frame.end;
            self.position += frame.len() as u64;
        }
    }
}

/// The frame that begins there.
fn frame(block: &[u8], at: usize) -> Option<(Source, Range<usize>)> {
    let (source, length) = block.get(at..at + HEAD)?.split_first()?;
    let source =
        [Source::Stdout, Source::Stderr, Source::Terminal].into_iter().find(|known| *known as u8 == *source)?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let bytes = at + HEAD..at + HEAD + length;
    block.get(bytes.clone()).is_some_and(|bytes| !bytes.is_empty()).then_some((source, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that is kept from a byte on, in pieces of one source each.
    fn read(blocks: &Blocks, mut position: u64) -> Vec<(Source, Vec<u8>)> {
        let (mut place, mut seen) = (Place::default(), Vec::<(Source, Vec<u8>)>::new());
        while let Some((start, Found::Memory(bytes))) = blocks.find(position) {
            let (source, range) = place.find(start, bytes, position).unwrap();
            position += range.len() as u64;
            match seen.last_mut() {
                Some((same, piece)) if *same == source => piece.extend(&bytes[range]),
                _ => seen.push((source, bytes[range].to_vec())),
            }
        }
        assert_eq!(position, blocks.end());
        seen
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_read_from_any_byte(
            pushed in prop::collection::vec((any::<bool>(), 1_usize..70_000), 1..20),
            part in 0.0..1.0,
        ) {
            let (mut blocks, mut whole) = (Blocks::default(), Vec::new());
            for (number, (stderr, length)) in pushed.into_iter().enumerate() {
                let source = if stderr { Source::Stderr } else { Source::Stdout };
                let bytes = vec![u8::try_from(number).unwrap(); length];
                whole.extend(bytes.iter().map(|byte| (source, *byte)));
                blocks.push(source, &bytes);
            }
            let from = (whole.len() as f64 * part) as usize;
            let read = read(&blocks, from as u64);
            let flat: Vec<_> = read.iter().flat_map(|(source, bytes)| bytes.iter().map(|byte| (*source, *byte))).collect();
            prop_assert!(flat == whole[from..]);
            let gone = blocks.forget(from as u64).len();
            let begin = usize::try_from(blocks.begin()).unwrap();
            prop_assert!(begin <= from && whole.len() - begin <= blocks.memory(), "{gone} blocks");
            blocks.forget(u64::MAX);
            prop_assert_eq!((blocks.begin(), blocks.memory()), (whole.len() as u64, 0));
        }
    }

    #[test]
    fn small_pieces_of_one_source_share_a_frame_and_so_little_memory() {
        let mut blocks = Blocks::default();
        for _ in 0..100_000 {
            blocks.push(Source::Stdout, b"x");
        }
        assert!(blocks.memory() < 100_100, "{}", blocks.memory());
    }
}
