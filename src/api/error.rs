//! The one error answer: `{"code","message","request_id"}` with the status of its code, extractor rejections included.

use crate::domain::{ApiError, ErrorCode};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

tokio::task_local! {
    /// The id of the request being answered; set by `observe`.
    pub(super) static REQUEST_ID: String;
}

/// An error on its way out.
#[derive(Debug)]
pub struct Failure {
    /// What is told.
    pub error: ApiError,
    /// The status it is answered with.
    pub status: StatusCode,
}

impl Failure {
    /// An error with a status of its own, where the code's would be too coarse (405, 421, 429).
    pub fn with_status(status: StatusCode, error: ApiError) -> Self {
        Self { error, status }
    }

    /// The error with the id of the request. A fault of the server is logged here, once.
    pub fn identified(self) -> (StatusCode, ApiError) {
        let Self { mut error, status } = self;
        error.request_id = error.request_id.or_else(|| REQUEST_ID.try_with(Clone::clone).ok());
        if status.is_server_error() {
            tracing::error!(request = error.request_id, code = ?error.code, "{}", error.message);
        }
        (status, error)
    }
}

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { status: status(error.code), error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = self.identified();
        let body = serde_json::to_string(&error).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// The status of a code; documented at [`ErrorCode`].
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Model => StatusCode::BAD_GATEWAY,
        ErrorCode::Sandbox => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        // 499 has no name in the registry; it is what proxies log for "the client went away".
        ErrorCode::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::CONFLICT),
        ErrorCode::Storage => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A JSON body, in or out.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(JsonRejection::BytesRejection(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large(super::BODY_LIMIT))
            }
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Failure::with_status(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ApiError::invalid("send the body as JSON, with content-type application/json"),
            )),
            Err(error) => Err(ApiError::invalid(error.body_text()).into()),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A body over its limit.
pub fn too_large(limit: usize) -> Failure {
    ApiError::new(ErrorCode::TooLarge, format!("the request is larger than {} MiB", limit >> 20)).into()
}

/// Parts of the path. What does not parse names nothing, so it is 404.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|error: PathRejection| ApiError::not_found(plain(&error.body_text())).into())
    }
}

/// The query string.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|error: QueryRejection| ApiError::invalid(plain(&error.body_text())).into())
    }
}

/// Drops the framework's preamble from its messages.
fn plain(text: &str) -> String {
    let text = text.strip_prefix("Invalid URL: ").unwrap_or(text);
    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text).to_owned()
}
