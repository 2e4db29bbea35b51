//! Runs as Trigger.dev's clients read them.

use crate::domain::{ApiError, RunStatus, RunSummary, rfc3339};
use crate::store::RunRecord;
use serde_json::{Map, Value, json};

/// The status as clients know it. A run that waits for its next attempt is one that executes to them; `DELAYED` is
/// only the wait before the first.
pub(super) fn status(run: &RunSummary) -> RunStatus {
    match run.status {
        RunStatus::Delayed if run.started_at.is_some() => RunStatus::Executing,
        status => status,
    }
}

/// A run without payload and output, as lists and relations show it. `key` is what its owner calls its idempotency key.
pub(super) fn common(run: &RunRecord) -> Map<String, Value> {
    let summary = &run.summary;
    let status = status(summary);
    let time = |at: Option<u64>| at.map(rfc3339);
    let updated = summary.finished_at.or(summary.started_at).unwrap_or(summary.created_at);
    let took = summary.started_at.map_or(0, |from| summary.finished_at.unwrap_or(updated).saturating_sub(from));
    let ttl = run.ttl_ms.map(|length| format!("{}s", length / 1_000));
    let fields = json!({
        "id": summary.id,
        "status": status,
        "taskIdentifier": summary.task,
        "idempotencyKey": public_key(run),
        "version": env!("CARGO_PKG_VERSION"),
        "isQueued": matches!(status, RunStatus::Queued | RunStatus::Delayed | RunStatus::PendingVersion),
        "isExecuting": matches!(status, RunStatus::Executing | RunStatus::Dequeued),
        "isWaiting": status == RunStatus::Waiting,
        "isCompleted": status.is_final(),
        "isSuccess": status == RunStatus::Completed,
        "isFailed": status.is_failure(),
        "isCancelled": status == RunStatus::Canceled,
        "isTest": false,
        "createdAt": rfc3339(summary.created_at),
        "updatedAt": rfc3339(updated),
        "startedAt": time(summary.started_at),
        "finishedAt": time(summary.finished_at),
        "delayedUntil": time(run.due_at.filter(|_| summary.started_at.is_none())),
        "ttl": ttl,
        "expiredAt": time(summary.finished_at.filter(|_| status == RunStatus::Expired)),
        "tags": run.labels.tags,
        "costInCents": 0,
        "baseCostInCents": 0,
        "durationMs": took,
        "metadata": run.labels.metadata,
        "depth": run.depth,
        "triggerFunction": if run.labels.batch.is_some() { "batchTrigger" } else { "trigger" },
        "batchId": run.labels.batch,
    });
    present(fields)
}

/// A run with everything.
pub(super) fn full(run: &RunRecord) -> Value {
    let mut fields = common(run);
    let more = json!({
        "payload": *run.payload,
        "output": run.output,
        "error": run.error.as_ref().map(error),
        "attemptCount": run.summary.attempt,
        "relatedRuns": {},
    });
    fields.extend(present(more));
    Value::Object(fields)
}

/// How a run ended, as `TaskRunExecutionResult`.
pub(super) fn result(run: &RunRecord) -> Value {
    let (id, task) = (&run.summary.id, &run.summary.task);
    if run.summary.status == RunStatus::Completed {
        let output = run.output.as_ref().map(Value::to_string).unwrap_or_default();
        return json!({"ok": true, "id": id, "taskIdentifier": task, "output": output, "outputType": "application/json"});
    }
    json!({"ok": false, "id": id, "taskIdentifier": task, "error": run_error(run)})
}

/// The error of a run, as `TaskRunError`.
pub(super) fn run_error(run: &RunRecord) -> Value {
    let message = run.error.as_ref().map_or_else(|| "The run failed.".to_owned(), |error| error.message.clone());
    json!({"type": "BUILT_IN_ERROR", "name": name(run.error.as_ref()), "message": message, "stackTrace": ""})
}

/// The key as its owner gave it.
pub(super) fn public_key(run: &RunRecord) -> Option<&str> {
    let key = run.idempotency_key.as_deref()?;
    Some(key.split_once('/').map_or(key, |(_, key)| key))
}

/// The key as it is stored: keys of different owners never meet.
pub(super) fn stored_key(owner: &str, key: &str) -> String {
    format!("{owner}/{key}")
}

fn error(error: &ApiError) -> Value {
    json!({"message": error.message, "name": name(Some(error))})
}

/// The code in the spelling of a class, for instance `NotFound`.
fn name(error: Option<&ApiError>) -> String {
    error.map_or_else(|| "Error".to_owned(), |error| format!("{:?}", error.code))
}

fn present(fields: Value) -> Map<String, Value> {
    match fields {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}
