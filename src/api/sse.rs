//! One event stream a project: its log from any number on, and the live output of its commands.
//!
//! A reader takes from the log at its own pace, so a slow one costs nothing and loses nothing. The stream ends when the
//! project is deleted, when the reader leaves, and on shutdown, after `event: bye`.

use super::AppState;
use super::error::{Failure, Path, Query};
use super::metrics::Gauge;
use crate::domain::{ApiError, CommandId, ErrorCode, Event, EventBody, OutputChunk, ProjectId};
use crate::sandbox::{LogFrom, Service};
use crate::store::{EventLog, StoreError};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Proxies close a silent connection after a minute or less.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read from the log at once.
const BATCH: usize = 256;
/// Output in one `output` event, in bytes.
pub(super) const CHUNK: u64 = 64 * 1024;
/// Commands a reader may follow.
const FOLLOWED: usize = 256;

/// The query of the stream.
#[derive(Debug, Default, Deserialize)]
pub struct EventsQuery {
    /// Events up to this number are known. `Last-Event-ID` wins: it is what a reconnecting browser sends.
    after: Option<u64>,
    /// Output already known, as `command:offset` separated by commas.
    outputs: Option<String>,
}

/// `GET /api/projects/{project}/events`
pub async fn events(
    State(app): State<AppState>,
    Path(project): Path<ProjectId>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let log = app.services.store.events().clone();
    let last = log.state(&project).await?.seq;
    let resumed = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let seq = resumed.or(query.after).unwrap_or(0);
    if seq > last {
        let message = format!("event {seq} does not exist yet; the last one is {last}: load the project again");
        return Err(ApiError::new(ErrorCode::Conflict, message).into());
    }
    let feed = Feed {
        seq,
        known: known_outputs(query.outputs.as_deref().unwrap_or_default())?,
        ended: BTreeSet::new(),
        stage: Stage::Greeting,
        woken: log.watch(&project).await?,
        output: app.services.sandbox.output_changed(&project),
        log,
        sandbox: app.services.sandbox.clone(),
        project,
        shutdown: app.shutdown.clone(),
        _open: app.metrics.streams.enter(),
    };
    let frames = futures::stream::unfold(feed, |mut feed| async move {
        let frame = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), feed))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(frames.fuse())).into_response())
}

fn known_outputs(list: &str) -> Result<BTreeMap<CommandId, u64>, ApiError> {
    let invalid = || ApiError::invalid("outputs: expected a list of command:offset, at most 256, separated by commas");
    let entries = list.split(',').filter(|entry| !entry.is_empty()).map(|entry| {
        let (command, offset) = entry.split_once(':').ok_or_else(invalid)?;
        Ok((CommandId::parse(command).map_err(|_| invalid())?, offset.parse().map_err(|_| invalid())?))
    });
    let known = entries.collect::<Result<BTreeMap<_, _>, ApiError>>()?;
    if known.len() > FOLLOWED { Err(invalid()) } else { Ok(known) }
}

/// What comes next.
#[derive(PartialEq)]
enum Stage {
    /// The reconnect time, at once, so that the reader knows it is connected.
    Greeting,
    /// Everything the log already holds.
    Replay,
    /// What happens from now on.
    Live,
    /// Nothing.
    Over,
}

/// One reader of one project.
struct Feed {
    project: ProjectId,
    log: EventLog,
    sandbox: Service,
    /// Number of the last event sent.
    seq: u64,
    /// Output followed: the offset up to which it was sent.
    known: BTreeMap<CommandId, u64>,
    /// Those of them that have ended and are forgotten once sent whole.
    ended: BTreeSet<CommandId>,
    stage: Stage,
    woken: watch::Receiver<u64>,
    output: watch::Receiver<u64>,
    shutdown: CancellationToken,
    _open: Gauge,
}

