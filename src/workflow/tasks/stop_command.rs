//! `stopCommand`: ends a command.

use crate::domain::{CommandId, ProjectId};
use crate::sandbox::Service;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Stops a command; stopping one that has ended is no error.
pub struct StopCommand {
    service: Service,
}

/// What `stopCommand` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopCommandInput {
    /// The project.
    pub project: ProjectId,
    /// The command.
    pub command_id: CommandId,
}

/// What `stopCommand` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StopCommandOutput {
    /// The command.
    pub command_id: CommandId,
    /// Its exit code, if it exited by itself.
    pub exit_code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<String>,
    /// Why it ended, where the platform knows.
    pub reason: Option<String>,
}

impl StopCommand {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for StopCommand {
    const NAME: &'static str = "stopCommand";
    const IN_SANDBOX: bool = true;
    type Input = StopCommandInput;
    type Output = StopCommandOutput;

    async fn run(&self, _: TaskContext, input: StopCommandInput) -> Result<StopCommandOutput, TaskError> {
        let exit = self.service.stop_command(&input.project, &input.command_id).await?;
        Ok(StopCommandOutput {
            command_id: input.command_id,
            exit_code: exit.code,
            signal: exit.signal,
            reason: exit.reason,
        })
    }
}
