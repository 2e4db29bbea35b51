//! The conversation: messages, tool cards, outcomes, and the composer.

mod attachments;
mod composer;
mod message;
mod outcome;
mod plan;
mod tool;

pub use composer::{Choice, Composer, Outgoing, Told};

use crate::domain::{Change, FaultState, MessageId};
use crate::server_fns::send_message;
use crate::ui::kit::{Icon, Notice, live, memo, money, on};
use crate::ui::page::ModelOption;
use crate::ui::workbench::Workbench;
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use message::MessageView;

/// How far from the end, in CSS pixels, still counts as reading the latest.
const NEAR: i32 = 80;

/// The chat pane.
#[component]
pub fn Chat(
    /// Models to choose from.
    models: Vec<ModelOption>,
) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let ids = memo(move || {
        store.read(Change::Messages, |s| s.messages.iter().map(|m| m.id.clone()).collect::<Vec<MessageId>>())
    });
    let working = memo(move || store.read(Change::Turn, |s| s.turn.is_some()));
    let away = RwSignal::new(false);
    let scroller = NodeRef::<html::Div>::new();
    // The list is laid out from its end (column-reverse), so the latest is at 0 and earlier is negative.
    let on_scroll = move |_| {
        if let Some(element) = scroller.get_untracked() {
            away.set(element.scroll_top() < -NEAR);
        }
    };
    let latest = move |_| {
        if let Some(element) = scroller.get_untracked() {
            element.set_scroll_top(0);
        }
    };
    let draft = format!("draft:{}", store.id());
    let sending = RwSignal::new(false);
    let send = Callback::new(move |sent: Outgoing| {
        bench.failure.set(None);
        sending.set(true);
        spawn_local(async move {
            match send_message(store.id(), sent.text.clone(), sent.files.clone(), bench.choice.id()).await {
                Ok(_) => {
                    bench.told.set(Some(Told::Arrived(sent)));
                    latest(());
                }
                Err(error) => bench.failure.set(Some(error)),
            }
            sending.set(false);
        });
    });
    let stop = Callback::new(move |()| bench.stop());
    view! {
        <section class="chat" aria-label="Conversation">
            <div class="scroller" node_ref=scroller on:scroll=on(on_scroll) tabindex="-1">
                <div class="messages" role="log" aria-live="polite" aria-busy=live::text(move || working.get().to_string())>
                    {live::each(move || ids.get(), MessageId::to_string, |id| view! { <MessageView id /> })}
                </div>
            </div>
            <div class="chat-foot">
                <button class="jump" type="button" hidden=live::flag(move || !away.get()) on:click=on(move |_| latest(()))>
                    <Icon name="down" />
                    "Latest"
                </button>
                <Notice error=bench.failure />
                <Faults />
                <Composer
                    label="Message"
                    placeholder="Ask for a change…"
                    draft
                    models
                    choice=bench.choice
                    busy=sending.into()
                    working=working.into()
                    stopping=bench.stopping.into()
                    told=bench.told
                    on_send=send
                    on_stop=stop
                />
            </div>
        </section>
    }
    .into_any()
}

/// One line about errors of the app that are there now; the page behind it has the rest.
#[component]
fn Faults() -> impl IntoView {
    let store = Workbench::here().store;
    let href = format!("/p/{}/faults", store.id());
    let words = memo(move || {
        store.read(Change::Faults, |state| {
            let count = |wanted| state.faults.iter().filter(|f| f.state == wanted).count();
            let (open, trying, given_up) =
                (count(FaultState::Open), count(FaultState::Trying), count(FaultState::GivenUp));
            let cost: u64 = state.faults.iter().filter(|f| f.state != FaultState::Gone).map(|f| f.cost).sum();
            let spent = if cost > 0 { format!(" · {} so far", money(cost)) } else { String::new() };
            match (given_up, trying, open) {
                (0, 0, 0) => None,
                (0, 0, n) => Some(format!("{n} in the app")),
                (0, n, _) => Some(format!("{n} being fixed{spent}")),
                (n, ..) => Some(format!("{n} not fixed{spent}: choose what to do")),
            }
        })
    });
    view! {
        <a class="open-faults" href=href hidden=live::flag(move || words.get().is_none())>
            <Icon name="alert" />
            "Errors: "
            {live::maybe(move || words.get())}
        </a>
    }
    .into_any()
}
