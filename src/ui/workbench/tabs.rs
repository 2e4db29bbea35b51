//! The tabs of the work pane, and on a phone the bar at the bottom that also holds the chat.

use super::Workbench;
use crate::domain::Change;
use crate::ui::kit::{Icon, live, memo, on};
use crate::ui::page::Pane;
use leptos::ev::KeyboardEvent;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::web_sys::HtmlElement;

fn icon(pane: Pane) -> &'static str {
    match pane {
        Pane::Preview => "globe",
        Pane::Code => "code",
        Pane::Logs => "logs",
        Pane::Runs => "runs",
    }
}

/// Preview, Code, Logs, Runs.
#[component]
pub fn PaneTabs() -> impl IntoView {
    let bench = Workbench::here();
    let pane = bench.pane;
    let running = memo(move || {
        bench.store.read(Change::Commands, |state| state.commands.iter().filter(|c| c.exit.is_none()).count())
    });
    let on_key = move |event: KeyboardEvent| {
        let at = Pane::ALL.iter().position(|p| *p == pane.get_untracked()).unwrap_or(0);
        let to = match event.key().as_str() {
            "ArrowRight" => (at + 1) % Pane::ALL.len(),
            "ArrowLeft" => (at + Pane::ALL.len() - 1) % Pane::ALL.len(),
            "Home" => 0,
            "End" => Pane::ALL.len() - 1,
            _ => return,
        };
        event.prevent_default();
        if let Some(to) = Pane::ALL.get(to).copied() {
            bench.choose(to);
            let tab = document().get_element_by_id(&format!("tab-{}", to.slug()));
            if let Some(tab) = tab.and_then(|tab| tab.dyn_into::<HtmlElement>().ok()) {
                let _ = tab.focus();
            }
        }
    };
    let tabs = Pane::ALL
        .into_iter()
        .map(|of| {
            let selected = move || pane.get() == of;
            let count = move || Some(running.get()).filter(|n| of == Pane::Logs && *n > 0);
            view! {
                <button
                    class="tab"
                    type="button"
                    role="tab"
                    id=format!("tab-{}", of.slug())
                    aria-controls=format!("pane-{}", of.slug())
                    aria-selected=live::text(move || selected().to_string())
                    tabindex=live::text(move || if selected() { "0" } else { "-1" })
                    on:click=on(move |_| bench.choose(of))
                >
                    <Icon name=icon(of) />
                    <span>{of.label()}</span>
                    {live::view(move || count().map(|n| view! { <span class="badge" aria-hidden="true">{n}</span> }))}
                </button>
            }
        })
        .collect_view();
    view! {
        <div class="tabs" role="tablist" aria-label="Work pane" on:keydown=on(on_key)>
            {tabs}
        </div>
    }
    .into_any()
}

/// Chat, Preview, Code, Logs at the bottom of a phone.
#[component]
pub fn PhoneTabs() -> impl IntoView {
    let bench = Workbench::here();
    let chat = bench.phone_chat;
    let tabs = [Pane::Preview, Pane::Code, Pane::Logs]
        .into_iter()
        .map(|of| {
            let current = move || (!chat.get() && bench.pane.get() == of).then_some("page");
            view! {
                <button type="button" aria-current=live::maybe(current) on:click=on(move |_| bench.choose(of))>
                    <Icon name=icon(of) />
                    {of.label()}
                </button>
            }
        })
        .collect_view();
    view! {
        <nav class="phone-tabs" aria-label="Views">
            <button type="button" aria-current=live::maybe(move || chat.get().then_some("page")) on:click=on(move |_| bench.choose_chat())>
                <Icon name="chat" />
                "Chat"
            </button>
            {tabs}
        </nav>
    }
    .into_any()
}
