//! Triggering: the tasks of the original platform, under their names and with their payloads.

use super::super::AppState;
use super::auth::Caller;
use super::error::Refusal;
use super::options::TriggerBody;
use super::{tokens, wire};
use crate::domain::{ProjectId, RunId, SandboxId};
use crate::store::now_ms;
use crate::workflow::tasks::compat;
use crate::workflow::{RetryPolicy, RunLabels, RunRequest, Submitted};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// Under which a public token for what was made is sent.
pub(super) const JWT: HeaderName = HeaderName::from_static("x-trigger-jwt");
/// How long such a token is good, in seconds.
pub(super) const JWT_LIFE: u64 = 60 * 60;
/// The original's limit for one attempt.
const MAX_DURATION: Duration = Duration::from_secs(300);

/// `POST /api/v1/tasks/{task}/trigger`
pub async fn trigger(
    State(app): State<AppState>,
    Path(task): Path<String>,
    caller: Caller,
    Json(body): Json<TriggerBody>,
) -> Result<Response, Refusal> {
    let Submitted { run, found } = submit(&app, &caller.owner, &task, &body, None).await?;
    let jwt = tokens::issue(&app, &caller.owner, vec![format!("read:runs:{run}")], JWT_LIFE).await?;
    Ok(([(JWT, jwt)], Json(json!({"id": run, "isCached": found}))).into_response())
}

/// Submits a run for a key. In a batch, a run without a key of its own is found again by its place.
pub(super) async fn submit(
    app: &AppState,
    owner: &str,
    task: &str,
    body: &TriggerBody,
    batch: Option<(&str, u32)>,
) -> Result<Submitted, Refusal> {
    let Some(task) = compat::NAMES.into_iter().find(|name| *name == task) else {
        let message = format!("There is no task \"{task}\" here; there are {}.", compat::NAMES.join(", "));
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    };
    let (options, payload) = (&body.options, body.payload()?);
    options.check()?;
    let workflow = &app.services.workflow;
    workflow.check(task, &payload).map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.message))?;
    let project = match payload.get("sandboxId").and_then(Value::as_str) {
        Some(sandbox) => Some(project_of(app, owner, sandbox).await?),
        None => None,
    };
    let place = batch.map(|(batch, index)| format!("{batch}:{index}"));
    let key = options.idempotency_key.as_deref().or(place.as_deref());
    let retry = options.max_attempts.map(|max_attempts| RetryPolicy { max_attempts, ..RetryPolicy::default() });
    let request = RunRequest {
        task: task.to_owned(),
        title: compat::title(task, &payload),
        lane: compat::lane(task, project.as_ref()),
        payload,
        project,
        idempotency_key: key.map(|key| wire::stored_key(owner, key)),
        key_ttl: options.key_ttl()?,
        delay: options.delay(now_ms())?,
        ttl: options.ttl()?,
        // A fraction of a second would be lost among the times of submission.
        priority: options.priority.map_or(0, |seconds| seconds.round() as i32),
        max_duration: Some(options.max_duration().unwrap_or(MAX_DURATION)),
        retry,
        labels: RunLabels {
            owner: Some(owner.to_owned()),
            queue: options.queue(),
            batch: batch.map(|(batch, _)| batch.to_owned()),
            tags: options.tags()?,
            metadata: options.metadata()?,
        },
        ..RunRequest::default()
    };
    Ok(workflow.submit_once(request).await?)
}

/// The project of a sandbox that this key made.
async fn project_of(app: &AppState, owner: &str, sandbox: &str) -> Result<ProjectId, Refusal> {
    let missing = || Refusal::not_found("sandbox", sandbox);
    let id = SandboxId::parse(sandbox).map_err(|_| missing())?;
    let project = app.services.sandbox.find(&id).ok_or_else(missing)?;
    // A sandbox of somebody else is as good as none.
    if !app.services.workflow.store().batches().owns(&project, owner).await? {
        return Err(missing());
    }
    Ok(project)
}

/// A run's id as it came in a path.
pub(super) fn run_id(text: &str) -> Result<RunId, Refusal> {
    RunId::parse(text).map_err(|_| Refusal::not_found("run", text))
}
