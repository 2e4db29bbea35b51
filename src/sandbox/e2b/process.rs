//! One process inside: its output to its reader, its input, and what is done when the connection to it breaks.
//!
//! The service keeps a process when its reader goes away, keeps its exit for some seconds, and drops what it writes
//! meanwhile. So a broken stream is taken up again, and a gap is told.

use super::envd::{Envd, Frames, User};
use super::error::E2bError;
use super::event::Event;
use super::http::Repeat;
use super::shell::MARK;
use crate::sandbox::SandboxError;
use crate::sandbox::base64;
use crate::sandbox::provider::{ExitStatus, Process, ProcessConfig, ProcessEvent, Signal, Terminal, TerminalSize};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

/// Where the workspace is inside.
pub const HOME: &str = "/home/user";
/// Events waiting for a reader; then the process waits.
const BACKLOG: usize = 16;
/// Before a broken stream is taken up again, and by how much longer after each try that fails, up to ten times that.
/// The service keeps an exit for thirty seconds, and a process that still runs for good.
const PAUSE: Duration = Duration::from_secs(1);
const GAP: &[u8] = b"\n[the connection to the sandbox broke; some output may be missing here]\n";

/// Starts a process with a mark; tasks that serve it end with the sandbox.
pub async fn spawn(
    envd: &Envd,
    tasks: &TaskTracker,
    env: &BTreeMap<String, String>,
    config: ProcessConfig,
    mark: &str,
) -> Result<Process, SandboxError> {
    let body = request(env, &config, mark);
    let started = match envd.stream("process.Process/Start", &body, User::Normal, None).await {
        Ok(mut frames) => begin(&mut frames).await.map(|pid| (pid, frames)),
        Err(error) => Err(error),
    };
    let (pid, frames) = match started {
        Ok(started) => started,
        Err(error) => {
            if matches!(error, E2bError::Unreachable { unsent: false, .. }) {
                // It may run all the same, and nobody would own it.
                let ended = envd.signal_marked(Some(mark), Signal::Kill).await;
                tracing::debug!(?ended, "a process whose start was not answered");
            }
            return Err(error.into());
        }
    };
    let (events, receiver) = mpsc::channel(BACKLOG);
    let reader = Reader { envd: envd.clone(), pid, events };
    tasks.spawn(reader.run(frames));
    let stdin = (config.stdin || config.terminal.is_some()).then(|| {
        let (sender, input) = mpsc::channel(BACKLOG);
        tasks.spawn(feed(envd.clone(), pid, config.terminal.is_some(), input));
        sender
    });
    let terminal = config.terminal.map(|size| {
        let size = watch::Sender::new(size);
        tasks.spawn(resize(envd.clone(), pid, size.subscribe()));
        Arc::new(RemoteTerminal { size }) as Arc<dyn Terminal>
    });
    Ok(Process { pid, events: receiver, stdin, terminal })
}

