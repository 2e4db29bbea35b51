//! One message. Its parts are keyed, so a text delta touches only the part it belongs to.

use super::Told;
use super::attachments::SentFiles;
use super::outcome::Outcome;
use super::plan::Plan;
use super::tool::ToolCard;
use crate::domain::{CallId, Change, MessageId, Part, Role, ToolState};
use crate::server_fns::queue_message;
use crate::ui::kit::{Icon, duration, live, memo, on, use_now};
use crate::ui::workbench::Workbench;
use leptos::prelude::*;

/// A person's or the agent's message.
#[component]
pub fn MessageView(
    /// Which.
    id: MessageId,
) -> impl IntoView {
    let store = Workbench::here().store;
    let role = store.peek(|state| state.message(&id).map(|m| m.role));
    match role {
        Some(Role::User) => view! { <UserMessage id /> }.into_any(),
        Some(Role::Assistant) => view! { <AgentMessage id /> }.into_any(),
        None => ().into_any(),
    }
}

#[component]
fn UserMessage(id: MessageId) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let (text, fixes, files) = store
        .peek(|state| state.message(&id).map(|m| (m.text(), m.fixes.len(), m.attachments.clone())).unwrap_or_default());
    let edit = format!("/p/{}/edit/{id}", store.id());
    let pending = RwSignal::new(false);
    let queue = {
        let (id, text, files) = (id.clone(), text.clone(), files.clone());
        move |up: bool| {
            let back = Told::Withdrawn { text: text.clone(), files: files.clone() };
            bench.once(pending, queue_message(store.id(), id.clone(), up), move |done| {
                if done && !up {
                    bench.told.set(Some(back));
                }
            });
        }
    };
    let (up, withdraw) = (queue.clone(), queue);
    let working = memo(move || store.read(Change::Turn, |state| state.turn.is_some()));
    let waiting =
        memo(move || working.get() && store.read(Change::Messages, |state| state.unanswered().any(|m| m.id == id)));
    if fixes > 0 {
        let words = if fixes == 1 { "Auto-fix: 1 error".to_owned() } else { format!("Auto-fix: {fixes} errors") };
        return view! {
            <details class="message fix">
                <summary><Icon name="alert" />{words}</summary>
                <p>{text}</p>
            </details>
        }
        .into_any();
    }
    view! {
        <article class="message user" aria-label="You">
            {(!files.is_empty()).then(|| view! { <SentFiles files /> })}
            <p>{text}</p>
            <a class="edit" href=edit hidden=live::flag(move || working.get())>"Edit"</a>
            <span class="queued" hidden=live::flag(move || !waiting.get())>
                <Icon name="clock" />
                "Queued: answered after this turn"
                <button class="link" type="button" on:click=on(move |_| up(true))>"Sooner"</button>
                <button class="link" type="button" on:click=on(move |_| withdraw(false))>"Withdraw"</button>
            </span>
        </article>
    }
    .into_any()
}

/// The tool whose calls are shown as one list.
const PLAN: &str = "update_plan";

/// What a part is; a part whose kind changes (a turn rewound after a crash) is another part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PartKey {
    Text(usize),
    Reasoning(usize),
    Tool(CallId),
    /// Where the first plan was made; later ones change it.
    Plan,
}

#[component]
fn AgentMessage(id: MessageId) -> impl IntoView {
    let store = Workbench::here().store;
    let model = store.peek(|state| state.message(&id).and_then(|m| m.model.clone()));
    let keys = memo({
        let id = id.clone();
        move || {
            let keys = |parts: &[Part]| -> Vec<PartKey> {
                let key = |(at, part): (usize, &Part)| match part {
                    Part::Text { .. } => PartKey::Text(at),
                    Part::Reasoning { .. } => PartKey::Reasoning(at),
                    Part::Tool(call) if call.tool == PLAN => PartKey::Plan,
                    Part::Tool(call) => PartKey::Tool(call.call.clone()),
                };
                let mut keys: Vec<PartKey> = parts.iter().enumerate().map(key).collect();
                let mut planned = false;
                keys.retain(|key| *key != PartKey::Plan || !std::mem::replace(&mut planned, true));
                keys
            };
            store.message(&id, |m| keys(&m.parts)).unwrap_or_default()
        }
    });
    let label = model.map(|m| m.label).unwrap_or_else(|| "Agent".to_owned());
    let message = id.clone();
    // A run's page links to the message of its turn.
    let anchor = id.to_string();
    view! {
        <article class="message agent" id=anchor aria-label=label>
            <header class="byline">
                <Icon name="mark" />
                <span>{label.clone()}</span>
            </header>
            {live::each(
                move || keys.get(),
                |key| format!("{key:?}"),
                move |key| view! { <PartView message=message.clone() key /> },
            )}
            <Thinking message=id.clone() />
            <Outcome message=id />
        </article>
    }
    .into_any()
}

