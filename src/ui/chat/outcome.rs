//! How a turn ended, and what can be done about it.

use crate::domain::{ApiError, Change, ErrorCode, MessageId, TurnOutcome, Usage};
use crate::server_fns::retry_turn;
use crate::ui::kit::{Icon, compact, duration, live, memo, on};
use crate::ui::workbench::Workbench;
use leptos::ev::MouseEvent;
use leptos::prelude::*;

#[derive(Clone, PartialEq)]
struct Ended {
    outcome: TurnOutcome,
    usage: Option<Usage>,
    took: u64,
    // Only the last answer can be retried or continued.
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
    let ended = memo(move || {
        store.read(Change::Turn, |_| ());
        let last =
            store.read(Change::Messages, |s| s.turn.is_none() && s.messages.last().is_some_and(|m| m.id == message));
        store.message(&message, |m| {
            let outcome = m.outcome.clone()?;
            let took = m.finished_at.unwrap_or(m.at).saturating_sub(m.at);
            Some(Ended { outcome, usage: m.usage, took, last })
        })?
    });
    let retry = move |_| bench.act(retry_turn(store.id()));
    live::view(move || {
        ended.get().map(|Ended { outcome, usage, took, last }| match outcome {
            TurnOutcome::Completed => view! {
                <footer class="outcome">
                    <Icon name="check" />
                    <span>"Done in " {duration(took)}</span>
                    {usage.map(|usage| view! { <Tokens usage /> })}
                </footer>
            }
            .into_any(),
            TurnOutcome::Stopped => view! {
                <footer class="outcome">
                    <Icon name="stop" />
                    <span>"Stopped after " {duration(took)}</span>
                    {last.then(|| view! { <button class="button small" type="button" on:click=on(retry)>"Continue"</button> })}
                </footer>
            }
            .into_any(),
            TurnOutcome::StepLimit { steps } => view! {
                <footer class="outcome">
                    <Icon name="clock" />
                    <span>"Paused after " {steps} " steps"</span>
                    {last.then(|| view! { <button class="button small" type="button" on:click=on(retry)>"Continue"</button> })}
                </footer>
            }
            .into_any(),
            TurnOutcome::Failed { error } => view! { <Failure error last retry=Callback::new(retry) /> }.into_any(),
        })
    })
    .into_any()
}

#[component]
fn Failure(error: ApiError, last: bool, retry: Callback<MouseEvent>) -> impl IntoView {
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
            {last.then(|| {
                view! {
                    <button class="button small" type="button" on:click=on(move |event: MouseEvent| retry.run(event))>
                        <Icon name="reload" />
                        "Retry"
                    </button>
                }
            })}
        </div>
    }
    .into_any()
}

#[component]
fn Tokens(usage: Usage) -> impl IntoView {
    let Usage { input_tokens, output_tokens, cached_tokens } = usage;
    let detail =
        format!("{input_tokens} tokens sent ({cached_tokens} from the provider's cache), {output_tokens} received");
    view! { <span class="tokens" title=detail>{compact(input_tokens + output_tokens)} " tokens"</span> }.into_any()
}