fn request(env: &BTreeMap<String, String>, config: &ProcessConfig, mark: &str) -> Value {
    let mut envs = env.clone();
    envs.extend(config.envs.clone());
    envs.insert(MARK.to_owned(), mark.to_owned());
    let cwd = match config.cwd.as_str() {
        "" => HOME.to_owned(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{HOME}/{relative}"),
    };
    let process = json!({ "cmd": config.cmd, "args": config.args, "envs": envs, "cwd": cwd });
    let mut body = json!({ "process": process, "stdin": config.stdin });
    if let Some(size) = config.terminal {
        body["pty"] = json!({ "size": { "cols": size.columns, "rows": size.rows } });
    }
    body
}

async fn begin(frames: &mut Frames) -> Result<u32, E2bError> {
    while let Some(message) = frames.next().await? {
        if let Event::Started(pid) = Event::read(&message)? {
            return Ok(pid);
        }
    }
    Err(E2bError::Protocol("a process without a start".to_owned()))
}

/// Brings events to whoever started the process, until its end.
struct Reader {
    envd: Envd,
    pid: u32,
    events: mpsc::Sender<ProcessEvent>,
}

impl Reader {
    async fn run(self, frames: Frames) {
        let closed = self.envd.life().closed().clone();
        tokio::select! {
            () = closed.cancelled() => {}
            () = self.follow(frames) => {}
        }
    }

    async fn follow(&self, mut frames: Frames) {
        loop {
            let broken = match self.forward(&mut frames).await {
                Ok(Some(status)) => return self.tell(ProcessEvent::End(status)).await,
                Ok(None) => E2bError::Protocol("the stream ended without the process".to_owned()),
                Err(error) => error,
            };
            tracing::debug!(sandbox = self.envd.id(), pid = self.pid, error = %broken, "the stream of a process broke");
            match self.reconnect().await {
                Ok(again) => frames = again,
                Err(error) => {
                    let reason = Some(format!("its end was not seen, because the connection was lost: {error}"));
                    return self.tell(ProcessEvent::End(ExitStatus { reason, ..ExitStatus::default() })).await;
                }
            }
            self.tell(ProcessEvent::Stderr(Bytes::from_static(GAP))).await;
        }
    }

    /// Passes events on until the end; a slow reader slows the stream.
    async fn forward(&self, frames: &mut Frames) -> Result<Option<ExitStatus>, E2bError> {
        while let Some(message) = frames.next().await? {
            match Event::read(&message)? {
                Event::Stdout(bytes) => self.tell(ProcessEvent::Stdout(bytes)).await,
                Event::Stderr(bytes) => self.tell(ProcessEvent::Stderr(bytes)).await,
                Event::End(status) => return Ok(Some(status)),
                Event::Started(_) | Event::Nothing => {}
            }
        }
        Ok(None)
    }

    /// Takes the stream up again, however long the service cannot be reached. Fails if it does not know the process.
    async fn reconnect(&self) -> Result<Frames, E2bError> {
        let body = json!({ "process": { "pid": self.pid } });
        let mut tries = 0;
        loop {
            let error = match self.envd.stream("process.Process/Connect", &body, User::Normal, None).await {
                // An error of the call comes as the stream's first and last frame.
                Ok(mut frames) => match begin(&mut frames).await {
                    Ok(_) => return Ok(frames),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if error.is_missing() {
                self.envd.check_boot().await;
            }
            if matches!(error, E2bError::Rpc { .. } | E2bError::Protocol(_)) {
                return Err(error);
            }
            tries = (tries + 1).min(10);
            tokio::time::sleep(PAUSE * tries).await;
        }
    }

    /// A reader that went away does not end the process: what it writes is swallowed.
    async fn tell(&self, event: ProcessEvent) {
        let _nobody_reads = self.events.send(event).await;
    }
}

/// Sends input piece by piece; closes it when the caller hangs up.
async fn feed(envd: Envd, pid: u32, terminal: bool, mut input: mpsc::Receiver<Bytes>) {
    let closed = envd.life().closed().clone();
    let name = if terminal { "pty" } else { "stdin" };
    let feeding = async {
        while let Some(bytes) = input.recv().await {
            let body = json!({ "process": { "pid": pid }, "input": { name: base64::encode(&bytes) } });
            // Not sent twice: the process may have read it.
            envd.call::<Value>("process.Process/SendInput", &body, Repeat::Unsafe).await?;
        }
        if !terminal {
            let body = json!({ "process": { "pid": pid } });
            envd.call::<Value>("process.Process/CloseStdin", &body, Repeat::Safe).await?;
        }
        Ok::<(), E2bError>(())
    };
    tokio::select! {
        () = closed.cancelled() => {}
        fed = feeding => if let Err(error) = fed {
            tracing::debug!(sandbox = envd.id(), pid, %error, "input did not reach a process");
        }
    }
}

struct RemoteTerminal {
    size: watch::Sender<TerminalSize>,
}

impl Terminal for RemoteTerminal {
    fn resize(&self, size: TerminalSize) -> Result<(), SandboxError> {
        self.size.send_replace(size);
        Ok(())
    }
}

/// Tells the service each new size, the last one if there were several.
async fn resize(envd: Envd, pid: u32, mut size: watch::Receiver<TerminalSize>) {
    let closed = envd.life().closed().clone();
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            changed = size.changed() => if changed.is_err() { return },
        }
        let TerminalSize { columns, rows } = *size.borrow_and_update();
        let body = json!({ "process": { "pid": pid }, "pty": { "size": { "cols": columns, "rows": rows } } });
        if let Err(error) = envd.call::<Value>("process.Process/Update", &body, Repeat::Safe).await {
            tracing::debug!(sandbox = envd.id(), pid, %error, "a terminal kept its size");
        }
    }
}
