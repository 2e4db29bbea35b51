//! What a caller says to start a run.

use super::{RetryPolicy, RunLabels};
use crate::domain::{CallId, ProjectId, RunId};
use serde_json::Value;
use std::time::Duration;

/// A request to run a task. Everything but `task`, `title` and `payload` is optional.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Name of the task.
    pub task: String,
    /// What this run does, in a few words.
    pub title: String,
    /// Input of the task.
    pub payload: Value,
    /// The project it belongs to; its changes then appear in the project's event log.
    pub project: Option<ProjectId>,
    /// The run that starts it. A child does not count against the cap on parallel runs, because its parent does, and
    /// it is cancelled with its parent.
    pub parent: Option<RunId>,
    /// The tool call that asked for it.
    pub call: Option<CallId>,
    /// A later submit of the same task with the same key returns this run instead of starting another.
    pub idempotency_key: Option<String>,
    /// Runs with the same lane run one after another, in the order they were submitted. A run must not wait for
    /// another run in its own lane.
    pub lane: Option<String>,
    /// How long to wait before the first attempt.
    pub delay: Option<Duration>,
    /// A run that has not started within this time, counted from when it may start, never does; it ends as `EXPIRED`.
    pub ttl: Option<Duration>,
    /// Where runs wait for a place, it goes ahead of those submitted up to so many seconds before it.
    pub priority: i32,
    /// How long the idempotency key finds this run; for ever if not given.
    pub key_ttl: Option<Duration>,
    /// By what it can be found.
    pub labels: RunLabels,
    /// How long one execution may take before it is stopped as `TIMED_OUT`.
    pub max_duration: Option<Duration>,
    /// In place of the task's own policy.
    pub retry: Option<RetryPolicy>,
    /// The run this one repeats.
    pub replay_of: Option<RunId>,
}
