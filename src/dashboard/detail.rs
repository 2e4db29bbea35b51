//! `/runs/{run}`: one run, from its payload to its output, and everything in between on a timeline.

use super::failure::failed;
use super::parts::{Copy, CopyBelow, Mark, When, moment, queued, short, took};
use super::query::ListQuery;
use super::timeline::{Kind, Show, Span, Timeline};
use crate::domain::html::escape_textarea;
use crate::domain::{MessageId, RunDetail, RunId, SandboxId};
use crate::store::Descendant;
use crate::ui::kit::{bytes, duration};
use crate::ui::run_words::StatusPill;
use leptos::prelude::*;
use serde_json::Value;

/// The longest payload that can be edited before a replay, in bytes.
const EDIT_MAX: usize = 256 << 10;
/// What is shown of a payload or an output, in bytes.
const SHOWN_MAX: usize = 64 << 10;

/// Everything the page of a run shows.
pub struct RunPage {
    /// The run.
    pub detail: RunDetail,
    /// Its payload, whole.
    pub payload: Value,
    /// Why it cannot be replayed and what to do instead; none if it can be.
    pub no_replay: Option<&'static str>,
    /// The runs it started, and theirs.
    pub descendants: Vec<Descendant>,
    /// The project's name.
    pub project: Option<String>,
    /// The project's sandbox.
    pub sandbox: Option<SandboxId>,
    /// The message of the turn it belongs to, if it belongs to one.
    pub message: Option<MessageId>,
    /// The list it was opened from.
    pub list: ListQuery,
    /// The run above it in that list.
    pub newer: Option<RunId>,
    /// The run below it in that list.
    pub older: Option<RunId>,
    /// What the timeline is narrowed to: `work`, `errors` or nothing.
    pub show: String,
    /// What the last action did.
    pub notice: Option<String>,
    /// A payload that was typed for a replay and could not be sent, and why.
    pub refused: Option<(String, String)>,
    /// Marks this look at the page, so that a replay that is asked for twice is made once.
    pub once: String,
    /// Unix ms.
    pub now: u64,
}

/// The run as markup.
pub fn run_html(page: RunPage) -> String {
    super::html(move || {
        let timeline = Timeline::of(&page.detail, &page.descendants, Show::parse(&page.show), page.now);
        let RunDetail { output, metadata, .. } = page.detail.clone();
        let payload = pretty(&page.payload);
        let id = page.detail.summary.id.clone();
        let shown = |title, what, text| view! { <Json id=id.clone() title what text /> };
        view! {
            <Head page=&page payload=payload.clone() />
            {page.notice.clone().map(|notice| view! { <p class="notice" role="status"><span>{notice}</span></p> })}
            {failed(&page.detail, &page.descendants, &page.list)}
            <div class="run-columns">
                <div class="run-main">
                    <Spans timeline page=&page />
                    {shown("Payload", "payload", payload)}
                    {output.map(|output| shown("Output", "output", pretty(&output)))}
                    {metadata.map(|metadata| shown("Metadata", "metadata", pretty(&metadata)))}
                </div>
                <Facts page=&page />
            </div>
        }
        .into_any()
    })
}

#[component]
fn Head<'a>(page: &'a RunPage, payload: String) -> impl IntoView + use<> {
    let run = &page.detail.summary;
    let step = |id: &Option<RunId>, name: &'static str, rel: &'static str, key: &'static str, icon: &'static str| {
        let href = id.as_ref().map(|id| page.list.first_page().under(&format!("/runs/{id}")))?;
        let title = format!("{name} ({})", key.to_uppercase());
        Some(
            view! { <a class="icon-button" href=href rel=rel data-key=key aria-label=title.clone() title=title><Mark name=icon /></a> },
        )
    };
    let actions = if run.status.is_final() {
        let (text, refused) = match page.refused.clone() {
            Some((typed, why)) => (typed, Some(why)),
            None => (payload, None),
        };
        page.no_replay
            .is_none()
            .then(|| view! { <ReplayForm id=run.id.clone() text refused once=page.once.clone() /> })
            .into_any()
    } else {
        view! { <CancelForm id=run.id.clone() /> }.into_any()
    };
    view! {
        <div class="row between run-head">
            <div>
                <p class="crumbs"><a class="link" href=page.list.href()>"Runs"</a></p>
                <h1 class="row">{run.task.clone()}<StatusPill status=run.status /></h1>
                <p class="muted run-subtitle">{short(&run.title, 200)}</p>
            </div>
            <div class="row run-actions">
                {step(&page.newer, "Newer run", "prev", "k", "up")}
                {step(&page.older, "Older run", "next", "j", "down")}
                <a class="icon-button" href=format!("/api/runs/{}/log", run.id) download="" aria-label="Download the log" title="Download the log"><Mark name="download" /></a>
                {actions}
            </div>
        </div>
    }
    .into_any()
}

