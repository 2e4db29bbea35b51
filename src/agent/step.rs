//! One step of a turn: the model is asked, its answer streamed into the message and recorded.
//!
//! Owns what is done about a model that breaks off, says nothing, or finds the conversation too long. Executing what
//! it calls is not done here.

use super::conversation::{Recorded, answer_step, assistant_message, messages, size};
use super::draft::DraftWriter;
use super::gate::AgentDeps;
use super::prompt;
use super::turn::TurnInput;
use crate::domain::{ApiError, CallId, ErrorCode, EventBody, LogLevel, MessageId, Part, ProjectId, Usage};
use crate::llm::{Answer, AnswerCall, Finish, ModelError, ModelEvent, ModelRequest, OfferedModel, Resolved};
use crate::store::TranscriptEntry;
use crate::workflow::TaskContext;
use futures::StreamExt;
use std::collections::HashSet;
use std::time::Duration;

/// An answer that breaks off is asked for so often in all.
const ASKED: u32 = 3;
/// The pause before it is asked for again; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// Finding out a model's window and prices may hold up the turn so long.
const FACTS: Duration = Duration::from_secs(2);
/// Bytes of conversation for a model whose window nobody tells.
const BUDGET: usize = 400 * 1024;
/// Bytes that are sent at least before the turn gives up.
const BUDGET_MIN: usize = 8 * 1024;
/// Bytes of English and code in a token, on the careful side.
const BYTES_PER_TOKEN: u64 = 3;

/// Asks the model, for one turn.
pub(super) struct Asking<'a> {
    deps: &'a AgentDeps,
    ctx: &'a TaskContext,
    project: &'a ProjectId,
    message: MessageId,
    model: Resolved,
    facts: OfferedModel,
    system: String,
    /// Bytes of conversation that are sent at most.
    budget: usize,
    /// What the turn may cost, in millionths of a US dollar.
    money: Option<u64>,
    /// Whether it was told that the project's budget cannot act.
    told_unpriced: bool,
    /// Parts of the message that are recorded.
    parts: u32,
}

/// What follows a recorded answer.
pub(super) enum After {
    /// These calls are to be executed.
    Calls(Vec<(CallId, AnswerCall)>),
    /// It was cut at the output limit and is to go on.
    Cut,
    /// The model is done.
    Done,
}

/// Why an answer was not completed: the model, whose reasons may pass, or ourselves.
enum StepError {
    Model(ModelError),
    Other(ApiError),
}

impl StepError {
    fn told(&self) -> ApiError {
        match self {
            Self::Model(error) => ApiError::new(ErrorCode::Model, error.to_string()),
            Self::Other(error) => error.clone(),
        }
    }
}

impl From<crate::store::StoreError> for StepError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Other(error.into())
    }
}

/// An answer and the words in it.
struct Heard {
    answer: Answer,
    text: String,
    draft: DraftWriter,
}

impl<'a> Asking<'a> {
    /// Finds the model. `parts` of the message are recorded already.
    pub async fn begin(
        deps: &'a AgentDeps,
        ctx: &'a TaskContext,
        project: &'a ProjectId,
        message: MessageId,
        input: &TurnInput,
        parts: u32,
    ) -> Result<Self, ApiError> {
        let model = deps.catalog.resolve(input.model.as_deref()).await?;
        let facts = tokio::time::timeout(FACTS, deps.catalog.facts(&model.name.id)).await.unwrap_or_default();
        // A quarter of the window is the answer's.
        let window = facts.context.map(|tokens| tokens.saturating_mul(BYTES_PER_TOKEN) * 3 / 4);
        let window = window.and_then(|bytes| usize::try_from(bytes).ok());
        let budget = window.map_or(BUDGET, |bytes| bytes.clamp(BUDGET_MIN, 8 * BUDGET));
        let system = prompt::system(&(deps.tools)());
        let (money, told_unpriced) = (input.money, false);
        Ok(Self { deps, ctx, project, message, model, facts, system, budget, money, told_unpriced, parts })
    }

