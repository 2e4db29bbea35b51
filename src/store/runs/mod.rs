//! Run records: what was asked, how far it is, attempts, log lines. Every change of a run that belongs to a project is
//! committed together with its `RunChanged` event, so that list and log cannot disagree.
//!
//! It must not know when a run may start or what a task does.

mod batches;
mod detail;
mod history;
mod query;
mod record;
mod rows;
mod steps;
mod writes;

pub use self::batches::{Batch, Batches};
pub use self::history::{Happening, Place, What};
pub use self::query::{RunCount, RunError, RunFilter};
pub use self::record::{AttemptChange, RunLabels, RunRecord};

use self::writes::{Change, Insert, Show, Update};
use super::loaded::Rider;
use super::{Db, EventLog, StoreError, now_ms};
use crate::domain::{Attempt, EventBody, RunId, RunLog, RunSummary, Step};
use serde_json::Value;
use sqlx::Row as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;

/// Changes kept for a watcher that is slow; one that misses some is told so and looks again.
const CHANGES_KEPT: usize = 1024;
/// The columns of [`RunSummary`].
const SUMMARY: &str = "id, task, title, status, project, parent, call, attempt, max_attempts, created_at, started_at, \
                       finished_at, error";

/// All runs.
#[derive(Clone)]
pub struct RunStore {
    db: Arc<Db>,
    events: EventLog,
    changes: broadcast::Sender<RunChange>,
    /// When a run last changed (Unix ms).
    changed_at: Arc<AtomicU64>,
}

/// A run below another, with what its timeline needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Descendant {
    /// The run.
    pub summary: RunSummary,
    /// Its attempts, first to last.
    pub attempts: Vec<Attempt>,
    /// Its steps, first to last.
    pub steps: Vec<Step>,
}

/// What happened to a run, for those who watch runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunChange {
    /// The run.
    pub run: RunId,
}

impl RunStore {
    pub(super) fn new(db: Arc<Db>, events: EventLog) -> Self {
        Self { db, events, changes: broadcast::Sender::new(CHANGES_KEPT), changed_at: Arc::default() }
    }

    /// Every change of every run from now on: its state, steps and log lines.
    pub fn changes(&self) -> broadcast::Receiver<RunChange> {
        self.changes.subscribe()
    }

    /// Batches of runs.
    pub fn batches(&self) -> Batches {
        Batches::new(Arc::clone(&self.db))
    }

    /// When a run last changed in this process (Unix ms); 0 if none did.
    pub fn changed_at(&self) -> u64 {
        self.changed_at.load(Ordering::Relaxed)
    }

    pub(super) fn changed(&self, run: &RunId) {
        self.changed_at.store(now_ms(), Ordering::Relaxed);
        // Without a watcher nobody is told.
        self.changes.send(RunChange { run: run.clone() }).ok();
    }

    /// Adds a run. [`StoreError::Duplicate`] names the run that has the same task and idempotency key.
    pub async fn insert(&self, run: RunRecord) -> Result<(), StoreError> {
        self.write(Insert(run)).await
    }

    /// Writes the run's present state and the change of its attempts. A run that was deleted stays deleted.
    pub async fn update(&self, run: &RunRecord, attempt: Option<AttemptChange>) -> Result<(), StoreError> {
        let written = self.write(Update { run: run.clone(), attempt }).await;
        match written {
            // The project was deleted, and its runs with it.
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Shows another status of a run that executes; its state proper is left alone, and a run that has ended stays so.
    pub async fn show(&self, run: RunSummary) -> Result<(), StoreError> {
        match self.write(Show(run)).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Adds a log line to a run.
    pub async fn log(&self, run: &RunId, line: &RunLog) -> Result<(), StoreError> {
        // The condition keeps a line about a deleted run from failing.
        sqlx::query(
            "INSERT INTO run_logs (run, at, level, message, attempt) SELECT id, ?, ?, ?, ? FROM runs WHERE id = ?",
        )
        .bind(line.at.cast_signed())
        .bind(rows::level_name(line.level))
        .bind(&line.message)
        .bind(line.attempt)
        .bind(run.as_str())
        .execute(&self.db.writer)
        .await?;
        self.changed(run);
        Ok(())
    }

    /// A run as it was last written.
    pub async fn record(&self, id: &RunId) -> Result<RunRecord, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.db.reader)
            .await?
            .ok_or_else(|| StoreError::not_found("run", id.as_str()))?;
        rows::record(&row)
    }

    /// All runs that have not ended, in the order they were submitted.
    pub async fn open(&self) -> Result<Vec<RunRecord>, StoreError> {
        let open = sqlx::query("SELECT * FROM runs WHERE finished_at IS NULL ORDER BY n").fetch_all(&self.db.reader);
        open.await?.iter().map(rows::record).collect()
    }

    /// Deletes runs that ended before `before` (Unix ms) and returns how many.
    pub async fn sweep(&self, before: u64) -> Result<u64, StoreError> {
        let swept = sqlx::query("DELETE FROM runs WHERE finished_at < ?").bind(before.cast_signed());
        Ok(swept.execute(&self.db.writer).await?.rows_affected())
    }

    /// Replaces what the caller keeps with a run.
    pub async fn set_metadata(&self, id: &RunId, metadata: &Value) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET metadata = ? WHERE id = ?")
            .bind(metadata.to_string())
            .bind(id.as_str())
            .execute(&self.db.writer)
            .await?;
        self.changed(id);
        Ok(())
    }

