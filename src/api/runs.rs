//! Task runs: list, read, cancel, replay.

use super::AppState;
use super::error::{Failure, Json, Path, Query};
use crate::domain::{ProjectId, RunDetail, RunId, RunStatus, RunSummary};
use crate::workflow::{Replay, RunFilter};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// The query of `GET /api/runs`.
#[derive(Debug, Default, Deserialize)]
pub struct RunsQuery {
    project: Option<ProjectId>,
    status: Option<RunStatus>,
    task: Option<String>,
    text: Option<String>,
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
    let RunsQuery { project, status, task, text, before, limit } = query;
    let (statuses, tasks) = (status.into_iter().collect(), task.into_iter().collect());
    let filter = RunFilter { project, statuses, tasks, text, before, limit, ..RunFilter::default() };
    Ok(Json(app.services.workflow.list(filter).await?))
}

/// `GET /api/runs/{run}`
pub async fn get(State(app): State<AppState>, Path(id): Path<RunId>) -> Result<Json<RunDetail>, Failure> {
    Ok(Json(app.services.workflow.get(&id).await?))
}

/// `POST /api/runs/{run}/cancel`
pub async fn cancel(State(app): State<AppState>, Path(id): Path<RunId>) -> Result<StatusCode, Failure> {
    app.services.workflow.cancel(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Answer of a replay.
#[derive(Debug, Serialize)]
pub struct Replayed {
    run: RunId,
}

/// `POST /api/runs/{run}/replay`
pub async fn replay(State(app): State<AppState>, Path(id): Path<RunId>) -> Result<Response, Failure> {
    let run = app.services.workflow.replay(&id, Replay::default()).await?;
    Ok((StatusCode::CREATED, Json(Replayed { run })).into_response())
}
