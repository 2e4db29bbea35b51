//! What the agent works with, and the gate that lets one turn at a time into a project.
//!
//! "Does a turn run?" and "start one" must be one step, for the person's message, for Retry and for the end of a turn
//! that finds messages waiting. So whoever does either holds the project's lock, and a turn counts as running from its
//! `TurnStarted` to its `TurnFinished`, both written under it.

use super::turn::{TurnInput, TurnTask};
use crate::config::AgentConfig;
use crate::domain::{ApiError, EventBody, ModelRef, ProjectId, RunId, TurnOutcome, Usage};
use crate::llm::{Catalog, ModelError};
use crate::sandbox::provider::HostTool;
use crate::store::{Store, StoreError, new_message_id};
use crate::tools::{RunCommandLimits, Toolbox};
use crate::workflow::{RunRequest, Task, Workflow};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// A name for the model is worth this wait at most; after it the turn begins and finds out by itself.
const NAMING: Duration = Duration::from_millis(300);
/// Characters of the prompt in the title of the run.
const TITLE: usize = 80;

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
        let gate = Gate { stripes: Default::default() };
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

    /// Submits a turn and announces it.
    pub(super) async fn start_turn(
        &self,
        guard: &Guard<'_>,
        workflow: &Workflow,
        project: &ProjectId,
        model: Option<&str>,
        answering: ModelRef,
    ) -> Result<(), ApiError> {
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
        let prompt = state.unanswered().last().or(state.messages.last()).map(|m| m.text()).unwrap_or_default();
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
    /// find after a crash that nobody did.
    pub(super) async fn announce(
        &self,
        _: &Guard<'_>,
        project: &ProjectId,
        turn: &RunId,
        model: ModelRef,
    ) -> Result<(), StoreError> {
        let events = self.store.events();
        if events.state(project).await?.messages.iter().any(|m| m.turn.as_ref() == Some(turn)) {
            return Ok(());
        }
        let body = EventBody::TurnStarted { turn: turn.clone(), message: new_message_id(), model };
        events.append(project, vec![body]).await.map(drop)
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
