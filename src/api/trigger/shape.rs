//! Runs as rows of a shape, Electric's protocol for following a query: all rows, then a long poll that answers when
//! one of them has changed.
//!
//! The server keeps nothing for a reader. The offset a reader sends back says what it has seen: a digest of the rows.

use super::wire;
use crate::domain::{RunStatus, rfc3339};
use crate::store::RunRecord;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The types of the columns that are not text: without them a client leaves every value a string.
const SCHEMA: &str = r#"{"number":{"type":"int4"},"isTest":{"type":"bool"},"usageDurationMs":{"type":"int4"},"costInCents":{"type":"float8"},"baseCostInCents":{"type":"float8"},"runTags":{"type":"text","dims":1},"realtimeStreams":{"type":"text","dims":1},"error":{"type":"jsonb"}}"#;

/// What a reader is sent.
pub(super) struct Shape {
    rows: Vec<(String, Map<String, Value>)>,
    digest: u64,
}

impl Shape {
    /// The rows of these runs.
    pub(super) fn of(runs: &[RunRecord]) -> Self {
        let rows: Vec<_> = runs.iter().map(|run| (run.summary.id.to_string(), row(run))).collect();
        let mut hash = Sha256::new();
        for (id, row) in &rows {
            hash.update(id);
            hash.update(Value::Object(row.clone()).to_string());
        }
        let digest = hash.finalize();
        let digest = digest.iter().take(6).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        Self { rows, digest }
    }

    /// Where a reader stands who has seen this. Offsets are `tx_op`; the first is never 0, which means "nothing yet".
    pub(super) fn offset(&self) -> String {
        format!("{}_0", self.digest + 1)
    }

    /// Everything, as inserts at first and as updates afterwards.
    pub(super) fn answer(&self, handle: &str, first: bool) -> Response {
        let operation = if first { "insert" } else { "update" };
        let mut messages: Vec<Value> = self
            .rows
            .iter()
            .map(|(id, row)| {
                json!({
                    "key": format!("\"public\".\"TaskRun\"/\"{id}\""),
                    "value": row,
                    "headers": {"operation": operation, "relation": ["public", "TaskRun"]},
                })
            })
            .collect();
        messages.push(up_to_date());
        self.respond(handle, messages)
    }

    /// That nothing has changed.
    pub(super) fn unchanged(&self, handle: &str) -> Response {
        self.respond(handle, vec![up_to_date()])
    }

    fn respond(&self, handle: &str, messages: Vec<Value>) -> Response {
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""));
        let headers = [
            (HeaderName::from_static("electric-handle"), text(handle)),
            (HeaderName::from_static("electric-offset"), text(&self.offset())),
            (HeaderName::from_static("electric-schema"), HeaderValue::from_static(SCHEMA)),
            (HeaderName::from_static("electric-cursor"), text(&self.digest.to_string())),
            (HeaderName::from_static("electric-up-to-date"), HeaderValue::from_static("")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, axum::Json(messages)).into_response()
    }
}

fn up_to_date() -> Value {
    json!({"headers": {"control": "up-to-date"}})
}

/// A run as a row: every value is text, as Postgres prints it.
fn row(run: &RunRecord) -> Map<String, Value> {
    let summary = &run.summary;
    let time = |at: Option<u64>| at.map(|at| rfc3339(at).trim_end_matches('Z').to_owned());
    let updated = summary.finished_at.or(summary.started_at).unwrap_or(summary.created_at);
    let took = summary.finished_at.zip(summary.started_at).map_or(0, |(end, start)| end.saturating_sub(start));
    let failed = summary.status.is_failure().then(|| wire::run_error(run).to_string());
    let columns = [
        ("id", Some(summary.id.to_string())),
        ("friendlyId", Some(summary.id.to_string())),
        ("taskIdentifier", Some(summary.task.clone())),
        ("status", Some(status(wire::status(summary)).to_owned())),
        ("createdAt", time(Some(summary.created_at))),
        ("updatedAt", time(Some(updated))),
        ("startedAt", time(summary.started_at)),
        ("delayUntil", time(run.due_at.filter(|_| summary.started_at.is_none()))),
        ("expiredAt", time(summary.finished_at.filter(|_| summary.status == RunStatus::Expired))),
        ("completedAt", time(summary.finished_at)),
        ("idempotencyKey", wire::public_key(run).map(str::to_owned)),
        ("number", Some("0".to_owned())),
        ("isTest", Some("f".to_owned())),
        ("usageDurationMs", Some(took.to_string())),
        ("costInCents", Some("0".to_owned())),
        ("baseCostInCents", Some("0".to_owned())),
        ("payload", Some(run.payload.to_string())),
        ("payloadType", Some("application/json".to_owned())),
        ("output", run.output.as_ref().map(Value::to_string)),
        ("outputType", run.output.as_ref().map(|_| "application/json".to_owned())),
        ("metadata", run.labels.metadata.as_ref().map(Value::to_string)),
        ("metadataType", run.labels.metadata.as_ref().map(|_| "application/json".to_owned())),
        ("runTags", Some(array(&run.labels.tags))),
        ("realtimeStreams", Some("{}".to_owned())),
        ("error", failed),
    ];
    columns.into_iter().map(|(name, value)| (name.to_owned(), value.map_or(Value::Null, Value::String))).collect()
}

/// The status as Trigger.dev's database spells it.
fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "PENDING",
        RunStatus::Waiting => "WAITING_TO_RESUME",
        RunStatus::Completed => "COMPLETED_SUCCESSFULLY",
        RunStatus::Failed => "COMPLETED_WITH_ERRORS",
        other => other.as_str(),
    }
}

/// An array of text as Postgres prints it.
fn array(items: &[String]) -> String {
    let quoted = items.iter().map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_quoted_as_postgres_does() {
        assert_eq!(array(&["a".into(), r#"b"\c"#.into()]), r#"{"a","b\"\\c"}"#);
        assert_eq!(array(&[]), "{}");
    }
}
