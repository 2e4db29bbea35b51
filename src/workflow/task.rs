//! What a task is and what it is given.

use super::{RetryPolicy, TaskError, Workflow};
use crate::domain::{ApiError, CallId, LogLevel, ProjectId, RunId, RunLog, RunSummary};
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A named piece of work. It may be executed more than once (retries, crashes), so its effects must bear that.
#[async_trait]
pub trait Task: Send + Sync + 'static {
    /// Its name, for instance `runCommand`.
    const NAME: &'static str;
    /// What it is given.
    type Input: DeserializeOwned + Send;
    /// What it returns.
    type Output: Serialize + Send;

    /// Whether it works in its project's sandbox, where only so many run at once. Such a task waits for no other run.
    const IN_SANDBOX: bool = false;

    /// Why an ended run of it is never submitted once more, and what a person does instead; none if it can be. It
    /// completes "a run of X cannot be replayed: ".
    const NO_REPLAY: Option<&'static str> = None;

    /// How often it is tried.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    /// How often the server may end while it runs before that counts as its fault. More for a task that gets further
    /// each time and watches that itself.
    fn crash_limit(&self) -> u32 {
        5
    }

    /// One attempt. When `ctx.cancel` is cancelled it should return soon; otherwise it is dropped where it stands.
    async fn run(&self, ctx: TaskContext, input: Self::Input) -> Result<Self::Output, TaskError>;
}

/// What an attempt may know and use.
#[derive(Clone)]
pub struct TaskContext {
    /// The run.
    pub run: RunId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How often the run was cut off before by the end of the server, orderly or not. Above 0 its effects may be
    /// there already.
    pub crashes: u32,
    /// The project it belongs to.
    pub project: Option<ProjectId>,
    /// The tool call that asked for it.
    pub call: Option<CallId>,
    /// The API key the run was submitted with.
    pub owner: Option<String>,
    /// Cancelled when the run is stopped or out of time.
    pub cancel: CancellationToken,
    pub(super) workflow: Workflow,
    /// The run as it was when this execution began.
    pub(super) summary: RunSummary,
}

impl TaskContext {
    /// Adds a line to the run's log. A failing log does not fail the task.
    pub async fn log(&self, level: LogLevel, message: impl Into<String>) {
        let at = self.workflow.clock().now_ms();
        let line = RunLog { at, level, message: message.into(), attempt: self.attempt };
        if let Err(error) = self.workflow.runs().log(&self.run, &line).await {
            tracing::warn!(run = %self.run, %error, "a run's log line was lost");
        }
    }

    /// The workflow, for child runs.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }
}

/// A task whose input and output are JSON, so that tasks of all kinds fit one registry.
#[async_trait]
pub(super) trait AnyTask: Send + Sync {
    fn retry(&self) -> RetryPolicy;
    fn crash_limit(&self) -> u32;
    fn in_sandbox(&self) -> bool;
    fn no_replay(&self) -> Option<&'static str>;
    fn check(&self, payload: &Value) -> Result<(), ApiError>;
    async fn run(&self, ctx: TaskContext, payload: Value) -> Result<Value, TaskError>;
}

fn misfit(task: &str, error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("the payload does not fit the task {task}: {error}"))
}

/// The bridge from [`Task`] to [`AnyTask`].
pub(super) struct Erased<T>(pub T);

#[async_trait]
impl<T: Task> AnyTask for Erased<T> {
    fn retry(&self) -> RetryPolicy {
        self.0.retry()
    }

    fn crash_limit(&self) -> u32 {
        self.0.crash_limit()
    }

    fn in_sandbox(&self) -> bool {
        T::IN_SANDBOX
    }

    fn no_replay(&self) -> Option<&'static str> {
        T::NO_REPLAY
    }

    fn check(&self, payload: &Value) -> Result<(), ApiError> {
        <T::Input as serde::Deserialize>::deserialize(payload).map(drop).map_err(|error| misfit(T::NAME, &error))
    }

    async fn run(&self, ctx: TaskContext, payload: Value) -> Result<Value, TaskError> {
        let input = serde_json::from_value(payload).map_err(|error| TaskError::Fatal(misfit(T::NAME, &error)))?;
        let output = self.0.run(ctx, input).await?;
        serde_json::to_value(output).map_err(|error| {
            tracing::error!(task = T::NAME, %error, "the output cannot be written as JSON");
            TaskError::Fatal(ApiError::internal(format!("the output of {} cannot be written as JSON", T::NAME)))
        })
    }
}
