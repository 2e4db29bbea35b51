//! Runs of a key: look, list, stop, repeat, move, label.

use super::super::AppState;
use super::auth::{Caller, Reader};
use super::error::Refusal;
use super::options::{TAGS_MAX, delay_of, payload_of, seconds, tags_of};
use super::tasks::run_id;
use super::wire;
use crate::domain::{RunId, RunStatus, parse_rfc3339};
use crate::store::{RunRecord, now_ms};
use crate::workflow::{Replay, RunFilter};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Runs on a page unless said otherwise.
const PAGE: u32 = 25;
/// Runs on a page at most.
const PAGE_MAX: u32 = 100;
/// The longest metadata, as JSON.
const METADATA_MAX: usize = 256 << 10;

/// A run of this caller; to others it is not there.
pub(super) async fn owned(app: &AppState, owner: &str, id: &str) -> Result<RunRecord, Refusal> {
    let run = app.services.workflow.record_of(&run_id(id)?).await;
    match run {
        Ok(run) if run.labels.owner.as_deref() == Some(owner) => Ok(run),
        Ok(_) => Err(Refusal::not_found("run", id)),
        Err(crate::workflow::WorkflowError::Store(error)) if error.is_not_found() => Err(Refusal::not_found("run", id)),
        Err(error) => Err(error.into()),
    }
}

/// The same for one who may only read.
pub(super) async fn readable(app: &AppState, reader: &Reader, id: &str) -> Result<RunRecord, Refusal> {
    let run = owned(app, &reader.owner, id).await?;
    reader.may_read_run(&run.summary.id, &run.labels.tags, run.labels.batch.as_deref())?;
    Ok(run)
}

/// `GET /api/v3/runs/{run}`
pub async fn retrieve(
    State(app): State<AppState>,
    Path(id): Path<String>,
    reader: Reader,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(wire::full(&readable(&app, &reader, &id).await?)))
}

/// `GET /api/v1/runs`
pub async fn list(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    reader: Reader,
) -> Result<Json<Value>, Refusal> {
    let fields: HashMap<String, String> =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).filter(|value| !value.is_empty());
    for (name, value) in &fields {
        understood(name, value)?;
    }
    let mut filter = filter_of(&field, now_ms())?;
    // A token for some tags sees the runs with them; one for all runs sees all.
    if reader.may_read("runs", "*").is_err() {
        if filter.tags.is_empty() {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "This token may not list runs."));
        }
        for tag in &filter.tags {
            reader.may_read("tags", tag)?;
        }
    }
    filter.owner = Some(reader.owner);
    let size = match field("page[size]").map(str::parse::<u32>) {
        None => PAGE,
        Some(Ok(size)) if (1..=PAGE_MAX).contains(&size) => size,
        Some(_) => return Err(Refusal::invalid(format!("page[size] is between 1 and {PAGE_MAX}."))),
    };
    filter.limit = Some(size + 1);
    let runs = app.services.workflow.store();
    let mut found = runs.list(&filter).await?;
    let more = found.len() > size as usize;
    let backwards = filter.after.is_some();
    if more && backwards {
        found.remove(0);
    }
    found.truncate(size as usize);
    let ends = |there: bool, id: Option<&RunId>| if there { id.cloned() } else { None };
    let next = ends(more || backwards, found.last().map(|run| &run.id));
    let previous = ends(if backwards { more } else { filter.before.is_some() }, found.first().map(|run| &run.id));
    let mut data = Vec::with_capacity(found.len());
    for run in &found {
        let mut fields = wire::common(&runs.record(&run.id).await?);
        fields.insert("env".to_owned(), json!({"id": "env_sandcastle", "name": "dev"}));
        data.push(Value::Object(fields));
    }
    let mut pagination = Map::new();
    for (name, id) in [("next", next), ("previous", previous)] {
        if let Some(id) = id {
            pagination.insert(name.to_owned(), json!(id));
        }
    }
    Ok(Json(json!({"data": data, "pagination": pagination})))
}

/// The filters that narrow a list.
const FILTERS: [&str; 9] = [
    "filter[status]",
    "filter[taskIdentifier]",
    "filter[tag]",
    "filter[queue]",
    "filter[batch]",
    "filter[error]",
    "filter[createdAt][from]",
    "filter[createdAt][to]",
    "filter[createdAt][period]",
];

