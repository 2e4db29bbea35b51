//! How a run's row and attempts are written, inside the transaction of the event that tells of it.

use super::super::StoreError;
use super::super::loaded::Rider;
use super::{AttemptChange, RunRecord, rows};
use crate::domain::{CallId, ProjectId, RunId};
use async_trait::async_trait;
use serde_json::Value;
use sqlx::SqliteConnection;

/// A write that concerns one run.
pub(super) trait Change {
    /// The run, as it is to be.
    fn run(&self) -> &RunRecord;
}

/// A new run.
pub(super) struct Insert(pub(super) RunRecord);

impl Change for Insert {
    fn run(&self) -> &RunRecord {
        &self.0
    }
}

#[async_trait]
impl Rider for Insert {
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let RunRecord { summary, .. } = &self.0;
        if let Some(key) = &self.0.idempotency_key {
            let same = sqlx::query("SELECT id FROM runs WHERE task = ? AND idempotency_key = ?");
            if let Some(row) = same.bind(&summary.task).bind(key).fetch_optional(&mut *connection).await? {
                return Err(StoreError::Duplicate(rows::id(&row, "id", RunId::parse)?));
            }
        }
        sqlx::query(
            "INSERT INTO runs (id, task, title, status, project, parent, call, idempotency_key, lane, payload, attempt, \
             max_attempts, retry, crashes, interruptions, max_duration_ms, due_at, created_at, replay_of) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(summary.id.as_str())
        .bind(&summary.task)
        .bind(&summary.title)
        .bind(summary.status.as_str())
        .bind(summary.project.as_ref().map(ProjectId::as_str))
        .bind(summary.parent.as_ref().map(RunId::as_str))
        .bind(summary.call.as_ref().map(CallId::as_str))
        .bind(self.0.idempotency_key.as_deref())
        .bind(self.0.lane.as_deref())
        .bind(self.0.payload.to_string())
        .bind(summary.attempt)
        .bind(summary.max_attempts)
        .bind(self.0.retry.to_string())
        .bind(self.0.crashes)
        .bind(self.0.interruptions)
        .bind(self.0.max_duration_ms.map(u64::cast_signed))
        .bind(self.0.due_at.map(u64::cast_signed))
        .bind(summary.created_at.cast_signed())
        .bind(self.0.replay_of.as_ref().map(RunId::as_str))
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A run's present state and what happens to its attempts.
pub(super) struct Update {
    pub(super) run: RunRecord,
    pub(super) attempt: Option<AttemptChange>,
}

impl Change for Update {
    fn run(&self) -> &RunRecord {
        &self.run
    }
}

#[async_trait]
impl Rider for Update {
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let summary = &self.run.summary;
        let error = self.run.error.as_ref().map(serde_json::to_string).transpose()?;
        sqlx::query(
            "UPDATE runs SET status = ?, output = ?, error = ?, attempt = ?, crashes = ?, interruptions = ?, \
             due_at = ?, started_at = ?, finished_at = ? WHERE id = ?",
        )
        .bind(summary.status.as_str())
        .bind(self.run.output.as_ref().map(Value::to_string))
        .bind(error)
        .bind(summary.attempt)
        .bind(self.run.crashes)
        .bind(self.run.interruptions)
        .bind(self.run.due_at.map(u64::cast_signed))
        .bind(summary.started_at.map(u64::cast_signed))
        .bind(summary.finished_at.map(u64::cast_signed))
        .bind(summary.id.as_str())
        .execute(&mut *connection)
        .await?;
        match &self.attempt {
            None => {}
            Some(AttemptChange::Begin { number, at }) => {
                sqlx::query("INSERT INTO attempts (run, number, started_at) SELECT id, ?, ? FROM runs WHERE id = ?")
                    .bind(number)
                    .bind(at.cast_signed())
                    .bind(summary.id.as_str())
                    .execute(connection)
                    .await?;
            }
            Some(AttemptChange::End { at, error, retry_at, crashed }) => {
                sqlx::query(
                    "UPDATE attempts SET finished_at = ?, error = ?, retry_at = ?, crashed = ? \
                     WHERE run = ? AND finished_at IS NULL",
                )
                .bind(at.cast_signed())
                .bind(error.as_ref().map(serde_json::to_string).transpose()?)
                .bind(retry_at.map(u64::cast_signed))
                .bind(crashed)
                .bind(summary.id.as_str())
                .execute(connection)
                .await?;
            }
        }
        Ok(())
    }
}
