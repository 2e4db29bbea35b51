//! What a turn changed, and going back or forking from its end.

use super::{answer, bench, done, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Path};
use crate::api::once::Once;
use crate::documents::{ChangesPage, Document};
use crate::domain::{ApiError, MessageId, ProjectId};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde::Deserialize;

/// `GET /p/{project}/changes/{message}`
pub async fn changes(
    State(app): State<AppState>,
    path: Result<Path<(ProjectId, MessageId)>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Path((project, message)) = path?;
        let state = app.services.store.events().state(&project).await?;
        let checkpoint = state.message(&message).and_then(|m| m.checkpoint.clone());
        let checkpoint = checkpoint.ok_or_else(|| ApiError::not_found("There is no checkpoint at this message."))?;
        let files = app.services.sandbox.changes(&project, &checkpoint.commit).await?.files;
        let last = state.messages.last().is_some_and(|m| m.id == message);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let clone_url = format!("http://{host}/api/projects/{project}/repo.git");
        let once = Once::mark();
        Ok(Document::Changes(ChangesPage { project, message, checkpoint, last, files, clone_url, once }))
    };
    let page = page.await;
    answer(&app, &headers, page)
}

/// A form that names a message.
#[derive(Deserialize)]
pub struct OfMessage {
    message: MessageId,
    /// The mark of the page it was sent from.
    #[serde(default)]
    once: String,
}

/// `POST /p/{project}/back`
pub async fn back(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<OfMessage>, FormRejection>,
) -> Response {
    let result = async {
        let (Path(project), OfMessage { message, .. }) = (path?, fields(form)?);
        app.services.agent.go_back(&project, &message).await?;
        Ok(bench(&project))
    };
    let result = result.await;
    done(&app, &headers, result)
}

/// `POST /p/{project}/fork`
pub async fn fork(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<OfMessage>, FormRejection>,
) -> Response {
    let result = async {
        let (Path(project), OfMessage { message, once }) = (path?, fields(form)?);
        let services = app.services.clone();
        let fork = async move { Ok(bench(&services.fork_project(&project, &message).await?)) };
        app.once(&once, "fork", fork).await
    };
    let result = result.await;
    done(&app, &headers, result)
}