/// Refuses a filter that would be ignored, unless every run fits it.
fn understood(name: &str, value: &str) -> Result<(), Refusal> {
    let all_fit = match name {
        "filter[isTest]" => value == "false",
        "filter[version]" => value.split(',').any(|version| version.trim() == env!("CARGO_PKG_VERSION")),
        _ => value.is_empty() || !name.starts_with("filter["),
    };
    if all_fit || FILTERS.contains(&name) {
        return Ok(());
    }
    let filter = name.trim_start_matches("filter[").split(']').next().unwrap_or_default();
    Err(Refusal::invalid(match filter {
        "isTest" => "No run here is a test: \"isTest\" can only be false.".to_owned(),
        "version" => format!("Every run here is of the version {}.", env!("CARGO_PKG_VERSION")),
        other => format!(
            "The filter \"{other}\" is not supported here. Runs can be listed by status, taskIdentifier, tag, queue, \
             batch, error, from, to and period."
        ),
    }))
}

fn filter_of<'a>(field: &impl Fn(&str) -> Option<&'a str>, now: u64) -> Result<RunFilter, Refusal> {
    let words = |name: &str| -> Vec<String> {
        field(name).map(|list| list.split(',').map(|word| word.trim().to_owned()).collect()).unwrap_or_default()
    };
    let mut statuses = Vec::new();
    for word in words("filter[status]") {
        let status = RunStatus::parse(&word);
        statuses.push(status.ok_or_else(|| Refusal::invalid(format!("There is no status \"{word}\".")))?);
    }
    // The wait before another attempt is executing to clients, and delayed is only the wait before the first.
    let (executing, delayed) = (statuses.contains(&RunStatus::Executing), statuses.contains(&RunStatus::Delayed));
    if executing && !delayed {
        statuses.push(RunStatus::Delayed);
    }
    let moment = |name: &str| {
        let read = |text: &str| text.parse::<u64>().ok().or_else(|| parse_rfc3339(text));
        field(name)
            .map(|text| read(text).ok_or_else(|| Refusal::invalid(format!("{name}: \"{text}\" is no time."))))
            .transpose()
    };
    let period = field("filter[createdAt][period]")
        .map(|text| seconds(text).ok_or_else(|| Refusal::invalid(format!("\"{text}\" is not a period, such as 7d."))));
    let since = period.transpose()?.map(|length| now.saturating_sub(length * 1_000));
    let cursor = |name: &str| field(name).map(run_id).transpose();
    let queue = field("filter[queue]");
    if queue.is_some_and(|queue| queue.contains(',')) {
        return Err(Refusal::invalid("Runs can be listed by one queue at a time."));
    }
    Ok(RunFilter {
        statuses,
        backoff: (executing != delayed).then_some(executing),
        tasks: words("filter[taskIdentifier]"),
        tags: words("filter[tag]"),
        queue: queue.map(|queue| queue.rsplit('/').next().unwrap_or(queue).to_owned()),
        batch: field("filter[batch]").map(str::to_owned),
        fingerprint: field("filter[error]").map(str::to_owned),
        from: moment("filter[createdAt][from]")?.or(since),
        to: moment("filter[createdAt][to]")?,
        before: cursor("page[after]")?,
        after: cursor("page[before]")?,
        ..RunFilter::default()
    })
}

/// `POST /api/v2/runs/{run}/cancel`. A run that has ended stays as it is.
pub async fn cancel(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, Refusal> {
    let run = owned(&app, &caller.owner, &id).await?;
    app.services.workflow.cancel(&run.summary.id).await?;
    Ok(Json(json!({"id": run.summary.id})))
}

/// Body of a replay.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ReplayBody {
    payload: Option<Value>,
    payload_type: Option<String>,
    tags: Option<Value>,
    delay: Option<Value>,
    idempotency_key: Option<String>,
    max_attempts: Option<u32>,
    max_duration: Option<u64>,
    priority: Option<f64>,
}

