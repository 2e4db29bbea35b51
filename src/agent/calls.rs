//! Executing one tool call: a run with a key of its own, so that a call that finished never runs twice.

use super::conversation::{result_step, tool_message};
use super::gate::AgentDeps;
use crate::config::Secret;
use crate::domain::{ApiError, CallId, ErrorCode, EventBody, PlanState, ProjectId, RunId, RunStatus};
use crate::llm::AnswerCall;
use crate::store::now_ms;
use crate::tools::{Action, Job, Planned, Report, ToolError};
use crate::workflow::{RunRequest, TaskContext};
use std::collections::{BTreeMap, HashMap};

/// The same call may fail so often before the model is told to try something else.
const WARN_AT: u32 = 3;
/// The same call may fail so often before the turn is ended.
const STOP_AT: u32 = 5;
/// Secrets shorter than this are not looked for (bytes).
const SECRET_MIN: usize = 4;
/// Bytes of output kept in the event; the model reads all of it.
const SHOWN: usize = 4096;

/// Executes the calls of one turn.
pub(super) struct Calls<'a> {
    pub deps: &'a AgentDeps,
    pub ctx: &'a TaskContext,
    pub project: &'a ProjectId,
}

/// Counts calls that fail again and again in the same way.
#[derive(Default)]
pub(super) struct Breaker {
    failures: HashMap<(String, String), u32>,
}

