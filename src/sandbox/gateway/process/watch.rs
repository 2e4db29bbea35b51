//! One caller's look at a command: its start, its output as it comes, its end.

use super::super::Answer;
use super::super::frame::{self, Code, RpcError};
use crate::sandbox::fleet::{Command, Live, Sandbox, Seen, Source, Viewer};
use crate::sandbox::provider::ExitStatus;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a caller stays, and how often it hears something meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub(super) until: Option<Instant>,
    pub(super) keepalive: Duration,
}

/// The end of a command at its caller's deadline. A caller who leaves long before has let go of the command, which then
/// lives on; one who leaves around the deadline keeps the same time as we do.
pub(super) struct Doom {
    pub(super) spared: CancellationToken,
    pub(super) until: Instant,
    pub(super) limit: Duration,
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
pub(super) fn watch(
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
            Ok(Seen::Lost) => {
                self.done = true;
                let message = "this reader was too slow: what comes next is kept no longer; connect again for what is";
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
