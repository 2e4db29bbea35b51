//! The `agentTurn` task: model, tools, model, tools, until it is done.
//!
//! The transcript is the journal. An answer is recorded when it is complete and a result when it is there, so after a
//! crash the turn goes on behind the last of them: parts of an answer that was being streamed are taken back and
//! streamed again, and calls without a result are submitted again under their old keys, under which the workflow finds
//! those that had finished.

use super::calls::{Breaker, Calls};
use super::conversation::{progress, result_step, user_message};
use super::gate::AgentDeps;
use super::step::{After, Asking};
use crate::domain::{ApiError, ErrorCode, Message, MessageId, ModelRef, ProjectId, Role, TurnOutcome, Usage};
use crate::workflow::{RetryPolicy, Task, TaskContext, TaskError};
use async_trait::async_trait;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Said to a model whose answer was cut at its output limit.
const GO_ON: &str =
    "Your answer was cut at the output limit. Go on exactly where it stopped, without repeating anything.";
/// So often in one turn.
const GO_ON_MAX: u32 = 3;
/// So often the server may end in one step of a turn.
const CRASHES_MAX: u32 = 8;
/// Between two looks whether the disk has room again.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// So often a turn goes on because of what the check before its end found.
const CHECKED_MAX: u32 = 2;

/// What a turn is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnInput {
    /// The chosen model; none for the default.
    pub model: Option<String>,
    /// How it is announced.
    pub answering: ModelRef,
    /// What it may cost, in millionths of a US dollar, if it was not asked for by a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<u64>,
}

/// What a turn returns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnReport {
    /// How it ended.
    pub outcome: TurnOutcome,
    /// Tokens, where the provider says so.
    pub usage: Option<Usage>,
}

/// The task.
pub struct TurnTask {
    deps: AgentDeps,
}

impl TurnTask {
    pub(super) fn new(deps: AgentDeps) -> Self {
        Self { deps }
    }
}

#[async_trait]
impl Task for TurnTask {
    const NAME: &'static str = "agentTurn";
    const NO_REPLAY: Option<&'static str> =
        Some("it answers at one place of its conversation. Use Retry in the chat, or send the message again.");
    type Input = TurnInput;
    type Output = TurnReport;

    /// A turn gets further each time, and gives up itself where it does not.
    fn crash_limit(&self) -> u32 {
        u32::MAX
    }

    /// A failed turn is shown to the person, who decides; what can be retried inside has been.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(&self, ctx: TaskContext, input: TurnInput) -> Result<TurnReport, TaskError> {
        let project =
            ctx.project.clone().ok_or_else(|| TaskError::Fatal(ApiError::invalid("a turn needs a project")))?;
        let _until_the_end = self.deps.gate.execution(&project);
        let mut usage = None;
        let turn = Box::pin(turn(&self.deps, &ctx, &project, &input, &mut usage));
        // Whatever happens inside, the turn must end: a turn without an end locks the conversation.
        let outcome = match AssertUnwindSafe(turn).catch_unwind().await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) if ctx.cancel.is_cancelled() => TurnOutcome::Stopped,
            // Nobody stopped this turn: the server is shutting down. It waits here to be cut off, and is resumed.
            Ok(Err(error)) if error.code == ErrorCode::Cancelled => std::future::pending().await,
            Ok(Err(error)) => TurnOutcome::Failed { error },
            Err(_) => {
                TurnOutcome::Failed { error: ApiError::internal("The agent failed unexpectedly. Retry to go on.") }
            }
        };
        // A person who stops it waits for the end, and what is stopped has little time; else the end comes last, so that
        // what follows finds the checkpoint.
        let stopped = outcome == TurnOutcome::Stopped;
        if !stopped {
            self.deps.checkpoint(&ctx, &project).await;
        }
        // An end that finds no room on the disk waits for it: a turn without an end locks the conversation.
        let ended = loop {
            match self.end(&ctx, &project, &input, &outcome, usage).await {
                Err(error) if error.code == ErrorCode::Storage => tokio::time::sleep(ROOM_PAUSE).await,
                ended => break ended,
            }
        };
        ended.map_err(TaskError::Fatal)?;
        if stopped {
            self.deps.checkpoint(&ctx, &project).await;
        }
        match outcome {
            TurnOutcome::Stopped => Err(TaskError::Cancelled),
            TurnOutcome::Failed { error } => Err(TaskError::Fatal(error)),
            outcome => Ok(TurnReport { outcome, usage }),
        }
    }
}