/// Stops the run, after a question. One key opens the question, and the same or Enter answers it.
#[component]
fn CancelForm(id: RunId) -> impl IntoView {
    view! {
        <details class="ask hold">
            <summary class="button danger" data-key="c" title="Cancel (C)"><Mark name="stop" />"Cancel"</summary>
            <form method="post" action=format!("/runs/{id}/cancel")>
                <p>"The run is stopped, with the runs it started. What they have done by then stays."</p>
                <button class="button small danger" type="submit" data-key="c" title="C or Enter">"Cancel the run"</button>
            </form>
        </details>
    }
    .into_any()
}

/// Submits the run again, with another payload if it is edited. One that was refused is open, with the reason.
#[component]
fn ReplayForm(id: RunId, text: String, refused: Option<String>, once: String) -> impl IntoView {
    let open = refused.is_some();
    let action = format!("/runs/{id}/replay");
    let editor = (text.len() <= EDIT_MAX).then(|| {
        let rows = text.lines().count().clamp(3, 16).to_string();
        view! {
            <label>
                <span>"Payload"</span>
                <textarea class="input json" name="payload" rows=rows spellcheck="false" data-key="r">{escape_textarea(&text)}</textarea>
            </label>
        }
    });
    view! {
        <details class="replay hold" open=open>
            <summary class="button" data-key="r" title="Replay (R)"><Mark name="reload" />"Replay"</summary>
            <form method="post" action=action class="panel">
                <input type="hidden" name="once" value=once />
                {refused.map(|why| view! { <p class="notice" role="alert"><Mark name="alert" /><span>{why}</span></p> })}
                {editor}
                <div class="row end"><button class="button primary" type="submit">"Replay"</button></div>
            </form>
        </details>
    }
    .into_any()
}

#[component]
fn Spans<'a>(timeline: Timeline, page: &'a RunPage) -> impl IntoView + use<> {
    let Timeline { start, end, spans, left_out } = timeline;
    let here = format!("/runs/{}", page.detail.summary.id);
    let choices = [("", "Everything"), ("work", "Work"), ("errors", "Errors only")].into_iter().map(|(word, name)| {
        let list = page.list.first_page().under(&here);
        let href = match (word, list.contains('?')) {
            ("", _) => list,
            (word, true) => format!("{list}&show={word}"),
            (word, false) => format!("{list}?show={word}"),
        };
        view! { <a href=href aria-current=(page.show == word).then_some("page")>{name}</a> }
    });
    let choices: Vec<_> = choices.collect();
    let ticks = (0..=4u64).map(|n| view! { <span>{duration((end - start) * n / 4)}</span> }).collect_view();
    let list = page.list.first_page();
    let rows: Vec<_> = spans.into_iter().map(|span| view! { <Line span start end list=list.clone() /> }).collect();
    let nothing = rows.is_empty();
    view! {
        <section class="panel">
            <div class="row between">
                <h2>"Timeline"</h2>
                <nav class="switch" aria-label="What the timeline shows">{choices}</nav>
            </div>
            <div class="ticks" aria-hidden="true">{ticks}</div>
            {nothing.then(|| view! { <p class="muted">"Nothing to show."</p> })}
            <ol class="spans">{rows}</ol>
            {(left_out > 0).then(|| view! { <p class="muted">{format!("At least {left_out} more lines are not shown; the log has them all.")}</p> })}
        </section>
    }
    .into_any()
}

