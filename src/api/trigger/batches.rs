//! Batches in two phases: announced, then filled line by line. A line that is sent again changes nothing.

use super::super::AppState;
use super::auth::{Caller, Reader};
use super::error::Refusal;
use super::options::TriggerBody;
use super::tasks::{JWT, JWT_LIFE, submit};
use super::{tokens, wire};
use crate::domain::rfc3339;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// Runs in a batch at most.
const ITEMS_MAX: u32 = 1_000;

/// Body of `POST /api/v3/batches`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchBody {
    run_count: u32,
    idempotency_key: Option<String>,
}

/// `POST /api/v3/batches`
pub async fn create(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<BatchBody>,
) -> Result<Response, Refusal> {
    if body.run_count == 0 || body.run_count > ITEMS_MAX {
        return Err(Refusal::invalid(format!("A batch has 1 to {ITEMS_MAX} runs.")));
    }
    let fresh = format!("batch_{}", ulid::Ulid::new().to_string().to_ascii_lowercase());
    let batches = app.services.workflow.store().batches();
    let (id, cached) = batches.create(&fresh, &caller.owner, body.run_count, body.idempotency_key.as_deref()).await?;
    let jwt = tokens::issue(&app, &caller.owner, vec![format!("read:batch:{id}")], JWT_LIFE).await?;
    let answer = json!({"id": id, "runCount": body.run_count, "isCached": cached});
    Ok((StatusCode::ACCEPTED, [(JWT, jwt)], Json(answer)).into_response())
}

/// One line of the items.
#[derive(Debug, Deserialize)]
struct Item {
    index: u32,
    task: String,
    #[serde(flatten)]
    body: TriggerBody,
}

/// `POST /api/v3/batches/{batch}/items`
pub async fn items(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let batches = app.services.workflow.store().batches();
    let batch = batches.get(&id, &caller.owner).await?;
    let mut items = Vec::new();
    for (number, line) in body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).enumerate() {
        let item: Item = serde_json::from_slice(line)
            .map_err(|error| Refusal::invalid(format!("Line {} of the items: {error}", number + 1)))?;
        if item.index >= batch.run_count {
            let message = format!("The item {} is beyond the batch's {} runs.", item.index, batch.run_count);
            return Err(Refusal::invalid(message));
        }
        items.push(item);
    }
    let (mut accepted, mut again) = (0u32, 0u32);
    for item in items {
        if batch.runs.iter().any(|(index, _)| *index == item.index) {
            again += 1;
            continue;
        }
        let submitted = submit(&app, &caller.owner, &item.task, &item.body, Some((&id, item.index))).await;
        let submitted = submitted.map_err(|refusal| {
            let message = format!("The item {}: {}", item.index, refusal.message());
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message)
        })?;
        match batches.add(&id, item.index, &submitted.run).await? {
            true => accepted += 1,
            false => again += 1,
        }
    }
    let there = batches.get(&id, &caller.owner).await?.runs.len();
    let sealed = there >= batch.run_count as usize;
    if sealed {
        batches.seal(&id).await?;
    }
    let mut answer = json!({"id": id, "itemsAccepted": accepted, "itemsDeduplicated": again, "sealed": sealed});
    if !sealed {
        answer["enqueuedCount"] = json!(there);
        answer["expectedCount"] = json!(batch.run_count);
    }
    Ok(Json(answer))
}

/// `GET /api/v2/batches/{batch}`
pub async fn retrieve(
    State(app): State<AppState>,
    Path(id): Path<String>,
    reader: Reader,
) -> Result<Json<Value>, Refusal> {
    reader.may_read("batch", &id)?;
    let runs = app.services.workflow.store();
    let batch = runs.batches().get(&id, &reader.owner).await?;
    let (mut open, mut last) = (0, batch.created_at);
    for (_, run) in &batch.runs {
        let run = runs.record(run).await?;
        open += usize::from(!run.summary.status.is_final());
        last = last.max(run.summary.finished_at.unwrap_or_default());
    }
    let status = match (batch.sealed, open) {
        (false, _) => "PENDING",
        (true, 0) => "COMPLETED",
        (true, _) => "PROCESSING",
    };
    let completed = (status == "COMPLETED").then(|| rfc3339(last));
    let mut processing = json!({"errors": []});
    if let Some(at) = completed {
        processing["completedAt"] = json!(at);
    }
    Ok(Json(json!({
        "id": id,
        "status": status,
        "createdAt": rfc3339(batch.created_at),
        "updatedAt": rfc3339(last),
        "runCount": batch.run_count,
        "runs": batch.runs.iter().map(|(_, run)| run).collect::<Vec<_>>(),
        "processing": processing,
    })))
}

/// `GET /api/v1/batches/{batch}/results`: of the runs that have ended.
pub async fn results(
    State(app): State<AppState>,
    Path(id): Path<String>,
    reader: Reader,
) -> Result<Json<Value>, Refusal> {
    reader.may_read("batch", &id)?;
    let runs = app.services.workflow.store();
    let mut items = Vec::new();
    for (_, run) in runs.batches().get(&id, &reader.owner).await?.runs {
        let run = runs.record(&run).await?;
        if run.summary.status.is_final() {
            items.push(wire::result(&run));
        }
    }
    Ok(Json(json!({"id": id, "items": items})))
}
