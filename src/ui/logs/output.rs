//! One command's output: the last lines, keyed by their byte offset, so that new output adds rows and changes none.

use crate::domain::{AnsiStyle, Change, CommandId, OutputWindow, spans};
use crate::ui::browser::lowercase;
use crate::ui::kit::{Icon, line_html, live, on};
use crate::ui::page::Pane;
use crate::ui::workbench::Workbench;
use leptos::html;
use leptos::prelude::*;

/// Lines shown at first, and how many more each "Show earlier" adds.
const LINES: usize = 400;
/// Longer lines are cut.
const LINE_MAX: usize = 4000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Line {
    offset: u64,
    html: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Lines {
    lines: Vec<Line>,
    // Lines kept here but not shown.
    earlier: usize,
    // Whether there was output before the first kept byte.
    cut: bool,
}

/// The output of one command.
#[component]
pub fn Output(
    /// Which.
    id: CommandId,
    /// Only lines with this text.
    filter: RwSignal<String>,
) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    bench.want_output(&id);
    let shown = RwSignal::new(LINES);
    let command = id.clone();
    let lines = Memo::new(move |before: Option<&Lines>| {
        // Hidden output is not worked on.
        if let Some(before) = before
            && bench.pane.get() != Pane::Logs
        {
            return before.clone();
        }
        let needle = lowercase(&filter.get());
        store.output(&id, |window| window.map(|w| lines_of(w, shown.get(), &needle)).unwrap_or_default())
    });
    let away = RwSignal::new(false);
    let scroller = NodeRef::<html::Div>::new();
    let on_scroll = move |_| {
        if let Some(element) = scroller.get_untracked() {
            away.set(element.scroll_top() < -40);
        }
    };
    let latest = move |_| {
        if let Some(element) = scroller.get_untracked() {
            element.set_scroll_top(0);
        }
    };
    let none = move || lines.with(|l| l.lines.is_empty());
    let unread = {
        let command = command.clone();
        move || bench.unread.get().as_ref() == Some(&command)
    };
    let why_none = {
        let (command, unread) = (command.clone(), unread.clone());
        move || {
            let ended = store
                .read(Change::Commands, |state| state.command(&command).filter(|c| c.exit.is_some()).map(|c| c.bytes));
            match ended {
                _ if !filter.with(String::is_empty) => "No line has this text.",
                _ if unread() => "The output could not be read.",
                None => "No output yet.",
                Some(0) => "It printed nothing.",
                Some(_) if store.output(&command, |window| window.is_none()) => "Reading the output…",
                Some(_) => "Its output is no longer kept.",
            }
        }
    };
    let retry = {
        let command = command.clone();
        move |_| bench.want_output(&command)
    };
    let exit = {
        let command = command.clone();
        move || {
            store.read(Change::Commands, |state| {
                let exit = state.command(&command)?.exit.as_ref()?;
                Some((if exit.success() { "done" } else { "failed" }, exit.describe()))
            })
        }
    };
    let all = move || {
        let sandbox = store.read(Change::Sandbox, |state| state.sandbox.as_ref().map(|sandbox| sandbox.id.clone()));
        sandbox.map(|sandbox| format!("/api/sandboxes/{sandbox}/cmds/{command}/logs?text=true&follow=false"))
    };
    view! {
        <div class="log-scroller" node_ref=scroller on:scroll=on(on_scroll) tabindex="0" role="region" aria-label="Output">
            <div class="log-lines terminal">
                <p class="log-note" hidden=live::flag(move || !lines.with(|l| l.cut && l.earlier == 0))>
                    "Earlier output is not on this page. "
                    <a href=live::maybe(all) target="_blank">"Open all of it as text"</a>
                </p>
                <button
                    class="link log-note"
                    type="button"
                    hidden=live::flag(move || lines.with(|l| l.earlier == 0))
                    on:click=on(move |_| shown.update(|n| *n += LINES * 4))
                >
                    {live::text(move || format!("Show earlier ({} more lines)", lines.with(|l| l.earlier)))}
                </button>
                <p class="log-note" hidden=live::flag(move || !none())>
                    {live::text(why_none)}
                    " "
                    <button class="link" type="button" hidden=live::flag(move || !unread()) on:click=on(retry)>
                        "Retry"
                    </button>
                </p>
                {live::each(
                    move || lines.with(|l| l.lines.clone()),
                    |line| format!("{} {}", line.offset, line.html.len()),
                    |line| view! { <div class="log-line" inner_html=line.html></div> },
                )}
                {live::view(move || exit().map(|(state, words)| view! { <p class="log-exit" data-state=state>{words}</p> }))}
            </div>
        </div>
        <button class="jump" type="button" hidden=live::flag(move || !away.get()) on:click=on(latest)>
            <Icon name="down" />
            "Latest"
        </button>
    }
    .into_any()
}

fn lines_of(window: &OutputWindow, most: usize, needle: &str) -> Lines {
    let mut style = AnsiStyle::default();
    let total = window.text.lines().count();
    let skip = if needle.is_empty() { total.saturating_sub(most) } else { 0 };
    let mut lines = Vec::with_capacity(total - skip);
    let mut at = window.start;
    for (index, line) in window.text.split_inclusive('\n').enumerate() {
        let offset = at;
        at += line.len() as u64;
        if index < skip {
            // Colours carry over lines, but only lines with an escape can change them.
            if line.contains('\u{1b}') {
                spans(line.trim_end_matches('\n'), &mut style);
            }
            continue;
        }
        let line = line.trim_end_matches('\n');
        let line = line.char_indices().nth(LINE_MAX).map_or(line, |(end, _)| &line[..end]);
        let html = line_html(line, &mut style);
        if needle.is_empty() || lowercase(line).contains(needle) {
            lines.push(Line { offset, html });
        }
    }
    let over = lines.len().saturating_sub(most);
    lines.drain(..over);
    Lines { lines, earlier: skip + over, cut: window.start > 0 }
}

/// The output without colours.
pub fn plain_text(window: &OutputWindow) -> String {
    let mut style = AnsiStyle::default();
    let plain = |line: &str| spans(line, &mut style).into_iter().map(|span| span.text).collect::<String>();
    window.text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> OutputWindow {
        let command = CommandId::parse("cmd_1").unwrap();
        OutputWindow { command, start: 0, end: text.len() as u64, text: text.to_owned() }
    }

    #[test]
    fn the_last_lines_are_shown_with_the_colour_set_before_them() {
        let lines = lines_of(&window("\u{1b}[31mone\ntwo\nthree"), 2, "");
        assert_eq!(lines.earlier, 1);
        assert_eq!(lines.lines[0].html, "<span class=\"f1\">two</span>");
        assert_eq!(lines.lines[0].offset, 9);
    }

    #[test]
    fn growing_output_keeps_the_rows_it_had() {
        let before = lines_of(&window("a\nb\n"), 10, "");
        let after = lines_of(&window("a\nb\nc"), 10, "");
        assert_eq!(after.lines[..2], before.lines[..]);
    }

    #[test]
    fn a_filter_searches_all_kept_lines() {
        let lines = lines_of(&window("Error: x\nfine\nmore error\n"), 10, "error");
        assert_eq!(lines.lines.len(), 2);
    }
}
