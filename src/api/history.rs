//! Checkpoints for programs: what a turn changed, going back, sending again, forking, and the repository for `git clone`.

use super::AppState;
use super::error::{Failure, Json, Path};
use crate::domain::{ApiError, MessageId, ProjectId};
use crate::sandbox::Changes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// A body that names a message.
#[derive(Debug, Deserialize)]
pub struct OfMessage {
    message: Option<MessageId>,
    text: Option<String>,
    model: Option<String>,
}

impl OfMessage {
    fn message(&self) -> Result<&MessageId, ApiError> {
        self.message.as_ref().ok_or_else(|| ApiError::invalid("the field \"message\" is missing"))
    }
}

/// `GET /api/projects/{project}/changes/{commit}`
pub async fn changes(
    State(app): State<AppState>,
    Path((project, commit)): Path<(ProjectId, String)>,
) -> Result<Json<Changes>, Failure> {
    app.services.store.events().state(&project).await?;
    Ok(Json(app.services.sandbox.changes(&project, &commit).await?))
}

/// `POST /api/projects/{project}/back`
pub async fn back(
    State(app): State<AppState>,
    Path(project): Path<ProjectId>,
    Json(body): Json<OfMessage>,
) -> Result<StatusCode, Failure> {
    app.services.store.events().state(&project).await?;
    app.services.agent.go_back(&project, body.message()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/projects/{project}/resend`
pub async fn resend(
    State(app): State<AppState>,
    Path(project): Path<ProjectId>,
    Json(body): Json<OfMessage>,
) -> Result<Response, Failure> {
    app.services.store.events().state(&project).await?;
    let text = body.text.as_deref().unwrap_or_default();
    let message = app.services.agent.resend(&project, body.message()?, text, body.model.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({ "message": message }))).into_response())
}

/// `POST /api/projects/{project}/fork`
pub async fn fork(
    State(app): State<AppState>,
    Path(project): Path<ProjectId>,
    Json(body): Json<OfMessage>,
) -> Result<Response, Failure> {
    app.services.store.events().state(&project).await?;
    let id = app.services.fork_project(&project, body.message()?).await?;
    let location = format!("/api/projects/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(serde_json::json!({ "id": id }))).into_response())
}

/// `GET /api/projects/{project}/repo.git/{*path}`
pub async fn repository(
    State(app): State<AppState>,
    Path((project, path)): Path<(ProjectId, String)>,
) -> Result<Response, Failure> {
    app.services.store.events().state(&project).await?;
    let file = app.services.sandbox.repository_file(&project, &path).await?;
    let file = file.ok_or_else(|| ApiError::not_found("there is no such file in this repository"))?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, file).into_response())
}
