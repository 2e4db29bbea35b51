//! `checkpoint` and `restoreCheckpoint`: the workspace stored, and put back.

use crate::domain::{Checkpoint, EventBody, ProjectId, RunId};
use crate::sandbox::Service;
use crate::store::EventLog;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::Deserialize;

/// Stores the workspace.
pub struct MakeCheckpoint {
    service: Service,
    events: EventLog,
}

/// What `checkpoint` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MakeCheckpointInput {
    /// The project.
    pub project: ProjectId,
    /// What the commit says.
    pub message: String,
    /// The turn whose work it is. It is told here, because the turn itself may be gone by then.
    pub turn: RunId,
}

impl MakeCheckpoint {
    /// The task over this service and the projects' events.
    pub fn new(service: Service, events: EventLog) -> Self {
        Self { service, events }
    }
}

#[async_trait]
impl Task for MakeCheckpoint {
    const NAME: &'static str = "checkpoint";
    const IN_SANDBOX: bool = true;
    const NO_REPLAY: Option<&'static str> =
        Some("it stores the files as they were at the end of its turn. The next turn makes a checkpoint of its own.");
    type Input = MakeCheckpointInput;
    type Output = Checkpoint;

    async fn run(&self, _: TaskContext, input: MakeCheckpointInput) -> Result<Checkpoint, TaskError> {
        let checkpoint = self.service.checkpoint(&input.project, &input.message).await?;
        // What was left out is for the run's log and not for the conversation.
        let shown = Checkpoint { left_out: Vec::new(), ..checkpoint.clone() };
        let body = EventBody::CheckpointMade { turn: input.turn, checkpoint: shown };
        self.events.append(&input.project, vec![body]).await?;
        Ok(checkpoint)
    }
}

/// Puts the files of a checkpoint back.
pub struct RestoreCheckpoint {
    service: Service,
}

/// What `restoreCheckpoint` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreCheckpointInput {
    /// The project.
    pub project: ProjectId,
    /// The commit.
    pub commit: String,
}

impl RestoreCheckpoint {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for RestoreCheckpoint {
    const NAME: &'static str = "restoreCheckpoint";
    const IN_SANDBOX: bool = true;
    const NO_REPLAY: Option<&'static str> = Some(
        "it would put old files over what was made since. Go back in the chat: conversation and files go together.",
    );
    type Input = RestoreCheckpointInput;
    type Output = Checkpoint;

    async fn run(&self, _: TaskContext, input: RestoreCheckpointInput) -> Result<Checkpoint, TaskError> {
        Ok(self.service.restore(&input.project, &input.commit).await?)
    }
}