impl Calls<'_> {
    /// Runs a call, records what the model is told, and shows it. Errors end the turn.
    pub async fn execute(
        &self,
        step: u32,
        index: usize,
        id: &CallId,
        call: &AnswerCall,
        breaker: &mut Breaker,
    ) -> Result<(), ApiError> {
        let began = now_ms();
        let result = match self.deps.toolbox.prepare(self.project, &call.name, &call.arguments) {
            Ok(Action::Run(job)) => self.run(id, job).await?,
            Ok(Action::Plan(plan)) => Ok(self.plan(id, plan).await?),
            Err(error) => Err(error),
        };
        let (ok, summary, mut output, in_vain) = match result {
            Ok(Report { summary, output, in_vain }) => (true, summary, output, in_vain),
            Err(ToolError::Model(message)) => (false, first_line(&message), format!("Error: {message}"), true),
            Err(ToolError::Fatal(error)) => return Err(error),
        };
        // Commands know the project's secrets; the model and the page must not.
        let secrets = self.deps.store.secrets().of(self.project).await?;
        let summary = without_secrets(summary, &secrets);
        output = without_secrets(output, &secrets);
        let failures = if in_vain { breaker.failed(call) } else { breaker.succeeded(call) };
        if failures >= WARN_AT {
            output.push_str(&format!(
                "\n\n[This same call has failed {failures} times. Do not repeat it: find out why, or do it another way.]"
            ));
        }
        let finished = EventBody::ToolCallFinished {
            call: id.clone(),
            ok,
            summary,
            output: cut(&output),
            duration_ms: now_ms().saturating_sub(began),
        };
        // The event first: after a crash in between, the call is found under its key and shown again, which changes
        // nothing; the other way round its card would stay "running".
        self.deps.store.events().append(self.project, vec![finished]).await?;
        let message = tool_message(call, id, &output);
        self.deps.store.transcript().append(self.project, &self.ctx.run, result_step(step, index), &[message]).await?;
        if failures >= STOP_AT {
            let message = format!(
                "The model made the same failing call {failures} times ({}), so the turn was ended. Say how to go on, or \
                 choose another model.",
                call.name
            );
            return Err(ApiError::new(ErrorCode::Model, message));
        }
        Ok(())
    }

    /// Submits the job and waits for its run.
    async fn run(&self, id: &CallId, job: Job) -> Result<Result<Report, ToolError>, ApiError> {
        let workflow = self.ctx.workflow();
        let run = workflow
            .submit(RunRequest {
                task: job.task.to_owned(),
                title: job.title.clone(),
                payload: job.input.clone(),
                project: Some(self.project.clone()),
                parent: Some(self.ctx.run.clone()),
                call: Some(id.clone()),
                idempotency_key: Some(format!("{}:{id}", self.ctx.run)),
                max_duration: job.max_duration,
                ..RunRequest::default()
            })
            .await?;
        self.show(id, &job.title, run.clone()).await?;
        let waited = self.ctx.cancel.run_until_cancelled(self.ctx.wait(&run)).await;
        let Some(outcome) = waited else {
            workflow.cancel(&run).await?;
            return Err(ApiError::new(ErrorCode::Cancelled, "Stopped"));
        };
        match outcome {
            // A person cancelled this one run in the Runs view; the turn goes on and the model is told.
            Err(error) if error.code == ErrorCode::Cancelled => match workflow.get(&run).await?.summary.status {
                RunStatus::Canceled if !self.ctx.cancel.is_cancelled() => {
                    Ok(Err(ToolError::Model("a person cancelled this call; ask before you repeat it".to_owned())))
                }
                _ => Err(error),
            },
            outcome => Ok(job.report(outcome)),
        }
    }

    /// Shows a plan. Its steps keep the checks they had.
    async fn plan(&self, call: &CallId, plan: Planned) -> Result<Report, ApiError> {
        let Planned { mut steps, left_out } = plan;
        let state = self.deps.store.events().state(self.project).await?;
        let message = state.messages.iter().rev().find(|m| m.turn.as_ref() == Some(&self.ctx.run));
        let before = message.map(|m| m.plan.as_slice()).unwrap_or_default();
        steps.iter_mut().for_each(|step| step.keep_check(before));
        let done = steps.iter().filter(|step| step.state == PlanState::Done).count();
        let summary = format!("{done} of {} done", steps.len());
        let bodies = vec![
            EventBody::ToolCallSubmitted { call: call.clone(), run: None, title: summary.clone() },
            EventBody::PlanChanged { call: call.clone(), steps },
        ];
        self.deps.store.events().append(self.project, bodies).await?;
        let output = match left_out.as_slice() {
            [] => "The person sees the plan.".to_owned(),
            left_out => {
                format!("The person sees the plan. {} Give it corrected with the next plan.", left_out.join(" "))
            }
        };
        Ok(Report { summary, output, in_vain: false })
    }

    async fn show(&self, call: &CallId, title: &str, run: RunId) -> Result<(), ApiError> {
        let body = EventBody::ToolCallSubmitted { call: call.clone(), run: Some(run), title: title.to_owned() };
        self.deps.store.events().append(self.project, vec![body]).await?;
        Ok(())
    }
}

impl Breaker {
    fn failed(&mut self, call: &AnswerCall) -> u32 {
        let count = self.failures.entry(key(call)).or_default();
        *count += 1;
        *count
    }

    fn succeeded(&mut self, call: &AnswerCall) -> u32 {
        self.failures.remove(&key(call));
        0
    }
}

fn key(call: &AnswerCall) -> (String, String) {
    (call.name.clone(), call.arguments.clone())
}

/// The text with every secret's value replaced by its name.
pub(super) fn without_secrets(text: String, secrets: &BTreeMap<String, Secret>) -> String {
    // Shorter values are words that occur by themselves.
    let worth = secrets.iter().filter(|(_, value)| value.expose().len() >= SECRET_MIN);
    worth.fold(text, |text, (name, value)| text.replace(value.expose(), &format!("[value of {name}]")))
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn cut(output: &str) -> String {
    if output.len() <= SHOWN {
        return output.to_owned();
    }
    // Room for the note, so that the whole stays within the limit.
    let mut from = output.len() - SHOWN + 64;
    while !output.is_char_boundary(from) {
        from += 1;
    }
    format!("[the first {from} bytes are not shown here]\n{}", output.get(from..).unwrap_or_default())
}
