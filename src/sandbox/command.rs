//! Commands: start, wait, stop, read. A command belongs to its sandbox, never to who watches it.

use super::SandboxError;
use super::entry::{Entry, Live};
use super::output::{self, LogFrom, LogWriter};
use super::piped::Pipes;
use super::provider::{Process, ProcessConfig};
use super::resume::Resumable;
use super::service::{Inner, Service};
use super::supervisor::Supervisor;
use crate::config::Secret;
use crate::domain::{CallId, CommandExit, CommandId, EventBody, LogSlice, ProjectId, RunId, clean_path};
use crate::store::new_command_id;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The longest command line accepted, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// A command to start.
#[derive(Clone, Debug, Default)]
pub struct CommandSpec {
    /// The line, run by `/bin/sh -c` inside.
    pub line: String,
    /// Working directory relative to the workspace; empty for its root.
    pub cwd: String,
    /// Environment on top of the sandbox's.
    pub env: BTreeMap<String, String>,
    /// Whether nobody waits for its end. Such a command has no time limit unless one is given, and is started again
    /// when the sandbox wakes.
    pub background: bool,
    /// Time it may take; for a foreground command the configured limit is the default.
    pub timeout: Option<Duration>,
    /// The tool call that asks for it.
    pub call: Option<CallId>,
    /// The run that asks for it.
    pub run: Option<RunId>,
}

/// A command that runs.
pub(super) struct Command {
    pub(super) id: CommandId,
    pub(super) background: bool,
    pub(super) call: Option<CallId>,
    pub(super) started: Instant,
    /// How it ended, set after that was recorded.
    pub(super) exit: watch::Sender<Option<CommandExit>>,
    /// Asks it to end: TERM, then KILL.
    pub(super) stop: CancellationToken,
    /// Ends it at once.
    pub(super) kill: CancellationToken,
    /// Why it is being ended; the first reason counts.
    pub(super) reason: OnceLock<String>,
}

impl Command {
    async fn ended(&self) -> Result<CommandExit, SandboxError> {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await;
        exit.ok().and_then(|exit| exit.clone()).ok_or_else(|| SandboxError::Io("the command was lost".to_owned()))
    }
}

impl Service {
    /// Starts a command, waking or creating the sandbox for it. A background command of a call that has one running
    /// is that one: a call repeated after a crash of the server finds it started again with the sandbox.
    pub async fn start_command(&self, project: &ProjectId, spec: CommandSpec) -> Result<CommandId, SandboxError> {
        let spec = checked(spec)?;
        let entry = self.inner.entry(project).await?;
        let live = self.up(&entry).await?;
        let started_before = spec.call.as_ref().filter(|_| spec.background).and_then(|call| entry.background_of(call));
        match started_before {
            Some(command) => Ok(command),
            None => self.inner.launch(&entry, &live, spec).await,
        }
    }

    /// Waits for a command's end. Cancelling ends the command with all it started, and then returns
    /// [`SandboxError::Cancelled`]. A command that ended earlier answers at once.
    pub async fn wait_command(
        &self,
        project: &ProjectId,
        command: &CommandId,
        cancel: &CancellationToken,
    ) -> Result<CommandExit, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let Some(running) = entry.command(command) else { return self.recorded_exit(project, command).await };
        tokio::select! {
            biased;
            exit = running.ended() => exit,
            () = cancel.cancelled() => {
                running.reason.get_or_init(|| "stopped".to_owned());
                running.kill.cancel();
                running.ended().await?;
                Err(SandboxError::Cancelled)
            }
        }
    }

    /// Stops a command: TERM, and KILL after two seconds. Stopping one that ended is not an error.
    pub async fn stop_command(&self, project: &ProjectId, command: &CommandId) -> Result<CommandExit, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let Some(running) = entry.command(command) else { return self.recorded_exit(project, command).await };
        running.reason.get_or_init(|| "stopped".to_owned());
        running.stop.cancel();
        running.ended().await
    }

    /// Reads output, at most `max` bytes, of a command that runs or ended, also before a restart of the server.
    pub async fn read_log(
        &self,
        project: &ProjectId,
        command: &CommandId,
        from: LogFrom,
        max: u64,
    ) -> Result<LogSlice, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let dir = entry.log_dir(command);
        let running = entry.command(command).is_some();
        let known = running || self.inner.state(project).await?.command(command).is_some();
        let slice = tokio::task::spawn_blocking(move || {
            if !known && !dir.is_dir() {
                return Err(SandboxError::NotFound("there is no such command in this project".to_owned()));
            }
            Ok(output::read(&dir, from, max, !running)?)
        });
        slice.await.map_err(|error| SandboxError::Io(error.to_string()))?
    }

    async fn recorded_exit(&self, project: &ProjectId, command: &CommandId) -> Result<CommandExit, SandboxError> {
        let state = self.inner.state(project).await?;
        let view = state
            .command(command)
            .ok_or_else(|| SandboxError::NotFound(format!("there is no command {command} in this project")))?;
        view.exit.clone().ok_or_else(|| SandboxError::Io(format!("the command {command} is not running any more")))
    }
}

impl Inner {
    /// Starts a command in a live sandbox.
    pub(super) async fn launch(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        live: &Live,
        spec: CommandSpec,
    ) -> Result<CommandId, SandboxError> {
        Ok(self.begin(entry, live, spec, false).await?.0)
    }

