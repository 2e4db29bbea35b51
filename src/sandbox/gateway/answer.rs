//! Answers: JSON, errors as e2b's SDKs read them, and what browsers need to be told.

use super::{Answer, text};
use crate::sandbox::SandboxError;
use crate::sandbox::fleet::FleetError;
use crate::sandbox::preview::ProxyBody;
use crate::store::StoreError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

/// A body in one piece.
pub(super) fn full(bytes: impl Into<Bytes>) -> ProxyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer with a body and its type.
pub(super) fn typed(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    typed(status, "application/json", value.to_string())
}

/// Text.
pub(super) fn plain(status: StatusCode, words: &'static str) -> Answer {
    typed(status, "text/plain; charset=utf-8", words)
}

/// Nothing but a status.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error as the control plane and the file routes tell it. The SDKs look at the code in the body. What cannot
/// succeed by trying again says so, or the Python SDK would.
pub(super) fn error(status: StatusCode, message: impl AsRef<str>) -> Answer {
    let body = json!({ "code": status.as_u16(), "message": message.as_ref() });
    let mut response = typed(status, "application/json; charset=utf-8", body.to_string());
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert("should-retry", HeaderValue::from_static("false"));
    }
    response
}

/// What the proxy in front of sandboxes says of one that does not answer. The Python SDK looks for these words.
pub(super) fn routing_error(id: &str, message: &str, port: Option<u16>) -> Answer {
    let mut body = json!({ "sandboxId": id, "message": message, "code": 502 });
    if let Some(port) = port {
        body["port"] = port.into();
    }
    json(StatusCode::BAD_GATEWAY, &body)
}

/// What the control plane answers to a failure.
pub(super) fn fleet_error(failed: &FleetError) -> Answer {
    let status = match failed {
        FleetError::NoSandbox(_) | FleetError::NoImage(_) | FleetError::NoBuild(_) => StatusCode::NOT_FOUND,
        FleetError::Paused | FleetError::Conflict(_) => StatusCode::CONFLICT,
        FleetError::Invalid(_) => StatusCode::BAD_REQUEST,
        FleetError::Full(_) | FleetError::Snapshots(_) => StatusCode::TOO_MANY_REQUESTS,
        FleetError::Closing | FleetError::Store(StoreError::Closed) => StatusCode::SERVICE_UNAVAILABLE,
        FleetError::Store(StoreError::Full) => StatusCode::INSUFFICIENT_STORAGE,
        FleetError::Store(failed) => {
            tracing::error!(error = %failed, "e2b API");
            return error(StatusCode::INTERNAL_SERVER_ERROR, "the database failed; the server's log says why");
        }
        FleetError::Sandbox(failed) => sandbox_status(failed),
    };
    error(status, failed.to_string())
}

fn sandbox_status(failed: &SandboxError) -> StatusCode {
    match failed {
        SandboxError::Path(_) | SandboxError::Invalid(_) => StatusCode::BAD_REQUEST,
        SandboxError::NotFound(_) => StatusCode::NOT_FOUND,
        SandboxError::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
        _ => {
            tracing::error!(error = %failed, "e2b API");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Any site may use a sandbox's services: they are opened by a token that no browser adds by itself.
pub(super) fn allow_any_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// What a browser wants to know before it asks.
pub(super) fn preflight(asked: &HeaderMap) -> Answer {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    let echo = [
        ("access-control-request-headers", header::ACCESS_CONTROL_ALLOW_HEADERS),
        ("access-control-request-method", header::ACCESS_CONTROL_ALLOW_METHODS),
    ];
    for (question, name) in echo {
        if let Some(value) = text(asked, question).and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    headers.insert(HeaderName::from_static("access-control-allow-origin"), HeaderValue::from_static("*"));
    response
}
