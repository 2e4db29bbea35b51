//! A request id for every request, and one line of log about each. No query strings and no bodies: they hold tokens
//! and prompts.

use super::error::{Failure, REQUEST_ID};
use crate::domain::ApiError;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// The header that carries the id.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id, answers a panic with 500, and logs.
pub async fn observe(request: Request, next: Next) -> Response {
    let id = ulid::Ulid::new().to_string().to_ascii_lowercase();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let started = Instant::now();
    let answered = REQUEST_ID.scope(id.clone(), AssertUnwindSafe(next.run(request)).catch_unwind()).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(request = id, %method, path, panic = panic_text(&*panic), "a handler panicked");
            let mut error = ApiError::internal("the server failed to answer; its log has the cause under this id");
            error.request_id = Some(id.clone());
            Failure::from(error).into_response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    let status = response.status().as_u16();
    tracing::debug!(request = id, %method, path, status, micros = started.elapsed().as_micros() as u64, "answered");
    response
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
