//! What stands in the preview's place: how far the app is, that it sleeps, or why it cannot be shown.

use super::frame::Frame;
use crate::domain::{Change, SandboxPhase};
use crate::server_fns::start_sandbox;
use crate::ui::kit::{Empty, Icon, live, memo, on};
use crate::ui::workbench::Workbench;
use leptos::prelude::*;

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// The app is shown.
    Shown,
    /// Nothing was asked yet, or the answer needed no app.
    Nothing,
    /// On the way: sandbox, files, server.
    Building([bool; 3]),
    /// The sandbox could not be built or died.
    Failed(String),
}

/// The stand-in.
#[component]
pub fn Waiting(
    /// The frame it stands in for.
    frame: Frame,
) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let stage = memo(move || {
        let working = store.read(Change::Turn, |s| s.turn.is_some());
        let written = store.read(Change::Files, |s| s.files_rev > 0);
        let wrote = store.read(Change::Drafts, |s| s.drafts.is_empty()) && written;
        let serving = store.read(Change::Preview, |s| !s.ports.is_empty());
        let sandbox = store.read(Change::Sandbox, |s| s.sandbox.as_ref().map(|s| (s.phase, s.detail.clone())));
        let shown = frame.src.with(Option::is_some);
        match sandbox {
            Some((SandboxPhase::Failed, detail)) => {
                Stage::Failed(detail.unwrap_or_else(|| "The sandbox ended. Its files are kept.".to_owned()))
            }
            _ if shown => Stage::Shown,
            Some((phase, _)) if working => Stage::Building([phase == SandboxPhase::Running, wrote, serving]),
            None if working => Stage::Building([false, wrote, serving]),
            _ => Stage::Nothing,
        }
    });
    let pending = RwSignal::new(false);
    let start = move |_| {
        bench.once(pending, start_sandbox(store.id()), move |done| {
            if done {
                frame.steer("reload");
            }
        });
    };
    let waits = move || pending.get().then_some("true");
    live::view(move || match stage.get() {
        Stage::Shown => ().into_any(),
        Stage::Nothing => view! {
            <div class="stand-in">
                <Empty icon="castle" title="Nothing to show yet" text="When the app answers, it appears here." />
            </div>
        }
        .into_any(),
        Stage::Building(steps) => view! { <Building steps /> }.into_any(),
        Stage::Failed(text) => view! {
            <div class="stand-in">
                <Empty icon="alert" title="The sandbox is not running" text>
                    <button class="button" type="button" aria-disabled=live::maybe(waits) on:click=on(start)>
                        <Icon name="reload" />
                        "Start it again"
                    </button>
                </Empty>
            </div>
        }
        .into_any(),
    })
    .into_any()
}

#[component]
fn Building(steps: [bool; 3]) -> impl IntoView {
    let words = ["Sandbox", "Files", "Server"];
    let current = steps.iter().position(|done| !done);
    let items = words
        .into_iter()
        .zip(steps)
        .enumerate()
        .map(|(at, (word, done))| {
            let state = match (done, current == Some(at)) {
                (true, _) => "done",
                (false, true) => "working",
                (false, false) => "next",
            };
            view! {
                <li data-state=state>
                    <Icon name=if done { "check" } else { "dots" } />
                    {word}
                </li>
            }
        })
        .collect_view();
    view! {
        <div class="stand-in" role="status">
            <div class="empty">
                <div class="tide" aria-hidden="true">
                    <Icon name="castle" />
                </div>
                <h3>"Building your app"</h3>
                <ol class="steps">{items}</ol>
            </div>
        </div>
    }
    .into_any()
}
