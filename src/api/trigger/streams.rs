//! A run's stream: the output of its command, live, as server-sent events that can be continued.
//!
//! `run-command` has one stream, `output`. An event's id is the byte it ends at, so a reader that comes back goes on
//! behind what it has.

use super::super::AppState;
use super::auth::Reader;
use super::error::Refusal;
use super::runs::readable;
use crate::domain::{CommandId, ProjectId, RunId};
use crate::sandbox::LogFrom;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;

/// The stream that a command has.
const OUTPUT: &str = "output";
/// Output in one event, in bytes.
const CHUNK: u64 = 32 << 10;
/// Proxies close a silent connection after a minute or less; it is also when a missed change is made up for.
const HEARTBEAT: Duration = Duration::from_secs(15);

struct Follower {
    app: AppState,
    project: ProjectId,
    run: RunId,
    offset: u64,
    /// Set once everything was sent.
    over: bool,
}

/// `GET /realtime/v1/streams/{run}/{stream}`
pub async fn read(
    State(app): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    reader: Reader,
) -> Result<Response, Refusal> {
    let run = readable(&app, &reader, &id).await?;
    let project = run.summary.project.clone().filter(|_| run.summary.task == "run-command" && name == OUTPUT);
    let Some(project) = project else {
        return Err(Refusal::not_found("stream", &format!("\"{name}\" of the run {id}; run-command has \"{OUTPUT}\"")));
    };
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let offset = last.and_then(|id| id.split('-').next()).and_then(|offset| offset.parse().ok()).unwrap_or(0);
    let follower = Follower { app, project, run: run.summary.id, offset, over: false };
    let frames = stream::unfold(follower, |mut follower| async move {
        if follower.over {
            return None;
        }
        let shutdown = follower.app.shutdown.clone();
        let frame = shutdown.run_until_cancelled(follower.next()).await?;
        Some((Ok::<_, Infallible>(frame), follower))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-stream-version"), "v1"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

impl Follower {
    /// The next frame: a piece of output, a sign of life, or the end.
    async fn next(&mut self) -> Bytes {
        let mut changes = self.app.services.workflow.store().changes();
        let mut output = self.app.services.sandbox.output_changed(&self.project);
        loop {
            // Whether it is over is asked first: what was written before that is then read below.
            let over = self.run_is_over().await;
            if let Some(frame) = self.piece().await {
                return frame;
            }
            if over {
                self.over = true;
                return Bytes::from_static(b": end\n\n");
            }
            let changed = async {
                tokio::select! {
                    _told = output.changed() => {}
                    _told = changes.recv() => {}
                }
            };
            if tokio::time::timeout(HEARTBEAT, changed).await.is_err() {
                return Bytes::from_static(b": still here\n\n");
            }
        }
    }

    async fn run_is_over(&self) -> bool {
        let run = self.app.services.workflow.record_of(&self.run).await;
        run.map_or(true, |run| run.summary.status.is_final())
    }

    async fn piece(&mut self) -> Option<Bytes> {
        let command = self.command().await?;
        let from = LogFrom::Offset(self.offset);
        let slice = self.app.services.sandbox.read_log(&self.project, &command, from, CHUNK).await.ok()?;
        if slice.end <= self.offset {
            return None;
        }
        self.offset = slice.end;
        Some(format!("id: {}-0\ndata: {}\n\n", slice.end, json!(slice.text)).into())
    }

    async fn command(&self) -> Option<CommandId> {
        let state = self.app.services.store.events().state(&self.project).await.ok()?;
        state.commands.iter().rev().find(|command| command.run.as_ref() == Some(&self.run)).map(|c| c.id.clone())
    }
}
