//! The output of one command on disk: bounded, addressed by absolute byte offsets, readable after the command and the
//! server are gone.
//!
//! A log is a directory of segment files named by the offset of their first byte. The first segment (the head) and
//! the last few (the tail) are kept; what a flood wrote between them is dropped. Everything here blocks and is called
//! from blocking threads; it must not know commands, projects or events.

use super::space;
use crate::domain::LogSlice;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of one segment file, plus at most one batch.
const SEGMENT: u64 = 4 << 20;
/// Segments kept besides the first.
const TAIL_SEGMENTS: usize = 15;
/// What is kept of one command, for people.
pub(super) const KEPT_MIB: u64 = (1 + TAIL_SEGMENTS as u64) * SEGMENT / (1 << 20);

/// Logs kept per project, and their bytes all together; the oldest finished ones go first.
const LOGS_KEPT: usize = 200;
const LOGS_BYTES: u64 = 512 << 20;

/// Where to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFrom {
    /// At this offset; if it was dropped, at the next one that is kept.
    Offset(u64),
    /// So many bytes before the end.
    Tail(u64),
}

/// The one writer of a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    dir: PathBuf,
    /// Free space on the host that long output leaves alone, in bytes.
    floor: u64,
    file: Option<File>,
    segments: Vec<u64>,
    total: u64,
    failed: bool,
}

impl LogWriter {
    /// Begins a log in a directory that is made when there is something to write. Beyond its first segment nothing is
    /// written while less than `floor` bytes are free on the host.
    pub(super) fn new(dir: PathBuf, floor: u64) -> Self {
        Self { dir, floor, file: None, segments: Vec::new(), total: 0, failed: false }
    }

    /// Bytes written in all, also those no longer kept.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Appends a batch. A full disk costs output, never the command: the bytes are counted and the gap is visible.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        match self.store(bytes) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !self.failed {
                    tracing::warn!(log = %self.dir.display(), %error, "command output is not kept");
                }
                self.failed = true;
                self.file = None;
            }
        }
        self.total += bytes.len() as u64;
    }

    fn store(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let full = self.segments.last().is_none_or(|start| self.total - start >= SEGMENT);
        if full || self.file.is_none() {
            if self.segments.is_empty() {
                std::fs::create_dir_all(&self.dir)?;
            } else if space::is_scarce(&self.dir, self.floor)? {
                return Err(std::io::Error::other("the host's disk is nearly full"));
            }
            let path = segment_path(&self.dir, self.total);
            self.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
            if self.segments.last() != Some(&self.total) {
                self.segments.push(self.total);
            }
            if self.segments.len() > TAIL_SEGMENTS + 1 {
                let dropped = self.segments.remove(1);
                std::fs::remove_file(segment_path(&self.dir, dropped))?;
            }
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        }
    }
}

/// Reads at most `max` bytes of a log. A log that does not exist reads as empty.
///
/// `finished` says that nothing will follow: then a cut character at the end is shown as it is; else it is left for
/// the next read.
pub(super) fn read(dir: &Path, from: LogFrom, max: u64, finished: bool) -> std::io::Result<LogSlice> {
    let segments = segments(dir)?;
    let total = segments.last().map_or(0, |(start, len)| start + len);
    let (wanted, aligned) = match from {
        LogFrom::Offset(offset) => (offset.min(total), true),
        LogFrom::Tail(bytes) => (total.saturating_sub(bytes), bytes >= total),
    };
    let mut start = wanted;
    let mut bytes: Vec<u8> = Vec::new();
    for (at, len) in &segments {
        let position = start + bytes.len() as u64;
        if at + len <= position {
            continue;
        }
        if *at > position {
            // A gap: what is kept before it is returned now, what comes after it by the next read.
            if !bytes.is_empty() {
                break;
            }
            start = *at;
        }
        let skip = (start + bytes.len() as u64) - at;
        read_segment(&segment_path(dir, *at), skip, max - bytes.len() as u64, &mut bytes)?;
        if bytes.len() as u64 >= max {
            break;
        }
    }
    if !aligned || start != wanted {
        let cut = bytes.iter().take(3).take_while(|b| (**b & 0xC0) == 0x80).count();
        bytes.drain(..cut);
        start += cut as u64;
    }
    if !finished || start + (bytes.len() as u64) < total {
        let whole = bytes.len() - unfinished_character(&bytes);
        if whole > 0 {
            bytes.truncate(whole);
        }
    }
    let end = start + bytes.len() as u64;
    Ok(LogSlice { start, end, total, text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Bytes a log holds by its offsets, also those no longer kept; 0 if it cannot be read.
pub(super) fn total(dir: &Path) -> u64 {
    segments(dir).ok().and_then(|segments| segments.last().map(|(start, len)| start + len)).unwrap_or(0)
}

/// Removes a project's oldest logs beyond the limits, but none that is still written to: the log of a server that says
/// little is the oldest of all. Best effort: a log that stays is found again next time.
pub(super) fn prune(logs: &Path, written: &HashSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(logs) else { return };
    let mut found: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, size(&entry.path()), entry.path())))
        .collect();
    let (mut count, mut bytes) = (found.len(), found.iter().map(|(_, size, _)| size).sum::<u64>());
    found.retain(|(_, _, path)| !written.contains(path));
    found.sort();
    for (_, size, path) in found {
        if count <= LOGS_KEPT && bytes <= LOGS_BYTES {
            break;
        }
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::debug!(%error, "an old log was not removed");
        }
        (count, bytes) = (count - 1, bytes - size);
    }
}

/// Bytes a log takes; 0 if it cannot be read.
fn size(dir: &Path) -> u64 {
    segments(dir).map_or(0, |segments| segments.iter().map(|(_, length)| length).sum())
}

