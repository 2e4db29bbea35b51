//! The bar on top of the workbench: back, name, state, download, theme.

use super::Workbench;
use super::facts::{self, Facts};
use crate::domain::{Change, SandboxPhase};
use crate::server_fns::rename_project;
use crate::ui::kit::{Icon, ThemeButton, effect, live, memo, on};
use crate::ui::store::Link;
use leptos::ev::KeyboardEvent;
use leptos::html;
use leptos::prelude::*;

/// The bar.
#[component]
pub fn Header() -> impl IntoView {
    let store = Workbench::here().store;
    let archive = format!("/api/projects/{}/archive", store.id());
    let settings = format!("/p/{}/settings", store.id());
    view! {
        <header class="bench-head">
            <a class="icon-button" href="/" aria-label="All projects" title="All projects">
                <Icon name="back" />
            </a>
            <Name />
            <StatePill />
            <span class="spring"></span>
            <a class="icon-button" href=settings aria-label="Project settings" title="Project settings">
                <Icon name="tool" />
            </a>
            <a class="icon-button" href=archive download aria-label="Download as zip" title="Download as zip">
                <Icon name="download" />
            </a>
            <ThemeButton />
        </header>
    }
    .into_any()
}

/// The project's name; a click turns it into a field.
#[component]
fn Name() -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let name = memo(move || store.read(Change::Project, |state| state.name.clone()));
    let editing = RwSignal::new(false);
    let field = NodeRef::<html::Input>::new();
    let button = NodeRef::<html::Button>::new();
    effect(move || {
        if editing.get()
            && let Some(field) = field.get()
        {
            field.set_value(&name.get_untracked());
            let _ = field.focus();
            field.select();
        }
    });
    effect(move || document().set_title(&format!("{} · Sandcastle", name.get())));
    let save = move || {
        if !editing.get_untracked() {
            return;
        }
        editing.set(false);
        let to = field.get_untracked().map(|field| field.value().trim().to_owned()).unwrap_or_default();
        if !to.is_empty() && to != name.get_untracked() {
            bench.act(rename_project(store.id(), to));
        }
    };
    let key = move |event: KeyboardEvent| {
        match event.key().as_str() {
            // They end the composing of a word.
            _ if event.is_composing() => return,
            "Enter" => save(),
            "Escape" => {
                event.stop_propagation();
                editing.set(false);
            }
            _ => return,
        }
        // The button is there again with the next frame.
        request_animation_frame(move || {
            if let Some(button) = button.get_untracked() {
                let _ = button.focus();
            }
        });
    };
    view! {
        <h1 class="name">
            <button node_ref=button type="button" title="Rename" hidden=live::flag(move || editing.get()) on:click=on(move |_| editing.set(true))>
                {live::text(move || name.get())}
            </button>
            <input
                class="input"
                node_ref=field
                aria-label="Project name"
                maxlength="120"
                hidden=live::flag(move || !editing.get())
                on:keydown=on(key)
                on:blur=on(move |_| save())
            />
        </h1>
    }
    .into_any()
}

/// The project's state in a word.
#[component]
fn StatePill() -> impl IntoView {
    let store = Workbench::here().store;
    let state = memo(move || {
        let working = store.read(Change::Turn, |s| s.turn.is_some());
        let sandbox = store.read(Change::Sandbox, |s| s.sandbox.as_ref().map(|s| (s.phase, s.detail.clone())));
        let (phase, detail) = sandbox.unzip();
        let detail = detail.flatten();
        match (store.link.get(), working, phase) {
            (Link::Reconnecting, ..) => ("lost", "reconnecting…", None),
            (Link::Lost(_), ..) => ("lost", "not connected", None),
            (_, true, _) => ("working", "working", None),
            (_, _, Some(SandboxPhase::Creating)) => ("working", "starting", None),
            (_, _, Some(SandboxPhase::Running)) if detail.is_some() => ("lost", "at a limit", detail),
            (_, _, Some(SandboxPhase::Running)) => ("running", "running", None),
            (_, _, Some(SandboxPhase::Asleep)) => ("asleep", "asleep", detail),
            (_, _, Some(SandboxPhase::Failed)) => ("failed", "failed", detail),
            (_, _, None) => ("idle", "new", None),
        }
    });
    view! {
        <button class="state" type="button" popovertarget=facts::ID>
            <span class="pill" aria-live="polite" data-state=live::text(move || state.get().0) title=live::maybe(move || state.get().2)>
                <span class="dot" data-state=live::text(move || state.get().0)></span>
                <span>{live::text(move || state.get().1)}</span>
            </span>
        </button>
        <Facts />
    }
    .into_any()
}
