//! From rows to run records and their parts.

use super::super::StoreError;
use super::{RunLabels, RunRecord};
use crate::domain::{
    ApiError, Attempt, CallId, IdError, LogLevel, ProjectId, RunId, RunLog, RunStatus, RunSummary, Step,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::sync::Arc;

/// Strings of a payload or output beyond this many characters are cut when shown.
const SHOWN_CHARS: usize = 4_000;

pub(super) fn record(row: &SqliteRow) -> Result<RunRecord, StoreError> {
    Ok(RunRecord {
        summary: summary(row)?,
        payload: Arc::new(json(row, "payload")?.unwrap_or(Value::Null)),
        output: json(row, "output")?,
        error: json(row, "error")?,
        idempotency_key: row.try_get("idempotency_key")?,
        lane: row.try_get("lane")?,
        retry: json(row, "retry")?.unwrap_or(Value::Null),
        crashes: row.try_get("crashes")?,
        interruptions: row.try_get("interruptions")?,
        max_duration_ms: time(row, "max_duration_ms")?,
        due_at: time(row, "due_at")?,
        cancel_requested_at: time(row, "cancel_requested_at")?,
        replay_of: maybe_id(row, "replay_of", RunId::parse)?,
        key_expires_at: time(row, "key_expires_at")?,
        priority: row.try_get("priority")?,
        ttl_ms: time(row, "ttl_ms")?,
        expires_at: time(row, "expires_at")?,
        root: maybe_id(row, "root", RunId::parse)?,
        depth: row.try_get("depth")?,
        labels: RunLabels {
            owner: row.try_get("owner")?,
            queue: row.try_get("queue")?,
            batch: row.try_get("batch")?,
            tags: json(row, "tags")?.unwrap_or_default(),
            metadata: json(row, "metadata")?,
        },
    })
}

pub(super) fn status(row: &SqliteRow) -> Result<RunStatus, StoreError> {
    let status: String = row.try_get("status")?;
    RunStatus::parse(&status).ok_or_else(|| StoreError::Corrupt(format!("run status {status}")))
}

pub(super) fn summary(row: &SqliteRow) -> Result<RunSummary, StoreError> {
    Ok(RunSummary {
        id: id(row, "id", RunId::parse)?,
        task: row.try_get("task")?,
        title: row.try_get("title")?,
        status: status(row)?,
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

pub(super) fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        number: row.try_get("number")?,
        started_at: time(row, "started_at")?.unwrap_or_default(),
        finished_at: time(row, "finished_at")?,
        error: json(row, "error")?,
        retry_at: time(row, "retry_at")?,
        crashed: row.try_get("crashed")?,
    })
}

pub(super) fn step(row: &SqliteRow) -> Result<Step, StoreError> {
    Ok(Step {
        name: row.try_get("name")?,
        attempt: row.try_get("attempt")?,
        started_at: time(row, "started_at")?.unwrap_or_default(),
        finished_at: time(row, "finished_at")?,
        error: json(row, "error")?,
    })
}

pub(super) fn log_line(row: &SqliteRow) -> Result<RunLog, StoreError> {
    Ok(RunLog {
        at: time(row, "at")?.unwrap_or_default(),
        level: level(row, "level")?,
        message: row.try_get("message")?,
        attempt: row.try_get("attempt")?,
    })
}

pub(super) fn level(row: &SqliteRow, column: &str) -> Result<LogLevel, StoreError> {
    Ok(serde_json::from_value(Value::String(row.try_get(column)?))?)
}

pub(super) fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

fn time(row: &SqliteRow, column: &str) -> Result<Option<u64>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(i64::cast_unsigned))
}

pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

pub(super) fn id<T>(row: &SqliteRow, column: &str, parse: fn(String) -> Result<T, IdError>) -> Result<T, StoreError> {
    maybe_id(row, column, parse)?.ok_or_else(|| StoreError::Corrupt(format!("no {column}")))
}

fn maybe_id<T>(
    row: &SqliteRow,
    column: &str,
    parse: fn(String) -> Result<T, IdError>,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(parse).transpose().map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The value with long strings cut, saying how much is missing.
pub(super) fn shown(value: Value) -> Value {
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
