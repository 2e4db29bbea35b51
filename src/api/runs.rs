//! Task runs for programs: list, read, cancel, replay.

use super::AppState;
use super::error::{Failure, Json, Path, Query};
use crate::domain::{ApiError, LogLevel, ProjectId, RunDetail, RunId, RunStatus, RunSummary};
use crate::store::{Happening, Place, StoreError, What};
use crate::workflow::{Replay, RunFilter};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Lines of a log read at a time.
const LOG_PAGE: u32 = 5_000;

/// The query of `GET /api/runs`.
#[derive(Debug, Default, Deserialize)]
pub struct RunsQuery {
    project: Option<ProjectId>,
    status: Option<RunStatus>,
    task: Option<String>,
    text: Option<String>,
    /// A word it is tagged with.
    tag: Option<String>,
    /// The fingerprint of its error.
    error: Option<String>,
    /// Submitted then or later (Unix ms).
    from: Option<u64>,
    /// Submitted then or before (Unix ms).
    to: Option<u64>,
    /// Only runs older than this one.
    before: Option<RunId>,
    /// At most so many.
    limit: Option<u32>,
}

/// `GET /api/runs`
pub async fn list(
    State(app): State<AppState>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Vec<RunSummary>>, Failure> {
    let filter = RunFilter {
        project: query.project,
        statuses: query.status.into_iter().collect(),
        tasks: query.task.into_iter().collect(),
        text: query.text,
        tags: query.tag.into_iter().collect(),
        fingerprint: query.error,
        from: query.from,
        to: query.to,
        before: query.before,
        limit: query.limit,
        ..RunFilter::default()
    };
    Ok(Json(app.services.workflow.list(filter).await?))
}

/// `GET /api/runs/{run}`
pub async fn get(State(app): State<AppState>, Path(id): Path<RunId>) -> Result<Json<RunDetail>, Failure> {
    Ok(Json(app.services.workflow.get(&id).await?))
}

/// `GET /api/runs/{run}/log`: everything that happened in the run and in those it started, as text. It is read while it is
/// sent, so it is whole however long it is.
pub async fn log(State(app): State<AppState>, Path(id): Path<RunId>) -> Result<Response, Failure> {
    let start = app.services.workflow.record_of(&id).await?.summary.created_at;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.log\"")),
    ];
    let runs = app.services.workflow.store().clone();
    let pages = futures::stream::try_unfold(Some(Place::default()), move |after| {
        let (runs, id) = (runs.clone(), id.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = runs.history(&id, after, LOG_PAGE).await?;
            let whole = page.len() == LOG_PAGE as usize;
            let next = page.last().filter(|_| whole).map(|last| last.place);
            let text = page.iter().map(|happening| log_line(happening, &id, start)).collect::<String>();
            Ok::<_, StoreError>(Some((text, next)))
        }
    });
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// One line: the time, since when, in which run if it is another than `top`, and what.
fn log_line(happening: &Happening, top: &RunId, start: u64) -> String {
    let Happening { at, run, task, what, .. } = happening;
    let failed = |error: &Option<ApiError>, otherwise: &str| {
        error.as_ref().map_or_else(|| otherwise.to_owned(), |error| format!("failed: {}", error.message))
    };
    let what = match what {
        What::Submitted(title) if title.is_empty() => format!("submitted {task}"),
        What::Submitted(title) => format!("submitted {task}: {title}"),
        What::AttemptBegan(number) => format!("attempt {number} began"),
        What::StepBegan(name) => format!("step {name} began"),
        What::Logged(level, message) => {
            let level = match level {
                LogLevel::Info => "info",
                LogLevel::Warn => "warn",
                LogLevel::Error => "error",
            };
            format!("[{level}] {message}")
        }
        What::StepEnded(name, error) => format!("step {name} {}", failed(error, "done")),
        What::AttemptEnded { number, error, crashed } => {
            let otherwise = if *crashed { "was cut off by the end of the server" } else { "ended" };
            format!("attempt {number} {}", failed(error, otherwise))
        }
        What::Ended(status, error) => {
            let why = error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
            format!("{}{why}", status.as_str().to_lowercase())
        }
    };
    let whose = if run == top { String::new() } else { format!("{task} {run}: ") };
    format!("{at} +{} ms  {whose}{what}\n", at.saturating_sub(start))
}

/// `POST /api/runs/{run}/cancel`
pub async fn cancel(State(app): State<AppState>, Path(id): Path<RunId>) -> Result<StatusCode, Failure> {
    app.services.workflow.cancel(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Body of a replay; no body replays the run as it was.
#[derive(Debug, Default, Deserialize)]
pub struct ReplayBody {
    /// In place of the first run's payload.
    payload: Option<Value>,
}

/// Answer of a replay.
#[derive(Debug, Serialize)]
pub struct Replayed {
    run: RunId,
}

/// `POST /api/runs/{run}/replay`
pub async fn replay(State(app): State<AppState>, Path(id): Path<RunId>, body: Bytes) -> Result<Response, Failure> {
    let body: ReplayBody = if body.is_empty() {
        ReplayBody::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid(error.to_string()))?
    };
    let run = app.services.workflow.replay(&id, Replay { payload: body.payload, ..Replay::default() }).await?;
    Ok((StatusCode::CREATED, Json(Replayed { run })).into_response())
}