    /// Adds words by which a run is found.
    pub async fn add_tags(&self, id: &RunId, tags: &[String]) -> Result<Vec<String>, StoreError> {
        let mut transaction = self.db.writer.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query("SELECT n, tags FROM runs WHERE id = ?").bind(id.as_str());
        let row =
            row.fetch_optional(&mut *transaction).await?.ok_or_else(|| StoreError::not_found("run", id.as_str()))?;
        let mut all: Vec<String> = rows::json(&row, "tags")?.unwrap_or_default();
        for tag in tags {
            if !all.contains(tag) {
                all.push(tag.clone());
            }
        }
        sqlx::query("UPDATE runs SET tags = ? WHERE id = ?")
            .bind(serde_json::to_string(&all)?)
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
        writes::insert_tags(&mut transaction, row.try_get("n")?, &all).await?;
        transaction.commit().await?;
        self.changed(id);
        Ok(all)
    }

    /// Makes an idempotency key free again, whatever run has it. True if one had it.
    pub async fn free_key(&self, task: &str, key: &str) -> Result<bool, StoreError> {
        let freed = sqlx::query("UPDATE runs SET idempotency_key = NULL WHERE task = ? AND idempotency_key = ?");
        Ok(freed.bind(task).bind(key).execute(&self.db.writer).await?.rows_affected() > 0)
    }

    /// Notes that a run is to stop, and with it what it started, so that this is not forgotten with the process. Runs
    /// that have ended stay as they are.
    pub async fn request_cancel(&self, id: &RunId, at: u64) -> Result<(), StoreError> {
        sqlx::query(
            "WITH RECURSIVE tree (id) AS (SELECT ?1 UNION SELECT runs.id FROM runs JOIN tree ON runs.parent = tree.id) \
             UPDATE runs SET cancel_requested_at = ?2 \
             WHERE id IN tree AND finished_at IS NULL AND cancel_requested_at IS NULL",
        )
        .bind(id.as_str())
        .bind(at.cast_signed())
        .execute(&self.db.writer)
        .await?;
        Ok(())
    }

    /// Changes when a run that has not started is due, and with it when it expires. False if it has started.
    pub async fn reschedule(&self, id: &RunId, due_at: u64) -> Result<bool, StoreError> {
        let moved = sqlx::query(
            "UPDATE runs SET due_at = ?1, expires_at = ?1 + ttl_ms WHERE id = ?2 AND status = 'DELAYED' AND attempt = 0",
        )
        .bind(due_at.cast_signed())
        .bind(id.as_str())
        .execute(&self.db.writer)
        .await?;
        self.changed(id);
        Ok(moved.rows_affected() > 0)
    }

    async fn write(&self, change: impl Rider + Change + 'static) -> Result<(), StoreError> {
        let run = change.run();
        let id = run.id.clone();
        match run.project.clone() {
            Some(project) => {
                let changed = EventBody::RunChanged { run: Box::new(run.clone()) };
                self.events.append_with(&project, vec![changed], Some(Box::new(change))).await?;
            }
            None => {
                let db = Arc::clone(&self.db);
                let alone = async move { db.commit(Box::new(change)).await };
                self.db.to_the_end(alone).await?;
            }
        }
        self.changed(&id);
        Ok(())
    }
}
