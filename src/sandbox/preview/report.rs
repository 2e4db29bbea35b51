//! What the script in an app's pages reports: errors and blank pages. It comes from the app, so nothing in it is trusted.

use super::{BoxError, ProxyBody};
use crate::domain::{FaultKind, ProjectId};
use crate::sandbox::{SeenFault, Service};
use crate::store::now_ms;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Body;
use serde::Deserialize;

/// Where the script posts to, on the app's own origin; an app that has such a path itself cannot be reached there.
pub(super) const PATH: &str = "/.sandcastle/report";
/// The largest report.
const MAX: usize = 16 * 1024;

#[derive(Deserialize)]
struct Report {
    kind: FaultKind,
    title: String,
    #[serde(default)]
    detail: String,
    /// Milliseconds since the page was loaded.
    #[serde(default)]
    age: Option<u64>,
    /// Whether it holds a line to its server, as hot reload does, and so changes when files do.
    #[serde(default)]
    follows: bool,
}

/// Takes a report.
pub(super) async fn take<B>(service: &Service, project: &ProjectId, request: Request<B>) -> Response<ProxyBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let body = Limited::new(request.into_body(), MAX).collect().await;
    let report = body.ok().and_then(|body| serde_json::from_slice::<Report>(&body.to_bytes()).ok());
    let wanted =
        report.filter(|r| matches!(r.kind, FaultKind::Browser | FaultKind::Blank) && !r.title.trim().is_empty());
    let status = match wanted {
        Some(report) => {
            let seen = SeenFault::new(project, report.kind, &report.title, &report.detail);
            let age = report.age.filter(|_| !report.follows);
            service.report_fault(SeenFault { page_at: age.map(|age| now_ms().saturating_sub(age)), ..seen });
            StatusCode::NO_CONTENT
        }
        None => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
