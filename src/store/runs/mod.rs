//! Run records: what was asked, how far it is, attempts, log lines. Every change of a run that belongs to a project is
//! committed together with its `RunChanged` event, so that list and log cannot disagree.
//!
//! It must not know when a run may start or what a task does.

mod rows;
mod writes;

use self::writes::{Change, Insert, Update};
use super::loaded::Rider;
use super::{Db, EventLog, StoreError};
use crate::domain::{ApiError, EventBody, ProjectId, RunDetail, RunId, RunLog, RunStatus, RunSummary};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::{QueryBuilder, Sqlite};
use std::sync::Arc;

/// The most runs one list returns.
const LIST_MAX: u32 = 200;
/// The columns of [`RunSummary`].
const SUMMARY: &str = "id, task, title, status, project, parent, call, attempt, max_attempts, created_at, started_at, \
                       finished_at, error";

/// All runs.
#[derive(Clone)]
pub struct RunStore {
    db: Arc<Db>,
    events: EventLog,
}

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
    /// Runs with the same lane run one after another.
    pub lane: Option<String>,
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
    /// The run this one repeats.
    pub replay_of: Option<RunId>,
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

/// Which runs to list, newest first. Everything given must fit.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// With this status.
    pub status: Option<RunStatus>,
    /// Of this task.
    pub task: Option<String>,
    /// With this text in id, title or task.
    pub text: Option<String>,
    /// At most so many; 50 if not given, 200 at most.
    pub limit: Option<u32>,
    /// Older than this run.
    pub before: Option<RunId>,
}

impl RunStore {
    pub(super) fn new(db: Arc<Db>, events: EventLog) -> Self {
        Self { db, events }
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

    /// Everything about a run, for people: long strings are cut.
    pub async fn detail(&self, id: &RunId) -> Result<RunDetail, StoreError> {
        let run = self.record(id).await?;
        let attempts = sqlx::query(
            "SELECT number, started_at, finished_at, error, retry_at, crashed FROM attempts WHERE run = ? ORDER BY n",
        );
        let attempts = attempts.bind(id.as_str()).fetch_all(&self.db.reader).await?;
        let logs = sqlx::query("SELECT at, level, message, attempt FROM run_logs WHERE run = ? ORDER BY n");
        let logs = logs.bind(id.as_str()).fetch_all(&self.db.reader).await?;
        let mut children = QueryBuilder::<Sqlite>::new("SELECT ");
        children.push(SUMMARY).push(" FROM runs WHERE parent = ").push_bind(id.as_str()).push(" ORDER BY n");
        let children = children.build().fetch_all(&self.db.reader).await?;
        Ok(RunDetail {
            summary: run.summary,
            payload: rows::shown(Arc::unwrap_or_clone(run.payload)),
            output: run.output.map(rows::shown),
            error: run.error,
            idempotency_key: run.idempotency_key,
            replay_of: run.replay_of,
            attempts: attempts.iter().map(rows::attempt).collect::<Result<_, _>>()?,
            logs: logs.iter().map(rows::log_line).collect::<Result<_, _>>()?,
            children: children.iter().map(rows::summary).collect::<Result<_, _>>()?,
        })
    }

    /// Runs that fit, newest first.
    pub async fn list(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(SUMMARY).push(" FROM runs WHERE 1");
        if let Some(project) = &filter.project {
            query.push(" AND project = ").push_bind(project.as_str());
        }
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(task) = &filter.task {
            query.push(" AND task = ").push_bind(task);
        }
        if let Some(text) = &filter.text {
            query
                .push(" AND instr(lower(id || ' ' || task || ' ' || title), ")
                .push_bind(text.to_lowercase())
                .push(")");
        }
        if let Some(before) = &filter.before {
            query.push(" AND n < (SELECT n FROM runs WHERE id = ").push_bind(before.as_str()).push(")");
        }
        query.push(" ORDER BY n DESC LIMIT ").push_bind(filter.limit.unwrap_or(50).min(LIST_MAX));
        let found = query.build().fetch_all(&self.db.reader).await?;
        found.iter().map(rows::summary).collect()
    }

    /// How many runs there are, by status as it is spelled on the wire.
    pub async fn count_by_status(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = sqlx::query("SELECT status, COUNT(*) AS n FROM runs GROUP BY status ORDER BY status")
            .fetch_all(&self.db.reader)
            .await?;
        rows.iter().map(|row| Ok((row.try_get("status")?, row.try_get::<i64, _>("n")?.cast_unsigned()))).collect()
    }

    /// Deletes runs that ended before `before` (Unix ms) and returns how many.
    pub async fn sweep(&self, before: u64) -> Result<u64, StoreError> {
        let swept = sqlx::query("DELETE FROM runs WHERE finished_at < ?").bind(before.cast_signed());
        Ok(swept.execute(&self.db.writer).await?.rows_affected())
    }

    async fn write(&self, change: impl Rider + Change + 'static) -> Result<(), StoreError> {
        let run = change.run();
        match run.summary.project.clone() {
            Some(project) => {
                let changed = EventBody::RunChanged { run: Box::new(run.summary.clone()) };
                self.events.append_with(&project, vec![changed], Some(Box::new(change))).await?;
            }
            None => {
                let db = Arc::clone(&self.db);
                let alone = async move {
                    let mut transaction = db.writer.begin_with("BEGIN IMMEDIATE").await?;
                    change.write(&mut transaction).await?;
                    transaction.commit().await?;
                    Ok(())
                };
                self.db.to_the_end(alone).await?;
            }
        }
        Ok(())
    }
}
