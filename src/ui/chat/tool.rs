//! Tool calls as a story: what is being done, in words, with its live state; opened, the detail.

use crate::domain::{AnsiStyle, CallId, Change, CommandId, MessageId, Part, ToolCall, ToolState};
use crate::ui::kit::{Icon, duration, line_html, live, memo, on, use_now};
use crate::ui::workbench::Workbench;
use leptos::ev::{FocusEvent, MouseEvent};
use leptos::prelude::*;

/// Lines of live output shown in a card; all of it is in Logs.
const TAIL: usize = 12;

/// Icon and words of a tool: while it works, when done, when failed.
fn story(tool: &str) -> (&'static str, [&'static str; 3]) {
    match tool {
        "create_sandbox" => ("box", ["Creating the sandbox", "Created the sandbox", "Could not create the sandbox"]),
        "generate_files" => ("file", ["Writing files", "Wrote", "Could not write"]),
        "edit_file" => ("edit", ["Editing", "Edited", "Could not edit"]),
        "read_file" => ("file", ["Reading", "Read", "Could not read"]),
        "list_files" => ("folder", ["Looking at the files", "Looked at the files", "Could not list"]),
        "search_files" => ("search", ["Searching", "Searched", "Could not search"]),
        "fetch_page" => ("globe", ["Reading a page", "Read a page", "Could not read the page"]),
        "run_command" => ("terminal", ["Running", "Ran", "Failed"]),
        "stop_command" => ("stop", ["Stopping", "Stopped", "Could not stop"]),
        "read_logs" => ("logs", ["Reading output", "Read output", "Could not read output"]),
        "get_sandbox_url" => ("globe", ["Waiting for the app", "Preview ready", "The app did not answer"]),
        _ => ("tool", ["Using a tool", "Used a tool", "Could not use"]),
    }
}

/// One tool call.
#[component]
pub fn ToolCard(
    /// The message it is in.
    message: MessageId,
    /// Which call.
    call: CallId,
) -> impl IntoView {
    let store = Workbench::here().store;
    // A run's page links to the call that asked for it.
    let anchor = call.to_string();
    let call = memo(move || {
        let find = |parts: &[Part]| {
            parts.iter().find_map(|part| match part {
                Part::Tool(c) if c.call == call => Some(c.clone()),
                _ => None,
            })
        };
        store.message(&message, |m| find(&m.parts))?
    });
    let chosen = RwSignal::new(None::<bool>);
    let open =
        memo(move || chosen.get().unwrap_or_else(|| call.with(|call| call.as_ref().is_some_and(opens_by_itself))));
    let state = move || call.with(|call| call.as_ref().map_or("done", |call| slug(call.state)));
    let icon = Signal::derive(move || call.with(|call| call.as_ref().map_or("tool", |call| story(&call.tool).0)));
    view! {
        <details class="tool" id=anchor data-state=live::text(state) open=live::flag(move || open.get())>
            <summary on:click=on(move |event: MouseEvent| {
                event.prevent_default();
                chosen.set(Some(!open.get_untracked()));
            })>
                <Icon name=icon />
                <Headline call />
                <Took call />
                <Icon name="chevron" />
            </summary>
            {live::view(move || open.get().then(|| view! { <Detail call chosen /> }))}
        </details>
    }
    .into_any()
}

/// Work in progress is shown as it happens, and a failure is not hidden; the rest stays out of the way.
fn opens_by_itself(call: &ToolCall) -> bool {
    match call.state {
        ToolState::Writing | ToolState::Running => !call.files.is_empty() || call.command.is_some(),
        ToolState::Failed => true,
        ToolState::Done => false,
    }
}

fn slug(state: ToolState) -> &'static str {
    match state {
        ToolState::Writing | ToolState::Running => "working",
        ToolState::Done => "done",
        ToolState::Failed => "failed",
    }
}

#[component]
fn Headline(call: Memo<Option<ToolCall>>) -> impl IntoView {
    let store = Workbench::here().store;
    let words = move || {
        let background =
            |id: &CommandId| store.read(Change::Commands, |state| state.command(id).is_some_and(|c| c.background));
        call.with(|call| {
            let call = call.as_ref()?;
            let [doing, done, failed] = story(&call.tool).1;
            Some(match call.state {
                ToolState::Writing | ToolState::Running => doing,
                ToolState::Done if call.command.as_ref().is_some_and(background) => "Started",
                ToolState::Done => done,
                ToolState::Failed => failed,
            })
        })
    };
    let working = move || call.with(|call| call.as_ref().is_some_and(|c| slug(c.state) == "working"));
    let title = move || {
        let title = call.with(|call| {
            let call = call.as_ref()?;
            // Its words say it all.
            if call.tool == "create_sandbox" {
                return None;
            }
            Some(match call.title.is_empty() {
                false => call.title.clone(),
                // The title comes with the complete arguments; until then the files say how far it is.
                true if !call.files.is_empty() => call.files.last().map(|(path, _)| path.clone()).unwrap_or_default(),
                true if story(&call.tool).0 == "tool" => call.tool.clone(),
                true => String::new(),
            })
        });
        title.filter(|title| !title.is_empty())
    };
    let summary = move || call.with(|call| call.as_ref().map(|c| c.summary.clone()).filter(|s| !s.is_empty()));
    view! {
        <span class="tool-words" class:shimmer=live::flag(working)>{live::text(move || words().unwrap_or_default())}</span>
        <span class="tool-title">{live::text(move || title().unwrap_or_default())}</span>
        <span class="tool-summary">{live::text(move || summary().unwrap_or_default())}</span>
    }
    .into_any()
}

