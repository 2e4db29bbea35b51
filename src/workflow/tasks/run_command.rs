//! `runCommand`: one command line, waited for or left in the background.
//!
//! A run starts its command once, however often it is executed: the command is recorded before it starts and found
//! again by its run. A command that the end of the server cut off, or may have, is reported as interrupted, not
//! repeated, because nobody but the caller knows whether that is safe.

use crate::domain::{CommandExit, CommandId, CommandView, LogLevel, ProjectId, RunId};
use crate::sandbox::{CommandSpec, LogFrom, SandboxError, Service};
use crate::store::EventLog;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Characters of output that are returned.
const OUTPUT_CHARS: usize = 16_000;
/// How long a background command is watched for an early end.
const EARLY: Duration = Duration::from_millis(700);

/// Runs a command.
pub struct RunCommand {
    service: Service,
    events: EventLog,
}

/// What `runCommand` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunCommandInput {
    /// The project.
    pub project: ProjectId,
    /// The line, run by `/bin/sh -c`.
    pub command: String,
    /// Working directory relative to the workspace.
    #[serde(default)]
    pub cwd: String,
    /// Environment on top of the sandbox's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether to return once it has started.
    #[serde(default)]
    pub background: bool,
    /// How long it may take, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What `runCommand` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunCommandOutput {
    /// The command.
    pub command_id: CommandId,
    /// Its exit code, if it exited by itself. Without code, signal and reason it still runs.
    pub exit_code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<String>,
    /// Why it ended, where the platform knows.
    pub reason: Option<String>,
    /// The end of its output, at most 16,000 characters; what is cut is named.
    pub output: String,
    /// How long it took, once ended, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Whether the end of the server cut it off.
    pub interrupted: bool,
}

impl RunCommand {
    /// The task over this service.
    pub fn new(service: Service, events: EventLog) -> Self {
        Self { service, events }
    }

    /// The command an earlier execution of this run started, or was about to start when it was cut off.
    async fn started_before(&self, project: &ProjectId, run: &RunId) -> Result<Option<CommandView>, TaskError> {
        let state = self.events.state(project).await?;
        let began = |exit: &Option<CommandExit>| !exit.as_ref().is_some_and(CommandExit::never_started);
        let found = state.commands.iter().rev().find(|c| c.run.as_ref() == Some(run) && began(&c.exit));
        Ok(found.cloned())
    }

    async fn start(&self, ctx: &TaskContext, input: &RunCommandInput) -> Result<CommandId, TaskError> {
        let spec = CommandSpec {
            line: input.command.clone(),
            cwd: input.cwd.clone(),
            env: input.env.clone(),
            background: input.background,
            timeout: input.timeout_ms.map(Duration::from_millis),
            call: ctx.call.clone(),
            run: Some(ctx.run.clone()),
        };
        Ok(self.service.start_command(&input.project, spec).await?)
    }

    /// Waits for the end or, in the background, for an early one; none while it runs.
    async fn outcome(
        &self,
        ctx: &TaskContext,
        input: &RunCommandInput,
        command: &CommandId,
    ) -> Result<Option<CommandExit>, SandboxError> {
        let ended = self.service.wait_command(&input.project, command, &ctx.cancel);
        if !input.background {
            return ended.await.map(Some);
        }
        tokio::time::timeout(EARLY, ended).await.ok().transpose()
    }

    async fn output(&self, project: &ProjectId, command: &CommandId) -> Result<String, SandboxError> {
        // A character takes at most four bytes.
        let bytes = OUTPUT_CHARS as u64 * 4;
        let slice = self.service.read_log(project, command, LogFrom::Tail(bytes), bytes).await?;
        Ok(last_chars(&slice.text, slice.start))
    }
}

#[async_trait]
impl Task for RunCommand {
    const NAME: &'static str = "runCommand";
    const IN_SANDBOX: bool = true;
    type Input = RunCommandInput;
    type Output = RunCommandOutput;

    async fn run(&self, ctx: TaskContext, input: RunCommandInput) -> Result<RunCommandOutput, TaskError> {
        let before = self.started_before(&input.project, &ctx.run).await?;
        let (command, exit) = match &before {
            Some(before) => {
                ctx.log(LogLevel::Warn, format!("{} was started before; it is not started again", before.id)).await;
                let exit = match &before.exit {
                    Some(exit) => Some(exit.clone()),
                    None => self.outcome(&ctx, &input, &before.id).await?,
                };
                (before.id.clone(), exit)
            }
            None => {
                let command = self.start(&ctx, &input).await?;
                let exit = self.outcome(&ctx, &input, &command).await?;
                (command, exit)
            }
        };
        let state = self.events.state(&input.project).await?;
        let output = self.output(&input.project, &command).await?;
        let ended = exit.is_some();
        let exit = exit.unwrap_or_default();
        Ok(RunCommandOutput {
            interrupted: before.is_some() && ended && exit.code.is_none(),
            duration_ms: state.command(&command).and_then(|command| command.duration_ms),
            command_id: command,
            exit_code: exit.code,
            signal: exit.signal,
            reason: exit.reason,
            output,
        })
    }
}

/// The last characters of `text`, from a line's beginning, with a note about how much is missing. `start` is the offset
/// of `text` in all output.
fn last_chars(text: &str, start: u64) -> String {
    let excess = text.chars().count().saturating_sub(OUTPUT_CHARS);
    if excess == 0 && start == 0 {
        return text.to_owned();
    }
    let cut = text.char_indices().nth(excess).map_or(0, |(at, _)| at);
    let kept = text.get(cut..).unwrap_or_default();
    let kept = kept.split_once('\n').map(|(_, rest)| rest).filter(|rest| !rest.is_empty()).unwrap_or(kept);
    format!("[the first {} bytes are left out]\n{kept}", start + (text.len() - kept.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_output_is_whole_and_long_output_names_what_is_cut() {
        assert_eq!(last_chars("one\ntwo\n", 0), "one\ntwo\n");
        assert_eq!(last_chars("", 0), "");
        let line = "0123456789\n";
        let text = line.repeat(2_000);
        let shown = last_chars(&text, 500);
        let (note, kept) = shown.split_once('\n').unwrap();
        assert!(kept.starts_with(line) && kept.chars().count() <= OUTPUT_CHARS);
        assert_eq!(note, format!("[the first {} bytes are left out]", text.len() + 500 - kept.len()));
        assert!(last_chars(&"é".repeat(20_000), 0).ends_with("é"));
    }
}
