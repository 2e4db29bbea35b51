//! What the model is told about the project besides the conversation: its `AGENTS.md` and the names of its secrets.
//!
//! Told with the person's message and only when it changed, so that what was sent before stays the same text, which
//! providers have in their caches.

use super::gate::AgentDeps;
use crate::domain::ProjectId;
use crate::store::TranscriptEntry;
use crate::workflow::{RunRequest, TaskContext};
use serde_json::{Value, json};

/// Bytes of `AGENTS.md` that are told.
const RULES_MAX: usize = 16 * 1024;

impl AgentDeps {
    /// The note to send before the person's message; none if there is nothing new.
    pub(super) async fn note(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        entries: &[TranscriptEntry],
    ) -> Option<Value> {
        let rules = self.rules(ctx, project).await.unwrap_or_default();
        let secrets = self.store.secrets().of(project).await.unwrap_or_default();
        let names: Vec<&str> = secrets.keys().map(String::as_str).collect();
        let mut text = String::new();
        if !rules.trim().is_empty() {
            text.push_str(&format!("The project's AGENTS.md, which you follow:\n{}\n", rules.trim()));
        }
        if !names.is_empty() {
            text.push_str(&format!(
                "Secrets that commands find as environment variables (you never see their values): {}\n",
                names.join(", ")
            ));
        }
        let last = entries.iter().rev().find(|e| e.message.get("x_note").is_some());
        let told = last.and_then(|e| e.message.get("content")).and_then(Value::as_str).unwrap_or_default();
        let text = text.trim();
        (text != told && !text.is_empty()).then(|| json!({"role": "user", "content": text, "x_note": true}))
    }

    /// The project's rules, if it has any. A project without a sandbox has no files.
    async fn rules(&self, ctx: &TaskContext, project: &ProjectId) -> Option<String> {
        let state = self.store.events().state(project).await.ok()?;
        state.sandbox.as_ref()?;
        let request = RunRequest {
            task: "listFiles".to_owned(),
            title: "look for AGENTS.md".to_owned(),
            payload: json!({"project": project}),
            project: Some(project.clone()),
            parent: Some(ctx.run.clone()),
            idempotency_key: Some(format!("{}:rules", ctx.run)),
            ..RunRequest::default()
        };
        let tree = ctx.workflow().call(request.clone(), &ctx.cancel).await.ok()?;
        let files = tree.get("files")?.as_array()?;
        files.iter().find(|f| f.get("path").is_some_and(|p| p == "AGENTS.md"))?;
        let request = RunRequest {
            task: "readFile".to_owned(),
            title: "AGENTS.md".to_owned(),
            payload: json!({"project": project, "path": "AGENTS.md"}),
            ..request
        };
        let file = ctx.workflow().call(request, &ctx.cancel).await.ok()?;
        let text = file.get("text")?.as_str()?;
        let cut = (0..=RULES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at))?;
        text.get(..cut).map(str::to_owned)
    }
}
