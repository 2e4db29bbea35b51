//! Requests that are not the platform's own: previews, by their host, and e2b's. No route, cookie or policy of the
//! platform exists there.

use super::AppState;
use super::guard::host;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

/// Sends them where they belong.
pub async fn dispatch(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if let Some(claim) = app.gateway.claim(&request) {
        return app.gateway.handle(claim, request).await.map(Body::new);
    }
    match host(&request).and_then(|host| app.preview.parse_host(host)) {
        Some(_) => app.preview.handle(request).await.map(Body::new),
        None => next.run(request).await,
    }
}
