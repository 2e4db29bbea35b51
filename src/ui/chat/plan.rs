//! The plan of an answer, as a list that advances.

use crate::domain::{MessageId, PlanState};
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
    let steps = move || plan.with(|(steps, live)| steps.iter().map(|step| (step.clone(), *live)).collect::<Vec<_>>());
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
                {live::each(
                    steps,
                    |(step, live)| format!("{:?} {live} {}", step.state, step.title),
                    |(step, live)| {
                        let (state, words) = match step.state {
                            PlanState::Done => ("done", "done"),
                            PlanState::Doing if live => ("working", "in progress"),
                            PlanState::Doing => ("idle", "left"),
                            PlanState::Todo => ("idle", "to do"),
                        };
                        let mark = match state {
                            "done" => view! { <Icon name="check" /> }.into_any(),
                            _ => view! { <span class="dot" data-state=state></span> }.into_any(),
                        };
                        view! {
                            <li data-state=state>
                                {mark}
                                <span>{step.title}<span class="visually-hidden">" ("{words}")"</span></span>
                            </li>
                        }
                    },
                )}
            </ol>
        </section>
    }
    .into_any()
}
