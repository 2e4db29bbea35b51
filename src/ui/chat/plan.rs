//! The plan of an answer, as a list that advances.

use crate::domain::{MessageId, PlanState, PlanStep};
use crate::ui::kit::{Icon, live, memo};
use crate::ui::workbench::Workbench;
use leptos::prelude::*;

/// The plan. Nothing while the model still writes its first one.
#[component]
pub fn Plan(
    /// The answer.
    message: MessageId,
) -> impl IntoView {
    let store = Workbench::here().store;
    // Whether the turn goes on is part of it: a step that was left is not being done.
    let plan = memo(move || store.message(&message, |m| (m.plan.clone(), m.outcome.is_none())).unwrap_or_default());
    // By place: two steps may have the same title, and one that advances is the same step.
    let places = move || (0..plan.with(|(steps, _)| steps.len())).collect::<Vec<_>>();
    let count = move || {
        plan.with(|(steps, _)| {
            let done = steps.iter().filter(|step| step.state == PlanState::Done).count();
            format!("{done} of {}", steps.len())
        })
    };
    view! {
        <section class="plan" aria-label="Plan" hidden=live::flag(move || plan.with(|(steps, _)| steps.is_empty()))>
            <h3>"Plan" <span>{live::text(count)}</span></h3>
            <ol>
                {live::each(places, usize::to_string, move |at| view! { <Step plan at /> })}
            </ol>
        </section>
    }
    .into_any()
}

#[component]
fn Step(plan: Memo<(Vec<PlanStep>, bool)>, at: usize) -> impl IntoView {
    let state = move || {
        let (steps, live) = plan.get();
        match steps.get(at).map(|step| step.state) {
            Some(PlanState::Done) => ("done", "done"),
            Some(PlanState::Doing) if live => ("working", "in progress"),
            Some(PlanState::Doing) => ("idle", "left"),
            Some(PlanState::Todo) | None => ("idle", "to do"),
        }
    };
    let title = move || plan.get().0.get(at).map(|step| step.title.clone()).unwrap_or_default();
    view! {
        <li data-state=live::text(move || state().0)>
            {live::view(move || match state().0 {
                "done" => view! { <Icon name="check" /> }.into_any(),
                state => view! { <span class="dot" data-state=state></span> }.into_any(),
            })}
            <span>
                {live::text(title)}
                <span class="visually-hidden">{live::text(move || format!(" ({})", state().1))}</span>
            </span>
        </li>
    }
    .into_any()
}
