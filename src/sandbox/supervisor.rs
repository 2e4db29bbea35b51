//! One running command: pumps its output into the log, holds its time limit, ends it on request, records its end.

use super::command::Command;
use super::entry::{Entry, Live};
use super::output::{self, LogWriter};
use super::provider::{ExitStatus, ProcessEvent, Signal};
use super::service::Inner;
use super::symptoms::{self, Symptoms};
use super::watcher;
use crate::domain::{CommandExit, EventBody};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Readers are woken at most this often.
const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// A batch this large is written at once.
const BATCH: usize = 256 * 1024;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// After KILL a process that does not end is given up.
const GIVE_UP: Duration = Duration::from_secs(5);

/// The owner of a command from its start to its recorded end.
pub(super) struct Supervisor {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    live: Live,
    command: Arc<Command>,
    pid: u32,
    log: Option<LogWriter>,
    buffer: Vec<u8>,
    total: u64,
    limit: Option<Duration>,
    flushed_at: Instant,
    symptoms: Symptoms,
}

/// What a supervisor waits for, besides output.
#[derive(Default)]
struct Timers {
    flush: Option<Instant>,
    limit: Option<Instant>,
    kill: Option<Instant>,
    give_up: Option<Instant>,
    stopping: bool,
    killed: bool,
}

impl Supervisor {
    pub(super) fn new(
        inner: Arc<Inner>,
        entry: Arc<Entry>,
        live: Live,
        command: Arc<Command>,
        pid: u32,
        log: LogWriter,
        limit: Option<Duration>,
    ) -> Self {
        let flushed_at = Instant::now() - FLUSH_EVERY;
        let symptoms = Symptoms::default();
        Self {
            inner,
            entry,
            live,
            command,
            pid,
            log: Some(log),
            buffer: Vec::new(),
            total: 0,
            limit,
            flushed_at,
            symptoms,
        }
    }

