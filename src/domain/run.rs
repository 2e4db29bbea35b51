//! What a person or program sees of a task run; the engine's own records are in `workflow`.

use super::json::FromJson;
use super::{ApiError, CallId, ProjectId, RunId};
use serde::{Deserialize, Serialize};

/// The state of a run. The thirteen statuses are Trigger.dev's, so that its clients understand them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// Waits for a version of the task that can run it. It cannot occur here: tasks are part of the server, so the version
    /// that takes a run is the one that runs it, and a task that is gone after an upgrade ends its runs with that reason.
    PendingVersion,
    /// Waits for its `delay`, or for the backoff before its next attempt.
    Delayed,
    /// Ready, waits for a free worker or for its lane.
    Queued,
    /// Taken by a worker, about to start: an engine outside this process has handed it over, and it waits for a place
    /// here. The embedded engine has no such moment; its runs are queued until they execute.
    Dequeued,
    /// An attempt is running.
    Executing,
    /// Waits within an attempt, for another run or for a time.
    Waiting,
    /// Ended with an output.
    Completed,
    /// Ended with an error after its last attempt, or at once by a fatal one.
    Failed,
    /// Stopped on request.
    Canceled,
    /// The server died too often while it ran.
    Crashed,
    /// A fault of the engine itself.
    SystemFailure,
    /// Not started within its time to live.
    Expired,
    /// Ran longer than its maximum duration.
    TimedOut,
}

impl RunStatus {
    /// All of them, in the order of a run's life.
    pub const ALL: [Self; 13] = [
        Self::PendingVersion,
        Self::Delayed,
        Self::Queued,
        Self::Dequeued,
        Self::Executing,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Crashed,
        Self::SystemFailure,
        Self::Expired,
        Self::TimedOut,
    ];

    /// Whether it ended in a way that somebody may have to look at.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Crashed | Self::SystemFailure | Self::Expired | Self::TimedOut)
    }

    /// Whether the run can never change again.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::Failed
                | Self::Canceled
                | Self::Crashed
                | Self::SystemFailure
                | Self::Expired
                | Self::TimedOut
        )
    }

    /// The status as the wire and the store spell it, for instance `TIMED_OUT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingVersion => "PENDING_VERSION",
            Self::Delayed => "DELAYED",
            Self::Queued => "QUEUED",
            Self::Dequeued => "DEQUEUED",
            Self::Executing => "EXECUTING",
            Self::Waiting => "WAITING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Crashed => "CRASHED",
            Self::SystemFailure => "SYSTEM_FAILURE",
            Self::Expired => "EXPIRED",
            Self::TimedOut => "TIMED_OUT",
        }
    }

    /// The inverse of [`RunStatus::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
    }
}

/// One line of the runs list. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct RunSummary {
    /// Id of the run.
    pub id: RunId,
    /// Task name, for instance `runCommand`.
    pub task: String,
    /// What this run does, in a few words: a command line, a file count, a prompt's beginning.
    pub title: String,
    /// Current status.
    pub status: RunStatus,
    /// The project it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// The run that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The tool call of the chat that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Attempts begun so far.
    pub attempt: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// When it was submitted.
    pub created_at: u64,
    /// When its first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<u64>,
    /// Its error's message, once failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One attempt of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it began (Unix ms).
    pub started_at: u64,
    /// When it ended (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<u64>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// When the next attempt is due, if there is one (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<u64>,
    /// Whether it was cut off by the death of the server.
    #[serde(default)]
    pub crashed: bool,
}

/// One step of a run: a piece of work that is recorded when it is done, and not done again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique in the run.
    pub name: String,
    /// The attempt that did it.
    pub attempt: u32,
    /// When it began (Unix ms).
    pub started_at: u64,
    /// When it ended (Unix ms); none while it runs or if it was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What happened.
    Info,
    /// Something a person may want to know.
    Warn,
    /// A failure.
    Error,
}

/// One line a task wrote about its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunLog {
    /// When (Unix ms).
    pub at: u64,
    /// How loud.
    pub level: LogLevel,
    /// What, readable alone.
    pub message: String,
    /// The attempt that wrote it.
    pub attempt: u32,
}

/// Everything the page of one run shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    /// The list's line.
    pub summary: RunSummary,
    /// Input, as given. Long strings are cut with a note.
    pub payload: serde_json::Value,
    /// Result, once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<serde_json::Value>,
    /// Error, once failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// The key under which a second submit finds this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The run this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<RunId>,
    /// All attempts, first to last.
    pub attempts: Vec<Attempt>,
    /// Steps, first to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// The run at the top of its tree, if it is not at the top itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RunId>,
    /// Its queue's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Runs of the same lane run one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// The batch it was submitted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What its caller keeps with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// Seconds it goes ahead of its time.
    #[serde(default)]
    pub priority: i32,
    /// When it is due to start, while it waits for that (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<u64>,
    /// When it must have started (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// How long one execution may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_ms: Option<u64>,
    /// What its error has in common with the errors of other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Times it was cut off by the death of the server.
    #[serde(default)]
    pub crashes: u32,
    /// Log lines, first to last.
    pub logs: Vec<RunLog>,
    /// Runs it started, in order.
    pub children: Vec<RunSummary>,
}

impl RunDetail {
    /// A run of which nothing but its line in a list is known.
    pub fn bare(summary: RunSummary) -> Self {
        Self {
            summary,
            payload: serde_json::Value::Null,
            output: None,
            error: None,
            idempotency_key: None,
            replay_of: None,
            attempts: Vec::new(),
            steps: Vec::new(),
            root: None,
            queue: None,
            lane: None,
            batch: None,
            tags: Vec::new(),
            metadata: None,
            priority: 0,
            due_at: None,
            expires_at: None,
            max_duration_ms: None,
            fingerprint: None,
            crashes: 0,
            logs: Vec::new(),
            children: Vec::new(),
        }
    }
}
