//! What the sandbox reached over the network, what it was refused, and what it may reach.

use crate::domain::{Change, NetworkLine, NetworkMode, ProjectState};
use crate::server_fns::{allow_destination, set_network_mode};
use crate::ui::kit::{Empty, bytes, compact, live, memo, on};
use crate::ui::workbench::Workbench;
use leptos::ev::Event;
use leptos::prelude::*;

const MODES: [(NetworkMode, &str, &str); 3] = [
    (NetworkMode::Internet, "internet", "Internet"),
    (NetworkMode::Allowlist, "allowlist", "Only what is allowed"),
    (NetworkMode::Off, "off", "Nothing"),
];

/// The line above the commands that opens the network's own log.
#[component]
pub fn NetworkRow() -> impl IntoView {
    let bench = Workbench::here();
    let counts = memo(move || {
        bench.store.read(Change::Network, |state: &ProjectState| {
            let lines = &state.network.lines;
            (lines.len(), lines.iter().filter(|line| line.can_be_allowed()).count())
        })
    });
    let words = move || match counts.get() {
        (0, _) => "nothing yet".to_owned(),
        (all, 0) => format!("{all} destinations"),
        (all, refused) => format!("{all} destinations · {refused} refused"),
    };
    let state = move || if counts.get().1 > 0 { "failed" } else { "idle" };
    view! {
        <li>
            <button
                class="command"
                type="button"
                aria-current=live::maybe(move || bench.network.get().then_some("true"))
                on:click=on(move |_| bench.network.set(true))
            >
                <span class="dot" data-state=live::text(state)></span>
                <span class="command-line">"Network"</span>
                <span class="command-state">{live::text(words)}</span>
            </button>
        </li>
    }
    .into_any()
}

/// The destinations, the latest first.
#[component]
pub fn NetworkLog() -> impl IntoView {
    let bench = Workbench::here();
    let network = memo(move || bench.store.read(Change::Network, |state| state.network.clone()));
    let mode = move || network.with(|network| network.policy.mode);
    let choose = move |event: Event| {
        let chosen = event_target_value(&event);
        if let Some((mode, ..)) = MODES.into_iter().find(|(_, slug, _)| *slug == chosen) {
            bench.act(set_network_mode(bench.store.id(), mode));
        }
    };
    let options = MODES
        .into_iter()
        .map(
            |(of, slug, words)| view! { <option value=slug selected=live::flag(move || mode() == of)>{words}</option> },
        )
        .collect_view();
    let allowed = move || {
        network.with(|network| {
            let rules = &network.policy.allow;
            (!rules.is_empty()).then(|| {
                let change = format!("/p/{}/settings#network", bench.store.id());
                view! { <p class="net-rules">"Allowed: " {rules.join(", ")} " " <a href=change>"Remove"</a></p> }
            })
        })
    };
    let none = move || {
        let none = network.with(|network| network.lines.is_empty());
        none.then(|| {
            let text = "Places the sandbox connects to are listed here, where its provider tells them.";
            view! { <Empty icon="globe" title="No connections known" text /> }
        })
    };
    let lines = move || network.with(|network| network.lines.iter().cloned().map(line).collect_view());
    view! {
        <div class="file-head">
            <span class="file-path">"Network"</span>
            <span class="file-facts">"This machine and private networks are never reached."</span>
            <label class="net-mode">
                "May reach "
                <select class="input search" on:change=on(choose)>{options}</select>
            </label>
        </div>
        <div class="net">
            {live::view(allowed)}
            {live::view(none)}
            <ul>{live::view(lines)}</ul>
        </div>
    }
    .into_any()
}

fn line(line: NetworkLine) -> impl IntoView {
    let bench = Workbench::here();
    let about = [line.program.as_str(), line.why.as_str()].into_iter().filter(|words| !words.is_empty());
    let about = about.collect::<Vec<_>>().join(" · ");
    let traffic = format!("{} sent · {} received", bytes(line.sent), bytes(line.received));
    let count = format!("{} ×", compact(line.connections));
    let state = if line.allowed { "done" } else { "failed" };
    let allow = line.can_be_allowed().then(|| {
        let rule = line.rule();
        let label = format!("Allow {rule}");
        let allow = move |_| bench.act(allow_destination(bench.store.id(), rule.clone()));
        view! { <button class="button small" type="button" aria-label=label on:click=on(allow)>"Allow"</button> }
    });
    view! {
        <li class="net-line">
            <span class="dot" data-state=state></span>
            <span class="command-line">{line.target} <span class="net-port">":" {line.port}</span></span>
            <span class="net-about">{about}</span>
            <span class="net-about num">{if line.allowed { traffic } else { "refused".to_owned() }}</span>
            <span class="net-about num">{count}</span>
            {allow}
        </li>
    }
    .into_any()
}
