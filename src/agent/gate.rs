//! What the agent works with, and the gate that lets one turn at a time into a project.
//!
//! "Does a turn run?" and "start one" must be one step, for the person's message, for Retry and for the end of a turn
//! that finds messages waiting. So whoever does either holds the project's lock, and a turn counts as running from its
//! `TurnStarted` to its `TurnFinished`, both written under it.

use super::conversation::progress;
use super::turn::{TurnInput, TurnTask};
use crate::config::AgentConfig;
use crate::domain::{ApiError, ErrorCode, EventBody, ModelRef, ProjectId, RunId, RunStatus, TurnOutcome, Usage};
use crate::llm::{Catalog, ModelError};
use crate::sandbox::provider::HostTool;
use crate::store::{Store, StoreError, new_message_id};
use crate::tools::{RunCommandLimits, Toolbox};
use crate::workflow::{RunRequest, Task, Workflow, WorkflowError};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, broadcast};

/// A name for the model is worth this wait at most; after it the turn begins and finds out by itself.
const NAMING: Duration = Duration::from_millis(300);
/// Characters of the prompt in the title of the run.
const TITLE: usize = 80;
/// Ends of turns kept for who listens to them.
const ENDS_KEPT: usize = 256;

/// Tells what is usable inside sandboxes, as far as that is known by now.
pub type InstalledTools = Arc<dyn Fn() -> Vec<HostTool> + Send + Sync>;

/// The parts the agent is made of. Cheap to clone; all clones share one gate.
#[derive(Clone)]
pub struct AgentDeps {
    pub(super) store: Store,
    pub(super) catalog: Catalog,
    pub(super) config: AgentConfig,
    pub(super) toolbox: Arc<Toolbox>,
    pub(super) tools: InstalledTools,
    pub(super) gate: Arc<Gate>,
}

/// Locks by project; several projects may share one.
pub(super) struct Gate {
    stripes: [Mutex<()>; 16],
    /// Projects in which the execution of a turn has ended, in whichever way.
    ends: broadcast::Sender<ProjectId>,
}

/// Tells when the execution of a turn ends, also when it is dropped.
pub(super) struct Execution<'a> {
    gate: &'a Gate,
    project: &'a ProjectId,
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        // Nobody listens where nothing is repaired.
        self.gate.ends.send(self.project.clone()).ok();
    }
}

/// Proof that a project's lock is held.
pub(super) struct Guard<'a> {
    _lock: MutexGuard<'a, ()>,
}

impl Gate {
    pub async fn lock(&self, project: &ProjectId) -> Guard<'_> {
        let mut hasher = DefaultHasher::new();
        project.hash(&mut hasher);
        let at = usize::from(hasher.finish().to_le_bytes()[0]) % self.stripes.len();
        Guard { _lock: self.stripes[at].lock().await }
    }

    /// Say it when the execution of a turn begins, and keep it for as long.
    pub fn execution<'a>(&'a self, project: &'a ProjectId) -> Execution<'a> {
        Execution { gate: self, project }
    }

    /// Projects in which the execution of a turn ends, from now on.
    pub fn ends(&self) -> broadcast::Receiver<ProjectId> {
        self.ends.subscribe()
    }
}

impl AgentDeps {
    /// The standard agent. `tools` is what the sandboxes' provider knows to be usable inside.
    pub fn new(
        store: Store,
        catalog: Catalog,
        config: AgentConfig,
        limits: RunCommandLimits,
        tools: InstalledTools,
    ) -> Self {
        let gate = Gate { stripes: Default::default(), ends: broadcast::Sender::new(ENDS_KEPT) };
        Self { store, catalog, config, toolbox: Arc::new(Toolbox::new(limits)), tools, gate: Arc::new(gate) }
    }

    /// How the model that answers is called. A model that does not exist is an error; a provider that cannot be asked
    /// is not: the turn will meet it again and tell the person.
    pub(super) async fn name_model(&self, model: Option<&str>) -> Result<ModelRef, ApiError> {
        let unnamed = || {
            let id = model.unwrap_or("default").to_owned();
            let label = model.map_or_else(|| "Default model".to_owned(), str::to_owned);
            ModelRef { id, label, demo: false }
        };
        match tokio::time::timeout(NAMING, self.catalog.resolve(model)).await {
            Ok(Ok(resolved)) => Ok(resolved.name),
            Ok(Err(error @ ModelError::Unknown(_))) => Err(error.into()),
            Ok(Err(_)) | Err(_) => Ok(unnamed()),
        }
    }

    /// Submits a turn and announces it. Messages that a stop has left waiting go first, with their own model if it is
    /// still there.
    pub(super) async fn start_turn(
        &self,
        guard: &Guard<'_>,
        workflow: &Workflow,
        project: &ProjectId,
        model: Option<&str>,
        answering: ModelRef,
    ) -> Result<(), ApiError> {
        let state = self.store.events().state(project).await?;
        let (model, answering) = match state.model_asked_for().filter(|first| model != Some(*first)) {
            Some(first) => match self.name_model(Some(first)).await {
                Ok(named) => (Some(first), named),
                Err(_) => (model, answering),
            },
            None => (model, answering),
        };
        let input = TurnInput { model: model.map(str::to_owned), answering, money: None };
        self.start(guard, workflow, project, input).await
    }

