//! Sandboxes by their own id: state, files, commands and their output.

use super::AppState;
use super::error::{Failure, Json, Path, Query};
use super::sse::CHUNK;
use crate::domain::{
    ApiError, CommandExit, CommandId, CommandView, FileNode, OutputChunk, PortView, ProjectId, ProjectState, SandboxId,
    SandboxView,
};
use crate::sandbox::LogFrom;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Answer of `GET /api/sandboxes/{sandbox}`.
#[derive(Debug, Serialize)]
pub struct SandboxAnswer {
    project: ProjectId,
    #[serde(flatten)]
    sandbox: SandboxView,
    ports: Vec<PortView>,
}

/// `GET /api/sandboxes/{sandbox}`
pub async fn get(State(app): State<AppState>, Path(id): Path<SandboxId>) -> Result<Json<SandboxAnswer>, Failure> {
    let state = project_of(&app, &id).await?;
    let sandbox = state.sandbox.clone().ok_or_else(|| unknown(&id))?;
    Ok(Json(SandboxAnswer { project: state.id.clone(), sandbox, ports: state.ports.clone() }))
}

/// The query of the files route.
#[derive(Debug, Deserialize)]
pub struct FilesQuery {
    path: Option<String>,
}

/// Answer of the files route without a path.
#[derive(Debug, Serialize)]
struct Tree {
    files: Vec<FileNode>,
}

/// `GET /api/sandboxes/{sandbox}/files`: the tree, or with `?path=` one file.
pub async fn files(
    State(app): State<AppState>,
    Path(id): Path<SandboxId>,
    Query(query): Query<FilesQuery>,
) -> Result<Response, Failure> {
    let state = project_of(&app, &id).await?;
    let sandbox = &app.services.sandbox;
    Ok(match query.path {
        Some(path) => Json(sandbox.read_file(&state.id, &path).await?).into_response(),
        None => Json(Tree { files: sandbox.list_files(&state.id).await? }).into_response(),
    })
}

/// `GET /api/sandboxes/{sandbox}/cmds/{command}`
pub async fn command(
    State(app): State<AppState>,
    Path((id, command)): Path<(SandboxId, CommandId)>,
) -> Result<Json<CommandView>, Failure> {
    let state = project_of(&app, &id).await?;
    Ok(Json(find_command(&state, &command)?.clone()))
}

/// The query of the logs route.
#[derive(Debug, Deserialize)]
pub struct LogsQuery {
    /// Offset to begin at.
    #[serde(default)]
    from: u64,
    /// `false` ends the answer with what there is now.
    #[serde(default = "yes")]
    follow: bool,
    /// `true` is the output alone, for people.
    #[serde(default)]
    text: bool,
}

fn yes() -> bool {
    true
}

/// The last line of a log.
#[derive(Debug, Serialize)]
struct Exited<'a> {
    exit: &'a CommandExit,
}

/// `GET /api/sandboxes/{sandbox}/cmds/{command}/logs`: output as lines of JSON or as text, live until the command has
/// ended.
pub async fn logs(
    State(app): State<AppState>,
    Path((id, command)): Path<(SandboxId, CommandId)>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Failure> {
    let state = project_of(&app, &id).await?;
    find_command(&state, &command)?;
    let LogsQuery { from: offset, follow, text } = query;
    let tail = Tail { app, project: state.id.clone(), command, offset, follow, text, over: false };
    let lines = futures::stream::unfold(tail, |mut tail| async move {
        let line = tail.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), tail))
    });
    let headers = [
        (header::CONTENT_TYPE, if text { "text/plain; charset=utf-8" } else { "application/x-ndjson" }),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(lines.fuse())).into_response())
}

/// One reader of one command's output.
struct Tail {
    app: AppState,
    project: ProjectId,
    command: CommandId,
    offset: u64,
    follow: bool,
    text: bool,
    over: bool,
}

impl Tail {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let services = &self.app.services;
        let mut output = services.sandbox.output_changed(&self.project);
        let mut woken = services.store.events().watch(&self.project).await.ok()?;
        loop {
            // The end is looked up before the output: what is written until then is read after it.
            let state = services.store.events().state(&self.project).await.ok()?;
            let exit = state.command(&self.command).and_then(|command| command.exit.as_ref());
            let from = LogFrom::Offset(self.offset);
            let slice = services.sandbox.read_log(&self.project, &self.command, from, CHUNK).await.ok()?;
            if slice.end > self.offset {
                self.offset = slice.end;
                if self.text {
                    return Some(slice.text.into());
                }
                let len = slice.end.saturating_sub(slice.start);
                let command = self.command.clone();
                return line(&OutputChunk { command, offset: slice.start, text: slice.text, len });
            }
            if let Some(exit) = exit {
                self.over = true;
                if self.text {
                    return None;
                }
                return line(&Exited { exit });
            }
            if !self.follow {
                return None;
            }
            tokio::select! {
                changed = output.changed() => changed.ok()?,
                changed = woken.changed() => changed.ok()?,
                () = self.app.shutdown.cancelled() => return None,
            }
        }
    }
}

fn line(value: &impl Serialize) -> Option<Bytes> {
    let mut line = serde_json::to_vec(value).ok()?;
    line.push(b'\n');
    Some(line.into())
}

async fn project_of(app: &AppState, id: &SandboxId) -> Result<Arc<ProjectState>, Failure> {
    let project = app.services.sandbox.find(id).ok_or_else(|| unknown(id))?;
    Ok(app.services.store.events().state(&project).await?)
}

fn unknown(id: &SandboxId) -> ApiError {
    ApiError::not_found(format!("there is no sandbox with the id {id}"))
}

fn find_command<'a>(state: &'a ProjectState, id: &CommandId) -> Result<&'a CommandView, ApiError> {
    state.command(id).ok_or_else(|| ApiError::not_found(format!("there is no command with the id {id}")))
}
