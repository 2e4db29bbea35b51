//! Submitting an ended run once more, as it was or with changes.

use super::{RetryPolicy, RunLabels, RunRequest, Workflow, WorkflowError};
use crate::domain::RunId;
use crate::store::StoreError;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What a replay does differently. Nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// In place of the first run's payload.
    pub payload: Option<Value>,
    /// In place of its tags.
    pub tags: Option<Vec<String>>,
    /// How long to wait before the first attempt.
    pub delay: Option<Duration>,
    /// How long it may wait for its start.
    pub ttl: Option<Duration>,
    /// In place of its priority.
    pub priority: Option<i32>,
    /// In place of its number of attempts.
    pub max_attempts: Option<u32>,
    /// In place of its limit.
    pub max_duration: Option<Duration>,
    /// A key of its own; the first run's key stays the first run's.
    pub idempotency_key: Option<String>,
}

impl Workflow {
    /// Why runs of this task cannot be replayed and what to do instead; none if they can.
    pub fn no_replay(&self, task: &str) -> Option<&'static str> {
        self.task(task)?.no_replay()
    }

    /// Submits an ended run once more.
    pub async fn replay(&self, id: &RunId, changes: Replay) -> Result<RunId, WorkflowError> {
        let run = self.runs().record(id).await?;
        if !run.summary.status.is_final() {
            return Err(WorkflowError::NotFinished(id.clone()));
        }
        if let Some(reason) = self.no_replay(&run.summary.task) {
            return Err(WorkflowError::NotReplayable { task: run.summary.task, reason });
        }
        let mut retry: Option<RetryPolicy> = serde_json::from_value(run.retry).ok();
        if let (Some(most), Some(retry)) = (changes.max_attempts, &mut retry) {
            retry.max_attempts = most.max(1);
        }
        let submitted = self
            .submit(RunRequest {
                task: run.summary.task,
                title: run.summary.title,
                payload: changes.payload.unwrap_or_else(|| Arc::unwrap_or_clone(run.payload)),
                project: run.summary.project,
                idempotency_key: changes.idempotency_key,
                lane: run.lane,
                delay: changes.delay,
                ttl: changes.ttl,
                priority: changes.priority.unwrap_or(run.priority),
                max_duration: changes.max_duration.or_else(|| run.max_duration_ms.map(Duration::from_millis)),
                retry,
                labels: RunLabels { tags: changes.tags.unwrap_or(run.labels.tags), batch: None, ..run.labels },
                replay_of: Some(id.clone()),
                ..RunRequest::default()
            })
            .await;
        match submitted {
            // The runs of a project go with it, so this is a deletion between the two looks.
            Err(WorkflowError::Store(StoreError::NotFound { kind: "project", .. })) => {
                Err(WorkflowError::ProjectGone(id.clone()))
            }
            other => other,
        }
    }
}