#[component]
fn PartView(message: MessageId, key: PartKey) -> impl IntoView {
    match key {
        PartKey::Text(at) => view! { <TextPart message at /> }.into_any(),
        PartKey::Reasoning(at) => view! { <ReasoningPart message at /> }.into_any(),
        PartKey::Tool(call) => view! { <ToolCard message call /> }.into_any(),
        PartKey::Plan => view! { <Plan message /> }.into_any(),
    }
}

#[component]
fn TextPart(message: MessageId, at: usize) -> impl IntoView {
    let store = Workbench::here().store;
    let part = memo(move || {
        let read = |part: Option<&Part>| match part {
            Some(Part::Text { html: Some(html), .. }) => (Form::Html, html.clone()),
            // A block of code is seen as one from its first line on.
            Some(Part::Text { text, .. }) => match text.strip_prefix("```").and_then(|rest| rest.split_once('\n')) {
                Some((_, code)) => (Form::Code, code.to_owned()),
                None => (Form::Words, text.clone()),
            },
            _ => (Form::Words, String::new()),
        };
        store.message(&message, |m| read(m.parts.get(at))).unwrap_or_default()
    });
    let form = memo(move || part.with(|(form, _)| *form));
    live::view(move || match form.get() {
        // Sanitized on the server (`render::markdown_to_html`).
        Form::Html => view! { <div class="prose" inner_html=part.get().1></div> }.into_any(),
        Form::Code => view! { <div class="prose"><pre>{live::text(move || part.get().1)}</pre></div> }.into_any(),
        Form::Words => view! { <p class="prose open">{live::text(move || part.get().1)}</p> }.into_any(),
    })
    .into_any()
}

/// How a passage is shown.
#[derive(Clone, Copy, Default, PartialEq)]
enum Form {
    /// As it arrives.
    #[default]
    Words,
    /// The inside of a code block that is not complete.
    Code,
    /// Complete, formatted by the server.
    Html,
}

#[component]
fn ReasoningPart(message: MessageId, at: usize) -> impl IntoView {
    let store = Workbench::here().store;
    let text = memo({
        let message = message.clone();
        move || {
            store
                .message(&message, |m| match m.parts.get(at) {
                    Some(Part::Reasoning { text }) => text.clone(),
                    _ => String::new(),
                })
                .unwrap_or_default()
        }
    });
    let live = memo(move || {
        store.message(&message, |m| m.finished_at.is_none() && m.parts.len() == at + 1).unwrap_or_default()
    });
    view! {
        <details class="reasoning">
            <summary>
                <Icon name="thought" />
                <span class:shimmer=live::flag(move || live.get())>{live::text(move || if live.get() { "Thinking" } else { "Thought" })}</span>
                <Icon name="chevron" />
            </summary>
            <p>{live::text(move || text.get())}</p>
        </details>
    }
    .into_any()
}

/// Says that the model is at work while nothing else shows it: before the first part and between a tool and the next.
#[component]
fn Thinking(message: MessageId) -> impl IntoView {
    let store = Workbench::here().store;
    let waiting = memo(move || {
        let started =
            store.read(Change::Turn, |s| s.turn.as_ref().filter(|t| t.message == message).map(|t| t.started_at))?;
        let idle = store.message(&message, |m| match m.parts.last() {
            None => true,
            Some(Part::Tool(call)) => matches!(call.state, ToolState::Done | ToolState::Failed),
            Some(Part::Text { html, .. }) => html.is_some(),
            Some(Part::Reasoning { .. }) => false,
        })?;
        idle.then_some(started)
    });
    let now = use_now();
    let elapsed = move || {
        // Only a message that is waited for follows the clock.
        let started = waiting.get()?;
        let ms = now.get()?.saturating_sub(started);
        (ms >= 3000).then(|| duration(ms / 1000 * 1000))
    };
    view! {
        <p class="thinking" hidden=live::flag(move || waiting.get().is_none())>
            <span class="pulse"></span>
            <span class="shimmer">"Working"</span>
            <span class="elapsed">{live::text(move || elapsed().unwrap_or_default())}</span>
        </p>
    }
    .into_any()
}