impl Feed {
    async fn next(&mut self) -> Option<Bytes> {
        if self.stage == Stage::Greeting {
            self.stage = Stage::Replay;
            return Some(Bytes::from_static(b"retry: 1000\n\n"));
        }
        while self.stage != Stage::Over {
            if self.shutdown.is_cancelled() {
                self.stage = Stage::Over;
                return Some(Bytes::from_static(b"event: bye\ndata: {}\n\n"));
            }
            match self.ready().await {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                // A deleted project: the reader learns it from the 404 when it comes back.
                Err(StoreError::NotFound { .. } | StoreError::Closed) => return None,
                Err(error) => {
                    tracing::error!(project = %self.project, %error, "an event stream broke off");
                    return None;
                }
            }
            tokio::select! {
                changed = self.woken.changed() => if changed.is_err() { self.stage = Stage::Over },
                changed = self.output.changed() => if changed.is_err() { self.stage = Stage::Over },
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
        None
    }

    /// What can be sent now: events first, because output belongs to commands that events announce.
    async fn ready(&mut self) -> Result<Option<Bytes>, StoreError> {
        // Marked as seen before reading: what is appended meanwhile wakes the next wait.
        self.woken.borrow_and_update();
        self.output.borrow_and_update();
        let events = self.log.after(&self.project, self.seq, BATCH).await?;
        if !events.is_empty() {
            let mut frame = Vec::new();
            for event in &events {
                self.seq = event.seq;
                self.follow(event);
                encode(&mut frame, None, Some(event.seq), event);
            }
            return Ok(Some(frame.into()));
        }
        if self.stage == Stage::Replay {
            self.stage = Stage::Live;
            self.follow_running().await?;
        }
        Ok(self.read_output().await)
    }

    fn follow(&mut self, event: &Event) {
        match &event.body {
            EventBody::CommandStarted { command, .. } if self.known.len() < FOLLOWED => {
                self.known.entry(command.clone()).or_insert(0);
            }
            EventBody::CommandExited { command, .. } => {
                self.ended.insert(command.clone());
            }
            _ => {}
        }
    }

    /// Commands that began before the reader's first event: those still running are followed, the rest only if asked.
    async fn follow_running(&mut self) -> Result<(), StoreError> {
        let state = self.log.state(&self.project).await?;
        for command in &state.commands {
            if command.exit.is_some() {
                self.ended.insert(command.id.clone());
            } else if self.known.len() < FOLLOWED {
                self.known.entry(command.id.clone()).or_insert(0);
            }
        }
        Ok(())
    }

    /// At most one chunk of each command, so that one that floods does not hold up the others.
    async fn read_output(&mut self) -> Option<Bytes> {
        let mut frame = Vec::new();
        let mut finished = Vec::new();
        for (command, offset) in &mut self.known {
            let ended = self.ended.contains(command);
            let slice = self.sandbox.read_log(&self.project, command, LogFrom::Offset(*offset), CHUNK).await;
            match slice {
                Ok(slice) if slice.end > *offset => {
                    *offset = slice.end;
                    let len = slice.end.saturating_sub(slice.start);
                    let chunk = OutputChunk { command: command.clone(), offset: slice.start, text: slice.text, len };
                    encode(&mut frame, Some("output"), None, &chunk);
                }
                Ok(_) if !ended => {}
                // Sent whole, or gone (an old command): nothing more to say.
                Ok(_) | Err(_) => finished.push(command.clone()),
            }
        }
        for command in finished {
            self.known.remove(&command);
            self.ended.remove(&command);
        }
        (!frame.is_empty()).then(|| frame.into())
    }
}

/// Writes one event. JSON has no raw line feeds, so the data is one line.
fn encode(frame: &mut Vec<u8>, name: Option<&str>, id: Option<u64>, data: &impl Serialize) {
    if let Some(name) = name {
        frame.extend_from_slice(b"event: ");
        frame.extend_from_slice(name.as_bytes());
        frame.push(b'\n');
    }
    if let Some(id) = id {
        frame.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    frame.extend_from_slice(b"data: ");
    let begun = frame.len();
    if let Err(error) = serde_json::to_writer(&mut *frame, data) {
        // Domain types serialize; an event that did not would otherwise be half a line.
        tracing::error!(%error, "an event does not serialize");
        frame.truncate(begun);
    }
    frame.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_name_id_and_one_line_of_data() {
        let mut frame = Vec::new();
        encode(&mut frame, None, Some(7), &serde_json::json!({"text": "a\nb"}));
        encode(&mut frame, Some("output"), None, &1);
        assert_eq!(
            String::from_utf8(frame).unwrap(),
            "id: 7\ndata: {\"text\":\"a\\nb\"}\n\nevent: output\ndata: 1\n\n"
        );
    }

    #[test]
    fn known_outputs_are_checked() {
        assert_eq!(known_outputs("cmd_a:5,cmd_b:0,").unwrap().len(), 2);
        assert!(known_outputs("cmd_a").is_err());
        assert!(known_outputs("prj_a:1").is_err());
        assert!(known_outputs("cmd_a:-1").is_err());
    }
}
