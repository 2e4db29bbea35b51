//! Before the agent says it is done: a self-check of the app, whose result the person sees and the model has to answer.

use super::calls::without_secrets;
use super::gate::AgentDeps;
use crate::domain::{
    ApiError, Checked, EventBody, FaultState, FaultView, MessageId, Part, PlanState, PlanStep, ProjectId, ProjectState,
    SandboxPhase, ToolState,
};
use crate::workflow::{RunRequest, TaskContext};
use serde::Deserialize;
use serde_json::json;

/// Tools after which there is something to check.
const CHANGING: [&str; 3] = ["generate_files", "edit_file", "run_command"];

/// What the task `selfCheck` found.
#[derive(Deserialize)]
struct Found {
    checks: Vec<Checked>,
    steps: Vec<Checked>,
}

impl AgentDeps {
    /// Checks the app of a turn that changed it, behind this step of the turn, and shows the result. Returns what the
    /// model is to be told, if something is not as it should be.
    pub(super) async fn check(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        message: &MessageId,
        step: u32,
    ) -> Result<Option<String>, ApiError> {
        let state = self.store.events().state(project).await?;
        let Some(told) = state.message(message) else { return Ok(None) };
        let changed = told.parts.iter().any(
            |part| matches!(part, Part::Tool(c) if c.state == ToolState::Done && CHANGING.contains(&c.tool.as_str())),
        );
        if !changed {
            return Ok(None);
        }
        let Found { checks: of_app, steps } = self.look(ctx, project, &state, &told.plan, step).await?;
        let mut checks = of_plan(&told.plan, steps);
        checks.extend(of_app);
        let seen = no_errors(&*self.store.events().state(project).await?, told.at);
        // Without an app nobody has looked for errors.
        checks.extend((port(&state).is_some() || !seen.ok).then_some(seen));
        if checks.is_empty() {
            return Ok(None);
        }
        let secrets = self.store.secrets().of(project).await?;
        for check in &mut checks {
            check.detail = without_secrets(std::mem::take(&mut check.detail), &secrets);
        }
        let pictures: Vec<_> = checks.iter().filter_map(|check| check.image.clone()).collect();
        self.store.attachments().claim(project, &pictures).await?;
        let failed: Vec<String> =
            checks.iter().filter(|c| !c.ok).map(|c| format!("- {}: {}", c.name, c.detail)).collect();
        let body = EventBody::TurnChecked { turn: ctx.run.clone(), checks };
        self.store.events().append(project, vec![body]).await?;
        let mends = told.plan.iter().any(|step| step.check.is_some());
        let hint =
            if mends { " Where a step's check itself is wrong, give it a better one by update_plan." } else { "" };
        Ok((!failed.is_empty()).then(|| {
            format!(
                "A check of the app before you finish found:\n{}\nFix it, then finish.{hint} If it cannot or should not \
                 be fixed, say plainly why.",
                failed.join("\n")
            )
        }))
    }

    /// Has the app looked at, and of the plan what is done and can be seen.
    async fn look(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        state: &ProjectState,
        plan: &[PlanStep],
        step: u32,
    ) -> Result<Found, ApiError> {
        let steps: Vec<&PlanStep> = plan.iter().filter(|step| is_looked_at(step)).collect();
        let request = RunRequest {
            task: "selfCheck".to_owned(),
            title: "self-check".to_owned(),
            payload: json!({"project": project, "port": port(state), "steps": steps}),
            project: Some(project.clone()),
            parent: Some(ctx.run.clone()),
            idempotency_key: Some(format!("{}:check{step}", ctx.run)),
            ..RunRequest::default()
        };
        match ctx.workflow().call(request, &ctx.cancel).await {
            Ok(output) => Ok(serde_json::from_value(output)
                .unwrap_or_else(|error| not_made(format!("its result could not be read ({error})")))),
            Err(error) if ctx.cancel.is_cancelled() => Err(error),
            Err(error) => Ok(not_made(error.message)),
        }
    }
}

fn not_made(why: String) -> Found {
    Found { checks: vec![skipped("The self-check could not be made", why)], steps: Vec::new() }
}

/// Where the app is seen, if it is.
fn port(state: &ProjectState) -> Option<u16> {
    let alive = state.sandbox.as_ref().is_some_and(|s| s.phase == SandboxPhase::Running);
    state.preview.as_ref().filter(|_| alive).map(|preview| preview.port)
}

/// Whether an error of the app was seen in a turn that began then, after its last change.
fn no_errors(state: &ProjectState, began: u64) -> Checked {
    // One that this turn is to fix counts if it was seen again.
    let still = |f: &&FaultView| match f.state {
        FaultState::Open => f.last_at >= state.files_at,
        FaultState::Trying => f.last_at >= state.files_at.max(began),
        FaultState::Gone | FaultState::GivenUp => false,
    };
    let open: Vec<String> =
        state.faults.iter().filter(still).map(|f| format!("{}: {}", f.fault.kind.label(), f.fault.title)).collect();
    let detail = if open.is_empty() { "none since the last change".to_owned() } else { open.join("\n") };
    line("No errors seen", open.is_empty(), detail)
}

fn is_looked_at(step: &PlanStep) -> bool {
    step.state == PlanState::Done && step.check.is_some()
}

/// A line for each thing that was planned; `found` has those that were looked at.
fn of_plan(plan: &[PlanStep], found: Vec<Checked>) -> Vec<Checked> {
    let mut found = found.into_iter();
    let of = |step: &PlanStep| match step.state {
        PlanState::Done if is_looked_at(step) => {
            found.next().unwrap_or_else(|| skipped(&step.title, "not checked: the check could not be made".to_owned()))
        }
        PlanState::Done => skipped(&step.title, "not checked; the agent says it is done".to_owned()),
        PlanState::Todo | PlanState::Doing => {
            line(&step.title, false, "open. Do it, or send the plan without it".to_owned())
        }
    };
    plan.iter().map(of).collect()
}

fn line(name: &str, ok: bool, detail: String) -> Checked {
    Checked { name: name.to_owned(), ok, detail, skipped: false, image: None }
}

fn skipped(name: &str, why: String) -> Checked {
    Checked { skipped: true, ..line(name, true, why) }
}
