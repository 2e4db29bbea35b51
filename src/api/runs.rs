//! Task runs for programs: list, read, cancel, replay.

use super::AppState;
use super::error::{Failure, Json, Path, Query};
use crate::domain::{LogLevel, ProjectId, RunDetail, RunId, RunStatus, RunSummary};
use crate::workflow::{Replay, RunFilter};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;

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

/// `GET /api/runs/{run}/log`: attempts, steps and log lines as text.
pub async fn log(State(app): State<AppState>, Path(id): Path<RunId>) -> Result<Response, Failure> {
    let run = app.services.workflow.get(&id).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.log\"")),
    ];
    Ok((headers, log_text(&run)).into_response())
}

fn log_text(run: &RunDetail) -> String {
    let mut lines: Vec<(u64, String)> = vec![(run.summary.created_at, format!("submitted {}", run.summary.task))];
    for attempt in &run.attempts {
        lines.push((attempt.started_at, format!("attempt {} began", attempt.number)));
        if let Some(at) = attempt.finished_at {
            let how = match (&attempt.error, attempt.crashed) {
                (Some(error), _) => format!("failed: {}", error.message),
                (None, true) => "was cut off by the end of the server".to_owned(),
                (None, false) => "ended".to_owned(),
            };
            lines.push((at, format!("attempt {} {how}", attempt.number)));
        }
    }
    for step in &run.steps {
        lines.push((step.started_at, format!("step {} began", step.name)));
        if let Some(at) = step.finished_at {
            let how = step.error.as_ref().map_or("done".to_owned(), |error| format!("failed: {}", error.message));
            lines.push((at, format!("step {} {how}", step.name)));
        }
    }
    lines.extend(run.logs.iter().map(|log| {
        let level = match log.level {
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        (log.at, format!("[{level}] {}", log.message))
    }));
    if let Some(at) = run.summary.finished_at {
        lines.push((at, run.summary.status.as_str().to_lowercase()));
    }
    lines.sort_by_key(|(at, _)| *at);
    let start = run.summary.created_at;
    lines.into_iter().fold(String::new(), |mut text, (at, line)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{at} +{} ms  {line}", at.saturating_sub(start));
        text
    })
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
        serde_json::from_slice(&body).map_err(|error| crate::domain::ApiError::invalid(error.to_string()))?
    };
    let run = app.services.workflow.replay(&id, Replay { payload: body.payload, ..Replay::default() }).await?;
    Ok((StatusCode::CREATED, Json(Replayed { run })).into_response())
}
