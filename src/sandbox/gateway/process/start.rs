//! Starting commands and connecting to them: what is asked for, checked.

use super::super::access::{printable, rpc_user};
use super::super::frame::{Code, Messages, RpcError, deadline};
use super::super::{Answer, Incoming, text};
use super::watch::{Doom, Timing, watch};
use super::{PtyMessage, Request, failed, find, invalid, size};
use crate::sandbox::SandboxError;
use crate::sandbox::fleet::{Command, Level, Live, Sandbox, Viewer};
use crate::sandbox::provider::{ProcessConfig, TreeKind};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The first byte of output a viewer wants, or `end` for none of what was before. Ours; absent means all. The answer has it
/// too, as the number of the byte that really comes first: what was wanted may be kept no longer.
const FROM_HEADER: HeaderName = HeaderName::from_static("sandcastle-output-from");
/// Bytes of a tag, which is remembered with its command when that has ended.
const TAG_MAX: usize = 1024;
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
struct StartRequest {
    process: Option<ConfigMessage>,
    pty: Option<PtyMessage>,
    tag: Option<String>,
    stdin: Option<bool>,
}

pub(super) async fn start(sandbox: &Arc<Sandbox>, live: &Live, request: Incoming) -> Result<Answer, RpcError> {
    let user = rpc_user(&request).map_err(|message| RpcError::new(Code::Unauthenticated, message))?;
    let (limit, keepalive) = (deadline(&request)?, keepalive(&request)?);
    let begun = Instant::now();
    let asked: StartRequest = only(request).await?;
    let tag = asked.tag.clone();
    if tag.as_ref().is_some_and(|tag| tag.len() > TAG_MAX) {
        return Err(invalid(format!("the tag is longer than {TAG_MAX} bytes")));
    }
    let config = config(live, asked, &user).await?;
    let line = printable(&[std::slice::from_ref(&config.cmd), config.args.as_slice()].concat().join(" "));
    let (command, viewer) = run(live, config, tag).await?;
    sandbox.journal.add(Level::Debug, format!("started {}: {line}", command.pid));
    let timing = Timing { until: limit.map(|limit| begun + limit), keepalive };
    let doom =
        limit.map(|limit| Doom { spared: live.hub.end_at(&command, begun + limit), until: begun + limit, limit });
    Ok(watch(sandbox, live, &command, viewer, timing, doom))
}

pub(super) async fn connect(sandbox: &Arc<Sandbox>, live: &Live, request: Incoming) -> Result<Answer, RpcError> {
    let (limit, keepalive) = (deadline(&request)?, keepalive(&request)?);
    let from = match text(request.headers(), FROM_HEADER.as_str()) {
        None => 0,
        Some("end") => u64::MAX,
        Some(number) => number.parse().map_err(|_| invalid("Sandcastle-Output-From is a number of bytes, or end"))?,
    };
    let begun = Instant::now();
    let asked: Request = only(request).await?;
    let command = find(live, asked.process)?;
    let timing = Timing { until: limit.map(|limit| begun + limit), keepalive };
    let viewer = command.view(from);
    let first = HeaderValue::from(viewer.from);
    let mut answer = watch(sandbox, live, &command, viewer, timing, None);
    answer.headers_mut().insert(FROM_HEADER, first);
    Ok(answer)
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
    let mut cwd = live.workdir.to_string();
    if let Some(given) = process.cwd.filter(|cwd| !cwd.is_empty()) {
        cwd = live.path(&given).map_err(invalid)?;
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

async fn run(live: &Live, config: ProcessConfig, tag: Option<String>) -> Result<(Arc<Command>, Viewer), RpcError> {
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

fn keepalive(request: &Incoming) -> Result<Duration, RpcError> {
    let Some(given) = text(request.headers(), "keepalive-ping-interval") else { return Ok(KEEPALIVE) };
    let seconds = given.parse::<u32>().map_err(|_| invalid("Keepalive-Ping-Interval is not a number of seconds"))?;
    Ok(Duration::from_secs(seconds.max(1).into()))
}