impl TurnTask {
    /// Records the end, and begins the next turn if messages wait.
    async fn end(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        input: &TurnInput,
        outcome: &TurnOutcome,
        usage: Option<Usage>,
    ) -> Result<(), ApiError> {
        let outcome = outcome.clone();
        match outcome {
            TurnOutcome::Completed | TurnOutcome::StepLimit { .. } => {
                self.deps.finish_and_go_on(ctx.workflow(), project, &ctx.run, outcome, usage, input).await
            }
            TurnOutcome::Stopped | TurnOutcome::Failed { .. } => {
                Ok(self.deps.finish(project, &ctx.run, outcome, usage).await?)
            }
        }
    }
}

async fn turn(
    deps: &AgentDeps,
    ctx: &TaskContext,
    project: &ProjectId,
    input: &TurnInput,
    usage: &mut Option<Usage>,
) -> Result<TurnOutcome, ApiError> {
    let (message, prompts) = begin(deps, ctx, project, input).await?;
    let transcript = deps.store.transcript();
    let entries = transcript.load(project).await?;
    let done = progress(&entries, &ctx.run);
    *usage = done.usage;
    if ctx.crashes.saturating_sub(done.crashes) > CRASHES_MAX {
        let message =
            format!("The server ended {CRASHES_MAX} times at this step. Retry to go on, or ask for something else.");
        return Err(ApiError::internal(message));
    }
    if !done.begun && !prompts.is_empty() {
        let note = deps.note(ctx, project, &entries).await;
        deps.put_attachments(ctx, project, &prompts).await?;
        let mut told: Vec<_> = note.into_iter().collect();
        for prompt in &prompts {
            told.push(deps.told(prompt).await?);
        }
        transcript.append(project, &ctx.run, 0, &told).await?;
    }
    let mut asking = Asking::begin(deps, ctx, project, message.clone(), input, done.parts).await?;
    asking.rewind().await?;
    if done.steps > 0 && !done.goes_on {
        return Ok(TurnOutcome::Completed);
    }
    let (calls, mut breaker) = (Calls { deps, ctx, project }, Breaker::default());
    for (index, id, call) in done.open {
        calls.execute(done.steps, index, &id, &call, &mut breaker).await?;
    }
    let (mut cut, mut checked) = (0, 0);
    for step in done.steps + 1..=deps.config.max_steps {
        let wanted = match asking.step(step, cut < GO_ON_MAX, usage).await? {
            After::Calls(wanted) => wanted,
            After::Cut => {
                cut += 1;
                let go_on = user_message(GO_ON);
                transcript.append(project, &ctx.run, result_step(step, 0), &[go_on]).await?;
                continue;
            }
            After::Done => {
                let Some(found) = deps.check(ctx, project, &message, step).await? else {
                    return Ok(TurnOutcome::Completed);
                };
                if checked >= CHECKED_MAX {
                    return Ok(TurnOutcome::Completed);
                }
                checked += 1;
                transcript.append(project, &ctx.run, result_step(step, 0), &[user_message(&found)]).await?;
                continue;
            }
        };
        for (index, (id, call)) in wanted.iter().enumerate() {
            calls.execute(step, index, id, call, &mut breaker).await?;
        }
    }
    Ok(TurnOutcome::StepLimit { steps: deps.config.max_steps })
}

/// Announces the turn if nobody did, and finds its message and the prompts it answers.
async fn begin(
    deps: &AgentDeps,
    ctx: &TaskContext,
    project: &ProjectId,
    input: &TurnInput,
) -> Result<(MessageId, Vec<Message>), ApiError> {
    let guard = deps.gate.lock(project).await;
    deps.announce(&guard, project, &ctx.run, input.answering.clone()).await?;
    drop(guard);
    let state = deps.store.events().state(project).await?;
    let at = state.messages.iter().rposition(|m| m.turn.as_ref() == Some(&ctx.run));
    let at = at.ok_or_else(|| ApiError::internal("The turn has no message."))?;
    let before = state.messages.get(..at).unwrap_or_default();
    let mut prompts: Vec<Message> = before.iter().rev().take_while(|m| m.role == Role::User).cloned().collect();
    prompts.reverse();
    let message = state.messages.get(at).map(|m| m.id.clone());
    Ok((message.ok_or_else(|| ApiError::internal("The turn has no message."))?, prompts))
}