    /// Records a command, starts its process and supervises it, in this order: one that may have begun when the server
    /// dies is known, and so is reported as interrupted instead of being started a second time.
    pub(super) async fn begin(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        live: &Live,
        spec: CommandSpec,
        piped: bool,
    ) -> Result<(CommandId, Option<Pipes>), SandboxError> {
        // A project whose secrets cannot be read runs nothing: an app without its settings misleads.
        let secrets = self.store.secrets().of(&entry.project).await.map_err(super::service::from_store)?;
        let config = process_config(&spec, &secrets, piped);
        let command = Arc::new(Command {
            id: new_command_id(),
            background: spec.background,
            call: spec.call.clone(),
            started: Instant::now(),
            exit: watch::Sender::new(None),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            reason: OnceLock::new(),
        });
        let id = command.id.clone();
        entry.add_command(Arc::clone(&command));
        entry.activity.touch();
        let (tell, told) = tokio::sync::oneshot::channel();
        let start = Start { inner: Arc::clone(self), entry: Arc::clone(entry), live: live.clone(), command, spec };
        // Recording, starting and supervising are one task: a caller who gives up now leaves no process without an
        // owner.
        live.tasks.spawn(async move {
            // The caller may be gone; the command runs on all the same.
            match start.process(config).await {
                Ok(mut process) => {
                    let _gone = tell.send(Ok(piped.then(|| Pipes::of(&mut process, &start.live))));
                    start.supervise(process).await;
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
        let pipes = told.await.map_err(|_| SandboxError::Dead("it ended while the command started".to_owned()))??;
        Ok((id, pipes))
    }
}

/// A command on its way from its record to its supervisor.
struct Start {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    live: Live,
    command: Arc<Command>,
    spec: CommandSpec,
}

impl Start {
    /// Records the command and starts its process. What cannot be started is recorded as ended.
    async fn process(&self, config: ProcessConfig) -> Result<Process, SandboxError> {
        let (id, spec) = (&self.command.id, &self.spec);
        let started = EventBody::CommandStarted {
            command: id.clone(),
            line: spec.line.clone(),
            cwd: spec.cwd.clone(),
            background: spec.background,
            call: spec.call.clone(),
            run: spec.run.clone(),
        };
        if let Err(error) = self.inner.emit(&self.entry.project, vec![started]).await {
            self.leave(CommandExit::not_started(&error));
            return Err(error);
        }
        match self.live.instance.spawn(config).await {
            Ok(process) => {
                if spec.background {
                    self.entry.resume.add(Resumable {
                        command: id.clone(),
                        line: spec.line.clone(),
                        cwd: spec.cwd.clone(),
                        env: spec.env.clone(),
                        call: spec.call.clone(),
                    });
                }
                Ok(process)
            }
            Err(error) => {
                let exit = CommandExit::not_started(&error);
                let ended =
                    EventBody::CommandExited { command: id.clone(), exit: exit.clone(), duration_ms: 0, bytes: 0 };
                if let Err(error) = self.inner.emit(&self.entry.project, vec![ended]).await {
                    tracing::error!(command = %id, %error, "the end of a command was not recorded");
                }
                self.leave(exit);
                Err(error)
            }
        }
    }

    /// Forgets a command that has no process.
    fn leave(&self, exit: CommandExit) {
        self.command.exit.send_replace(Some(exit));
        self.entry.remove_command(&self.command.id);
    }

    async fn supervise(self, process: Process) {
        let Self { inner, entry, live, command, spec } = self;
        let limit = spec.timeout.or((!spec.background).then_some(inner.config.command_timeout));
        let log = LogWriter::new(entry.log_dir(&command.id), inner.config.disk_floor_mib << 20);
        Supervisor::new(inner, entry, live, command, process.pid, log, limit).run(process.events).await;
    }
}

fn process_config(spec: &CommandSpec, secrets: &BTreeMap<String, Secret>, stdin: bool) -> ProcessConfig {
    ProcessConfig {
        cmd: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), spec.line.clone()],
        envs: process_env(spec, secrets),
        cwd: spec.cwd.clone(),
        stdin,
        terminal: None,
    }
}

pub(super) fn checked(mut spec: CommandSpec) -> Result<CommandSpec, SandboxError> {
    let invalid = |message: &str| Err(SandboxError::Invalid(message.to_owned()));
    if spec.line.trim().is_empty() {
        return invalid("the command is empty");
    }
    if spec.line.len() > LINE_MAX {
        return invalid("the command is longer than 64 KiB; write a script file and run that");
    }
    if spec.line.contains('\0')
        || spec.env.iter().any(|(name, value)| name.contains(['\0', '=']) || value.contains('\0'))
    {
        return invalid("the command or its environment contains a NUL character");
    }
    spec.cwd = match clean_path(&spec.cwd) {
        Ok(path) => path,
        Err(crate::domain::PathError::Empty) => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(spec)
}

/// The command's environment. A background command gets colours although its output is no terminal: people read it,
/// while the output of others often goes to files.
fn process_env(spec: &CommandSpec, secrets: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> =
        secrets.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    env.extend(spec.env.clone());
    if spec.background {
        env.entry("FORCE_COLOR".to_owned()).or_insert_with(|| "1".to_owned());
    }
    env
}
