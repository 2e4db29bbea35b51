//! What happened to a sandbox, in words, for its owner. Bounded, and gone with the server's process.

use crate::sandbox::entry::lock;
use crate::store::now_ms;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Lines kept.
const KEPT: usize = 1000;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each command.
    Debug,
    /// Changes of its life.
    Info,
    /// Something went wrong inside.
    Warn,
    /// Something went wrong that should not.
    Error,
}

impl Level {
    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Debug, Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.name() == name)
    }
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// When (Unix ms).
    pub at: u64,
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub message: String,
}

/// The lines of one sandbox.
#[derive(Default)]
pub struct Journal(Mutex<VecDeque<Line>>);

impl Journal {
    /// Adds a line.
    pub fn add(&self, level: Level, message: impl Into<String>) {
        let mut lines = lock(&self.0);
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(Line { at: now_ms(), level, message: message.into() });
    }

    /// All lines, the oldest first.
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.0).iter().cloned().collect()
    }
}
