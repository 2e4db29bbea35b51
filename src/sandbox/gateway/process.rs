//! e2b's `process.Process`: commands, their output, input and signals.
//!
//! Differs from the original where people suffer from it: a command belongs to the sandbox, so whoever connects, early or
//! late, is told all that is kept and how it ended; and the caller's deadline ends a command only while that caller is
//! there.

use super::access::{absolute, printable, rpc_user};
use super::frame::{self, Code, Messages, RpcError, check_call, deadline, read_unary, unary};
use super::{Answer, Incoming, text};
use crate::sandbox::SandboxError;
use crate::sandbox::fleet::{Command, Level, Live, Sandbox, Seen, Selector, Source, Viewer};
use crate::sandbox::provider::{ExitStatus, ProcessConfig, Signal, TerminalSize, TreeKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The first byte of output a viewer wants, or `end` for none of what was before. Ours; absent means all.
const FROM_HEADER: &str = "sandcastle-output-from";
const KEEPALIVE: Duration = Duration::from_secs(90);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigMessage {
    cmd: String,
    args: Vec<String>,
    envs: BTreeMap<String, String>,
    cwd: Option<String>,
}

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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StartRequest {
    process: Option<ConfigMessage>,
    pty: Option<PtyMessage>,
    tag: Option<String>,
    stdin: Option<bool>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputMessage {
    stdin: Option<String>,
    pty: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamInputRequest {
    start: Option<Request>,
    data: Option<Request>,
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

async fn start(sandbox: &Arc<Sandbox>, live: &Live, request: Incoming) -> Result<Answer, RpcError> {
    let user = rpc_user(&request).map_err(|message| RpcError::new(Code::Unauthenticated, message))?;
    let (limit, keepalive) = (deadline(&request)?, keepalive(&request)?);
    let begun = Instant::now();
    let asked: StartRequest = only(request).await?;
    let tag = asked.tag.clone();
    let config = config(live, asked, &user).await?;
    let line = printable(&[std::slice::from_ref(&config.cmd), config.args.as_slice()].concat().join(" "));
    let command = run(live, config, tag).await?;
    sandbox.journal.add(Level::Debug, format!("started {}: {line}", command.pid));
    let timing = Timing { until: limit.map(|limit| begun + limit), keepalive };
    let doom =
        limit.map(|limit| Doom { spared: live.hub.end_at(&command, begun + limit), until: begun + limit, limit });
    Ok(watch(sandbox, live, &command, command.view(0), timing, doom))
}

async fn connect(sandbox: &Arc<Sandbox>, live: &Live, request: Incoming) -> Result<Answer, RpcError> {
    let (limit, keepalive) = (deadline(&request)?, keepalive(&request)?);
    let from = match text(request.headers(), FROM_HEADER) {
        None => 0,
        Some("end") => u64::MAX,
        Some(number) => number.parse().map_err(|_| invalid("Sandcastle-Output-From is a number of bytes, or end"))?,
    };
    let begun = Instant::now();
    let asked: Request = only(request).await?;
    let command = find(live, asked.process)?;
    let timing = Timing { until: limit.map(|limit| begun + limit), keepalive };
    Ok(watch(sandbox, live, &command, command.view(from), timing, None))
}

/// The one message of a call that is answered by a stream.
async fn only<T: serde::de::DeserializeOwned>(request: Incoming) -> Result<T, RpcError> {
    Messages::of(request)?.next().await?.ok_or_else(|| invalid("the request has no message"))
}

async fn config(live: &Live, asked: StartRequest, user: &str) -> Result<ProcessConfig, RpcError> {
    let process = asked.process.unwrap_or_default();
    if process.cmd.is_empty() {
        return Err(invalid("the process has no cmd"));
    }
    let texts = process.args.iter().chain([&process.cmd]).chain(process.envs.keys()).chain(process.envs.values());
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(invalid("the command or its environment contains a NUL"));
    }
    if process.envs.keys().any(|name| name.is_empty() || name.contains('=')) {
        return Err(invalid("the name of a variable is empty or contains an equals sign"));
    }
    let mut cwd = String::new();
    if let Some(given) = process.cwd.filter(|cwd| !cwd.is_empty()) {
        cwd = absolute(&given).map_err(invalid)?;
        let entry = live.tree.stat(&cwd).await.ok();
        if entry.and_then(|entry| entry.kind) != Some(TreeKind::Directory) {
            return Err(invalid(format!("cwd '{}' does not exist", printable(&cwd))));
        }
    }
    let mut envs = process.envs;
    if user == "root" {
        for name in ["USER", "LOGNAME"] {
            envs.entry(name.to_owned()).or_insert_with(|| user.to_owned());
        }
    }
    let terminal = asked.pty.map(|pty| size(pty.size.unwrap_or_default()));
    // Absent means open, as it was before the field was there.
    let stdin = asked.stdin.unwrap_or(true);
    Ok(ProcessConfig { cmd: process.cmd, args: process.args, envs, cwd, stdin, terminal })
}

fn size(size: SizeMessage) -> TerminalSize {
    let within = |number: u32, usual: u16| if number == 0 { usual } else { u16::try_from(number).unwrap_or(u16::MAX) };
    TerminalSize { columns: within(size.cols, 80), rows: within(size.rows, 24) }
}

async fn run(live: &Live, config: ProcessConfig, tag: Option<String>) -> Result<Arc<Command>, RpcError> {
    match live.hub.start(config.clone(), tag.clone()).await {
        // The original runs everything below a shell, which starts and then says that there is no such program.
        Err(SandboxError::NotFound(_)) => {
            let script = ["-c".to_owned(), "exec \"$0\" \"$@\"".to_owned(), config.cmd];
            let args = script.into_iter().chain(config.args).collect();
            let shell = ProcessConfig { cmd: "/bin/sh".to_owned(), args, ..config };
            live.hub.start(shell, tag).await.map_err(failed)
        }
        result => result.map_err(failed),
    }
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
    let _: Value = read_unary(request).await?;
    let processes: Vec<Value> = live
        .hub
        .running()
        .iter()
        .map(|command| {
            let ProcessConfig { cmd, args, envs, cwd, .. } = &command.config;
            let cwd = if cwd.is_empty() { super::access::HOME } else { cwd };
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
            process
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
            if command.terminal.is_some() {
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
            let Some(terminal) = &command.terminal else {
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

fn closed() -> RpcError {
    RpcError::new(Code::FailedPrecondition, "stdin is not enabled or closed")
}

async fn input(command: &Command, input: InputMessage) -> Result<(), RpcError> {
    let (text, for_terminal) = match input {
        InputMessage { stdin: Some(text), .. } => (text, false),
        InputMessage { pty: Some(text), .. } => (text, true),
        _ => return Err(invalid("the input is neither for stdin nor for a pty")),
    };
    if for_terminal != command.terminal.is_some() {
        let message = if for_terminal { "tty not assigned to process" } else { "the process has a tty" };
        return Err(RpcError::new(Code::FailedPrecondition, message));
    }
    let bytes = STANDARD.decode(text).map_err(|_| invalid("the input is not base64"))?;
    if command.input(bytes.into()).await { Ok(()) } else { Err(closed()) }
}

async fn stream_input(live: &Live, request: Incoming) -> Result<Answer, RpcError> {
    let mut messages = Messages::of(request)?;
    let mut command = None;
    while let Some(message) = messages.next::<StreamInputRequest>().await? {
        if let Some(start) = message.start {
            command = Some(find_running(live, start.process)?);
        } else if let Some(data) = message.data {
            let command = command.as_ref().ok_or_else(|| invalid("the first message names no process"))?;
            input(command, data.input.unwrap_or_default()).await?;
        }
    }
    Ok(frame::stream(futures::stream::once(async { Ok(Bytes::from_static(b"{}")) })))
}

fn keepalive(request: &Incoming) -> Result<Duration, RpcError> {
    let Some(given) = text(request.headers(), "keepalive-ping-interval") else { return Ok(KEEPALIVE) };
    let seconds = given.parse::<u32>().map_err(|_| invalid("Keepalive-Ping-Interval is not a number of seconds"))?;
    Ok(Duration::from_secs(seconds.max(1).into()))
}

#[derive(Clone, Copy)]
struct Timing {
    until: Option<Instant>,
    keepalive: Duration,
}

/// The end of a command at its caller's deadline. A caller who leaves long before has let go of the command, which then
/// lives on; one who leaves around the deadline keeps the same time as we do.
struct Doom {
    spared: CancellationToken,
    until: Instant,
    limit: Duration,
}

impl Drop for Doom {
    fn drop(&mut self) {
        let left = self.until.saturating_duration_since(Instant::now());
        if left > (self.limit / 10).max(Duration::from_secs(1)) {
            self.spared.cancel();
        }
    }
}

/// One caller's look at a command.
struct Watching {
    sandbox: Arc<Sandbox>,
    live: Live,
    pid: u32,
    viewer: Viewer,
    timing: Timing,
    /// Held as long as the caller is there.
    _doom: Option<Doom>,
    told_start: bool,
    done: bool,
}

/// Streams a command to a caller.
fn watch(
    sandbox: &Arc<Sandbox>,
    live: &Live,
    command: &Command,
    viewer: Viewer,
    timing: Timing,
    doom: Option<Doom>,
) -> Answer {
    let watching = Watching {
        sandbox: Arc::clone(sandbox),
        live: live.clone(),
        pid: command.pid,
        viewer,
        timing,
        _doom: doom,
        told_start: false,
        done: false,
    };
    frame::stream(futures::stream::unfold(watching, |mut watching| async move {
        let message = watching.next().await?;
        Some((message, watching))
    }))
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Bytes, RpcError>> {
        if self.done {
            return None;
        }
        if !self.told_start {
            self.told_start = true;
            return Some(Ok(event(&json!({ "start": { "pid": self.pid } }))));
        }
        let until = self.timing.until;
        let deadline = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let seen = tokio::select! {
            biased;
            () = self.live.awake.cancelled() => Err(self.interrupted()),
            seen = self.viewer.next() => Ok(seen),
            () = deadline => Err(RpcError::new(Code::DeadlineExceeded, "context deadline exceeded")),
            () = tokio::time::sleep(self.timing.keepalive) => return Some(Ok(event(&json!({ "keepalive": {} })))),
        };
        match seen {
            Ok(Seen::Output(source, bytes)) => Some(Ok(data(source, &bytes))),
            Ok(Seen::End(status)) => {
                self.done = true;
                Some(Ok(event(&json!({ "end": end(&status) }))))
            }
            Ok(Seen::TooSlow) => {
                self.done = true;
                let message = "this reader was too slow and missed output; connect again for what is kept";
                Some(Err(RpcError::new(Code::ResourceExhausted, message)))
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        }
    }

    /// The sandbox was paused or is gone. The SDKs look at these words, then at its health.
    fn interrupted(&self) -> RpcError {
        let id = self.sandbox.id();
        RpcError::new(Code::Unavailable, format!("the sandbox {id} was not found: it was paused or has ended"))
    }
}

fn event(event: &Value) -> Bytes {
    json!({ "event": event }).to_string().into()
}

/// Written by hand: output is most of what is sent.
fn data(source: Source, bytes: &[u8]) -> Bytes {
    let name = match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
        Source::Terminal => "pty",
    };
    let mut message = String::with_capacity(bytes.len() * 4 / 3 + 64);
    message.push_str("{\"event\":{\"data\":{\"");
    message.push_str(name);
    message.push_str("\":\"");
    STANDARD.encode_string(bytes, &mut message);
    message.push_str("\"}}}");
    message.into()
}

fn end(status: &ExitStatus) -> Value {
    match status.code {
        Some(0) => json!({ "exited": true, "status": "exit status 0" }),
        Some(code) => {
            let words = format!("exit status {code}");
            json!({ "exitCode": code, "exited": true, "status": words, "error": words })
        }
        None => {
            let words = format!("signal: {}", signal_name(status.signal.unwrap_or(0)));
            let error = status.reason.as_ref().map_or_else(|| words.clone(), |why| format!("{words} ({why})"));
            json!({ "exitCode": -1, "status": words, "error": error })
        }
    }
}

/// As Go names them.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
