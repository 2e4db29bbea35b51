//! The faults of an app, and another try at one.

use super::{answer, bench, done, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Path};
use crate::documents::{Document, FaultRow, FaultsPage};
use crate::domain::{FaultView, MessageId, ProjectId, ProjectState, Role};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

/// `GET /p/{project}/faults`
pub async fn faults(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Path(project) = path?;
        let state = app.services.store.events().state(&project).await?;
        let models = app.models.list().await.iter().map(|info| info.model.clone()).collect();
        let rows = state.faults.iter().rev();
        let faults = rows.map(|view| FaultRow { last_good: last_good(&state, view), view: view.clone() }).collect();
        let last_change = state.messages.iter().rev().find(|m| m.checkpoint.is_some()).map(|m| m.id.clone());
        Ok(Document::Faults(FaultsPage { project, faults, last_change, models }))
    };
    let page = page.await;
    answer(&app, &headers, page)
}

/// The end of the last turn before the one in which, or after which, the fault was first seen.
fn last_good(state: &ProjectState, view: &FaultView) -> Option<MessageId> {
    let before = state.messages.iter().filter(|m| m.role == Role::Assistant && m.at <= view.first_at);
    before.rev().skip(1).find(|m| m.checkpoint.is_some()).map(|m| m.id.clone())
}

/// The form.
#[derive(Deserialize)]
pub struct Again {
    fault: String,
    #[serde(default)]
    model: Option<String>,
}

/// `POST /p/{project}/faults`
pub async fn again(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<Again>, FormRejection>,
) -> Response {
    let result = async {
        let (Path(project), Again { fault, model }) = (path?, fields(form)?);
        app.services.agent.fix_again(&project, &fault, model.as_deref().filter(|m| !m.is_empty())).await?;
        Ok(bench(&project))
    };
    let result = result.await;
    done(&app, &headers, result)
}
