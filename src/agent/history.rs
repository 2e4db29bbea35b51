//! Checkpoints as the conversation uses them: one at the end of each turn, going back, sending a message again, and
//! the messages that wait.

use super::Agent;
use super::gate::{AgentDeps, Guard};
use crate::domain::{
    ApiError, Attached, Attachment, Checkpoint, ErrorCode, EventBody, Message, MessageId, ProjectId, ProjectState,
    Role, RunId,
};
use crate::workflow::{RunRequest, TaskContext, Workflow};
use serde_json::json;
use std::time::Duration;

/// A checkpoint may hold up the end of its turn so long; then it goes on without being shown.
const PATIENCE: Duration = Duration::from_secs(60);
/// Characters of the prompt in the commit's first line.
const SUBJECT: usize = 72;

impl AgentDeps {
    /// Stores the workspace at the end of a turn. A failure is told in the run's log and changes nothing else: the
    /// turn's work is in the workspace either way.
    pub(super) async fn checkpoint(&self, ctx: &TaskContext, project: &ProjectId) {
        let made = tokio::time::timeout(PATIENCE, self.try_checkpoint(ctx, project)).await;
        let problem = match made {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done after {} s", PATIENCE.as_secs()),
        };
        ctx.log(crate::domain::LogLevel::Warn, format!("No checkpoint was made: {problem}")).await;
    }

    async fn try_checkpoint(&self, ctx: &TaskContext, project: &ProjectId) -> Result<(), ApiError> {
        let state = self.store.events().state(project).await?;
        if state.sandbox.is_none() {
            return Ok(());
        }
        let turn = &ctx.run;
        let payload = json!({"project": project, "message": subject(&state, turn), "turn": turn});
        // A turn that is being stopped takes its children with it; this one must run all the same.
        let parent = (!ctx.cancel.is_cancelled()).then(|| turn.clone());
        let key = Some(format!("{turn}:checkpoint"));
        let request =
            RunRequest { parent, idempotency_key: key, ..request("checkpoint", "checkpoint", project, payload) };
        let checkpoint = run(ctx.workflow(), request).await?;
        // Told here and not in the conversation.
        if !checkpoint.left_out.is_empty() {
            let files = checkpoint.left_out.join(", ");
            let message =
                format!("The checkpoint does not hold all files; too large, unreadable or oddly named: {files}");
            ctx.log(crate::domain::LogLevel::Warn, message).await;
        }
        Ok(())
    }
}

fn request(task: &str, title: &str, project: &ProjectId, payload: serde_json::Value) -> RunRequest {
    RunRequest {
        task: task.to_owned(),
        title: title.to_owned(),
        payload,
        project: Some(project.clone()),
        ..RunRequest::default()
    }
}

async fn run(workflow: &Workflow, request: RunRequest) -> Result<Checkpoint, ApiError> {
    let run = workflow.submit(request).await?;
    let output = workflow.wait(&run).await?;
    serde_json::from_value(output).map_err(|e| ApiError::internal(format!("the checkpoint cannot be read: {e}")))
}

/// The commit's message: what was asked.
fn subject(state: &ProjectState, turn: &RunId) -> String {
    let at = state.messages.iter().position(|m| m.turn.as_ref() == Some(turn)).unwrap_or(state.messages.len());
    let asked = state.messages.iter().take(at).rev().find(|m| m.role == Role::User).map(Message::text);
    let asked = asked.unwrap_or_default();
    let line: String = asked.lines().next().unwrap_or_default().chars().take(SUBJECT).collect();
    let line = if line.trim().is_empty() { "Work of the agent".to_owned() } else { line };
    format!("{line}\n\nTurn: {turn}")
}

impl Agent {
    /// Takes conversation and files back to the end of a turn, by its message.
    pub async fn go_back(&self, project: &ProjectId, message: &MessageId) -> Result<(), ApiError> {
        let guard = self.deps.gate.lock(project).await;
        let state = self.idle(project).await?;
        let at = position(&state, message)?;
        if state.messages.get(at).is_none_or(|m| m.checkpoint.is_none()) {
            return Err(ApiError::new(ErrorCode::Conflict, "There is no checkpoint at this message."));
        }
        self.back_to(&guard, project, &state, at + 1).await
    }