#[component]
fn Line(span: Span, start: u64, end: u64, list: ListQuery) -> impl IntoView {
    let whole = (end - start) as f64;
    let left = span.start.saturating_sub(start) as f64 / whole * 1000.0;
    // Wide enough to be seen.
    let width = ((span.end - span.start) as f64 / whole * 1000.0).max(3.0);
    let left = left.min(1000.0 - width).max(0.0);
    let name = match &span.run {
        Some(run) => {
            let href = list.under(&format!("/runs/{run}"));
            view! { <a href=href>{short(&span.name, 160)}</a> }.into_any()
        }
        None => view! { <span>{short(&span.name, 400)}</span> }.into_any(),
    };
    let told = match span.kind {
        Kind::Log => format!("+{}", duration(span.start.saturating_sub(start))),
        _ => duration(span.end - span.start),
    };
    let from = format!("from +{}", duration(span.start.saturating_sub(start)));
    view! {
        <li class="span" data-kind=span.kind.slug() data-state=span.state data-depth=span.depth.min(6).to_string()>
            <span class="span-name"><span class="dot" data-state=span.state></span>{name}</span>
            <svg class="span-bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">
                <rect x=format!("{left:.1}") y="2" width=format!("{width:.1}") height="6" rx="2"></rect>
            </svg>
            <span class="span-took num" title=from>{told}</span>
            {span.note.map(|note| view! { <p class="run-error">{short(&note, 400)}</p> })}
        </li>
    }
    .into_any()
}

#[component]
fn Facts<'a>(page: &'a RunPage) -> impl IntoView + use<> {
    let detail = &page.detail;
    let run = &detail.summary;
    let id = run.id.to_string();
    let to_run = |name: &'static str, id: &Option<RunId>| {
        let id = id.clone()?;
        Some(view! { <dt>{name}</dt><dd><a href=format!("/runs/{id}")><code>{id.to_string()}</code></a></dd> })
    };
    let text = |name: &'static str, value: Option<String>| value.map(|value| view! { <dt>{name}</dt><dd>{value}</dd> });
    let moment_of = |name: &'static str, at: Option<u64>| {
        at.map(|at| view! { <dt>{name}</dt><dd><When at now=page.now /><small class="muted">{moment(at)}</small></dd> })
    };
    let project = run.project.as_ref().map(|project| {
        let name = page.project.clone().unwrap_or_else(|| project.to_string());
        // The tool call that asked for the run, in its chat, or the answer of the turn.
        let call = run.call.as_ref().map(|call| ("Asked for", call.to_string()));
        let chat = call.or_else(|| page.message.as_ref().map(|message| ("Answer", message.to_string())));
        let chat = chat.map(|(name, anchor)| (name, format!("/p/{project}#{anchor}")));
        view! {
            <dt>"Project"</dt>
            <dd><a href=format!("/p/{project}")>{short(&name, 80)}</a></dd>
            {chat.map(|(name, href)| view! { <dt>{name}</dt><dd><a href=href>"in the chat"</a></dd> })}
        }
    });
    let sandbox = run.project.as_ref().zip(page.sandbox.as_ref()).map(|(project, sandbox)| {
        let href = format!("/p/{project}?pane=logs");
        view! { <dt>"Sandbox"</dt><dd><a href=href title="Its commands and their output"><code>{sandbox.to_string()}</code></a></dd> }
    });
    let batch = detail.batch.clone().map(|batch| {
        let same = ListQuery { batch: batch.clone(), ..ListQuery::default() };
        view! { <dt>"Batch"</dt><dd><a href=same.href()><code>{batch}</code></a></dd> }
    });
    let tags = detail.tags.iter().map(|tag| {
        let same = ListQuery { tag: tag.clone(), ..ListQuery::default() };
        view! { <a class="tag" href=same.href()>{tag.clone()}</a> }
    });
    let tags: Vec<_> = tags.collect();
    let key = detail.idempotency_key.clone().map(|key| {
        view! { <dt>"Idempotency key"</dt><dd class="row"><code>{short(&key, 80)}</code><Copy text=key what="idempotency key" /></dd> }
    });
    view! {
        <aside class="panel run-facts">
            <h2>"Overview"</h2>
            <dl class="facts">
                <dt>"Run"</dt>
                <dd class="row"><code>{id.clone()}</code><Copy text=id what="run id" /></dd>
                <dt>"Task"</dt>
                <dd><a href=ListQuery { task: run.task.clone(), ..ListQuery::default() }.href()>{run.task.clone()}</a></dd>
                {project}
                {sandbox}
                {to_run("Started by", &run.parent)}
                {to_run("Root", &detail.root)}
                {to_run("Replay of", &detail.replay_of)}
                {text("Replay", page.no_replay.map(|why| format!("Not possible: {why}")))}
                {batch}
                {(!tags.is_empty()).then(|| view! { <dt>"Tags"</dt><dd class="row">{tags}</dd> })}
                {moment_of("Submitted", Some(run.created_at))}
                {moment_of("Due", detail.due_at)}
                {text("Waited", queued(run))}
                {text("Took", took(run, page.now))}
                {moment_of("Ended", run.finished_at)}
                {text("Attempts", Some(format!("{} of {}", run.attempt, run.max_attempts)))}
                {text("Cut off", (detail.crashes > 0).then(|| format!("{} times by the death of the server", detail.crashes)))}
                {text("Queue", detail.queue.clone())}
                {text("One at a time", detail.lane.clone())}
                {text("Priority", (detail.priority != 0).then(|| format!("{} s", detail.priority)))}
                {moment_of("Expires", detail.expires_at.filter(|_| run.started_at.is_none()))}
                {text("Time limit", detail.max_duration_ms.map(duration))}
                {key}
            </dl>
        </aside>
    }
    .into_any()
}

