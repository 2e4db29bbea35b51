//! Up and down: creating, waking, sleeping, dying and deleting a project's sandbox.
//!
//! Every change of phase happens under the entry's `life` lock and is one `SandboxChanged` event.

use super::entry::{Entry, Live};
use super::local::walk;
use super::service::{Inner, Service, from_store};
use super::{CommandSpec, SandboxError};
use super::{network, watcher};
use crate::domain::{CommandExit, EventBody, ProjectId, ProjectState, SandboxPhase, SandboxView};
use crate::store::now_ms;
use std::sync::Arc;

impl Service {
    /// After a restart of the server nothing lives: sandboxes that ran are asleep, and their commands were interrupted.
    pub async fn boot(&self) -> Result<(), SandboxError> {
        let projects = self.inner.store.events().projects().await.map_err(from_store)?;
        for project in projects.into_iter().filter(|project| project.sandbox.is_some()) {
            let state = self.inner.state(&project.id).await?;
            let Some(sandbox) = &state.sandbox else { continue };
            self.inner.register(sandbox.id.clone(), project.id.clone());
            let bodies = self.inner.after_restart(&state, sandbox);
            if !bodies.is_empty() {
                self.inner.emit(&project.id, bodies).await?;
            }
        }
        Ok(())
    }

    /// The project's sandbox, alive: created, or woken over the same workspace with its background commands started
    /// again. Several callers at once share one start.
    pub async fn ensure(&self, project: &ProjectId) -> Result<SandboxView, SandboxError> {
        let entry = self.inner.entry(project).await?;
        self.up(&entry).await?;
        Ok(self.inner.view(&entry, SandboxPhase::Running, None))
    }

    /// Ends the sandbox's processes and keeps its files. It wakes on the next use.
    pub async fn sleep(&self, project: &ProjectId) -> Result<(), SandboxError> {
        let entry = self.inner.entry(project).await?;
        self.inner.down(&entry, "put to sleep").await
    }

    /// Ends the sandbox and deletes workspace and logs. The project's events are the store's.
    pub async fn delete(&self, project: &ProjectId) -> Result<(), SandboxError> {
        let entry = self.inner.entry(project).await?;
        let mut deleted = entry.life.lock().await;
        if let Some(live) = entry.set_live(None) {
            end(&live, "the project was deleted").await;
        }
        // While this fails the project stays: what is elsewhere would be forgotten, and cost money.
        self.inner.provider.forget(&entry.spec).await?;
        *deleted = true;
        self.inner.forget(&entry);
        if let Some(network) = self.inner.provider.network() {
            network.forget(&entry.id);
        }
        let dir = entry.dir.clone();
        tokio::task::spawn_blocking(move || walk::remove_path(&dir))
            .await
            .map_err(|error| SandboxError::Io(error.to_string()))?
            .map_err(|error| SandboxError::Io(format!("the project's files were not all deleted: {error}")))
    }

