//! What the service knows about one project's sandbox while the server runs.

use super::SandboxError;
use super::activity::Activity;
use super::command::Command;
use super::provider::{Files, Instance, SandboxSpec};
use super::resume::ResumeList;
use crate::domain::{CallId, CommandId, ProjectId, SandboxId};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One project's sandbox, alive or not.
pub(super) struct Entry {
    pub(super) project: ProjectId,
    pub(super) id: SandboxId,
    /// `projects/{ProjectId}` in the data folder.
    pub(super) dir: PathBuf,
    pub(super) spec: SandboxSpec,
    pub(super) files: Arc<dyn Files>,
    /// Held by whoever brings the sandbox up or down, so that this happens once at a time. Says whether the project
    /// was deleted, after which nothing is brought up again.
    pub(super) life: tokio::sync::Mutex<Deleted>,
    pub(super) resume: ResumeList,
    pub(super) activity: Activity,
    /// Grows when any command wrote.
    pub(super) output: watch::Sender<u64>,
    /// Wakes the watcher: a command started or ended.
    pub(super) nudge: Notify,
    /// The fingerprint of the workspace the page last heard about.
    pub(super) fingerprint: tokio::sync::Mutex<Option<u64>>,
    /// Held while the project's history is written.
    pub(super) history: tokio::sync::Mutex<()>,
    /// Held while the project's network policy changes.
    pub(super) policy: tokio::sync::Mutex<()>,
    live: Mutex<Option<Live>>,
    commands: Mutex<HashMap<CommandId, Arc<Command>>>,
}

/// Whether the project is gone.
pub(super) type Deleted = bool;

/// A live sandbox and what the service runs around it.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) instance: Arc<dyn Instance>,
    /// Ends the watcher.
    pub(super) stop: CancellationToken,
    /// The watcher and every command's supervisor; joined before the sandbox counts as down.
    pub(super) tasks: TaskTracker,
    /// Why the sandbox is being taken down, if that is intended.
    pub(super) ending: Arc<OnceLock<String>>,
}

impl Live {
    pub(super) fn new(instance: Arc<dyn Instance>) -> Self {
        Self { instance, stop: CancellationToken::new(), tasks: TaskTracker::new(), ending: Arc::default() }
    }

    /// Why commands end now that did not end by themselves.
    pub(super) fn why(&self) -> String {
        self.ending
            .get()
            .cloned()
            .or_else(|| self.instance.death())
            .unwrap_or_else(|| "the sandbox stopped unexpectedly".to_owned())
    }
}

impl Entry {
    pub(super) fn new(
        project: ProjectId,
        dir: PathBuf,
        spec: SandboxSpec,
        files: Arc<dyn Files>,
        resume: ResumeList,
        output: watch::Sender<u64>,
    ) -> Self {
        Self {
            project,
            id: spec.id.clone(),
            dir,
            spec,
            files,
            life: tokio::sync::Mutex::new(false),
            resume,
            activity: Activity::new(),
            output,
            nudge: Notify::new(),
            fingerprint: tokio::sync::Mutex::new(None),
            history: tokio::sync::Mutex::new(()),
            policy: tokio::sync::Mutex::new(()),
            live: Mutex::new(None),
            commands: Mutex::new(HashMap::new()),
        }
    }

    /// The live sandbox, if there is one.
    pub(super) fn live(&self) -> Option<Live> {
        lock(&self.live).as_ref().filter(|live| !live.instance.closed().is_cancelled()).cloned()
    }

    /// The workspace's files as they are inside now. What only looks, and has read lately, uses `files`.
    pub(super) async fn present_files(&self) -> Result<&dyn Files, SandboxError> {
        self.files.sync().await?;
        Ok(&*self.files)
    }

    /// Puts a live sandbox in place, or takes it away.
    pub(super) fn set_live(&self, live: Option<Live>) -> Option<Live> {
        std::mem::replace(&mut *lock(&self.live), live)
    }

    /// A command that has not ended, or ended this moment.
    pub(super) fn command(&self, id: &CommandId) -> Option<Arc<Command>> {
        lock(&self.commands).get(id).cloned()
    }

    /// The running background command a tool call asked for.
    pub(super) fn background_of(&self, call: &CallId) -> Option<CommandId> {
        let commands = lock(&self.commands);
        commands.values().find(|c| c.background && c.call.as_ref() == Some(call)).map(|c| c.id.clone())
    }

    pub(super) fn add_command(&self, command: Arc<Command>) {
        lock(&self.commands).insert(command.id.clone(), command);
        self.nudge.notify_one();
    }

    pub(super) fn remove_command(&self, id: &CommandId) {
        lock(&self.commands).remove(id);
        self.nudge.notify_one();
    }

    /// How many commands run: foreground and background.
    pub(super) fn running(&self) -> (usize, usize) {
        let commands = lock(&self.commands);
        let background = commands.values().filter(|c| c.background).count();
        (commands.len() - background, background)
    }

    /// Where a command's output is.
    pub(super) fn log_dir(&self, command: &CommandId) -> PathBuf {
        self.dir.join("logs").join(format!("{command}.log"))
    }

    /// Where the output of all that runs goes.
    pub(super) fn written_logs(&self) -> HashSet<PathBuf> {
        lock(&self.commands).keys().map(|command| self.log_dir(command)).collect()
    }

    /// Tells readers that there is output.
    pub(super) fn bump_output(&self) {
        self.output.send_modify(|n| *n += 1);
    }
}

/// Locks, also after a panic elsewhere: every critical section here leaves the data whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