/// A value, as far as it is shown, with a way to the rest.
#[component]
fn Json(id: RunId, title: &'static str, what: &'static str, text: String) -> impl IntoView {
    let cut = (text.len() > SHOWN_MAX).then(|| {
        let (all, shown) = (bytes(text.len() as u64), bytes(SHOWN_MAX as u64));
        let href = format!("/runs/{id}/{what}");
        view! { <p class="muted">{format!("The first {shown} of {all}. ")}<a href=href>{format!("The whole {what}")}</a></p> }
    });
    // Part of a value is of no use elsewhere.
    let copy = cut.is_none().then(|| view! { <CopyBelow what /> });
    view! {
        <section class="panel">
            <div class="row between"><h2>{title}</h2>{copy}</div>
            <pre class="json">{beginning(text)}</pre>
            {cut}
        </section>
    }
    .into_any()
}

/// The text as far as it is shown.
fn beginning(mut text: String) -> String {
    let end = (0..=SHOWN_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or_default());
    text
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RunStatus, RunSummary};

    fn page(payload: Value) -> RunPage {
        let summary = RunSummary {
            id: RunId::parse("run_1").unwrap(),
            task: "probe".into(),
            title: String::new(),
            status: RunStatus::Completed,
            project: None,
            parent: None,
            call: None,
            attempt: 1,
            max_attempts: 1,
            created_at: 100,
            started_at: Some(110),
            finished_at: Some(400),
            error: None,
        };
        RunPage {
            detail: RunDetail::bare(summary),
            payload,
            no_replay: None,
            descendants: Vec::new(),
            project: None,
            sandbox: None,
            message: None,
            list: ListQuery::default(),
            newer: None,
            older: None,
            show: String::new(),
            notice: None,
            refused: None,
            once: "mark".into(),
            now: 500,
        }
    }

    #[test]
    fn a_payload_cannot_end_the_field_it_is_edited_in() {
        let html = run_html(page(Value::from("</textarea><form action=/theme>")));
        assert_eq!(html.matches("</textarea>").count(), 1, "{html}");
        assert!(!html.contains("<form action=/theme>"), "{html}");
    }

    #[test]
    fn a_huge_payload_is_shown_by_its_beginning_once_with_a_way_to_the_rest() {
        let html = run_html(page(Value::from("é".repeat(1 << 20))));
        assert!(html.len() < 100_000, "{} bytes", html.len());
        assert!(html.contains("href=\"/runs/run_1/payload\"") && html.contains("The first 66 KB of 2.1 MB."), "{html}");
        let html = run_html(page(Value::from("small")));
        assert!(!html.contains("/runs/run_1/payload") && html.contains("data-copy"), "{html}");
    }

    #[test]
    fn a_payload_that_was_refused_is_in_its_open_editor_with_the_reason() {
        let refused = Some(("{\"path\": ".into(), "It is not JSON.".into()));
        let html = run_html(RunPage { refused, ..page(Value::Null) });
        assert!(html.contains("<details open class=\"replay hold\"") && html.contains("{&quot;path&quot;: "), "{html}");
        assert!(html.contains("role=\"alert\"") && html.contains("It is not JSON."), "{html}");
    }

    #[test]
    fn canceling_is_asked_about() {
        let mut open = page(Value::Null);
        open.detail.summary.status = RunStatus::Executing;
        let html = run_html(open);
        let (before, form) = html.split_once("action=\"/runs/run_1/cancel\"").unwrap();
        assert!(before.contains("<details class=\"ask hold\"") && form.contains("data-key=\"c\""), "{html}");
    }
}
