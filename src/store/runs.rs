//! Run records: what was asked, how far it is, attempts, log lines. Every change of a run that belongs to a project is
//! committed together with its `RunChanged` event, so that list and log cannot disagree.
//!
//! It must not know when a run may start or what a task does.

use super::loaded::Rider;
use super::{Db, EventLog, StoreError};
use crate::domain::{
    ApiError, Attempt, CallId, EventBody, LogLevel, ProjectId, RunDetail, RunId, RunLog, RunStatus, RunSummary,
};
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use std::sync::Arc;

/// Strings of a payload or output beyond this many characters are cut when shown.
const SHOWN_CHARS: usize = 4_000;
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
    /// Input of the task.
    pub payload: Value,
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
        .bind(level_name(line.level))
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
        record(&row)
    }

    /// All runs that have not ended, in the order they were submitted.
    pub async fn open(&self) -> Result<Vec<RunRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM runs WHERE finished_at IS NULL ORDER BY n").fetch_all(&self.db.reader);
        rows.await?.iter().map(record).collect()
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
            payload: shown(run.payload),
            output: run.output.map(shown),
            error: run.error,
            idempotency_key: run.idempotency_key,
            replay_of: run.replay_of,
            attempts: attempts.iter().map(attempt).collect::<Result<_, _>>()?,
            logs: logs.iter().map(log_line).collect::<Result<_, _>>()?,
            children: children.iter().map(summary).collect::<Result<_, _>>()?,
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
        let rows = query.build().fetch_all(&self.db.reader).await?;
        rows.iter().map(summary).collect()
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

/// A write that concerns one run.
trait Change {
    fn run(&self) -> &RunRecord;
}

struct Insert(RunRecord);

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
                return Err(StoreError::Duplicate(id(&row, "id", RunId::parse)?));
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

struct Update {
    run: RunRecord,
    attempt: Option<AttemptChange>,
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

fn record(row: &SqliteRow) -> Result<RunRecord, StoreError> {
    Ok(RunRecord {
        summary: summary(row)?,
        payload: json(row, "payload")?.unwrap_or(Value::Null),
        output: json(row, "output")?,
        error: json(row, "error")?,
        idempotency_key: row.try_get("idempotency_key")?,
        lane: row.try_get("lane")?,
        retry: json(row, "retry")?.unwrap_or(Value::Null),
        crashes: row.try_get("crashes")?,
        interruptions: row.try_get("interruptions")?,
        max_duration_ms: time(row, "max_duration_ms")?,
        due_at: time(row, "due_at")?,
        replay_of: maybe_id(row, "replay_of", RunId::parse)?,
    })
}

fn summary(row: &SqliteRow) -> Result<RunSummary, StoreError> {
    let status: String = row.try_get("status")?;
    Ok(RunSummary {
        id: id(row, "id", RunId::parse)?,
        task: row.try_get("task")?,
        title: row.try_get("title")?,
        status: RunStatus::parse(&status).ok_or_else(|| StoreError::Corrupt(format!("run status {status}")))?,
        project: maybe_id(row, "project", ProjectId::parse)?,
        parent: maybe_id(row, "parent", RunId::parse)?,
        call: maybe_id(row, "call", CallId::parse)?,
        attempt: row.try_get("attempt")?,
        max_attempts: row.try_get("max_attempts")?,
        created_at: time(row, "created_at")?.unwrap_or_default(),
        started_at: time(row, "started_at")?,
        finished_at: time(row, "finished_at")?,
        error: json::<ApiError>(row, "error")?.map(|error| error.message),
    })
}

fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        number: row.try_get("number")?,
        started_at: time(row, "started_at")?.unwrap_or_default(),
        finished_at: time(row, "finished_at")?,
        error: json(row, "error")?,
        retry_at: time(row, "retry_at")?,
        crashed: row.try_get("crashed")?,
    })
}

fn log_line(row: &SqliteRow) -> Result<RunLog, StoreError> {
    let level: String = row.try_get("level")?;
    Ok(RunLog {
        at: time(row, "at")?.unwrap_or_default(),
        level: serde_json::from_value(Value::String(level))?,
        message: row.try_get("message")?,
        attempt: row.try_get("attempt")?,
    })
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

fn time(row: &SqliteRow, column: &str) -> Result<Option<u64>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(i64::cast_unsigned))
}

fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

fn id<T>(
    row: &SqliteRow,
    column: &str,
    parse: fn(String) -> Result<T, crate::domain::IdError>,
) -> Result<T, StoreError> {
    maybe_id(row, column, parse)?.ok_or_else(|| StoreError::Corrupt(format!("no {column}")))
}

fn maybe_id<T>(
    row: &SqliteRow,
    column: &str,
    parse: fn(String) -> Result<T, crate::domain::IdError>,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(parse).transpose().map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The value with long strings cut, saying how much is missing.
fn shown(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > SHOWN_CHARS => {
            let total = text.chars().count();
            let kept: String = text.chars().take(SHOWN_CHARS).collect();
            Value::String(if total > SHOWN_CHARS {
                format!("{kept}… ({} more characters)", total - SHOWN_CHARS)
            } else {
                text
            })
        }
        Value::Array(items) => Value::Array(items.into_iter().map(shown).collect()),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(key, value)| (key, shown(value))).collect()),
        other => other,
    }
}