    /// Puts every sandbox to sleep and joins every task. Nothing is brought up afterwards.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        let entries = self.inner.all_entries();
        let downs = entries.iter().map(|entry| self.inner.down(entry, "the server was stopped"));
        for result in futures::future::join_all(downs).await {
            if let Err(error) = result {
                tracing::warn!(%error, "a sandbox's end was not recorded");
            }
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// The live sandbox. The start is a task of its own, so that a caller who gives up leaves no half-made sandbox.
    pub(super) async fn up(&self, entry: &Arc<Entry>) -> Result<Live, SandboxError> {
        if let Some(live) = entry.live() {
            return Ok(live);
        }
        let (inner, entry) = (Arc::clone(&self.inner), Arc::clone(entry));
        self.inner
            .tasks
            .spawn(async move { bring_up(&inner, &entry).await })
            .await
            .map_err(|error| SandboxError::Io(error.to_string()))?
    }
}

async fn bring_up(inner: &Arc<Inner>, entry: &Arc<Entry>) -> Result<Live, SandboxError> {
    let deleted = entry.life.lock().await;
    if *deleted {
        return Err(SandboxError::NotFound("the project was deleted".to_owned()));
    }
    if let Some(live) = entry.live() {
        return Ok(live);
    }
    if let Some(dead) = entry.set_live(None) {
        bury(inner, entry, &dead).await?;
    }
    if inner.closing.is_cancelled() {
        return Err(SandboxError::Dead("the server is shutting down".to_owned()));
    }
    let change = |phase, detail| vec![EventBody::SandboxChanged { sandbox: inner.view(entry, phase, detail) }];
    // Told and started at the same time: what is recorded last is how it went.
    let (told, started) = tokio::join!(
        inner.emit(&entry.project, change(SandboxPhase::Creating, None)),
        inner.provider.start(entry.spec.clone())
    );
    let instance = match (told, started) {
        (Ok(()), Ok(instance)) => instance,
        (Err(error), Ok(instance)) => {
            instance.shutdown().await;
            return Err(error);
        }
        (_, Err(error)) => {
            inner.emit(&entry.project, change(SandboxPhase::Failed, Some(error.to_string()))).await?;
            return Err(error);
        }
    };
    if let Err(error) = inner.emit(&entry.project, change(SandboxPhase::Running, None)).await {
        instance.shutdown().await;
        return Err(error);
    }
    let live = Live::new(instance);
    entry.activity.touch();
    entry.set_live(Some(live.clone()));
    live.tasks.spawn(watcher::watch(Arc::clone(inner), Arc::clone(entry), live.clone()));
    live.tasks.spawn(network::report(Arc::clone(inner), Arc::clone(entry), live.clone()));
    inner.tasks.spawn(mourn(Arc::clone(inner), Arc::clone(entry), live.clone()));
    resume(inner, entry, &live).await;
    Ok(live)
}

/// Starts again what ran in the background when the sandbox last went down. What cannot be started now stays on the
/// list, for the next time.
async fn resume(inner: &Arc<Inner>, entry: &Arc<Entry>, live: &Live) {
    for record in entry.resume.entries() {
        let spec = CommandSpec {
            line: record.line,
            cwd: record.cwd,
            env: record.env,
            call: record.call,
            background: true,
            ..CommandSpec::default()
        };
        match inner.launch(entry, live, spec).await {
            // Under its new id it is on the list by itself.
            Ok(_) => entry.resume.remove(&record.command),
            Err(error) => {
                tracing::warn!(project = %entry.project, %error, "a background command was not started again");
            }
        }
    }
}

/// Waits for a sandbox to die and records it, unless that was intended.
async fn mourn(inner: Arc<Inner>, entry: Arc<Entry>, live: Live) {
    live.instance.closed().cancelled().await;
    if live.ending.get().is_some() {
        return;
    }
    let _life = entry.life.lock().await;
    // Whoever held the lock may have taken it down, or have buried it to start another.
    if live.ending.get().is_some() {
        return;
    }
    entry.set_live(None);
    if let Err(error) = bury(&inner, &entry, &live).await {
        tracing::error!(project = %entry.project, %error, "the death of a sandbox was not recorded");
    }
}

/// Records that a sandbox died by itself. The caller holds the `life` lock and has taken it out of the entry.
async fn bury(inner: &Inner, entry: &Entry, dead: &Live) -> Result<(), SandboxError> {
    let why = dead.why();
    end(dead, &why).await;
    let sandbox = inner.view(entry, SandboxPhase::Failed, Some(why));
    inner.emit(&entry.project, vec![EventBody::SandboxChanged { sandbox }]).await
}

/// Ends the sandbox and joins everything around it.
async fn end(live: &Live, why: &str) {
    // Fails only if another reason was set before: the first one is the true one.
    let _ = live.ending.set(why.to_owned());
    live.stop.cancel();
    live.instance.shutdown().await;
    live.tasks.close();
    live.tasks.wait().await;
}

impl Inner {
    /// Puts the sandbox to sleep, if it lives.
    pub(super) async fn down(&self, entry: &Entry, why: &str) -> Result<(), SandboxError> {
        let _life = entry.life.lock().await;
        let Some(live) = entry.set_live(None) else { return Ok(()) };
        end(&live, why).await;
        let sandbox = self.view(entry, SandboxPhase::Asleep, Some(why.to_owned()));
        self.emit(&entry.project, vec![EventBody::SandboxChanged { sandbox }]).await
    }

    /// What to record about a project when the server starts.
    fn after_restart(&self, state: &ProjectState, sandbox: &SandboxView) -> Vec<EventBody> {
        let mut bodies: Vec<EventBody> = Vec::new();
        for command in state.commands.iter().filter(|command| command.exit.is_none()) {
            let reason = Some("interrupted by a restart of the server".to_owned());
            let dir = self.project_dir(&state.id).join("logs").join(format!("{}.log", command.id));
            bodies.push(EventBody::CommandExited {
                command: command.id.clone(),
                exit: CommandExit { reason, ..CommandExit::default() },
                duration_ms: now_ms().saturating_sub(command.started_at),
                bytes: super::output::total(&dir),
            });
        }
        if matches!(sandbox.phase, SandboxPhase::Running | SandboxPhase::Creating) {
            let detail = Some("the server was restarted".to_owned());
            let limits = self.provider.limits();
            let sandbox = SandboxView { phase: SandboxPhase::Asleep, detail, limits, ..sandbox.clone() };
            bodies.push(EventBody::SandboxChanged { sandbox });
        }
        // The server may have another address than when the app was last seen.
        if let Some(preview) = &state.preview {
            let url = self.preview.url(&sandbox.id, preview.port);
            if url != preview.url {
                bodies.push(EventBody::PreviewReady { port: preview.port, url, status: preview.status });
            }
        }
        bodies
    }
}
