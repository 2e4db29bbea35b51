//! The `agentTurn` task: model, tools, model, tools, until it is done.
//!
//! The transcript is the journal. An answer is recorded when it is complete and a result when it is there, so after a
//! crash the turn goes on behind the last of them: parts of an answer that was being streamed are taken back and
//! streamed again, and calls without a result are submitted again under their old keys, under which the workflow finds
//! those that had finished.

use super::calls::{Breaker, Calls};
use super::conversation::{answer_step, assistant_message, messages, progress, user_message};
use super::draft::DraftWriter;
use super::gate::AgentDeps;
use super::prompt;
use crate::domain::{
    ApiError, CallId, ErrorCode, EventBody, LogLevel, Message, MessageId, ModelRef, ProjectId, Role, TurnOutcome, Usage,
};
use crate::llm::{Answer, AnswerCall, Finish, ModelClient, ModelError, ModelEvent, ModelRequest};
use crate::workflow::{RetryPolicy, Task, TaskContext, TaskError};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What a turn is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnInput {
    /// The chosen model; none for the default.
    pub model: Option<String>,
    /// How it is announced.
    pub answering: ModelRef,
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
    type Input = TurnInput;
    type Output = TurnReport;

    /// A failed turn is shown to the person, who decides; what can be retried inside has been.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(&self, ctx: TaskContext, input: TurnInput) -> Result<TurnReport, TaskError> {
        let project =
            ctx.project.clone().ok_or_else(|| TaskError::Fatal(ApiError::invalid("a turn needs a project")))?;
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
        let ended = match &outcome {
            TurnOutcome::Completed | TurnOutcome::StepLimit { .. } => {
                self.deps.finish_and_go_on(ctx.workflow(), &project, &ctx.run, outcome.clone(), usage, &input).await
            }
            TurnOutcome::Stopped | TurnOutcome::Failed { .. } => {
                self.deps.finish(&project, &ctx.run, outcome.clone(), usage).await.map_err(ApiError::from)
            }
        };
        ended.map_err(TaskError::Fatal)?;
        match outcome {
            TurnOutcome::Stopped => Err(TaskError::Cancelled),
            TurnOutcome::Failed { error } => Err(TaskError::Fatal(error)),
            outcome => Ok(TurnReport { outcome, usage }),
        }
    }
}

