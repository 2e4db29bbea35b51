//! Before the agent says it is done: a self-check of the app, whose result the person sees and the model has to answer.

use super::gate::AgentDeps;
use crate::domain::{
    ApiError, Checked, EventBody, FaultState, FaultView, Message, MessageId, Part, PlanState, ProjectId, SandboxPhase,
    ToolState,
};
use crate::workflow::{RunRequest, TaskContext};
use serde_json::{Value, json};

/// Tools after which there is something to check.
const CHANGING: [&str; 3] = ["generate_files", "edit_file", "run_command"];

impl AgentDeps {
    /// Checks the app of a turn that changed it and shows the result. Returns what the model is to be told, if
    /// something is not as it should be.
    pub(super) async fn check(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        message: &MessageId,
        round: u32,
    ) -> Result<Option<String>, ApiError> {
        let state = self.store.events().state(project).await?;
        let parts = state.message(message).map(|m| m.parts.as_slice()).unwrap_or_default();
        let changed = parts.iter().any(
            |part| matches!(part, Part::Tool(c) if c.state == ToolState::Done && CHANGING.contains(&c.tool.as_str())),
        );
        if !changed {
            return Ok(None);
        }
        let alive = state.sandbox.as_ref().is_some_and(|s| s.phase == SandboxPhase::Running);
        let port = state.preview.as_ref().filter(|_| alive).map(|preview| preview.port);
        let request = RunRequest {
            task: "selfCheck".to_owned(),
            title: "self-check".to_owned(),
            payload: json!({"project": project, "port": port}),
            project: Some(project.clone()),
            parent: Some(ctx.run.clone()),
            idempotency_key: Some(format!("{}:check{round}", ctx.run)),
            ..RunRequest::default()
        };
        let mut checks = match ctx.workflow().call(request, &ctx.cancel).await {
            Ok(output) => read(&output),
            Err(error) if ctx.cancel.is_cancelled() => return Err(error),
            Err(error) => {
                let name = "The self-check could not be made".to_owned();
                vec![Checked { name, ok: true, detail: error.message, skipped: true, image: None }]
            }
        };
        let state = self.store.events().state(project).await?;
        let began = state.message(message).map_or(0, |m| m.at);
        // One that this turn is to fix counts if it was seen again.
        let still = |f: &&FaultView| match f.state {
            FaultState::Open => f.last_at >= state.files_at,
            FaultState::Trying => f.last_at >= state.files_at.max(began),
            FaultState::Gone | FaultState::GivenUp => false,
        };
        let open: Vec<String> =
            state.faults.iter().filter(still).map(|f| format!("{}: {}", f.fault.kind.label(), f.fault.title)).collect();
        let detail = if open.is_empty() { "none since the last change".to_owned() } else { open.join("\n") };
        let seen =
            Checked { name: "No errors seen".to_owned(), ok: open.is_empty(), detail, skipped: false, image: None };
        // Without an app nobody has looked for errors.
        checks.extend((port.is_some() || !seen.ok).then_some(seen));
        checks.extend(state.message(message).and_then(plan_is_done));
        if checks.is_empty() {
            return Ok(None);
        }
        let pictures: Vec<_> = checks.iter().filter_map(|check| check.image.clone()).collect();
        self.store.attachments().claim(project, &pictures).await?;
        let failed: Vec<String> =
            checks.iter().filter(|c| !c.ok).map(|c| format!("- {}: {}", c.name, c.detail)).collect();
        let body = EventBody::TurnChecked { turn: ctx.run.clone(), checks };
        self.store.events().append(project, vec![body]).await?;
        Ok((!failed.is_empty()).then(|| {
            format!(
                "A check of the app before you finish found:\n{}\nFix it, then finish. If it cannot or should not be \
                 fixed, say plainly why.",
                failed.join("\n")
            )
        }))
    }
}

/// Whether all that was planned is done, if there was a plan.
fn plan_is_done(message: &Message) -> Option<Checked> {
    let left: Vec<&str> =
        message.plan.iter().filter(|step| step.state != PlanState::Done).map(|step| step.title.as_str()).collect();
    let detail = match left.as_slice() {
        [] => {
            let steps: Vec<&str> = message.plan.iter().map(|step| step.title.as_str()).collect();
            format!("as the agent says: {}", steps.join("; "))
        }
        left => format!("open: {}. Do it, or send the plan without it", left.join("; ")),
    };
    let check =
        Checked { name: "The plan is done".to_owned(), ok: left.is_empty(), detail, skipped: false, image: None };
    (!message.plan.is_empty()).then_some(check)
}

fn read(output: &Value) -> Vec<Checked> {
    output.get("checks").and_then(|c| serde_json::from_value(c.clone()).ok()).unwrap_or_default()
}