    /// Sends a message of the person again, changed: what came after it is taken back first.
    pub async fn resend(
        &self,
        project: &ProjectId,
        message: &MessageId,
        text: &str,
        model: Option<&str>,
    ) -> Result<MessageId, ApiError> {
        // Whatever may be wrong with it is found before anything is taken back.
        let text = super::check_message(text)?;
        let (model, answering) = self.chosen(model).await?;
        let guard = self.deps.gate.lock(project).await;
        let state = self.idle(project).await?;
        let at = position(&state, message)?;
        let found = state.messages.get(at).filter(|m| m.role == Role::User);
        let found = found.ok_or_else(|| ApiError::invalid("Only a message of yours can be sent again."))?;
        let attached = |file: &Attachment| Attached { id: file.id.clone(), name: file.name.clone() };
        let files: Vec<Attached> = found.attachments.iter().map(attached).collect();
        self.deps.attach(&state, &files).await?;
        self.back_to(&guard, project, &state, at).await?;
        self.send_locked(&guard, project, text, &files, model, answering).await
    }

    /// Withdraws a message that waits.
    pub async fn withdraw(&self, project: &ProjectId, message: &MessageId) -> Result<(), ApiError> {
        self.change_queue(project, message, EventBody::MessageWithdrawn { message: message.clone() }).await
    }

    /// Moves a message that waits before the one it stands behind.
    pub async fn move_up(&self, project: &ProjectId, message: &MessageId) -> Result<(), ApiError> {
        self.change_queue(project, message, EventBody::MessageMovedUp { message: message.clone() }).await
    }

    async fn change_queue(&self, project: &ProjectId, message: &MessageId, body: EventBody) -> Result<(), ApiError> {
        let _guard = self.deps.gate.lock(project).await;
        let state = self.deps.store.events().state(project).await?;
        if state.turn.is_none() || !state.unanswered().any(|m| m.id == *message) {
            return Err(ApiError::new(ErrorCode::Conflict, "This message is being answered already."));
        }
        self.deps.store.events().append(project, vec![body]).await?;
        Ok(())
    }

    /// Sends a fault to the agent again, with another model if one is named, because a person asks for it.
    pub async fn fix_again(&self, project: &ProjectId, fault: &str, model: Option<&str>) -> Result<(), ApiError> {
        let guard = self.deps.gate.lock(project).await;
        let state = self.idle(project).await?;
        let known = state.fault(fault).ok_or_else(|| ApiError::not_found("There is no such error in this project."))?;
        let last = state.messages.iter().rev().find_map(|m| m.model.as_ref()).map(|m| m.id.clone());
        let model = model.map(str::to_owned).or(last);
        let answering = self.deps.name_model(model.as_deref()).await?;
        let message = crate::store::new_message_id();
        let text = super::repair::words(std::slice::from_ref(known), known.tries + 1);
        let bodies = vec![
            EventBody::FixAllowed { fault: fault.to_owned() },
            EventBody::FixStarted { message, text, faults: vec![fault.to_owned()] },
        ];
        self.deps.store.events().append(project, bodies).await?;
        self.deps.start_turn(&guard, &self.workflow, project, model.as_deref(), answering).await
    }

    /// The project's present, if no turn runs.
    async fn idle(&self, project: &ProjectId) -> Result<std::sync::Arc<ProjectState>, ApiError> {
        let state = self.deps.store.events().state(project).await?;
        if state.turn.is_some() {
            return Err(ApiError::new(ErrorCode::Conflict, "The agent is at work; wait for it or stop it first."));
        }
        Ok(state)
    }

    /// Keeps the first `keep` messages and the files as they were then.
    async fn back_to(
        &self,
        _: &Guard<'_>,
        project: &ProjectId,
        state: &ProjectState,
        keep: usize,
    ) -> Result<(), ApiError> {
        let kept = state.messages.get(..keep).unwrap_or_default();
        let dropped = state.messages.get(keep..).unwrap_or_default();
        // Files only go back if a dropped turn may have changed them.
        if dropped.iter().any(|m| m.role == Role::Assistant) {
            let commit = kept.iter().rev().find_map(|m| m.checkpoint.as_ref()).map(|c| c.commit.as_str());
            let payload = json!({"project": project, "commit": commit.unwrap_or_default()});
            run(&self.workflow, request("restoreCheckpoint", "go back", project, payload)).await?;
        }
        let body = EventBody::WentBack { message: kept.last().map(|m| m.id.clone()) };
        self.deps.store.events().append(project, vec![body]).await?;
        Ok(())
    }
}

fn position(state: &ProjectState, message: &MessageId) -> Result<usize, ApiError> {
    let missing = || ApiError::not_found("There is no such message in this project.");
    state.messages.iter().position(|m| m.id == *message).ok_or_else(missing)
}
