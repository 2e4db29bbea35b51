//! Steps: pieces of a run that are recorded when they are done, so that a run that is executed again goes on behind
//! them.
//!
//! A recorded step is never done again. The step that was under way when an execution was cut off is done again, so
//! its effects must bear that.

use super::{TaskContext, TaskError};
use crate::domain::{ApiError, ErrorCode, RunId, RunStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// A wait for another run is shown, which takes two commits, only if it lasts.
const SHOWN_AFTER: Duration = Duration::from_millis(200);

impl TaskContext {
    /// Does a piece of work once: its result is recorded, and later executions of the run get the record. Names are
    /// unique in a run.
    pub async fn step<T, F>(&self, name: &str, work: F) -> Result<T, TaskError>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<T, TaskError>> + Send,
    {
        if let Some(done) = self.done(name).await? {
            return serde_json::from_value(done).map_err(|error| {
                TaskError::Fatal(ApiError::internal(format!(
                    "the record of the step \"{name}\" is unreadable: {error}"
                )))
            });
        }
        let runs = self.workflow.runs();
        let step = runs.step_begin(&self.run, name, self.attempt, self.workflow.clock().now_ms()).await?;
        let result = match work.await {
            Ok(value) => serde_json::to_value(&value)
                .map(|recorded| (value, recorded))
                .map_err(|error| TaskError::Fatal(ApiError::internal(error.to_string()))),
            Err(error) => Err(error),
        };
        let now = self.workflow.clock().now_ms();
        match result {
            Ok((value, recorded)) => {
                runs.step_end(&self.run, step, now, Ok(&recorded)).await?;
                Ok(value)
            }
            Err(error) => {
                runs.step_end(&self.run, step, now, Err(&told(&error))).await?;
                Err(error)
            }
        }
    }

    /// Shows a piece of work as a step of the run. Unlike [`TaskContext::step`] it is done again whenever the run is, and a
    /// record that fails does not fail the work.
    pub async fn shown<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
        told: impl Fn(&E) -> ApiError,
    ) -> Result<T, E> {
        let (runs, clock) = (self.workflow.runs(), self.workflow.clock());
        let step = runs.step_begin(&self.run, name, self.attempt, clock.now_ms()).await;
        let result = work.await;
        let error = result.as_ref().err().map(told);
        let recorded = match step {
            Ok(step) => {
                runs.step_end(&self.run, step, clock.now_ms(), error.as_ref().map_or(Ok(&Value::Null), Err)).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::warn!(run = %self.run, %error, "a step was not shown");
        }
        result
    }

    /// Waits, across executions: a run that is cut off meanwhile waits for what is left. The run is `WAITING`.
    pub async fn sleep(&self, name: &str, duration: Duration) -> Result<(), TaskError> {
        let (runs, clock) = (self.workflow.runs(), self.workflow.clock());
        let now = clock.now_ms();
        let recorded = self.done(name).await?.and_then(|done| done["until"].as_u64());
        let until = match recorded {
            Some(until) => until,
            None => {
                let until = now.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
                let step = runs.step_begin(&self.run, name, self.attempt, now).await?;
                runs.step_note(step, until, &json!({ "until": until })).await?;
                until
            }
        };
        if until <= now {
            return Ok(());
        }
        self.waiting(self.cancel.run_until_cancelled(clock.sleep_until(until))).await.ok_or(TaskError::Cancelled)
    }

    /// Waits for the end of another run, as [`super::Workflow::wait`]; meanwhile this one is `WAITING`, unless it is over
    /// before anybody could have read that.
    pub async fn wait(&self, run: &RunId) -> Result<Value, ApiError> {
        let mut end = std::pin::pin!(self.workflow.wait(run));
        match tokio::time::timeout(SHOWN_AFTER, &mut end).await {
            Ok(outcome) => outcome,
            Err(_) => self.waiting(end).await,
        }
    }

    async fn waiting<T>(&self, what: impl Future<Output = T>) -> T {
        self.show(RunStatus::Waiting).await;
        let result = what.await;
        self.show(RunStatus::Executing).await;
        result
    }

    /// What people see of the run while it executes. It decides nothing, so a failure is only noted.
    async fn show(&self, status: RunStatus) {
        let mut summary = self.summary.clone();
        summary.status = status;
        if let Err(error) = self.workflow.runs().show(summary).await {
            tracing::warn!(run = %self.run, %error, "a run's status was not recorded");
        }
    }

    async fn done(&self, name: &str) -> Result<Option<Value>, TaskError> {
        // The first execution of a run finds nothing.
        if self.attempt <= 1 && self.crashes == 0 {
            return Ok(None);
        }
        Ok(self.workflow.runs().step_done(&self.run, name).await?)
    }
}

fn told(error: &TaskError) -> ApiError {
    match error {
        TaskError::Retry(error) | TaskError::Fatal(error) => error.clone(),
        TaskError::Cancelled => ApiError::new(ErrorCode::Cancelled, "cancelled"),
    }
}
