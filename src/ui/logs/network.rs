//! What the sandbox reached over the network, what it was refused, and what it may reach.

use crate::domain::{Change, NetworkLine, NetworkMode, NetworkView, ProjectState};
use crate::server_fns::{allow_destination, set_network_mode};
use crate::ui::kit::{Empty, bytes, compact, live, memo, on};
use crate::ui::workbench::Workbench;
use leptos::ev::Event;
use leptos::html;
use leptos::prelude::*;
use std::sync::Mutex;

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

/// The destinations, in the order they were seen: nothing moves under a pointer that is about to allow one.
#[component]
pub fn NetworkLog() -> impl IntoView {
    let bench = Workbench::here();
    let network = memo(move || bench.store.read(Change::Network, |state| state.network.clone()));
    let mode = move || network.with(|network| network.policy.mode);
    let select = NodeRef::<html::Select>::new();
    let pending = RwSignal::new(false);
    let choose = move |event: Event| {
        let chosen = event_target_value(&event);
        if let Some((mode, ..)) = MODES.into_iter().find(|(_, slug, _)| *slug == chosen) {
            bench.once(pending, set_network_mode(bench.store.id(), mode), move |done| {
                if !done && let Some(select) = select.get_untracked() {
                    select.set_value(slug(network.with_untracked(|network| network.policy.mode)));
                }
            });
        }
    };
    let at_first = network.with_untracked(|network| network.policy.mode);
    let options = MODES
        .into_iter()
        .map(|(of, slug, words)| {
            // The attribute is for the first paint: once a person has chosen, only the property counts.
            view! { <option value=slug selected=of == at_first prop:selected=live::flag(move || mode() == of)>{words}</option> }
        })
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
    let seen = Mutex::new(Vec::new());
    let keys = memo(move || match seen.lock() {
        Ok(mut seen) => {
            *seen = in_order(&seen, &network.get().lines);
            seen.clone()
        }
        Err(_) => Vec::new(),
    });
    view! {
        <div class="file-head">
            <span class="file-path">"Network"</span>
            <span class="file-facts">"This machine and private networks are never reached."</span>
            <label class="net-mode">
                "May reach "
                <select class="input search" node_ref=select on:change=on(choose)>{options}</select>
            </label>
        </div>
        <div class="net">
            {live::view(none)}
            <ul>
                {live::each(move || keys.get(), String::clone, move |key| view! { <Line key network /> })}
            </ul>
            // Below: it would push the lines down when one is allowed.
            {live::view(allowed)}
        </div>
    }
    .into_any()
}

fn slug(mode: NetworkMode) -> &'static str {
    MODES.into_iter().find(|(of, ..)| *of == mode).map(|(_, slug, _)| slug).unwrap_or_default()
}

/// Which destination a line is about.
fn key_of(line: &NetworkLine) -> String {
    format!("{} {} {}", line.target, line.port, line.allowed)
}

/// Keys of the lines: what was listed stays where it is, what is new comes last.
fn in_order(before: &[String], lines: &[NetworkLine]) -> Vec<String> {
    // The latest comes first in the state.
    let now: Vec<String> = lines.iter().rev().map(key_of).collect();
    let mut keys: Vec<String> = before.iter().filter(|key| now.contains(key)).cloned().collect();
    keys.extend(now.into_iter().filter(|key| !before.contains(key)));
    keys
}

#[component]
fn Line(key: String, network: Memo<NetworkView>) -> impl IntoView {
    let bench = Workbench::here();
    let line = move || network.get().lines.into_iter().find(|line| key_of(line) == key).unwrap_or_default();
    let NetworkLine { target, port, allowed, .. } = untrack(&line);
    let about = {
        let line = line.clone();
        move || {
            let NetworkLine { program, why, .. } = line();
            let both = if program.is_empty() || why.is_empty() { "" } else { " · " };
            format!("{program}{both}{why}")
        }
    };
    let traffic = {
        let line = line.clone();
        move || match line() {
            NetworkLine { allowed: false, .. } => "refused".to_owned(),
            NetworkLine { sent, received, .. } => format!("{} sent · {} received", bytes(sent), bytes(received)),
        }
    };
    let count = {
        let line = line.clone();
        move || format!("{} ×", compact(line().connections))
    };
    // The rule that would allow it, if that helps.
    let rule = memo(move || {
        let line = line();
        Some(line.rule()).filter(|rule| line.can_be_allowed() && !network.get().policy.allow.contains(rule))
    });
    let pending = RwSignal::new(false);
    let allow = move || {
        rule.get().map(|rule| {
            let label = format!("Allow {rule}");
            let allow = move |_| bench.once(pending, allow_destination(bench.store.id(), rule.clone()), |_| ());
            let waits = live::maybe(move || pending.get().then_some("true"));
            view! { <button class="button small" type="button" aria-label=label aria-disabled=waits on:click=on(allow)>"Allow"</button> }
        })
    };
    view! {
        <li class="net-line">
            <span class="dot" data-state=if allowed { "done" } else { "failed" }></span>
            <span class="command-line">{target} <span class="net-port">":" {port}</span></span>
            <span class="net-about">{live::text(about)}</span>
            <span class="net-about num">{live::text(traffic)}</span>
            <span class="net-about num">{live::text(count)}</span>
            {live::view(allow)}
        </li>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_keeps_its_place_when_others_are_used_or_new() {
        let line = |target: &str| NetworkLine { target: target.into(), port: 443, ..NetworkLine::default() };
        let before = in_order(&[], &[line("b"), line("a")]);
        assert_eq!(before, ["a 443 false", "b 443 false"]);
        let after = in_order(&before, &[line("a"), line("c"), line("b")]);
        assert_eq!(after, ["a 443 false", "b 443 false", "c 443 false"]);
        assert_eq!(in_order(&after, &[line("c"), line("a")]), ["a 443 false", "c 443 false"]);
    }
}
