//! e2b's `process.Process`: commands, their output, input and signals.
//!
//! Differs from the original where people suffer from it: a command belongs to the sandbox, so whoever connects, early or
//! late, is told all that is kept and how it ended; and the caller's deadline ends a command only while that caller is
//! there.

mod input;
mod start;
mod watch;

use super::access::printable;
use super::frame::{self, Code, RpcError, check_call, read_unary, unary};
use super::{Answer, Incoming};
use crate::sandbox::SandboxError;
use crate::sandbox::fleet::{Command, Live, Sandbox, Selector};
use crate::sandbox::provider::{ProcessConfig, Signal, TerminalSize};
use input::{InputMessage, closed, input, stream_input};
use serde::Deserialize;
use serde_json::{Value, json};
use start::{connect, start};
use std::sync::Arc;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PtyMessage {
    size: Option<SizeMessage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SizeMessage {
    cols: u32,
    rows: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SelectorMessage {
    pid: Option<u32>,
    tag: Option<String>,
}

/// Every other request: which process, and what about it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request {
    process: Option<SelectorMessage>,
    input: Option<InputMessage>,
    signal: Value,
    pty: Option<PtyMessage>,
}

fn invalid(message: impl Into<String>) -> RpcError {
    RpcError::new(Code::InvalidArgument, message)
}

/// Answers a call.
pub(super) async fn handle(sandbox: &Arc<Sandbox>, live: &Live, method: &str, request: Incoming) -> Answer {
    let streams = matches!(method, "Start" | "Connect" | "StreamInput");
    if !streams && !matches!(method, "List" | "Update" | "SendInput" | "SendSignal" | "CloseStdin") {
        return super::answer::plain(http::StatusCode::NOT_FOUND, "404 page not found\n");
    }
    if let Err(refused) = check_call(&request, streams) {
        return refused;
    }
    let streamed = |result: Result<Answer, RpcError>| result.unwrap_or_else(|error| frame::stream_error(&error));
    match method {
        "Start" => streamed(start(sandbox, live, request).await),
        "Connect" => streamed(connect(sandbox, live, request).await),
        "StreamInput" => streamed(stream_input(live, request).await),
        "List" => unary(list(live, request).await),
        method => unary(act(live, method, request).await),
    }
}

fn size(size: SizeMessage) -> TerminalSize {
    let within = |number: u32, usual: u16| if number == 0 { usual } else { u16::try_from(number).unwrap_or(u16::MAX) };
    TerminalSize { columns: within(size.cols, 80), rows: within(size.rows, 24) }
}

fn failed(error: SandboxError) -> RpcError {
    let code = match &error {
        SandboxError::Invalid(_) | SandboxError::Path(_) => Code::InvalidArgument,
        SandboxError::NotFound(_) => Code::NotFound,
        SandboxError::Limit(_) => Code::ResourceExhausted,
        SandboxError::Dead(_) => Code::Unavailable,
        _ => Code::Internal,
    };
    RpcError::new(code, error.to_string())
}

fn find(live: &Live, process: Option<SelectorMessage>) -> Result<Arc<Command>, RpcError> {
    let selector = match process.unwrap_or_default() {
        SelectorMessage { pid: Some(pid), .. } => Selector::Pid(pid),
        SelectorMessage { tag: Some(tag), .. } => Selector::Tag(tag),
        _ => return Err(invalid("the process is named neither by pid nor by tag")),
    };
    live.hub.find(&selector).ok_or_else(|| missing(&selector))
}

fn missing(selector: &Selector) -> RpcError {
    let which = match selector {
        Selector::Pid(pid) => format!("pid {pid}"),
        Selector::Tag(tag) => format!("tag {}", printable(tag)),
    };
    RpcError::new(Code::NotFound, format!("process with {which} not found"))
}

/// A command that can still be told something.
fn find_running(live: &Live, process: Option<SelectorMessage>) -> Result<Arc<Command>, RpcError> {
    let command = find(live, process)?;
    if command.output.ended().is_some() { Err(missing(&Selector::Pid(command.pid))) } else { Ok(command) }
}

async fn list(live: &Live, request: Incoming) -> Result<Value, RpcError> {
    let _nothing_asked: serde_json::Map<String, Value> = read_unary(request).await?;
    let processes: Vec<Value> = live
        .hub
        .running()
        .iter()
        .filter_map(|command| {
            let asked = command.config()?;
            let ProcessConfig { cmd, args, envs, cwd, .. } = asked.as_ref();
            let cwd = if cwd.is_empty() { &*live.workdir } else { cwd };
            let mut config = json!({ "cmd": cmd, "cwd": cwd });
            if !args.is_empty() {
                config["args"] = json!(args);
            }
            if !envs.is_empty() {
                config["envs"] = json!(envs);
            }
            let mut process = json!({ "config": config, "pid": command.pid });
            if let Some(tag) = &command.tag {
                process["tag"] = json!(tag);
            }
            Some(process)
        })
        .collect();
    Ok(if processes.is_empty() { json!({}) } else { json!({ "processes": processes }) })
}

async fn act(live: &Live, method: &str, request: Incoming) -> Result<Value, RpcError> {
    let asked: Request = read_unary(request).await?;
    match method {
        "SendInput" => input(find_running(live, asked.process)?.as_ref(), asked.input.unwrap_or_default()).await?,
        "CloseStdin" => {
            let command = find_running(live, asked.process)?;
            if command.has_terminal {
                return Err(RpcError::new(Code::FailedPrecondition, "a terminal is not closed; send it Ctrl-D"));
            }
            if !command.close_stdin() {
                return Err(closed());
            }
        }
        "SendSignal" => {
            let signal = signal(&asked.signal)?;
            let command = find_running(live, asked.process)?;
            live.hub.signal(&command, signal).await.map_err(failed)?;
        }
        _ => {
            let command = find_running(live, asked.process)?;
            let Some(terminal) = command.terminal() else {
                return Err(RpcError::new(Code::FailedPrecondition, "tty not assigned to process"));
            };
            if let Some(wanted) = asked.pty.and_then(|pty| pty.size) {
                terminal.resize(size(wanted)).map_err(failed)?;
            }
        }
    }
    Ok(json!({}))
}

fn signal(value: &Value) -> Result<Signal, RpcError> {
    match (value.as_str(), value.as_u64()) {
        (Some("SIGNAL_SIGTERM"), _) | (_, Some(15)) => Ok(Signal::Terminate),
        (Some("SIGNAL_SIGKILL"), _) | (_, Some(9)) => Ok(Signal::Kill),
        _ => Err(invalid("the signal is neither SIGNAL_SIGTERM nor SIGNAL_SIGKILL")),
    }
}