    /// One answer of the model, recorded. `may_go_on` says whether one that is cut may be continued.
    pub async fn step(&mut self, step: u32, may_go_on: bool, usage: &mut Option<Usage>) -> Result<After, ApiError> {
        self.check_budget(usage.as_ref()).await?;
        let entries = self.entries().await?;
        let (mut broken, mut silent) = (0, false);
        loop {
            let mut messages = messages(&self.system, &entries, self.budget);
            let sent = size(&messages);
            // What its list says, or what its server turned out not to take.
            let sees = self.facts.images != Some(false) && !self.deps.catalog.is_blind(&self.model.name.id);
            self.deps.show_images(&mut messages, sees).await?;
            let request = ModelRequest {
                model: self.model.wire.clone(),
                messages,
                tools: self.deps.toolbox.specs(),
                effort: self.model.effort.clone(),
            };
            let asking = format!("ask {} ({step})", self.model.wire);
            match self.ctx.shown(&asking, self.hear(request), StepError::told).await {
                Ok(heard) if says_nothing(&heard) && !silent => {
                    silent = true;
                    self.spent(heard.answer.usage, usage);
                    self.ctx.log(LogLevel::Warn, "The model answered nothing. Asking once more.".to_owned()).await;
                    self.rewind().await?;
                }
                Ok(heard) => {
                    let used = self.spent(heard.answer.usage, usage);
                    return self.record(step, heard, used, may_go_on).await;
                }
                Err(StepError::Model(error @ ModelError::ContextOverflow { .. })) if sent / 2 >= BUDGET_MIN => {
                    self.budget = sent / 2;
                    let note = format!("{error} Sending a shortened conversation of {} KB.", self.budget / 1024);
                    self.ctx.log(LogLevel::Warn, note).await;
                    self.rewind().await?;
                }
                Err(StepError::Model(error)) if error.is_broken_off() && broken + 1 < ASKED => {
                    self.ctx.log(LogLevel::Warn, format!("{error}. Asking again.")).await;
                    self.rewind().await?;
                    let pause = tokio::time::sleep(PAUSE * 2u32.pow(broken));
                    let stopped = || ApiError::new(ErrorCode::Cancelled, "Stopped");
                    self.ctx.cancel.run_until_cancelled(pause).await.ok_or_else(stopped)?;
                    broken += 1;
                }
                Err(StepError::Model(error)) => return Err(error.into()),
                Err(StepError::Other(error)) => return Err(error),
            }
        }
    }

    /// The transcript without turns that were taken back.
    async fn entries(&self) -> Result<Vec<TranscriptEntry>, ApiError> {
        let state = self.deps.store.events().state(self.project).await?;
        let turns: HashSet<_> = state.messages.iter().filter_map(|m| m.turn.as_ref()).collect();
        let mut entries = self.deps.store.transcript().load(self.project).await?;
        entries.retain(|entry| turns.contains(&entry.turn));
        Ok(entries)
    }

