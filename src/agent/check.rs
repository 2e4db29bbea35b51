//! Before the agent says it is done: a self-check of the app, whose result the person sees and the model has to answer.

use super::gate::AgentDeps;
use crate::domain::{
    ApiError, Checked, EventBody, FaultState, LogLevel, Message, MessageId, Part, PlanState, ProjectId, SandboxPhase,
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
        let alive = state.sandbox.as_ref().is_some_and(|s| s.phase == SandboxPhase::Running);
        let Some(preview) = state.preview.as_ref().filter(|_| changed && alive) else { return Ok(None) };
        let request = RunRequest {
            task: "selfCheck".to_owned(),
            title: "self-check".to_owned(),
            payload: json!({"project": project, "port": preview.port}),
            project: Some(project.clone()),
            parent: Some(ctx.run.clone()),
            idempotency_key: Some(format!("{}:check{round}", ctx.run)),
            ..RunRequest::default()
        };
        let mut checks = match ctx.workflow().call(request, &ctx.cancel).await {
            Ok(output) => read(&output),
            Err(error) if ctx.cancel.is_cancelled() => return Err(error),
            Err(error) => {
                ctx.log(LogLevel::Warn, format!("The self-check could not be made: {error}")).await;
                return Ok(None);
            }
        };
        let state = self.store.events().state(project).await?;
        let open: Vec<String> = state
            .faults
            .iter()
            .filter(|f| f.state == FaultState::Open && f.last_at >= state.files_at)
            .map(|f| format!("{}: {}", f.fault.kind.label(), f.fault.title))
            .collect();
        let detail = if open.is_empty() { "none since the last change".to_owned() } else { open.join("\n") };
        checks.push(Checked {
            name: "No errors seen".to_owned(),
            ok: open.is_empty(),
            detail,
            skipped: false,
            image: None,
        });
        checks.extend(state.message(message).and_then(plan_is_done));
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
        [] => format!("{} steps", message.plan.len()),
        left => format!("open: {}. Do it, or send the plan without it", left.join("; ")),
    };
    let check =
        Checked { name: "The plan is done".to_owned(), ok: left.is_empty(), detail, skipped: false, image: None };
    (!message.plan.is_empty()).then_some(check)
}

fn read(output: &Value) -> Vec<Checked> {
    output.get("checks").and_then(|c| serde_json::from_value(c.clone()).ok()).unwrap_or_default()
}