/// `POST /api/v1/runs/{run}/replay`
pub async fn replay(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let run = owned(&app, &caller.owner, &id).await?;
    let body: ReplayBody = match body.is_empty() {
        true => ReplayBody::default(),
        false => serde_json::from_slice(&body).map_err(|error| Refusal::invalid(error.to_string()))?,
    };
    let payload = body.payload.map(|payload| payload_of(&payload, body.payload_type.as_deref())).transpose()?;
    if let Some(payload) = &payload {
        let check = app.services.workflow.check(&run.summary.task, payload);
        check.map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.message))?;
        // The run stays in its sandbox; another one would be another run.
        if payload.get("sandboxId") != run.payload.get("sandboxId") {
            return Err(Refusal::invalid("A replay works in the same sandbox; trigger a new run for another."));
        }
    }
    let changes = Replay {
        payload,
        tags: body.tags.as_ref().map(tags_of).transpose()?,
        delay: body.delay.as_ref().map(|delay| delay_of(delay, now_ms())).transpose()?.flatten(),
        idempotency_key: body.idempotency_key.map(|key| wire::stored_key(&caller.owner, &key)),
        max_attempts: body.max_attempts,
        max_duration: body.max_duration.map(Duration::from_secs),
        priority: body.priority.map(|seconds| seconds.round() as i32),
        ..Replay::default()
    };
    let new = app.services.workflow.replay(&run.summary.id, changes).await?;
    Ok(Json(json!({"id": new})))
}

/// Body of a reschedule.
#[derive(Debug, Deserialize)]
pub struct RescheduleBody {
    delay: Value,
}

/// `POST /api/v1/runs/{run}/reschedule`
pub async fn reschedule(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
    Json(body): Json<RescheduleBody>,
) -> Result<Json<Value>, Refusal> {
    let run = owned(&app, &caller.owner, &id).await?;
    let delay = delay_of(&body.delay, now_ms())?.ok_or_else(|| Refusal::invalid("Say the new delay."))?;
    app.services.workflow.reschedule(&run.summary.id, delay).await?;
    Ok(Json(wire::full(&owned(&app, &caller.owner, &id).await?)))
}

/// `GET /api/v1/runs/{run}/result`: not there before the run has ended.
pub async fn result(
    State(app): State<AppState>,
    Path(id): Path<String>,
    reader: Reader,
) -> Result<Json<Value>, Refusal> {
    let run = readable(&app, &reader, &id).await?;
    if !run.summary.status.is_final() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "The run has not ended yet."));
    }
    Ok(Json(wire::result(&run)))
}

/// Body of adding tags.
#[derive(Debug, Deserialize)]
pub struct TagsBody {
    tags: Value,
}

/// `POST /api/v1/runs/{run}/tags`
pub async fn add_tags(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
    Json(body): Json<TagsBody>,
) -> Result<Json<Value>, Refusal> {
    let run = owned(&app, &caller.owner, &id).await?;
    let new = tags_of(&body.tags)?;
    let new: Vec<String> = new.into_iter().filter(|tag| !run.labels.tags.contains(tag)).collect();
    if run.labels.tags.len() + new.len() > TAGS_MAX.0 {
        let message = format!("A run has at most {} tags; this one has {}.", TAGS_MAX.0, run.labels.tags.len());
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    app.services.workflow.store().add_tags(&run.summary.id, &new).await?;
    Ok(Json(json!({"message": format!("Added {} tags.", new.len())})))
}

/// Body of changing metadata: the whole, or operations on it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MetadataBody {
    metadata: Option<Map<String, Value>>,
    operations: Vec<Value>,
}

/// `PUT /api/v1/runs/{run}/metadata`
pub async fn put_metadata(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
    Json(body): Json<MetadataBody>,
) -> Result<Json<Value>, Refusal> {
    let run = owned(&app, &caller.owner, &id).await?;
    let before = run.labels.metadata.and_then(|metadata| metadata.as_object().cloned()).unwrap_or_default();
    let mut metadata = body.metadata.unwrap_or(before);
    for operation in &body.operations {
        change(&mut metadata, operation)?;
    }
    let metadata = Value::Object(metadata);
    if metadata.to_string().len() > METADATA_MAX {
        let message = format!("Metadata is at most {METADATA_MAX} bytes long.");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    app.services.workflow.store().set_metadata(&run.summary.id, &metadata).await?;
    Ok(Json(json!({"metadata": metadata})))
}

/// One operation on the top level; paths into the value are not understood and say so.
fn change(metadata: &mut Map<String, Value>, operation: &Value) -> Result<(), Refusal> {
    let key = operation["key"].as_str().unwrap_or_default().to_owned();
    if key.starts_with("$.") {
        return Err(Refusal::invalid(format!("The key {key} is a path; only keys of the top level can be changed.")));
    }
    match operation["type"].as_str().unwrap_or_default() {
        "set" => {
            metadata.insert(key, operation["value"].clone());
        }
        "delete" => {
            metadata.remove(&key);
        }
        "append" => match metadata.entry(key).or_insert_with(|| json!([])) {
            Value::Array(list) => list.push(operation["value"].clone()),
            other => *other = json!([other.clone(), operation["value"]]),
        },
        "remove" => {
            if let Some(Value::Array(list)) = metadata.get_mut(&key) {
                list.retain(|value| *value != operation["value"]);
            }
        }
        "increment" => {
            let sum = metadata.get(&key).and_then(Value::as_f64).unwrap_or_default()
                + operation["value"].as_f64().unwrap_or_default();
            metadata.insert(key, json!(sum));
        }
        "update" => metadata.extend(operation["value"].as_object().cloned().unwrap_or_default()),
        other => return Err(Refusal::invalid(format!("The operation \"{other}\" is not understood."))),
    }
    Ok(())
}

/// `GET /api/v1/runs/{run}/metadata`
pub async fn get_metadata(
    State(app): State<AppState>,
    Path(id): Path<String>,
    reader: Reader,
) -> Result<Json<Value>, Refusal> {
    let run = readable(&app, &reader, &id).await?;
    Ok(Json(json!({"metadata": run.labels.metadata.unwrap_or_else(|| json!({}))})))
}

/// Body of freeing a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetBody {
    task_identifier: String,
}

