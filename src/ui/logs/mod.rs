//! Output of commands: one at a time, live, with its colours.

mod network;
mod output;

use crate::domain::{Change, CommandExit, CommandId, CommandView};
use crate::server_fns::stop_command;
use crate::ui::browser;
use crate::ui::kit::{Empty, Icon, duration, effect, live, memo, on, use_now};
use crate::ui::workbench::Workbench;
use leptos::ev::Event;
use leptos::prelude::*;
use network::{NetworkLog, NetworkRow};
use output::{Output, plain_text};

/// The Logs pane.
#[component]
pub fn Logs() -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    // Those that run come first.
    let ids = memo(move || {
        store.read(Change::Commands, |s| {
            let (running, ended): (Vec<_>, Vec<_>) = s.commands.iter().rev().partition(|c| c.exit.is_none());
            running.into_iter().chain(ended).map(|c| c.id.clone()).collect::<Vec<CommandId>>()
        })
    });
    // The chosen one, else the newest while the agent works, and then the first of the list: the app's server.
    let shown = memo(move || {
        let works = store.read(Change::Turn, |s| s.turn.is_some());
        let newest = store.read(Change::Commands, |s| s.commands.last().map(|c| c.id.clone()));
        let first = || ids.with(|ids| ids.first().cloned());
        let chosen = bench.command.get().filter(|chosen| ids.with(|ids| ids.contains(chosen)));
        chosen.or(newest.filter(|_| works)).or_else(first)
    });
    let filter = RwSignal::new(String::new());
    view! {
        <div class="logs" data-empty=live::text(move || ids.with(Vec::is_empty).to_string())>
            <div class="logs-none">
                <Empty icon="logs" title="No commands yet" text="What the agent runs shows its output here, as it happens." />
            </div>
            <ul class="commands" aria-label="Commands">
                <NetworkRow />
                {live::each(move || ids.get(), CommandId::to_string, move |id| view! { <CommandRow id shown /> })}
            </ul>
            <div class="log">
                {live::view(move || match shown.get() {
                    _ if bench.network.get() => view! { <NetworkLog /> }.into_any(),
                    Some(id) => view! { <LogHead id=id.clone() filter /> <Output id filter /> }.into_any(),
                    None => ().into_any(),
                })}
            </div>
        </div>
    }
    .into_any()
}

/// A command's state for styles and its words.
fn state_of(command: &CommandView) -> (&'static str, String) {
    match &command.exit {
        None if command.background => ("running", "running".to_owned()),
        None => ("working", "running".to_owned()),
        Some(exit) if exit.success() => ("done", "done".to_owned()),
        Some(CommandExit { reason: Some(reason), .. }) if reason == "stopped" => ("asleep", "stopped".to_owned()),
        Some(exit) => ("failed", exit.describe()),
    }
}

/// A command in one line: a script that begins with a comment says itself what it does.
fn headline(line: &str) -> &str {
    match line.split_once('\n') {
        Some((first, _)) => first.strip_prefix("# ").unwrap_or(line),
        None => line,
    }
}

fn use_command(id: CommandId) -> Memo<Option<CommandView>> {
    let store = Workbench::here().store;
    memo(move || store.read(Change::Commands, |state| state.command(&id).cloned()))
}

#[component]
fn CommandRow(id: CommandId, shown: Memo<Option<CommandId>>) -> impl IntoView {
    let bench = Workbench::here();
    let command = use_command(id.clone());
    let state = memo(move || command.with(|c| c.as_ref().map(state_of)).unwrap_or_default());
    let line = command.with_untracked(|c| c.as_ref().map(|c| c.line.clone()).unwrap_or_default());
    let own = id.clone();
    let current = move || (!bench.network.get() && shown.with(|shown| shown.as_ref() == Some(&own))).then_some("true");
    let choose = move |_| {
        bench.want_output(&id);
        bench.network.set(false);
        bench.command.set(Some(id.clone()));
    };
    view! {
        <li>
            <button class="command" type="button" aria-current=live::maybe(current) title=line on:click=on(choose)>
                <span class="dot" data-state=live::text(move || state.get().0)></span>
                <span class="command-line">{headline(&line).to_owned()}</span>
                <span class="command-state">{live::text(move || state.get().1)} <Took command /></span>
            </button>
        </li>
    }
    .into_any()
}

#[component]
fn Took(command: Memo<Option<CommandView>>) -> impl IntoView {
    let now = use_now();
    let took = move || {
        let (ended, started) = command.with(|c| c.as_ref().map(|c| (c.duration_ms, c.started_at)))?;
        let live = || now.get().map(|now| now.saturating_sub(started) / 1000 * 1000);
        Some(format!(" · {}", duration(ended.or_else(live)?)))
    };
    view! { <span>{live::text(move || took().unwrap_or_default())}</span> }.into_any()
}

#[component]
fn LogHead(id: CommandId, filter: RwSignal<String>) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let command = use_command(id.clone());
    let line = command.with_untracked(|c| c.as_ref().map(|c| c.line.clone()).unwrap_or_default());
    let started = command.with_untracked(|c| c.as_ref().map(|c| c.started_at).unwrap_or_default());
    let clock = RwSignal::new(None::<String>);
    effect(move || clock.set(browser::clock_time(started)));
    let running = move || command.with(|c| c.as_ref().is_some_and(|c| c.exit.is_none()));
    let run = command.with_untracked(|c| c.as_ref().and_then(|c| c.run.clone()));
    let copied = id.clone();
    let copy = move |_| store.output(&copied, |window| browser::copy(&window.map(plain_text).unwrap_or_default()));
    let pending = RwSignal::new(false);
    let stop = move |_| bench.once(pending, stop_command(store.id(), id.clone()), |_| ());
    let headline = match headline(&line) {
        command if command == line => format!("$ {command}"),
        words => words.to_owned(),
    };
    view! {
        <div class="file-head">
            <span class="file-path" title=line>{headline}</span>
            <span class="file-facts">{live::text(move || clock.get().unwrap_or_default())}</span>
            <input
                class="input search"
                type="search"
                placeholder="Filter"
                aria-label="Filter lines"
                prop:value=live::text(move || filter.get())
                on:input=on(move |event: Event| filter.set(event_target_value(&event)))
            />
            {run.map(|run| view! { <a class="icon-button" href=format!("/runs/{run}") aria-label="Run details" title="Run details"><Icon name="runs" /></a> })}
            <button class="icon-button" type="button" aria-label="Copy output" title="Copy output" on:click=on(copy)>
                <Icon name="copy" />
            </button>
            <button
                class="button small"
                type="button"
                hidden=live::flag(move || !running())
                aria-label="Stop command"
                aria-disabled=live::maybe(move || pending.get().then_some("true"))
                on:click=on(stop)
            >
                <Icon name="stop" />
                "Stop"
            </button>
        </div>
    }
    .into_any()
}