    /// Refuses to spend more than the turn or the project may.
    async fn check_budget(&mut self, turn: Option<&Usage>) -> Result<(), ApiError> {
        let state = self.deps.store.events().state(self.project).await?;
        let dollars = |micro: u64| micro as f64 / 1e6;
        let used = turn.and_then(|usage| usage.cost).unwrap_or(0);
        if let Some(limit) = self.money.filter(|limit| used >= *limit) {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!(
                    "This try has used the ${:.2} that were left for fixing the error by itself (${:.2} spent), so the \
                     agent stopped. Retry to let it go on.",
                    dollars(limit),
                    dollars(used)
                ),
            ));
        }
        let Some(limit) = state.budget else { return Ok(()) };
        if turn.is_some_and(|usage| usage.cost.is_none()) && !std::mem::replace(&mut self.told_unpriced, true) {
            let note =
                format!("No price is known for {}, so the project's budget cannot stop it.", self.model.name.label);
            self.ctx.log(LogLevel::Warn, note).await;
        }
        let spent = state.spent.cost.unwrap_or(0) + used;
        if spent < limit {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "This project's budget of ${:.2} is used up (${:.2} spent), so the agent stopped. Raise the budget in the \
                 project's settings and retry.",
                dollars(limit),
                dollars(spent)
            ),
        ))
    }

    /// Adds what an answer used, with its price where the provider did not tell the cost itself.
    fn spent(&self, used: Option<Usage>, total: &mut Option<Usage>) -> Option<Usage> {
        let mut used = used?;
        used.cost = used.cost.or_else(|| self.facts.price.and_then(|price| price.of(&used)));
        total.get_or_insert_default().add(&used);
        Some(used)
    }

    /// Records an answer and says what follows.
    async fn record(
        &mut self,
        step: u32,
        heard: Heard,
        usage: Option<Usage>,
        may_go_on: bool,
    ) -> Result<After, ApiError> {
        let Heard { answer, text, draft } = heard;
        let wanted: Vec<_> = draft.call_ids().into_iter().zip(answer.calls.iter().cloned()).collect();
        self.parts = draft.parts();
        let cut = wanted.is_empty() && answer.finish == Finish::Length;
        let goes_on = cut && may_go_on && !text.trim().is_empty();
        let recorded = Recorded { parts: self.parts, usage, goes_on, crashes: self.ctx.crashes };
        let message = assistant_message(&text, &wanted, &recorded);
        self.deps.store.transcript().append(self.project, &self.ctx.run, answer_step(step), &[message]).await?;
        let failed = |message: &str| Err(ApiError::new(ErrorCode::Model, message));
        match answer.finish {
            _ if !wanted.is_empty() => Ok(After::Calls(wanted)),
            _ if goes_on => Ok(After::Cut),
            Finish::Length => failed("The answer was cut at the model's output limit. Retry to let it go on."),
            Finish::Filtered => failed("The model's provider withheld the rest of this answer (content filter)."),
            Finish::Stop if !self.has_said_anything().await? => {
                failed("The model gave an empty answer. Retry, or choose another model.")
            }
            Finish::Stop => Ok(After::Done),
        }
    }

    /// Whether the person sees anything of this turn but reasoning.
    async fn has_said_anything(&self) -> Result<bool, ApiError> {
        let state = self.deps.store.events().state(self.project).await?;
        let parts = state.message(&self.message).map(|m| m.parts.as_slice()).unwrap_or_default();
        Ok(parts.iter().any(|part| !matches!(part, Part::Reasoning { .. })))
    }

    /// Streams one answer into the message.
    async fn hear(&self, request: ModelRequest) -> Result<Heard, StepError> {
        let events = self.deps.store.events().clone();
        let mut draft = DraftWriter::new(events, self.project.clone(), self.message.clone(), self.parts);
        let mut text = String::new();
        let streamed = self.stream(request, &mut draft, &mut text).await;
        draft.finish().await?;
        Ok(Heard { answer: streamed?, text, draft })
    }

    async fn stream(
        &self,
        request: ModelRequest,
        draft: &mut DraftWriter,
        text: &mut String,
    ) -> Result<Answer, StepError> {
        let mut events = self.model.client.stream(request, &self.ctx.cancel).await.map_err(StepError::Model)?;
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
                    let next = if delay.is_zero() {
                        String::new()
                    } else {
                        format!(". Waiting {wait:.1} s before asking again")
                    };
                    self.ctx.log(LogLevel::Warn, format!("{reason}{next}.")).await;
                }
                Some(Ok(ModelEvent::Done(answer))) => return Ok(answer),
                Some(Err(error)) => return Err(StepError::Model(error)),
                None => return Err(StepError::Model(ModelError::Cancelled)),
            }
        }
    }

    /// Takes back parts that belong to no recorded answer.
    pub async fn rewind(&self) -> Result<(), ApiError> {
        let events = self.deps.store.events();
        let state = events.state(self.project).await?;
        let shown = state.message(&self.message).map_or(0, |m| m.parts.len());
        if shown > self.parts as usize {
            let body = EventBody::TurnRewound { message: self.message.clone(), parts: self.parts };
            events.append(self.project, vec![body]).await?;
        }
        Ok(())
    }
}

/// No word and no call, and no reason for it: some models do that now and then.
fn says_nothing(heard: &Heard) -> bool {
    heard.answer.finish == Finish::Stop && heard.answer.calls.is_empty() && heard.text.trim().is_empty()
}
