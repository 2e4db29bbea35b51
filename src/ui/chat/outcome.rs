//! How a turn ended, and what can be done about it.

use crate::domain::{ApiError, Change, Checked, Checkpoint, ErrorCode, MessageId, Role, TurnOutcome, Usage};
use crate::server_fns::retry_turn;
use crate::ui::kit::{Icon, compact, duration, live, memo, money, on};
use crate::ui::workbench::Workbench;
use leptos::prelude::*;

#[derive(Clone, PartialEq)]
struct Ended {
    outcome: TurnOutcome,
    usage: Option<Usage>,
    checkpoint: Option<Checkpoint>,
    checks: Vec<Checked>,
    took: u64,
    // Only the last answer can be retried or continued, also where messages wait behind it.
    last: bool,
}

/// The row under an answer, once its turn ended.
#[component]
pub fn Outcome(
    /// The answer.
    message: MessageId,
) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let changes = format!("/p/{}/changes/{message}", store.id());
    let ended = memo(move || {
        store.read(Change::Turn, |_| ());
        let last = store.read(Change::Messages, |s| {
            let answer = s.messages.iter().rev().find(|m| m.role == Role::Assistant);
            s.turn.is_none() && answer.is_some_and(|m| m.id == message)
        });
        store.message(&message, |m| {
            let outcome = m.outcome.clone()?;
            let took = m.finished_at.unwrap_or(m.at).saturating_sub(m.at);
            Some(Ended {
                outcome,
                usage: m.usage,
                checkpoint: m.checkpoint.clone(),
                checks: m.checks.clone(),
                took,
                last,
            })
        })?
    });
    let pending = RwSignal::new(false);
    let retry = move |_| bench.once(pending, retry_turn(store.id()), |_| ());
    let waits = move || pending.get().then_some("true");
    live::view(move || {
        ended.get().map(|Ended { outcome, usage, checkpoint, checks, took, last }| {
            let (icon, words) = match outcome {
                TurnOutcome::Completed => ("check", format!("Done in {}", duration(took))),
                TurnOutcome::Stopped => ("stop", format!("Stopped after {}", duration(took))),
                TurnOutcome::StepLimit { steps } => ("clock", format!("Paused after {steps} steps")),
                TurnOutcome::Failed { error } => {
                    let again = last.then(|| {
                        view! {
                            <button class="button small" type="button" aria-disabled=live::maybe(waits) on:click=on(retry)>
                                <Icon name="reload" />
                                "Retry"
                            </button>
                        }
                        .into_any()
                    });
                    return view! { <Failure error again /> }.into_any();
                }
            };
            let go_on = last && icon != "check";
            let changed = checkpoint.filter(|c| c.files > 0).map(|c| {
                let words = format!("{} {}", c.files, if c.files == 1 { "file" } else { "files" });
                view! {
                    <a class="changed" href=changes.clone() title="What changed; go back; fork">
                        {words} " " <ins>"+" {c.added}</ins> " " <del>"−" {c.removed}</del>
                    </a>
                }
            });
            view! {
                {(!checks.is_empty()).then(|| view! { <Receipt checks /> })}
                <footer class="outcome">
                    <Icon name=icon />
                    <span>{words}</span>
                    {changed}
                    {usage.map(|usage| view! { <Tokens usage /> })}
                    {go_on.then(|| {
                        view! {
                            <button class="button small" type="button" aria-disabled=live::maybe(waits) on:click=on(retry)>
                                "Continue"
                            </button>
                        }
                    })}
                </footer>
            }
            .into_any()
        })
    })
    .into_any()
}

/// What was checked before the agent said it is done.
#[component]
fn Receipt(checks: Vec<Checked>) -> impl IntoView {
    let failed = checks.iter().filter(|c| !c.ok).count();
    let skipped = checks.iter().filter(|c| c.skipped).count();
    let mut words = format!("{} checked", checks.len() - skipped);
    for (count, what) in [(skipped, "not checked"), (failed, "failed")] {
        if count > 0 {
            words.push_str(&format!(" · {count} {what}"));
        }
    }
    let rows = checks
        .into_iter()
        .map(|c| {
            view! {
                <li data-ok=c.ok.to_string() data-skipped=c.skipped.to_string()>
                    <Icon name=if c.skipped { "info" } else if c.ok { "check" } else { "alert" } />
                    <span>{c.name}</span>
                    <small>{c.detail}</small>
                    {c.image.map(|id| {
                        let src = format!("/api/attachments/{id}");
                        let shown = src.clone();
                        view! {
                            <a href=src target="_blank">
                                <img src=shown alt="The app, as the browser drew it" loading="lazy" />
                            </a>
                        }
                    })}
                </li>
            }
        })
        .collect_view();
    view! {
        <details class="receipt" open=failed != 0>
            <summary>{words}<Icon name="chevron" /></summary>
            <ul>{rows}</ul>
        </details>
    }
    .into_any()
}

#[component]
fn Failure(error: ApiError, again: Option<AnyView>) -> impl IntoView {
    let title = match error.code {
        ErrorCode::Model => "The model could not answer",
        ErrorCode::Sandbox => "The sandbox could not do it",
        ErrorCode::Storage => "The server has no room",
        ErrorCode::Timeout => "It took too long",
        _ => "This turn failed",
    };
    let request = error.request_id.map(|id| view! { <small>"Request " {id}</small> });
    view! {
        <div class="failure" role="alert">
            <Icon name="alert" />
            <div>
                <strong>{title}</strong>
                <p>{error.message}</p>
                {request}
            </div>
            {again}
        </div>
    }
    .into_any()
}

#[component]
fn Tokens(usage: Usage) -> impl IntoView {
    let Usage { input_tokens, output_tokens, cached_tokens, cost } = usage;
    let detail =
        format!("{input_tokens} tokens sent ({cached_tokens} from the provider's cache), {output_tokens} received");
    let cost = cost.map(|cost| format!(" · {}", money(cost)));
    view! { <span class="tokens" title=detail>{compact(input_tokens + output_tokens)} " tokens" {cost}</span> }
        .into_any()
}