    /// The same for a turn that is bounded in other ways too.
    pub(super) async fn start(
        &self,
        guard: &Guard<'_>,
        workflow: &Workflow,
        project: &ProjectId,
        input: TurnInput,
    ) -> Result<(), ApiError> {
        let state = self.store.events().state(project).await?;
        let prompt = state.next_prompts().last().or(state.messages.last()).map(|m| m.text()).unwrap_or_default();
        let title: String = prompt.lines().next().unwrap_or_default().chars().take(TITLE).collect();
        let payload =
            serde_json::to_value(&input).map_err(|e| ApiError::internal(format!("the turn cannot be encoded: {e}")))?;
        let turn = workflow
            .submit(RunRequest {
                task: TurnTask::NAME.to_owned(),
                title,
                payload,
                project: Some(project.clone()),
                ..RunRequest::default()
            })
            .await?;
        self.announce(guard, project, &turn, input.answering).await?;
        Ok(())
    }

    /// Appends `TurnStarted` unless it is there. Called by whoever starts the turn and by the turn itself, which may
    /// find after a crash that nobody did. While another turn is at work it is a conflict.
    pub(super) async fn announce(
        &self,
        _: &Guard<'_>,
        project: &ProjectId,
        turn: &RunId,
        model: ModelRef,
    ) -> Result<(), ApiError> {
        let events = self.store.events();
        let state = events.state(project).await?;
        if state.messages.iter().any(|m| m.turn.as_ref() == Some(turn)) {
            return Ok(());
        }
        if state.turn.is_some() {
            return Err(ApiError::new(ErrorCode::Conflict, "Another turn is at work in this project."));
        }
        let waiting = state.unanswered().count() - state.next_prompts().count();
        let waiting = waiting.try_into().unwrap_or(u32::MAX);
        let body = EventBody::TurnStarted { turn: turn.clone(), message: new_message_id(), model, waiting };
        events.append(project, vec![body]).await?;
        Ok(())
    }

    /// Appends `TurnFinished` unless it is there.
    pub(super) async fn finish(
        &self,
        project: &ProjectId,
        turn: &RunId,
        outcome: TurnOutcome,
        usage: Option<Usage>,
    ) -> Result<(), StoreError> {
        let guard = self.gate.lock(project).await;
        self.finish_locked(&guard, project, turn, outcome, usage).await
    }

    /// Ends a turn whose run has ended without it: it was cancelled before it began, dropped because it did not end in
    /// time, or the server died between the two. True if the run goes on.
    pub(super) async fn end_without_task(
        &self,
        guard: &Guard<'_>,
        workflow: &Workflow,
        project: &ProjectId,
        turn: &RunId,
    ) -> Result<bool, StoreError> {
        let outcome = match workflow.get(turn).await {
            Ok(run) if !run.summary.status.is_final() => return Ok(true),
            Ok(run) if run.summary.status == RunStatus::Canceled => TurnOutcome::Stopped,
            Ok(run) => TurnOutcome::Failed { error: run.error.unwrap_or_else(cut_off) },
            // Only that it is gone says something of the turn; a store that cannot be read says nothing.
            Err(WorkflowError::Store(error)) if !error.is_not_found() => return Err(error),
            Err(_) => TurnOutcome::Failed { error: cut_off() },
        };
        let usage = self.used(project, turn).await?;
        self.finish_locked(guard, project, turn, outcome, usage).await?;
        Ok(false)
    }

    /// What the recorded answers of a turn used.
    pub(super) async fn used(&self, project: &ProjectId, turn: &RunId) -> Result<Option<Usage>, StoreError> {
        Ok(progress(&self.store.transcript().load(project).await?, turn).usage)
    }

    /// Ends a turn that went well and starts the next one if messages wait.
    pub(super) async fn finish_and_go_on(
        &self,
        workflow: &Workflow,
        project: &ProjectId,
        turn: &RunId,
        outcome: TurnOutcome,
        usage: Option<Usage>,
        input: &TurnInput,
    ) -> Result<(), ApiError> {
        let guard = self.gate.lock(project).await;
        self.finish_locked(&guard, project, turn, outcome, usage).await?;
        let state = self.store.events().state(project).await?;
        if state.unanswered().next().is_none() {
            return Ok(());
        }
        let model = state.model_asked_for().map(str::to_owned).or_else(|| input.model.clone());
        let answering = self.name_model(model.as_deref()).await.unwrap_or_else(|_| input.answering.clone());
        self.start_turn(&guard, workflow, project, model.as_deref(), answering).await
    }

    async fn finish_locked(
        &self,
        _: &Guard<'_>,
        project: &ProjectId,
        turn: &RunId,
        outcome: TurnOutcome,
        usage: Option<Usage>,
    ) -> Result<(), StoreError> {
        let events = self.store.events();
        if events.state(project).await?.turn.as_ref().is_none_or(|t| t.run != *turn) {
            return Ok(());
        }
        let body = EventBody::TurnFinished { turn: turn.clone(), outcome, usage };
        events.append(project, vec![body]).await.map(drop)
    }
}

fn cut_off() -> ApiError {
    ApiError::internal("The server stopped before this answer was complete. Retry to go on.")
}
