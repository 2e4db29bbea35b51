//! The one error shape that leaves the server: in REST answers, in server functions and in events.

use super::json::FromJson;
use serde::{Deserialize, Serialize};

/// What kind of failure it is; each has one HTTP status (see `api::error`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed or breaks a documented limit (400).
    InvalidInput,
    /// An access token is needed or wrong (401).
    Unauthorized,
    /// The caller may not do this, for instance a cross-site request (403).
    Forbidden,
    /// There is no such project, run, sandbox, command or file (404).
    NotFound,
    /// The thing is not in a state that allows it (409).
    Conflict,
    /// The body or file is over its limit (413).
    TooLarge,
    /// The model's provider refused or failed; the message holds its own words (502).
    Model,
    /// The sandbox cannot do it: not isolated, dead, or out of a resource (503).
    Sandbox,
    /// A time limit was reached (504).
    Timeout,
    /// Stopped by a person or by shutdown (499).
    Cancelled,
    /// The disk is full or the data folder is not writable (507).
    Storage,
    /// A fault of the server; the cause is in its log under the request id (500).
    Internal,
}

/// An error for people and programs: what happened and what to do, never secrets or internals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Machine-readable kind.
    pub code: ErrorCode,
    /// A sentence that says what happened and, where possible, what to do.
    pub message: String,
    /// The request that failed; the server's log has the cause under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl ApiError {
    /// An error without a request id; the HTTP edge adds it.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), request_id: None }
    }

    /// Bad input (400).
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInput, message)
    }

    /// Unknown thing (404).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// Server fault (500). The message must not carry internals: log those.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }
}

impl From<super::IdError> for ApiError {
    fn from(error: super::IdError) -> Self {
        Self::not_found(error.to_string())
    }
}
