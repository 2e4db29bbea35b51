//! A run as the engine keeps it, and what can happen to it.

use crate::domain::{ApiError, RunId, RunSummary};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;

/// A run with everything needed to carry it on.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// What people see of it.
    pub summary: RunSummary,
    /// Input of the task; shared, because it may be long.
    pub payload: Arc<Value>,
    /// Result, once completed.
    pub output: Option<Value>,
    /// Error, once failed.
    pub error: Option<ApiError>,
    /// A second submit of the same task with this key finds this run.
    pub idempotency_key: Option<String>,
    /// When the key is free again (Unix ms).
    pub key_expires_at: Option<u64>,
    /// Runs with the same lane run one after another.
    pub lane: Option<String>,
    /// Seconds it goes ahead of its time where runs wait for a place.
    pub priority: i32,
    /// The retry policy, in its owner's form.
    pub retry: Value,
    /// Executions cut off by the death of the server.
    pub crashes: u32,
    /// Executions cut off by an orderly stop of the server.
    pub interruptions: u32,
    /// Time one execution may take, in milliseconds.
    pub max_duration_ms: Option<u64>,
    /// When it may start next (Unix ms).
    pub due_at: Option<u64>,
    /// How long it may wait from when it may start, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// When it must have started (Unix ms).
    pub expires_at: Option<u64>,
    /// When it was asked to stop (Unix ms). Written by the store alone, which also asks those it started.
    pub cancel_requested_at: Option<u64>,
    /// The run this one repeats.
    pub replay_of: Option<RunId>,
    /// The run at the top of its tree; none at the top. Filled in by the store.
    pub root: Option<RunId>,
    /// How far it is from the top of its tree. Filled in by the store.
    pub depth: u32,
    /// By what it can be found.
    pub labels: RunLabels,
}

/// By what a run can be found, besides its task and project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunLabels {
    /// The API key it was submitted with.
    pub owner: Option<String>,
    /// A queue's name.
    pub queue: Option<String>,
    /// The batch it was submitted with.
    pub batch: Option<String>,
    /// Words of its caller.
    pub tags: Vec<String>,
    /// What its caller keeps with it.
    pub metadata: Option<Value>,
}

impl RunRecord {
    /// What its error has in common with others of the same cause, once it has failed.
    pub fn fingerprint(&self) -> Option<String> {
        if !self.summary.status.is_failure() {
            return None;
        }
        Some(fingerprint(&self.summary.task, &self.error.as_ref()?.message))
    }
}

/// What happens to a run's attempts with a change.
#[derive(Clone, Debug)]
pub enum AttemptChange {
    /// One begins.
    Begin {
        /// 1 for the first.
        number: u32,
        /// When (Unix ms).
        at: u64,
    },
    /// The one that is open, if any, ends.
    End {
        /// When (Unix ms).
        at: u64,
        /// Why it did not succeed.
        error: Option<ApiError>,
        /// When the next one is due.
        retry_at: Option<u64>,
        /// Whether it was cut off by the end of the server.
        crashed: bool,
    },
}

/// Sixteen hex digits of a task's error message without the words that hold digits: ids, times, ports and paths with
/// numbers differ from run to run.
fn fingerprint(task: &str, message: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(task);
    for word in message.split_whitespace() {
        hash.update("\0");
        hash.update(if word.bytes().any(|byte| byte.is_ascii_digit()) { "#" } else { word });
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_numbers_only_are_the_same_error() {
        let one = fingerprint("runCommand", "command cmd_01 ended after 12 s: no space");
        assert_eq!(one, fingerprint("runCommand", "command cmd_02 ended after 7 s: no space"));
        assert_ne!(one, fingerprint("writeFiles", "command cmd_01 ended after 12 s: no space"));
        assert_ne!(one, fingerprint("runCommand", "command cmd_01 ended after 12 s: no memory"));
        assert_eq!(one.len(), 16);
    }
}
