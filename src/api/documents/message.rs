//! Editing an earlier message and sending it again.

use super::{answer, bench, done, done_or_again, sent};
use crate::api::AppState;
use crate::api::error::{Failure, Path};
use crate::documents::{Document, EditPage};
use crate::domain::{ApiError, MessageId, ProjectId, Role};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

/// `GET /p/{project}/edit/{message}`
pub async fn edit(
    State(app): State<AppState>,
    path: Result<Path<(ProjectId, MessageId)>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Path((project, message)) = path?;
        let state = app.services.store.events().state(&project).await?;
        let found = state.message(&message).filter(|m| m.role == Role::User);
        let found = found.ok_or_else(|| ApiError::not_found("There is no such message of yours."))?;
        let (text, files) = (found.text(), !found.attachments.is_empty());
        Ok(Document::Edit(EditPage { project, message, text, files }))
    };
    let page = page.await;
    answer(&app, &headers, page)
}

/// The form.
#[derive(Deserialize)]
pub struct Resend {
    text: String,
}

/// `POST /p/{project}/edit/{message}`
pub async fn resend(
    State(app): State<AppState>,
    path: Result<Path<(ProjectId, MessageId)>, Failure>,
    headers: HeaderMap,
    form: Result<Form<Resend>, FormRejection>,
) -> Response {
    let ((project, message), Resend { text }) = match sent(path, form) {
        Ok(sent) => sent,
        Err(error) => return done(&app, &headers, Err(error)),
    };
    let result = app.services.agent.resend(&project, &message, &text, None).await;
    let result = result.map(|_| bench(&project)).map_err(Failure::from);
    let again = async {
        // The message itself may be gone; what was typed is not.
        let state = app.services.store.events().state(&project).await?;
        let files = state.message(&message).is_some_and(|m| !m.attachments.is_empty());
        Ok(Document::Edit(EditPage { project, message, text, files }))
    };
    done_or_again(&app, &headers, result, again).await
}
