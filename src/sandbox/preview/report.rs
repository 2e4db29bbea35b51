//! What the script in an app's pages reports: errors and blank pages. It comes from the app, so nothing in it is trusted.

use super::{BoxError, ProxyBody};
use crate::domain::{FaultKind, ProjectId};
use crate::sandbox::Service;
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
            service.report_fault(project, report.kind, &report.title, &report.detail);
            StatusCode::NO_CONTENT
        }
        None => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