#[component]
fn Took(call: Memo<Option<ToolCall>>) -> impl IntoView {
    let now = use_now();
    let took = move || {
        let (ended, started) = call.with(|call| call.as_ref().map(|c| (c.duration_ms, c.started_at)))?;
        match ended {
            Some(ms) => Some(duration(ms)),
            None => {
                let ms = now.get()?.saturating_sub(started);
                (ms >= 1000).then(|| duration(ms / 1000 * 1000))
            }
        }
    };
    view! { <span class="tool-took">{live::text(move || took().unwrap_or_default())}</span> }.into_any()
}

/// What an opened card holds. It is made only when opened.
#[component]
fn Detail(call: Memo<Option<ToolCall>>, chosen: RwSignal<Option<bool>>) -> impl IntoView {
    let bench = Workbench::here();
    let files = memo(move || call.with(|call| call.as_ref().map(|c| c.files.clone()).unwrap_or_default()));
    let paths = move || files.with(|files| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>());
    // A card that closed by itself would take the focus with it.
    let hold = move |_: FocusEvent| chosen.set(Some(true));
    let command = memo(move || call.with(|call| call.as_ref().and_then(|c| c.command.clone())));
    let output = move || {
        call.with(|call| {
            let call = call.as_ref()?;
            let shown_elsewhere = call.command.is_some() && call.state != ToolState::Failed;
            (!call.output.is_empty() && !shown_elsewhere).then(|| call.output.clone())
        })
    };
    let run = memo(move || call.with(|call| call.as_ref().and_then(|c| c.run.clone())));
    view! {
        <div class="tool-body" on:focusin=on(hold)>
            <ul class="tool-files" hidden=live::flag(move || files.with(Vec::is_empty))>
                {live::each(paths, String::clone, move |path| view! { <WrittenFile path files /> })}
            </ul>
            {live::view(move || command.get().map(|command| view! { <LiveTail command /> }))}
            {live::view(move || output().map(|text| view! { <pre class="tool-output">{text}</pre> }))}
            <div class="tool-links">
                {live::view(move || {
                    command.get().map(|command| {
                        let show = move |_| bench.show_command(command.clone());
                        view! { <button class="link" type="button" on:click=on(show)>"All output"</button> }
                    })
                })}
                {live::view(move || run.get().map(|run| view! { <a class="link" href=format!("/runs/{run}")>"Run details"</a> }))}
            </div>
        </div>
    }
    .into_any()
}

/// A file of a call, with a way to it.
#[component]
fn WrittenFile(path: String, files: Memo<Vec<(String, bool)>>) -> impl IntoView {
    let bench = Workbench::here();
    let (own, target) = (path.clone(), path.clone());
    let written = memo(move || files.with(|files| files.iter().any(|(path, written)| *written && *path == own)));
    view! {
        <li data-written=live::text(move || written.get().to_string())>
            <button type="button" on:click=on(move |_| bench.open_file(target.clone()))>
                <Icon name=Signal::derive(move || if written.get() { "check" } else { "dots" }) />
                <span>{path}</span>
            </button>
        </li>
    }
    .into_any()
}

/// The last lines of a command, live.
#[component]
fn LiveTail(command: CommandId) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    bench.want_output(&command);
    let html = {
        let command = command.clone();
        move || {
            store.output(&command, |window| {
                let text = window.map(|w| w.text.as_str()).unwrap_or_default();
                let lines: Vec<&str> = text.trim_end().lines().collect();
                let mut style = AnsiStyle::default();
                let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
                tail.iter().map(|line| line_html(line, &mut style)).collect::<Vec<_>>().join("\n")
            })
        }
    };
    let exit = move || {
        store.read(Change::Commands, |state| {
            let exit = state.command(&command)?.exit.as_ref()?;
            (!exit.success()).then(|| exit.describe())
        })
    };
    view! {
        <pre class="tool-output terminal" inner_html=live::text(html)></pre>
        {live::view(move || exit().map(|words| view! { <p class="tool-exit">{words}</p> }))}
    }
    .into_any()
}