/// One turn at work.
struct Turn<'a> {
    deps: &'a AgentDeps,
    ctx: &'a TaskContext,
    project: &'a ProjectId,
    message: MessageId,
    client: Arc<dyn ModelClient>,
    model: String,
    system: String,
    /// Parts of the message that are recorded.
    parts: u32,
    breaker: Breaker,
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
    let done = progress(&transcript.load(project).await?, &ctx.run);
    if !done.begun && !prompts.is_empty() {
        let prompts: Vec<_> = prompts.iter().map(|text| user_message(text)).collect();
        transcript.append(project, &ctx.run, 0, &prompts).await?;
    }
    let (client, model, _) = deps.catalog.resolve(input.model.as_deref()).await?;
    let system = prompt::system(&deps.host_tools);
    let mut turn =
        Turn { deps, ctx, project, message, client, model, system, parts: done.parts, breaker: Breaker::default() };
    turn.rewind().await?;
    if done.steps > 0 && !done.had_calls {
        return Ok(TurnOutcome::Completed);
    }
    let calls = Calls { deps, ctx, project };
    for (index, id, call) in done.open {
        calls.execute(done.steps, index, &id, &call, &mut turn.breaker).await?;
    }
    for step in done.steps + 1..=deps.config.max_steps {
        let (answer, wanted) = turn.step(step, usage).await?;
        if wanted.is_empty() {
            return turn.ending(&answer);
        }
        for (index, (id, call)) in wanted.iter().enumerate() {
            calls.execute(step, index, id, call, &mut turn.breaker).await?;
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
) -> Result<(MessageId, Vec<String>), ApiError> {
    let guard = deps.gate.lock(project).await;
    deps.announce(&guard, project, &ctx.run, input.answering.clone()).await?;
    drop(guard);
    let state = deps.store.events().state(project).await?;
    let at = state.messages.iter().rposition(|m| m.turn.as_ref() == Some(&ctx.run));
    let at = at.ok_or_else(|| ApiError::internal("The turn has no message."))?;
    let before = state.messages.get(..at).unwrap_or_default();
    let prompts = before.iter().rev().take_while(|m| m.role == Role::User).map(Message::text);
    let mut prompts: Vec<String> = prompts.collect();
    prompts.reverse();
    let message = state.messages.get(at).map(|m| m.id.clone());
    Ok((message.ok_or_else(|| ApiError::internal("The turn has no message."))?, prompts))
}

impl Turn<'_> {
    /// One answer of the model, recorded. An answer that broke off is asked for once more.
    async fn step(
        &mut self,
        step: u32,
        usage: &mut Option<Usage>,
    ) -> Result<(Answer, Vec<(CallId, AnswerCall)>), ApiError> {
        let entries = self.deps.store.transcript().load(self.project).await?;
        let request = ModelRequest {
            model: self.model.clone(),
            messages: messages(&self.system, &entries),
            tools: self.deps.toolbox.specs(),
        };
        let mut again = true;
        loop {
            let mut draft = DraftWriter::new(
                self.deps.store.events().clone(),
                self.project.clone(),
                self.message.clone(),
                self.parts,
            );
            let mut text = String::new();
            let streamed = self.stream(request.clone(), &mut draft, &mut text).await;
            draft.finish().await?;
            match streamed {
                Ok(answer) => {
                    add_usage(usage, answer.usage);
                    let wanted: Vec<_> = draft.call_ids().into_iter().zip(answer.calls.iter().cloned()).collect();
                    self.parts = draft.parts();
                    let message = assistant_message(&text, &wanted, self.parts);
                    self.deps
                        .store
                        .transcript()
                        .append(self.project, &self.ctx.run, answer_step(step), &[message])
                        .await?;
                    return Ok((answer, wanted));
                }
                Err(StepError::Model(error)) if again && may_stream_again(&error) => {
                    again = false;
                    self.ctx.log(LogLevel::Warn, format!("{error}. Asking again.")).await;
                    self.rewind().await?;
                }
                Err(StepError::Model(error)) => return Err(error.into()),
                Err(StepError::Other(error)) => return Err(error),
            }
        }
    }

    /// Streams one answer into the draft.
    async fn stream(
        &self,
        request: ModelRequest,
        draft: &mut DraftWriter,
        text: &mut String,
    ) -> Result<Answer, StepError> {
        let mut events = self.client.stream(request, &self.ctx.cancel).await.map_err(StepError::Model)?;
        loop {
            let event = match draft.due() {
                None => events.next().await,
                Some(due) => tokio::select! {
                    event = events.next() => event,
                    () = tokio::time::sleep_until(due) => {
                        draft.flush().await?;
                        continue;
                    }
                },
            };
            match event {
                Some(Ok(ModelEvent::Text(piece))) => {
                    text.push_str(&piece);
                    draft.text(&piece).await?;
                }
                Some(Ok(ModelEvent::Reasoning(piece))) => draft.reasoning(&piece).await?,
                Some(Ok(ModelEvent::CallStarted { name, .. })) => draft.call_started(&name).await?,
                Some(Ok(ModelEvent::CallArguments { call, text })) => draft.call_arguments(call, &text).await?,
                Some(Ok(ModelEvent::Waiting { delay, reason })) => {
                    let wait = delay.as_secs_f64();
                    self.ctx.log(LogLevel::Warn, format!("{reason}. Waiting {wait:.1} s before asking again.")).await;
                }
                Some(Ok(ModelEvent::Done(answer))) => return Ok(answer),
                Some(Err(error)) => return Err(StepError::Model(error)),
                None => return Err(StepError::Model(ModelError::Cancelled)),
            }
        }
    }

    /// Takes back parts that belong to no recorded answer.
    async fn rewind(&self) -> Result<(), ApiError> {
        let events = self.deps.store.events();
        let state = events.state(self.project).await?;
        let shown = state.message(&self.message).map_or(0, |m| m.parts.len());
        if shown > self.parts as usize {
            let body = EventBody::TurnRewound { message: self.message.clone(), parts: self.parts };
            events.append(self.project, vec![body]).await?;
        }
        Ok(())
    }

    /// How a turn ends whose last answer calls nothing.
    fn ending(&self, answer: &Answer) -> Result<TurnOutcome, ApiError> {
        let failed = |message: &str| Err(ApiError::new(ErrorCode::Model, message));
        match answer.finish {
            Finish::Length => failed("The answer was cut at the model's output limit. Retry to let it go on."),
            Finish::Filtered => failed("The model's provider withheld the rest of this answer (content filter)."),
            Finish::Stop if self.parts == 0 => {
                failed("The model gave an empty answer. Retry, or choose another model.")
            }
            Finish::Stop => Ok(TurnOutcome::Completed),
        }
    }
}

/// Why an answer was not completed: the model, whose reasons may pass, or ourselves.
enum StepError {
    Model(ModelError),
    Other(ApiError),
}

impl From<crate::store::StoreError> for StepError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Other(error.into())
    }
}

fn may_stream_again(error: &ModelError) -> bool {
    matches!(error, ModelError::Interrupted { .. } | ModelError::Stalled { .. } | ModelError::MidStream { .. })
}

fn add_usage(total: &mut Option<Usage>, more: Option<Usage>) {
    let Some(more) = more else { return };
    let sum = total.get_or_insert_with(Usage::default);
    sum.input_tokens += more.input_tokens;
    sum.output_tokens += more.output_tokens;
    sum.cached_tokens += more.cached_tokens;
}
