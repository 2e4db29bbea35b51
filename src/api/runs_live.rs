//! The stream that says "runs changed", for pages that then look again. It carries no run: what a page shows is drawn
//! by the server, so one word is enough, and a busy engine costs a page one look a second.

use super::AppState;
use crate::store::{RunStore, now_ms};
use crate::workflow::RunChange;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Between two words.
const CALM: Duration = Duration::from_millis(700);
/// Proxies close a silent connection after a minute or less.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A page was drawn at most so long before it opened its stream.
const DRAWN: Duration = Duration::from_secs(10);

/// `GET /api/runs/events`
pub async fn events(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let runs = app.services.workflow.store().clone();
    let changes = runs.changes();
    // What changed since the page was drawn, or since its last stream broke off, is told first.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let seen = seen.unwrap_or_else(|| now_ms().saturating_sub(DRAWN.as_millis() as u64));
    let missed = if runs.changed_at() > seen { "data: changed\n" } else { "" };
    let open = Bytes::from(format!("id: {}\n{missed}\n", runs.changed_at()));
    let gauge = app.metrics.streams.enter();
    let shutdown = app.shutdown;
    let frames = stream::unfold((changes, gauge, Some(open)), move |(mut changes, gauge, open)| {
        let (shutdown, runs) = (shutdown.clone(), runs.clone());
        async move {
            // Headers of a stream that says nothing yet would wait in a buffer.
            let frame = match open {
                Some(open) => open,
                None => shutdown.run_until_cancelled(next(&runs, &mut changes)).await?,
            };
            Some((Ok::<_, Infallible>(frame), (changes, gauge, None)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

async fn next(runs: &RunStore, changes: &mut Receiver<RunChange>) -> Bytes {
    match tokio::time::timeout(HEARTBEAT, changes.recv()).await {
        Err(_) => Bytes::from_static(b": still here\n\n"),
        Ok(Err(RecvError::Closed)) => std::future::pending().await,
        Ok(Ok(_) | Err(RecvError::Lagged(_))) => {
            // Changes come in groups; the ones after the first are told with it.
            tokio::time::sleep(CALM).await;
            *changes = changes.resubscribe();
            Bytes::from(format!("id: {}\ndata: changed\n\n", runs.changed_at()))
        }
    }
}