    /// Runs until the command ended and that is recorded.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<ProcessEvent>) {
        let status = self.pump(&mut events).await;
        self.flush().await;
        self.finish(status).await;
    }

    async fn pump(&mut self, events: &mut mpsc::Receiver<ProcessEvent>) -> Option<ExitStatus> {
        let closed = self.live.instance.closed();
        let command = Arc::clone(&self.command);
        let mut timers = Timers { limit: self.limit.map(|limit| Instant::now() + limit), ..Timers::default() };
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(ProcessEvent::Stdout(bytes) | ProcessEvent::Stderr(bytes)) => {
                        self.take(&bytes, &mut timers).await;
                    }
                    Some(ProcessEvent::End(status)) => return Some(status),
                    None => return None,
                },
                () = until(timers.flush) => {
                    timers.flush = None;
                    self.flush().await;
                }
                () = command.kill.cancelled(), if !timers.killed => self.kill(&mut timers).await,
                () = command.stop.cancelled(), if !timers.stopping => {
                    timers.stopping = true;
                    timers.kill = Some(Instant::now() + GRACE);
                    self.signal(Signal::Terminate).await;
                }
                () = until(timers.kill) => self.kill(&mut timers).await,
                () = until(timers.limit) => {
                    timers.limit = None;
                    let limit = self.limit.unwrap_or_default();
                    command.reason.get_or_init(|| format!("time limit of {}", in_words(limit)));
                    self.kill(&mut timers).await;
                }
                () = until(timers.give_up) => return None,
                () = closed.cancelled() => return self.drain(events),
            }
        }
    }

    async fn take(&mut self, bytes: &[u8], timers: &mut Timers) {
        if self.command.background {
            self.symptoms.take(bytes, &self.inner, &self.entry, &self.live, &self.command);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BATCH {
            timers.flush = None;
            self.flush().await;
        } else if timers.flush.is_none() {
            // At once after a quiet time, and not more often than readers are to be woken.
            timers.flush = Some((self.flushed_at + FLUSH_EVERY).max(Instant::now()));
        }
    }

    /// What the provider still delivered when the sandbox died.
    fn drain(&mut self, events: &mut mpsc::Receiver<ProcessEvent>) -> Option<ExitStatus> {
        while let Ok(event) = events.try_recv() {
            match event {
                ProcessEvent::Stdout(bytes) | ProcessEvent::Stderr(bytes) => self.buffer.extend_from_slice(&bytes),
                ProcessEvent::End(status) => return Some(status),
            }
        }
        None
    }

    async fn kill(&mut self, timers: &mut Timers) {
        timers.kill = None;
        timers.killed = true;
        timers.give_up = Some(Instant::now() + GIVE_UP);
        self.signal(Signal::Kill).await;
    }

    async fn signal(&self, signal: Signal) {
        if let Err(error) = self.live.instance.signal(self.pid, signal).await {
            tracing::debug!(command = %self.command.id, %error, "a signal was not delivered");
        }
    }

    async fn flush(&mut self) {
        self.flushed_at = Instant::now();
        if self.buffer.is_empty() {
            return;
        }
        let Some(mut log) = self.log.take() else { return self.buffer.clear() };
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = tokio::task::spawn_blocking(move || {
            log.append(&buffer);
            buffer.clear();
            (log, buffer)
        });
        match written.await {
            Ok((log, buffer)) => {
                self.total = log.total();
                self.log = Some(log);
                self.buffer = buffer;
            }
            Err(error) => tracing::error!(%error, "the log of a command is lost"),
        }
        if !self.command.background {
            self.entry.activity.touch();
        }
        self.entry.bump_output();
    }

    async fn finish(mut self, status: Option<ExitStatus>) {
        let going_down = self.live.instance.closed().is_cancelled() || self.live.ending.get().is_some();
        let asked = self.command.stop.is_cancelled() || self.command.kill.is_cancelled();
        if asked || self.command.reason.get().is_some() {
            // The process itself has ended; what it started and left behind is ended too.
            self.signal(Signal::Kill).await;
        }
        let exit = self.exit(status, going_down);
        if self.command.background && (asked || !going_down) {
            self.entry.resume.remove(&self.command.id);
        }
        if self.command.background && !asked && !going_down && !exit.success() {
            let line = self.line().await;
            symptoms::report_end(&self.inner, &self.entry, &self.command, &line, &exit).await;
        }
        let duration = self.command.started.elapsed();
        let ended = EventBody::CommandExited {
            command: self.command.id.clone(),
            exit: exit.clone(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            bytes: self.total,
        };
        if let Err(error) = self.inner.emit(&self.entry.project, vec![ended]).await {
            tracing::error!(command = %self.command.id, %error, "the end of a command was not recorded");
        }
        self.log = None;
        self.command.exit.send_replace(Some(exit));
        self.entry.remove_command(&self.command.id);
        self.entry.bump_output();
        if !self.command.background {
            self.entry.activity.touch();
            watcher::report_changed_files(&self.inner, &self.entry).await;
        }
        let (logs, written) = (self.entry.dir.join("logs"), self.entry.written_logs());
        if let Err(error) = tokio::task::spawn_blocking(move || output::prune(&logs, &written)).await {
            tracing::error!(%error, "old logs were not removed");
        }
    }

    async fn line(&self) -> String {
        let state = self.inner.state(&self.entry.project).await;
        state.ok().and_then(|s| s.command(&self.command.id).map(|c| c.line.clone())).unwrap_or_default()
    }

    fn exit(&self, status: Option<ExitStatus>, going_down: bool) -> CommandExit {
        let asked = self.command.reason.get().cloned();
        let lost = status.is_none();
        let status = status.unwrap_or_default();
        let reason = asked.or(status.reason).or_else(|| going_down.then(|| self.live.why()));
        let reason = reason.or_else(|| lost.then(|| "its end was not reported".to_owned()));
        CommandExit { code: status.code, signal: status.signal.map(signal_name), reason }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn in_words(limit: Duration) -> String {
    match limit.as_secs() {
        0 => format!("{} ms", limit.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

/// The name of a signal without `SIG`.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        other => return other.to_string(),
    };
    name.to_owned()
}
