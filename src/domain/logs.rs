//! Command output as it crosses the wire: absolute byte offsets, so that nothing is shown twice and gaps are visible.

use super::CommandId;
use super::json::FromJson;
use serde::{Deserialize, Serialize};

/// A live piece of a command's output. Its SSE event name is `output`; it has no `id` because it is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct OutputChunk {
    /// The command.
    pub command: CommandId,
    /// Offset of the first byte in all the command ever wrote (stdout and stderr as they came).
    pub offset: u64,
    /// The bytes; invalid UTF-8 is replaced, so `len` counts the original bytes.
    pub text: String,
    /// How many bytes of output this is.
    pub len: u64,
}

/// A stretch of a command's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct LogSlice {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
    /// Bytes written in all so far.
    pub total: u64,
    /// The text.
    pub text: String,
}

/// The tail of one command's output, as the browser keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct OutputWindow {
    /// The command.
    pub command: CommandId,
    /// Offset of the first byte kept; above 0 earlier output is not here.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
    /// The text.
    pub text: String,
}

impl OutputWindow {
    /// An empty window at the beginning.
    pub fn new(command: CommandId) -> Self {
        Self { command, start: 0, end: 0, text: String::new() }
    }

    /// Appends a chunk and cuts the front to at most `keep` bytes at a line's beginning. Returns false, changing
    /// nothing, if the chunk was seen before. A gap before the chunk drops what came before it.
    pub fn push(&mut self, chunk: &OutputChunk, keep: usize) -> bool {
        if chunk.offset + chunk.len <= self.end || chunk.offset < self.end {
            return false;
        }
        if chunk.offset > self.end {
            self.text.clear();
            self.start = chunk.offset;
        }
        self.text.push_str(&chunk.text);
        self.end = chunk.offset + chunk.len;
        if self.text.len() > keep {
            let from = self.text.len() - keep;
            let cut = self.text.as_bytes().iter().skip(from).position(|b| *b == b'\n').map_or(from, |p| from + p + 1);
            let cut = (cut..=self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
            self.text.drain(..cut);
            self.start = self.end.saturating_sub(self.text.len() as u64);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, text: &str) -> OutputChunk {
        let command = CommandId::parse("cmd_1").unwrap();
        OutputChunk { command, offset, text: text.to_owned(), len: text.len() as u64 }
    }

    #[test]
    fn a_chunk_seen_before_changes_nothing_and_a_gap_restarts_the_window() {
        let mut window = OutputWindow::new(CommandId::parse("cmd_1").unwrap());
        assert!(window.push(&chunk(0, "one\n"), 100));
        assert!(!window.push(&chunk(0, "one\n"), 100));
        assert!(window.push(&chunk(4, "two\n"), 100));
        assert_eq!(window.text, "one\ntwo\n");
        assert!(window.push(&chunk(50, "late\n"), 100));
        assert_eq!((window.start, window.end, window.text.as_str()), (50, 55, "late\n"));
    }

    #[test]
    fn the_window_keeps_whole_last_lines() {
        let mut window = OutputWindow::new(CommandId::parse("cmd_1").unwrap());
        for n in 0..100 {
            window.push(&chunk(n * 4, &format!("{n:03}\n")), 20);
        }
        assert!("095\n096\n097\n098\n099\n".ends_with(&window.text) && window.text.len() >= 16);
        assert_eq!(window.end, 400);
        assert_eq!(window.start, 400 - window.text.len() as u64);
    }
}