/// `POST /api/v1/idempotencyKeys/{key}/reset`
pub async fn reset_key(
    State(app): State<AppState>,
    Path(key): Path<String>,
    caller: Caller,
    Json(body): Json<ResetBody>,
) -> Result<Json<Value>, Refusal> {
    let stored = wire::stored_key(&caller.owner, &key);
    if app.services.workflow.store().free_key(&body.task_identifier, &stored).await? {
        return Ok(Json(json!({"id": key})));
    }
    Err(Refusal::not_found("run with the idempotency key", &key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: &'static str) -> (Vec<RunStatus>, Option<bool>) {
        let field = |name: &str| (name == "filter[status]").then_some(status);
        let filter = filter_of(&field, 0).unwrap();
        (filter.statuses, filter.backoff)
    }

    #[test]
    fn a_delayed_run_is_one_that_waits_for_its_first_attempt_and_an_executing_one_may_wait_for_another() {
        assert_eq!(of("DELAYED"), (vec![RunStatus::Delayed], Some(false)));
        assert_eq!(of("EXECUTING"), (vec![RunStatus::Executing, RunStatus::Delayed], Some(true)));
        assert_eq!(of("DELAYED,EXECUTING"), (vec![RunStatus::Delayed, RunStatus::Executing], None));
        assert_eq!(of("FAILED"), (vec![RunStatus::Failed], None));
    }

    #[test]
    fn a_filter_that_would_be_ignored_is_refused_by_its_name_unless_all_runs_fit() {
        for name in ["schedule", "machine", "region", "bulkAction", "env"] {
            let refused = understood(&format!("filter[{name}]"), "x").unwrap_err();
            assert!(refused.message().contains(&format!("\"{name}\" is not supported")), "{}", refused.message());
        }
        assert!(understood("filter[isTest]", "true").unwrap_err().message().contains("can only be false"));
        assert!(understood("filter[version]", "20240101.1").unwrap_err().message().contains("Every run here"));
        for (name, value) in [
            ("filter[isTest]", "false"),
            ("filter[version]", concat!("1,", env!("CARGO_PKG_VERSION"))),
            ("filter[schedule]", ""),
            ("page[size]", "5"),
            ("filter[createdAt][period]", "1h"),
        ] {
            assert!(understood(name, value).is_ok(), "{name}");
        }
    }

    #[test]
    fn metadata_changes_by_operations_and_refuses_paths() {
        let mut metadata = json!({"n": 1, "list": ["a"]}).as_object().unwrap().clone();
        for operation in [
            json!({"type": "set", "key": "s", "value": "x"}),
            json!({"type": "increment", "key": "n", "value": 2}),
            json!({"type": "append", "key": "list", "value": "b"}),
            json!({"type": "remove", "key": "list", "value": "a"}),
            json!({"type": "update", "value": {"u": true}}),
            json!({"type": "delete", "key": "s"}),
        ] {
            change(&mut metadata, &operation).unwrap();
        }
        assert_eq!(Value::Object(metadata.clone()), json!({"n": 3.0, "list": ["b"], "u": true}));
        assert!(change(&mut metadata, &json!({"type": "set", "key": "$.a.b", "value": 1})).is_err());
    }
}
