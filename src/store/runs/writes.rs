//! How a run's row and attempts are written, inside the transaction of the event that tells of it.

use super::super::StoreError;
use super::super::loaded::Rider;
use super::{AttemptChange, RunRecord, rows};
use crate::domain::{CallId, ProjectId, RunId, RunSummary};
use async_trait::async_trait;
use serde_json::Value;
use sqlx::{Row as _, SqliteConnection};

/// A write that concerns one run.
pub(super) trait Change {
    /// The run, as it is to be.
    fn run(&self) -> &RunSummary;
}

/// A new run.
pub(super) struct Insert(pub(super) RunRecord);

impl Change for Insert {
    fn run(&self) -> &RunSummary {
        &self.0.summary
    }
}

#[async_trait]
impl Rider for Insert {
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let RunRecord { summary, .. } = &self.0;
        if let Some(key) = &self.0.idempotency_key {
            let same = sqlx::query("SELECT id, key_expires_at FROM runs WHERE task = ? AND idempotency_key = ?");
            if let Some(row) = same.bind(&summary.task).bind(key).fetch_optional(&mut *connection).await? {
                let earlier = rows::id(&row, "id", RunId::parse)?;
                let expires_at: Option<i64> = row.try_get("key_expires_at")?;
                if expires_at.is_none_or(|at| at.cast_unsigned() > summary.created_at) {
                    return Err(StoreError::Duplicate(earlier));
                }
                let free = sqlx::query("UPDATE runs SET idempotency_key = NULL WHERE id = ?");
                free.bind(earlier.as_str()).execute(&mut *connection).await?;
            }
        }
        let labels = &self.0.labels;
        let inserted = sqlx::query(
            "INSERT INTO runs (id, task, title, status, project, parent, call, idempotency_key, lane, payload, attempt, \
             max_attempts, retry, crashes, interruptions, max_duration_ms, due_at, created_at, replay_of, \
             key_expires_at, priority, expires_at, owner, queue, batch, tags, metadata, root, depth, \
             cancel_requested_at, ttl_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
             ?22, ?23, ?24, ?25, ?26, ?27, (SELECT COALESCE(root, id) FROM runs WHERE id = ?6), \
             COALESCE((SELECT depth + 1 FROM runs WHERE id = ?6), 0), \
             (SELECT cancel_requested_at FROM runs WHERE id = ?6), ?28)",
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
        .bind(self.0.key_expires_at.map(u64::cast_signed))
        .bind(self.0.priority)
        .bind(self.0.expires_at.map(u64::cast_signed))
        .bind(labels.owner.as_deref())
        .bind(labels.queue.as_deref())
        .bind(labels.batch.as_deref())
        .bind(serde_json::to_string(&labels.tags)?)
        .bind(labels.metadata.as_ref().map(Value::to_string))
        .bind(self.0.ttl_ms.map(u64::cast_signed))
        .execute(&mut *connection)
        .await?;
        insert_tags(connection, inserted.last_insert_rowid(), &labels.tags).await
    }
}

/// Another status of a run that executes.
pub(super) struct Show(pub(super) RunSummary);

impl Change for Show {
    fn run(&self) -> &RunSummary {
        &self.0
    }
}

#[async_trait]
impl Rider for Show {
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let shown = sqlx::query("UPDATE runs SET status = ? WHERE id = ? AND finished_at IS NULL AND attempt = ?")
            .bind(self.0.status.as_str())
            .bind(self.0.id.as_str())
            .bind(self.0.attempt)
            .execute(connection)
            .await?;
        match shown.rows_affected() {
            0 => Err(StoreError::not_found("run", self.0.id.as_str())),
            _ => Ok(()),
        }
    }
}

/// Makes a run findable by its tags.
pub(super) async fn insert_tags(connection: &mut SqliteConnection, n: i64, tags: &[String]) -> Result<(), StoreError> {
    for tag in tags {
        sqlx::query("INSERT INTO run_tags (tag, n) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(tag)
            .bind(n)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A run's present state and what happens to its attempts.
pub(super) struct Update {
    pub(super) run: RunRecord,
    pub(super) attempt: Option<AttemptChange>,
}

impl Change for Update {
    fn run(&self) -> &RunSummary {
        &self.run.summary
    }
}

#[async_trait]
impl Rider for Update {
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let summary = &self.run.summary;
        let error = self.run.error.as_ref().map(serde_json::to_string).transpose()?;
        sqlx::query(
            "UPDATE runs SET status = ?, output = ?, error = ?, attempt = ?, crashes = ?, interruptions = ?, \
             due_at = ?, started_at = ?, finished_at = ?, fingerprint = ? WHERE id = ?",
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
        .bind(self.run.fingerprint())
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
