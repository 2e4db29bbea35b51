//! Projects: list, create, read, delete; messages, stop, retry; the workspace as a zip archive.

use super::AppState;
use super::error::{Failure, Json, Path, Query};
use crate::domain::{Attached, MessageId, ProjectId, ProjectState, ProjectSummary};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio_util::io::ReaderStream;

/// Bytes of an archive under way between the packer and a slow reader.
const ARCHIVE_BUFFER: usize = 256 * 1024;

/// `GET /api/projects`
pub async fn list(State(app): State<AppState>) -> Result<Json<Vec<ProjectSummary>>, Failure> {
    Ok(Json(app.services.store.events().projects().await?))
}

/// Body of `POST /api/projects`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// What to build; without it the project waits for its first message.
    prompt: Option<String>,
    /// Its name; else the prompt's beginning.
    name: Option<String>,
    /// Which model answers the prompt.
    model: Option<String>,
    /// A git repository whose files it begins with.
    git: Option<String>,
    /// Uploaded files that go with the prompt.
    #[serde(default)]
    attachments: Vec<Attached>,
}

/// Answer to a project's creation.
#[derive(Debug, Serialize)]
pub struct Created {
    id: ProjectId,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageId>,
}

/// `POST /api/projects`
pub async fn create(State(app): State<AppState>, Json(body): Json<CreateProject>) -> Result<Response, Failure> {
    let CreateProject { prompt, name, model, git, attachments } = body;
    if let Some(git) = git {
        let id = app.services.import_git(&git, name.as_deref()).await?;
        let message = match prompt {
            Some(prompt) => Some(app.services.send_message(&id, &prompt, &attachments, model.as_deref()).await?),
            None => None,
        };
        return Ok(created(id, message));
    }
    let (prompt, model) = (prompt.as_deref(), model.as_deref());
    let (id, message) = app.services.create_project(name.as_deref(), prompt, &attachments, model).await?;
    Ok(created(id, message))
}

fn created(id: ProjectId, message: Option<MessageId>) -> Response {
    let location = format!("/api/projects/{id}");
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(Created { id, message })).into_response()
}

/// The query of an import.
#[derive(Debug, Deserialize)]
pub struct ImportQuery {
    /// The project's name.
    name: Option<String>,
}

/// `POST /api/projects/import`: a zip archive becomes a project.
pub async fn import(
    State(app): State<AppState>,
    Query(query): Query<ImportQuery>,
    archive: Bytes,
) -> Result<Response, Failure> {
    let id = app.services.import_zip(archive.to_vec(), query.name.as_deref()).await?;
    Ok(created(id, None))
}

/// `GET /api/projects/{project}`
pub async fn get(State(app): State<AppState>, Path(id): Path<ProjectId>) -> Result<Response, Failure> {
    let state = app.services.store.events().state(&id).await?;
    Ok(Json::<&ProjectState>(&state).into_response())
}

/// `DELETE /api/projects/{project}`
pub async fn delete(State(app): State<AppState>, Path(id): Path<ProjectId>) -> Result<StatusCode, Failure> {
    app.services.delete_project(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Body of `POST /api/projects/{project}/messages`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    /// What the person says.
    text: String,
    /// Which model answers; else the default.
    model: Option<String>,
    /// Uploaded files that go with it.
    #[serde(default)]
    attachments: Vec<Attached>,
}

/// Answer to a message.
#[derive(Debug, Serialize)]
pub struct Sent {
    message: MessageId,
}

/// `POST /api/projects/{project}/messages`
pub async fn send(
    State(app): State<AppState>,
    Path(id): Path<ProjectId>,
    Json(body): Json<SendMessage>,
) -> Result<Response, Failure> {
    let message = app.services.send_message(&id, &body.text, &body.attachments, body.model.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(Sent { message })).into_response())
}

/// `POST /api/projects/{project}/stop`
pub async fn stop(State(app): State<AppState>, Path(id): Path<ProjectId>) -> Result<StatusCode, Failure> {
    app.services.store.events().state(&id).await?;
    app.services.agent.stop(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `POST /api/projects/{project}/retry`
pub async fn retry(State(app): State<AppState>, Path(id): Path<ProjectId>) -> Result<StatusCode, Failure> {
    app.services.store.events().state(&id).await?;
    app.services.agent.retry(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `GET /api/projects/{project}/archive`
pub async fn archive(State(app): State<AppState>, Path(id): Path<ProjectId>) -> Result<Response, Failure> {
    let state = app.services.store.events().state(&id).await?;
    let (reader, writer) = tokio::io::duplex(ARCHIVE_BUFFER);
    let sandbox = app.services.sandbox.clone();
    // Owned by the tracker, which shutdown waits for; a reader that leaves breaks the pipe and so ends the packing.
    app.tasks.spawn(async move {
        if let Err(error) = sandbox.archive(&id, writer).await {
            tracing::warn!(project = %id, %error, "an archive was not finished");
        }
    });
    let name = file_name(&state.name);
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.zip\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(reader))).into_response())
}

/// A project's name as a file name every system takes.
fn file_name(name: &str) -> String {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .take(8)
        .collect();
    if words.is_empty() { "project".to_owned() } else { words.join("-") }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn archive_names_are_plain() {
        assert_eq!(file_name("A booking page; \"yoga\"/../x"), "a-booking-page-yoga-x");
        assert_eq!(file_name("日本"), "project");
    }
}
