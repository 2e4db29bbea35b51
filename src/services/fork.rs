//! Forking: a new project with the conversation, the files and the running app of another one at the end of a turn.

use super::Services;
use crate::domain::{ApiError, ErrorCode, Event, EventBody, MessageId, ProjectId, RunId};
use crate::workflow::tasks::{StartFork, StartForkInput};
use crate::workflow::{RunRequest, Task};

/// Events read at a time.
const PAGE: usize = 1_000;

impl Services {
    /// Makes the new project. Its app starts in the background, as a run of its own.
    pub async fn fork_project(&self, from: &ProjectId, message: &MessageId) -> Result<ProjectId, ApiError> {
        let state = self.store.events().state(from).await?;
        let found = state.message(message);
        let found = found.ok_or_else(|| ApiError::not_found("There is no such message in this project."))?;
        let checkpoint = found.checkpoint.clone().ok_or_else(|| {
            ApiError::new(ErrorCode::Conflict, "There is no checkpoint at this message, so nothing can be forked.")
        })?;
        let name = format!("{} (fork)", state.name);
        let to = self.store.events().create_project(&name).await?;
        let copied = async {
            let turns = self.copy_conversation(from, message, &to).await?;
            self.store.transcript().copy(from, &to, &turns).await?;
            self.store.attachments().claim(&to, &self.store.attachments().of(from).await?).await?;
            self.sandbox.fork_files(from, &checkpoint.commit, &to).await?;
            Ok::<_, ApiError>(())
        };
        if let Err(error) = copied.await {
            // Half a fork helps nobody.
            self.sandbox.delete(&to).await?;
            self.store.events().delete_project(&to).await?;
            return Err(error);
        }
        let commands = self.sandbox.background_commands(from).await?;
        let input = StartForkInput {
            project: to.clone(),
            commands: commands.into_iter().map(|c| (c.line, c.cwd)).collect(),
            port: state.preview.as_ref().map(|p| p.port),
        };
        self.workflow
            .submit(RunRequest {
                task: StartFork::NAME.to_owned(),
                title: format!("start the fork of {}", state.name),
                payload: serde_json::to_value(&input).map_err(|e| ApiError::internal(e.to_string()))?,
                project: Some(to.clone()),
                ..RunRequest::default()
            })
            .await?;
        Ok(to)
    }

    /// Copies what was said up to the end of the message's turn. Returns the turns.
    async fn copy_conversation(
        &self,
        from: &ProjectId,
        message: &MessageId,
        to: &ProjectId,
    ) -> Result<Vec<RunId>, ApiError> {
        let events = self.store.events();
        let state = events.state(from).await?;
        let last = state.message(message).and_then(|m| m.turn.clone());
        let (mut seq, mut turns, mut copied) = (0, Vec::new(), Vec::new());
        'log: loop {
            let page: Vec<Event> = events.after(from, seq, PAGE).await?;
            let Some(end) = page.last() else { break };
            seq = end.seq;
            for event in page {
                let is_last =
                    matches!(&event.body, EventBody::TurnFinished { turn, .. } if Some(turn) == last.as_ref());
                if let EventBody::TurnStarted { turn, .. } = &event.body {
                    turns.push(turn.clone());
                }
                copied.extend(conversation(event.body));
                if is_last {
                    break 'log;
                }
            }
        }
        for bodies in copied.chunks(PAGE) {
            events.append(to, bodies.to_vec()).await?;
        }
        Ok(turns)
    }
}

/// What belongs to the conversation. What it cost was the other project's.
fn conversation(body: EventBody) -> Option<EventBody> {
    match body {
        EventBody::TurnFinished { turn, outcome, .. } => Some(EventBody::TurnFinished { turn, outcome, usage: None }),
        EventBody::UserMessage { .. }
        | EventBody::TurnStarted { .. }
        | EventBody::TurnRewound { .. }
        | EventBody::TextDelta { .. }
        | EventBody::ReasoningDelta { .. }
        | EventBody::PartRendered { .. }
        | EventBody::ToolCallStarted { .. }
        | EventBody::ToolCallSubmitted { .. }
        | EventBody::ToolCallFinished { .. }
        | EventBody::PlanChanged { .. }
        | EventBody::FileWritten { .. }
        | EventBody::CheckpointMade { .. }
        | EventBody::MessageWithdrawn { .. }
        | EventBody::MessageMovedUp { .. }
        | EventBody::WentBack { .. } => Some(body),
        _ => None,
    }
}
