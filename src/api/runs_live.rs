//! The stream that says "runs changed", for pages that then look again. It carries no run: what a page shows is drawn
//! by the server, so one word is enough, and a busy engine costs a page one look a second.

use super::AppState;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Between two words.
const CALM: Duration = Duration::from_millis(700);
/// Proxies close a silent connection after a minute or less.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /api/runs/events`
pub async fn events(State(app): State<AppState>) -> Response {
    let changes = app.services.workflow.store().changes();
    let gauge = app.metrics.streams.enter();
    let shutdown = app.shutdown;
    let frames = stream::unfold((changes, gauge, false), move |(mut changes, gauge, spoke)| {
        let shutdown = shutdown.clone();
        async move {
            if !spoke {
                // Headers of a stream that says nothing yet would wait in a buffer.
                return Some((Ok::<_, Infallible>(Bytes::from_static(b": open\n\n")), (changes, gauge, true)));
            }
            let frame = shutdown.run_until_cancelled(next(&mut changes)).await?;
            Some((Ok(frame), (changes, gauge, true)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

async fn next(changes: &mut Receiver<crate::workflow::RunChange>) -> Bytes {
    match tokio::time::timeout(HEARTBEAT, changes.recv()).await {
        Err(_) => Bytes::from_static(b": still here\n\n"),
        Ok(Err(RecvError::Closed)) => std::future::pending().await,
        Ok(Ok(_) | Err(RecvError::Lagged(_))) => {
            // Changes come in groups; the ones after the first are told with it.
            tokio::time::sleep(CALM).await;
            *changes = changes.resubscribe();
            Bytes::from_static(b"data: changed\n\n")
        }
    }
}
