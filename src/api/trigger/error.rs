//! Errors as Trigger.dev's clients read them: `{"error": "text"}` with the right status.

use crate::domain::{ApiError, ErrorCode};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal of this API.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    /// A refusal with a status of its own.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request is not understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What was asked for is not there, or not for this key.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no {what} {id}."))
    }

    /// The key or token is missing, wrong or revoked.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// The words.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = match error.code {
            // A client retries what it takes for the server's fault; a limit or a stop is not one.
            ErrorCode::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            code => super::super::error::status(code),
        };
        if status.is_server_error() {
            tracing::error!(code = ?error.code, "{}", error.message);
        }
        Self { status, message: error.message }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(json!({ "error": self.message }))).into_response()
    }
}