fn read_segment(path: &Path, skip: u64, max: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // The writer dropped it between listing and opening: a gap like any other.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(skip))?;
    file.take(max).read_to_end(into)?;
    Ok(())
}

fn segments(dir: &Path) -> std::io::Result<Vec<(u64, u64)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(start) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else { continue };
        match entry.metadata() {
            Ok(metadata) => found.push((start, metadata.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:016}"))
}

/// Bytes at the end that begin a UTF-8 character without finishing it.
fn unfinished_character(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let needs = match byte {
            b if b & 0xC0 == 0x80 => continue,
            b if b & 0xE0 == 0xC0 => 2,
            b if b & 0xF0 == 0xE0 => 3,
            b if b & 0xF8 == 0xF0 => 4,
            _ => return 0,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn log() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cmd_1.log");
        (dir, path)
    }

    #[test]
    fn output_is_read_back_by_offset_and_by_tail() {
        let (_dir, path) = log();
        let mut writer = LogWriter::new(path.clone(), 0);
        writer.append(b"one\ntwo\n");
        writer.append(b"three\n");
        let all = read(&path, LogFrom::Offset(0), 1000, false).unwrap();
        assert_eq!((all.start, all.end, all.total, all.text.as_str()), (0, 14, 14, "one\ntwo\nthree\n"));
        assert_eq!(read(&path, LogFrom::Offset(4), 4, false).unwrap().text, "two\n");
        assert_eq!(read(&path, LogFrom::Tail(6), 1000, true).unwrap().text, "three\n");
        assert_eq!(read(&path, LogFrom::Offset(99), 1000, true).unwrap().start, 14);
    }

    #[test]
    fn a_flood_keeps_head_and_tail_and_shows_the_gap() {
        let (_dir, path) = log();
        let mut writer = LogWriter::new(path.clone(), 0);
        let line = format!("{}\n", "x".repeat(1023)).into_bytes().repeat(64);
        for _ in 0..1500 {
            writer.append(&line);
        }
        writer.append("the end é".as_bytes());
        let size = size(&path);
        assert!(size <= KEPT_MIB << 20, "{size} bytes are kept");
        let tail = read(&path, LogFrom::Tail(10), 100, true).unwrap();
        assert_eq!(tail.text, "the end é");
        assert_eq!(tail.total, writer.total());
        let gap = read(&path, LogFrom::Offset(2 * SEGMENT), 10, false).unwrap();
        assert!(gap.start > 2 * SEGMENT && gap.text.len() == 10);
        assert!(tail.total - gap.start >= 56 << 20, "but nearly all of the rest is there");
        assert_eq!(read(&path, LogFrom::Offset(0), 10, false).unwrap().start, 0);
    }

    #[test]
    fn characters_are_never_split_between_two_reads() {
        let (_dir, path) = log();
        let mut writer = LogWriter::new(path.clone(), 0);
        writer.append("aé".as_bytes());
        let first = read(&path, LogFrom::Offset(0), 2, false).unwrap();
        assert_eq!((first.text.as_str(), first.end), ("a", 1));
        assert_eq!(read(&path, LogFrom::Offset(1), 2, false).unwrap().text, "é");
        assert_eq!(read(&path, LogFrom::Tail(1), 10, true).unwrap().text, "");
        writer.append(&[0xE2]);
        assert_eq!(read(&path, LogFrom::Offset(3), 10, true).unwrap().text, "\u{fffd}");
    }

    #[test]
    fn only_the_latest_logs_are_kept_and_those_still_written_to() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..LOGS_KEPT + 3 {
            let log = dir.path().join(format!("cmd_{n}.log"));
            LogWriter::new(log.clone(), 0).append(b"x");
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(n as u64);
            File::open(log).unwrap().set_modified(at).unwrap();
        }
        let written = HashSet::from([dir.path().join("cmd_0.log"), dir.path().join("cmd_2.log")]);
        prune(dir.path(), &written);
        let kept = |n: usize| dir.path().join(format!("cmd_{n}.log")).exists();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), LOGS_KEPT);
        assert_eq!((0..7).map(kept).collect::<Vec<_>>(), [true, false, true, false, false, true, true]);
        prune(dir.path(), &HashSet::new());
        assert!(kept(0), "there are no more than may be");
    }

    #[test]
    fn logs_that_take_too_much_together_go_from_the_oldest_finished_one_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = |n: u64| dir.path().join(format!("cmd_{n}.log"));
        for n in 0..11 {
            LogWriter::new(log(n), 0).append(b"x");
            // With nothing in them they take no space here.
            File::options().write(true).open(segment_path(&log(n), 0)).unwrap().set_len(60 << 20).unwrap();
            File::open(log(n)).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(n)).unwrap();
        }
        prune(dir.path(), &HashSet::from([log(0), log(2)]));
        let kept: Vec<u64> = (0..11).filter(|n| log(*n).exists()).collect();
        assert_eq!(kept, [0, 2, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn long_output_leaves_a_nearly_full_disk_alone_and_short_output_is_there() {
        let (_dir, path) = log();
        let mut writer = LogWriter::new(path.clone(), u64::MAX);
        for _ in 0..3 {
            writer.append(&vec![b'x'; usize::try_from(SEGMENT).unwrap()]);
        }
        assert_eq!((size(&path), writer.total()), (SEGMENT, 3 * SEGMENT));
    }

    #[test]
    fn a_missing_log_reads_as_empty() {
        let (_dir, path) = log();
        assert_eq!(read(&path, LogFrom::Offset(0), 10, true).unwrap(), LogSlice::default());
    }
}
