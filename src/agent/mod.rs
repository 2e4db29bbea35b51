//! The agent: a person's message becomes a turn of model answers and tool calls, until the model is done.
//!
//! Owns the turn from its first event to its last, the conversation as the model reads it, and what happens when a
//! turn is stopped, fails or is cut off by a crash. It must not know HTTP, pages or how sandboxes work: it talks to a
//! [`crate::llm::ModelClient`], submits tasks, and appends events.

mod attachments;
mod calls;
mod check;
mod compact;
mod conversation;
mod draft;
mod files_json;
mod gate;
mod history;
mod notes;
mod prompt;
mod repair;
mod repeat;
mod step;
mod turn;

pub use gate::AgentDeps;
pub use repair::{RepairPolicy, Repairer};
pub use turn::{TurnInput, TurnReport, TurnTask};

use crate::domain::{ApiError, Attached, ErrorCode, EventBody, MessageId, ModelRef, ProjectId, Role, TurnOutcome};
use crate::store::new_message_id;
use crate::workflow::Workflow;
use gate::Guard;
use std::time::Duration;

/// The longest message, in bytes. Longer text belongs into a file.
const MESSAGE_MAX: usize = 256 * 1024;
/// How long a stopped turn may take to end by itself.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What people do with the agent. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    deps: AgentDeps,
    workflow: Workflow,
}

/// The task that runs a turn, for the workflow's registry.
pub fn turn_task(deps: AgentDeps) -> TurnTask {
    TurnTask::new(deps)
}

impl Agent {
    /// The agent over these parts; the workflow must know [`turn_task`] made from the same `deps`.
    pub fn new(deps: AgentDeps, workflow: Workflow) -> Self {
        Self { deps, workflow }
    }

    /// Adds a message and starts a turn; while one runs, the message waits and is answered by the next.
    pub async fn send(&self, project: &ProjectId, text: &str, model: Option<&str>) -> Result<MessageId, ApiError> {
        self.send_with(project, text, &[], model).await
    }

    /// The same with uploaded files.
    pub async fn send_with(
        &self,
        project: &ProjectId,
        text: &str,
        files: &[Attached],
        model: Option<&str>,
    ) -> Result<MessageId, ApiError> {
        let (model, answering) = self.chosen(model).await?;
        let guard = self.deps.gate.lock(project).await;
        self.send_locked(&guard, project, check_message(text)?, files, model, answering).await
    }

    /// The model a person named, and how it is called. One that does not exist is an error.
    async fn chosen<'a>(&self, model: Option<&'a str>) -> Result<(Option<&'a str>, ModelRef), ApiError> {
        let model = model.map(str::trim).filter(|m| !m.is_empty());
        Ok((model, self.deps.name_model(model).await?))
    }

    async fn send_locked(
        &self,
        guard: &Guard<'_>,
        project: &ProjectId,
        text: &str,
        files: &[Attached],
        model: Option<&str>,
        answering: ModelRef,
    ) -> Result<MessageId, ApiError> {
        let message = new_message_id();
        let state = self.deps.store.events().state(project).await?;
        let attachments = self.deps.attach(&state, files).await?;
        let ids: Vec<_> = attachments.iter().map(|file| file.id.clone()).collect();
        self.deps.store.attachments().claim(project, &ids).await?;
        let body = EventBody::UserMessage {
            message: message.clone(),
            text: text.to_owned(),
            attachments,
            model: model.map(str::to_owned),
        };
        self.deps.store.events().append(project, vec![body]).await?;
        // A running turn finds it when it ends.
        if self.deps.store.events().state(project).await?.turn.is_none() {
            self.deps.start_turn(guard, &self.workflow, project, model, answering).await?;
        }
        Ok(message)
    }

    /// Ends the running turn. When this returns the turn is over; without one it does nothing.
    pub async fn stop(&self, project: &ProjectId) -> Result<(), ApiError> {
        let events = self.deps.store.events();
        let mut watch = events.watch(project).await?;
        let Some(turn) = events.state(project).await?.turn.clone() else { return Ok(()) };
        self.workflow.cancel(&turn.run).await?;
        let ended = async {
            while events.state(project).await?.turn.as_ref().is_some_and(|t| t.run == turn.run) {
                if watch.changed().await.is_err() {
                    break;
                }
            }
            Ok::<_, ApiError>(())
        };
        match tokio::time::timeout(STOP_GRACE, ended).await {
            Ok(result) => result,
            // The task did not get to it (it was still queued, or had to be dropped): end the turn in its place.
            Err(_) => {
                let usage = self.deps.used(project, &turn.run).await?;
                Ok(self.deps.finish(project, &turn.run, TurnOutcome::Stopped, usage).await?)
            }
        }
    }

    /// Goes on after a failure, a stop or the step limit, without a new message.
    pub async fn retry(&self, project: &ProjectId) -> Result<(), ApiError> {
        let guard = self.deps.gate.lock(project).await;
        let state = self.deps.store.events().state(project).await?;
        if state.turn.is_some() {
            return Err(ApiError::new(ErrorCode::Conflict, "The agent is at work; wait for it or stop it first."));
        }
        let nothing = || ApiError::new(ErrorCode::Conflict, "There is nothing to retry: the last answer is complete.");
        let last = state.messages.last().ok_or_else(nothing)?;
        if last.role == Role::Assistant && last.outcome == Some(TurnOutcome::Completed) {
            return Err(nothing());
        }
        let last = state.messages.iter().rev().find_map(|m| m.model.as_ref()).map(|m| m.id.clone());
        let model = state.model_asked_for().map(str::to_owned).or(last);
        // A model that is gone since then must not stand in the way of the one that is there now.
        let model = match self.deps.name_model(model.as_deref()).await {
            Ok(_) => model,
            Err(_) => None,
        };
        let answering = self.deps.name_model(model.as_deref()).await?;
        self.deps.start_turn(&guard, &self.workflow, project, model.as_deref(), answering).await
    }

    /// After a restart: ends turns whose run ended without them. Turns whose run goes on are left alone.
    pub async fn recover(&self) -> Result<(), ApiError> {
        for project in self.deps.store.events().projects().await?.into_iter().filter(|p| p.working) {
            let Some(turn) = self.deps.store.events().state(&project.id).await?.turn.clone() else { continue };
            let guard = self.deps.gate.lock(&project.id).await;
            self.deps.end_without_task(&guard, &self.workflow, &project.id, &turn.run).await?;
        }
        Ok(())
    }
}

/// Whether a message can be sent: text, not empty, of a bounded length. Returns it trimmed.
pub fn check_message(text: &str) -> Result<&str, ApiError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(ApiError::invalid("The message is empty. Say what shall be built or changed."));
    }
    if trimmed.len() > MESSAGE_MAX {
        let message =
            format!("The message is {} KiB long; {} KiB are allowed.", trimmed.len() / 1024, MESSAGE_MAX / 1024);
        return Err(ApiError::new(ErrorCode::TooLarge, message));
    }
    if trimmed.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(ApiError::invalid("The message holds binary data; only text can be sent."));
    }
    Ok(trimmed)
}
