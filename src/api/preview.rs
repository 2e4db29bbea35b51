//! Requests whose host is a preview's go to the preview proxy and nowhere else: no route, cookie or policy of the
//! platform exists there.

use super::AppState;
use super::guard::host;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

/// Sends preview requests to the proxy.
pub async fn dispatch(State(app): State<AppState>, request: Request, next: Next) -> Response {
    match host(&request).and_then(|host| app.preview.parse_host(host)) {
        Some(_) => app.preview.handle(request).await.map(Body::new),
        None => next.run(request).await,
    }
}
