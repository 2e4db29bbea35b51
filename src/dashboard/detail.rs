//! `/runs/{run}`: one run, from its payload to its output, and everything in between on a timeline.

use super::parts::{Copy, Mark, When, moment, queued, short, took};
use super::query::ListQuery;
use super::timeline::{Kind, Show, Span, Timeline};
use crate::domain::html::escape_textarea;
use crate::domain::{ApiError, RunDetail, RunId, SandboxId};
use crate::store::Descendant;
use crate::ui::kit::duration;
use crate::ui::run_words::StatusPill;
use leptos::prelude::*;
use serde_json::Value;

/// The longest payload that can be edited before a replay, in bytes.
const EDIT_MAX: usize = 256 << 10;

/// Everything the page of a run shows.
pub struct RunPage {
    /// The run.
    pub detail: RunDetail,
    /// Its payload, whole.
    pub payload: Value,
    /// The runs it started, and theirs.
    pub descendants: Vec<Descendant>,
    /// The project's name.
    pub project: Option<String>,
    /// The project's sandbox.
    pub sandbox: Option<SandboxId>,
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
    /// Unix ms.
    pub now: u64,
}

/// The run as markup.
pub fn run_html(page: RunPage) -> String {
    super::html(move || {
        let timeline = Timeline::of(&page.detail, &page.descendants, Show::parse(&page.show), page.now);
        let error = page.detail.error.clone();
        let RunDetail { output, metadata, .. } = page.detail.clone();
        view! {
            <Head page=&page />
            {page.notice.clone().map(|notice| view! { <p class="notice" role="status"><span>{notice}</span></p> })}
            {error.map(|error| view! { <Failed error fingerprint=page.detail.fingerprint.clone() /> })}
            <div class="run-columns">
                <div class="run-main">
                    <Spans timeline page=&page />
                    <Json title="Payload" what="payload" value=page.payload.clone() />
                    {output.map(|output| view! { <Json title="Output" what="output" value=output /> })}
                    {metadata.map(|metadata| view! { <Json title="Metadata" what="metadata" value=metadata /> })}
                </div>
                <Facts page=&page />
            </div>
        }
        .into_any()
    })
}

#[component]
fn Head<'a>(page: &'a RunPage) -> impl IntoView + use<> {
    let run = &page.detail.summary;
    let step = |id: &Option<RunId>, name: &'static str, rel: &'static str, key: &'static str, icon: &'static str| {
        let href = id.as_ref().map(|id| page.list.first_page().under(&format!("/runs/{id}")))?;
        let title = format!("{name} ({})", key.to_uppercase());
        Some(
            view! { <a class="icon-button" href=href rel=rel data-key=key aria-label=title.clone() title=title><Mark name=icon /></a> },
        )
    };
    let actions = if run.status.is_final() {
        view! { <ReplayForm id=run.id.clone() payload=page.payload.clone() /> }.into_any()
    } else {
        let action = format!("/runs/{}/cancel", run.id);
        view! { <form method="post" action=action><button class="button danger" type="submit" data-key="c" title="Cancel (C)"><Mark name="stop" />"Cancel"</button></form> }
            .into_any()
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

/// Submits the run again, with another payload if it is edited.
#[component]
fn ReplayForm(id: RunId, payload: Value) -> impl IntoView {
    let text = pretty(&payload);
    let action = format!("/runs/{id}/replay");
    let editor = (text.len() <= EDIT_MAX).then(|| {
        let rows = text.lines().count().clamp(3, 16).to_string();
        view! {
            <label>
                <span>"Payload"</span>
                <textarea class="input json" name="payload" rows=rows spellcheck="false">{escape_textarea(&text)}</textarea>
            </label>
        }
    });
    view! {
        <details class="replay hold">
            <summary class="button" data-key="r" title="Replay (R)"><Mark name="reload" />"Replay"</summary>
            <form method="post" action=action class="panel">
                {editor}
                <div class="row end"><button class="button primary" type="submit">"Replay"</button></div>
            </form>
        </details>
    }
    .into_any()
}

#[component]
fn Failed(error: ApiError, fingerprint: Option<String>) -> impl IntoView {
    let same = fingerprint.map(|error| ListQuery { error, ..ListQuery::default() }.href());
    let code = serde_json::to_value(error.code).ok().and_then(|code| code.as_str().map(str::to_owned));
    view! {
        <div class="failure">
            <Mark name="alert" />
            <div>
                <p class="row"><strong>"Why it failed"</strong>{code.map(|code| view! { <code>{code}</code> })}<Copy text=error.message.clone() what="error" /></p>
                <pre class="failure-text">{error.message}</pre>
                {same.map(|href| view! { <a class="link" href=href>"Runs that failed in the same way"</a> })}
            </div>
        </div>
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
            {(left_out > 0).then(|| view! { <p class="muted">{format!("{left_out} more lines are not shown; the log has them all.")}</p> })}
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
        // The tool call that asked for the run, in its chat.
        let chat = run.call.as_ref().map(|call| format!("/p/{project}#{call}"));
        view! {
            <dt>"Project"</dt>
            <dd><a href=format!("/p/{project}")>{short(&name, 80)}</a></dd>
            {chat.map(|href| view! { <dt>"Asked for"</dt><dd><a href=href>"in the chat"</a></dd> })}
        }
    });
    let sandbox = page.sandbox.as_ref().map(|sandbox| {
        let href = format!("/api/sandboxes/{sandbox}");
        view! { <dt>"Sandbox"</dt><dd><a href=href title="Its state, ports and commands as JSON"><code>{sandbox.to_string()}</code></a></dd> }
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

#[component]
fn Json(title: &'static str, what: &'static str, value: Value) -> impl IntoView {
    let text = pretty(&value);
    view! {
        <section class="panel">
            <div class="row between"><h2>{title}</h2><Copy text=text.clone() what /></div>
            <pre class="json">{text}</pre>
        </section>
    }
    .into_any()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RunStatus, RunSummary};

    #[test]
    fn a_payload_cannot_end_the_field_it_is_edited_in() {
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
        let html = run_html(RunPage {
            detail: RunDetail::bare(summary),
            payload: Value::from("</textarea><form action=/theme>"),
            descendants: Vec::new(),
            project: None,
            sandbox: None,
            list: ListQuery::default(),
            newer: None,
            older: None,
            show: String::new(),
            notice: None,
            now: 500,
        });
        assert_eq!(html.matches("</textarea>").count(), 1, "{html}");
        assert!(!html.contains("<form action=/theme>"), "{html}");
    }
}
