//! The faults of an app: what was seen, what was tried, what it cost, and what can be done now.

use super::{Plain, answer, bench, done, escape, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Path};
use crate::domain::{FaultState, FaultView, Message, ProjectId, ProjectState, Role};
use crate::llm::ModelInfo;
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::fmt::Write as _;

/// `GET /p/{project}/faults`
pub async fn faults(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Path(project) = path?;
        let state = app.services.store.events().state(&project).await?;
        let models = app.models.list().await;
        let mut body = String::from(
            "<p class=\"muted\">Errors of the running app are sent to the agent by themselves, at most three times each. \
             The project's settings switch that off.</p>",
        );
        if state.faults.is_empty() {
            body.push_str("<p>None was seen.</p>");
        }
        for fault in state.faults.iter().rev() {
            draw(&state, fault, &models, &mut body);
        }
        Ok(Plain { title: "Errors of the app", back: (bench(&project), "Back to the project"), body })
    };
    let page: Result<Plain<'_>, Failure> = page.await;
    answer(&app, &headers, page)
}

fn draw(state: &ProjectState, view: &FaultView, models: &[ModelInfo], out: &mut String) {
    let (word, tone) = match view.state {
        FaultState::Open => ("seen", "open"),
        FaultState::Trying => ("being fixed", "open"),
        FaultState::Gone => ("gone", "gone"),
        FaultState::GivenUp => ("not fixed", "given-up"),
    };
    let cost = match (view.cost, view.tries) {
        (0, 0) => "nothing has been spent on it".to_owned(),
        (0, _) => "this error has cost an unknown amount".to_owned(),
        (cost, _) => format!("this error has cost {}", crate::ui::money(cost)),
    };
    let count = |n: u32, one: &str, many: &str| if n == 1 { one.to_owned() } else { format!("{n} {many}") };
    let (seen, tries) = (count(view.seen, "seen once", "times seen"), count(view.tries, "1 try", "tries"));
    let _ = write!(
        out,
        "<section class=\"fault\" data-state=\"{tone}\"><h2>{}</h2><p class=\"muted\">{} · {word} · {seen} · {tries} · {} tokens \
         · {cost}</p>",
        escape(&view.fault.title),
        view.fault.kind.label(),
        view.tokens
    );
    if !view.fault.detail.is_empty() {
        let _ = write!(out, "<pre>{}</pre>", escape(&view.fault.detail));
    }
    if matches!(view.state, FaultState::GivenUp | FaultState::Open) {
        let project = &state.id;
        out.push_str("<div class=\"plain-actions\">");
        if let Some(good) = last_good(state, view) {
            let _ = write!(
                out,
                "<form method=\"post\" action=\"/p/{project}/back\"><input type=\"hidden\" name=\"message\" value=\"{}\"><button \
                 class=\"button\">Go back to the last good checkpoint</button></form>",
                good.id
            );
        }
        if let Some(tried) = state.messages.iter().rev().find(|m| m.checkpoint.is_some()) {
            let _ =
                write!(out, "<a class=\"button\" href=\"/p/{project}/changes/{}\">See the last change</a>", tried.id);
        }
        let options: String = models
            .iter()
            .map(|m| format!("<option value=\"{}\">{}</option>", escape(&m.model.id), escape(&m.model.label)))
            .collect();
        let _ = write!(
            out,
            "<form method=\"post\" action=\"/p/{project}/faults\"><input type=\"hidden\" name=\"fault\" value=\"{}\"><label>With \
             <select name=\"model\" class=\"input\">{options}</select></label><button class=\"button\">Try again</button></form></div>",
            escape(&view.fault.id)
        );
    }
    out.push_str("</section>");
}

/// The end of the last turn before the one in which, or after which, the fault was first seen.
fn last_good<'a>(state: &'a ProjectState, view: &FaultView) -> Option<&'a Message> {
    let before = state.messages.iter().filter(|m| m.role == Role::Assistant && m.at <= view.first_at);
    before.rev().skip(1).find(|m| m.checkpoint.is_some())
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
