//! Files for messages: upload, and the stored bytes.

use super::AppState;
use super::error::{Failure, Json, Path, Query};
use crate::domain::{Attachment, AttachmentId, image_type};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// The query of an upload.
#[derive(Debug, Deserialize)]
pub struct UploadQuery {
    /// What the file is called.
    #[serde(default)]
    name: String,
}

/// `POST /api/attachments?name=`: the body is the file.
pub async fn upload(
    State(app): State<AppState>,
    Query(query): Query<UploadQuery>,
    content: Bytes,
) -> Result<(StatusCode, Json<Attachment>), Failure> {
    let stored = app.services.upload(&query.name, content.to_vec()).await?;
    Ok((StatusCode::CREATED, Json(stored)))
}

/// `GET /api/attachments/{id}`: an image to be shown, anything else to be saved.
pub async fn get(State(app): State<AppState>, Path(id): Path<AttachmentId>) -> Result<Response, Failure> {
    let content = app.services.store.attachments().read(&id).await?;
    let (kind, shown) = match image_type(&content) {
        Some(kind) => (kind, "inline"),
        None => ("application/octet-stream", "attachment"),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, shown),
        // Its address is its content.
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    Ok((headers, content).into_response())
}
