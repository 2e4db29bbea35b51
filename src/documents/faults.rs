//! `/p/{project}/faults`: the errors of an app, what was tried, what it cost, and what can be done now.

use super::changes::BACK_LOSS;
use super::parts::{Field, Form, PostButton};
use crate::domain::{Fault, FaultState, FaultView, MessageId, ModelRef, ProjectId};
use crate::ui::kit::{Empty, compact, money};
use leptos::prelude::*;

/// What the page shows.
pub struct FaultsPage {
    /// The project.
    pub project: ProjectId,
    /// Its errors, those seen last at first.
    pub faults: Vec<FaultRow>,
    /// The last message that has a checkpoint.
    pub last_change: Option<MessageId>,
    /// Models that can try again.
    pub models: Vec<ModelRef>,
}

/// An error with its history.
pub struct FaultRow {
    /// The error.
    pub view: FaultView,
    /// The message at whose end the app was still well.
    pub last_good: Option<MessageId>,
}

#[component]
pub(super) fn Faults(page: FaultsPage) -> impl IntoView {
    let FaultsPage { project, faults, last_change, models } = page;
    let nothing = faults.is_empty();
    let faults = faults.into_iter().map(|row| {
        let actions = matches!(row.view.state, FaultState::GivenUp | FaultState::Open).then(|| {
            let (project, fault, last_good) = (project.clone(), row.view.fault.id.clone(), row.last_good);
            view! { <Actions project fault last_good last_change=last_change.clone() models=models.clone() /> }
        });
        view! {
            <section class="panel">
                <Story view=row.view />
                {actions}
            </section>
        }
    });
    let faults: Vec<_> = faults.collect();
    view! {
        <p class="muted">
            "Errors of the running app are sent to the agent by themselves, at most three times each. "
            <a href=format!("/p/{project}/settings")>"The project's settings"</a>" switch that off."
        </p>
        {nothing.then(|| view! { <Empty icon="check" title="No errors" text="None was seen." /> })}
        {faults}
    }
    .into_any()
}

/// What was seen and what was tried.
#[component]
fn Story(view: FaultView) -> impl IntoView {
    let FaultView { fault, state, seen, tries, cost, tokens, .. } = view;
    let Fault { kind, title, detail, .. } = fault;
    let (word, tone) = match state {
        FaultState::Open => ("seen", "idle"),
        FaultState::Trying => ("being fixed", "working"),
        FaultState::Gone => ("gone", "done"),
        FaultState::GivenUp => ("not fixed", "failed"),
    };
    let cost = match (cost, tries) {
        (0, 0) => "nothing has been spent on it".to_owned(),
        (0, _) => "this error has cost an unknown amount".to_owned(),
        (cost, _) => format!("this error has cost {}", money(cost)),
    };
    let seen = if seen == 1 { "seen once".to_owned() } else { format!("seen {seen} times") };
    let tries = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
    let facts = format!("{} · {seen} · {tries} · {} tokens · {cost}", kind.label(), compact(tokens));
    view! {
        <div class="row between">
            <h2>{title}</h2>
            <span class="pill" data-state=tone><span class="dot" data-state=tone></span>{word}</span>
        </div>
        <p>{facts}</p>
        {(!detail.is_empty()).then(|| view! { <pre class="snippet">{detail}</pre> })}
    }
    .into_any()
}

/// What can be done about it.
#[component]
fn Actions(
    project: ProjectId,
    fault: String,
    last_good: Option<MessageId>,
    last_change: Option<MessageId>,
    models: Vec<ModelRef>,
) -> impl IntoView {
    let models: Vec<_> = models.into_iter().map(|m| view! { <option value=m.id>{m.label}</option> }).collect();
    let back = last_good.map(|good| {
        let hidden = vec![("message", good.to_string())];
        view! { <PostButton action=format!("/p/{project}/back") hidden confirm=BACK_LOSS>"Go back to the last good checkpoint"</PostButton> }
    });
    let changes = last_change.map(|message| {
        view! { <a class="button small" href=format!("/p/{project}/changes/{message}")>"See the last change"</a> }
    });
    view! {
        <Form action=format!("/p/{project}/faults") hidden=vec![("fault", fault)]>
            <Field label="Model">
                <select class="input" name="model">{models}</select>
            </Field>
            <button class="button">"Try again"</button>
        </Form>
        <div class="row">{back}{changes}</div>
    }
    .into_any()
}
