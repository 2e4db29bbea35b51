//! `readLogs`: output of a command, also of one that has ended.

use crate::domain::{CommandExit, CommandId, LogSlice, ProjectId};
use crate::sandbox::{LogFrom, Service};
use crate::store::EventLog;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The most bytes read at once.
const READ_MAX: u64 = 256 << 10;

/// Reads a command's output.
pub struct ReadLogs {
    service: Service,
    events: EventLog,
}

/// What `readLogs` is given. Without `offset` the end is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadLogsInput {
    /// The project.
    pub project: ProjectId,
    /// The command.
    pub command_id: CommandId,
    /// How many bytes before the end to begin.
    #[serde(default = "default_tail")]
    pub tail: u64,
    /// Where to begin instead.
    #[serde(default)]
    pub offset: Option<u64>,
}

fn default_tail() -> u64 {
    16_000
}

/// What `readLogs` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadLogsOutput {
    /// The command.
    pub command_id: CommandId,
    /// The output, as `start`, `end`, `total` (bytes) and `text`.
    #[serde(flatten)]
    pub slice: LogSlice,
    /// How the command ended; none while it runs.
    pub exit: Option<CommandExit>,
}

impl ReadLogs {
    /// The task over this service.
    pub fn new(service: Service, events: EventLog) -> Self {
        Self { service, events }
    }
}

#[async_trait]
impl Task for ReadLogs {
    const NAME: &'static str = "readLogs";
    const IN_SANDBOX: bool = true;
    type Input = ReadLogsInput;
    type Output = ReadLogsOutput;

    async fn run(&self, _: TaskContext, input: ReadLogsInput) -> Result<ReadLogsOutput, TaskError> {
        let from = input.offset.map_or(LogFrom::Tail(input.tail.min(READ_MAX)), LogFrom::Offset);
        let slice = self.service.read_log(&input.project, &input.command_id, from, READ_MAX).await?;
        let state = self.events.state(&input.project).await?;
        let exit = state.command(&input.command_id).and_then(|command| command.exit.clone());
        Ok(ReadLogsOutput { command_id: input.command_id, slice, exit })
    }
}
