//! A run as spans in OTLP's JSON form.
//!
//! Ids are derived, not drawn: a trace's is the ULID of the run at the top of the tree, so that runs of one tree meet
//! in one trace although each is sent on its own, also after a restart in the middle.

use crate::domain::{LogLevel, RunDetail, RunId, RunStatus};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Lines of a run's log that go with its span.
const EVENTS_MAX: usize = 100;

/// The document of one request.
pub(super) fn document(service: &str, spans: Vec<Value>) -> Value {
    let resource = [text("service.name", service), text("service.version", env!("CARGO_PKG_VERSION"))];
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "sandcastle"}, "spans": spans}],
    }]})
}

/// The span of a run, and those of its attempts and steps.
pub(super) fn of_run(detail: &RunDetail, spans: &mut Vec<Value>) {
    let run = &detail.summary;
    let trace = trace_id(detail.root.as_ref().unwrap_or(&run.id));
    let own = span_id(run.id.as_str());
    let end = run.finished_at.unwrap_or(run.created_at);
    let mut attributes = vec![
        text("sandcastle.run", run.id.as_str()),
        text("sandcastle.task", &run.task),
        text("sandcastle.status", run.status.as_str()),
        text("sandcastle.title", &run.title),
        number("sandcastle.attempts", u64::from(run.attempt)),
        number("sandcastle.queue_ms", run.started_at.unwrap_or(end).saturating_sub(run.created_at)),
    ];
    attributes.extend(run.project.as_ref().map(|project| text("sandcastle.project", project.as_str())));
    // What a command came to.
    if let Some(output) = &detail.output {
        for (field, name) in [("commandId", "sandcastle.command"), ("cmdId", "sandcastle.command")] {
            attributes.extend(output[field].as_str().map(|id| text(name, id)));
        }
        attributes.extend(output["exitCode"].as_u64().map(|code| number("sandcastle.exit_code", code)));
    }
    let events = detail.logs.iter().take(EVENTS_MAX).map(|log| {
        let level = match log.level {
            LogLevel::Info => "INFO",
            LogLevel::Warn => "WARN",
            LogLevel::Error => "ERROR",
        };
        json!({"timeUnixNano": nanos(log.at), "name": log.message, "attributes": [text("level", level)]})
    });
    let events: Vec<Value> = events.collect();
    let mut span = span(&trace, &own, &run.task, (run.created_at, end));
    if let Some(parent) = &run.parent {
        span["parentSpanId"] = json!(span_id(parent.as_str()));
    }
    span["attributes"] = json!(attributes);
    span["events"] = json!(events);
    span["status"] = status(run.status == RunStatus::Completed, run.error.as_deref());
    spans.push(span);
    for attempt in &detail.attempts {
        let name = format!("attempt {}", attempt.number);
        let id = span_id(&format!("{}/{}/{}", run.id, name, attempt.started_at));
        let mut span = self::span(&trace, &id, &name, (attempt.started_at, attempt.finished_at.unwrap_or(end)));
        span["parentSpanId"] = json!(own);
        let cut_off = attempt.crashed.then_some("cut off by the end of the server");
        let error = attempt.error.as_ref().map(|error| error.message.as_str()).or(cut_off);
        span["status"] = status(error.is_none(), error);
        spans.push(span);
        for step in detail.steps.iter().filter(|step| step.attempt == attempt.number) {
            let step_id = span_id(&format!("{id}/{}/{}", step.name, step.started_at));
            let mut span =
                self::span(&trace, &step_id, &step.name, (step.started_at, step.finished_at.unwrap_or(end).min(end)));
            span["parentSpanId"] = json!(id);
            let error = step.error.as_ref().map(|error| error.message.as_str());
            span["status"] = status(error.is_none(), error);
            spans.push(span);
        }
    }
}

fn span(trace: &str, id: &str, name: &str, (start, end): (u64, u64)) -> Value {
    json!({
        "traceId": trace,
        "spanId": id,
        "name": name,
        "kind": 1,
        "startTimeUnixNano": nanos(start),
        "endTimeUnixNano": nanos(end.max(start)),
    })
}

fn status(ok: bool, message: Option<&str>) -> Value {
    if ok { json!({"code": 1}) } else { json!({"code": 2, "message": message.unwrap_or_default()}) }
}

/// 64-bit numbers are strings in OTLP's JSON.
fn nanos(ms: u64) -> String {
    (u128::from(ms) * 1_000_000).to_string()
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

/// 128 bits: the ULID in the run's id, or a digest of an id of another form.
fn trace_id(run: &RunId) -> String {
    let ulid = run.as_str().rsplit('_').next().unwrap_or_default().to_ascii_uppercase();
    match ulid::Ulid::from_string(&ulid) {
        Ok(ulid) => format!("{:032x}", ulid.0),
        Err(_) => hex(run.as_str(), 16),
    }
}

fn span_id(of: &str) -> String {
    hex(of, 8)
}

fn hex(text: &str, bytes: usize) -> String {
    Sha256::digest(text).iter().take(bytes).fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_length_and_a_tree_shares_its_trace() {
        let run = RunId::parse("run_01m87hgf49ej873ra0mqzd4e0v").unwrap();
        assert_eq!(trace_id(&run).len(), 32);
        assert_eq!(trace_id(&run), trace_id(&RunId::parse(run.as_str().to_owned()).unwrap()));
        assert_eq!(trace_id(&RunId::parse("run_1").unwrap()).len(), 32);
        assert_eq!(span_id("run_1").len(), 16);
    }
}
