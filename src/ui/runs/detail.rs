//! One run in full.

use super::list::RunTable;
use super::{RunTook, Status};
use crate::domain::{ApiError, Attempt, LogLevel, RunDetail, RunLog};
use crate::server_fns::{cancel_run, get_run, replay_run};
use crate::ui::browser;
use crate::ui::kit::{Ago, Icon, Notice, TopBar, duration, effect, live, on};
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::time::Duration;

/// How often an unfinished run is read again.
const REFRESH: Duration = Duration::from_secs(1);

/// The page at `/runs/{run}`.
#[component]
pub fn RunPage(
    /// What the page came with.
    detail: RunDetail,
) -> impl IntoView {
    let run = RwSignal::new(detail);
    let failure = RwSignal::new(None::<ApiError>);
    let id = run.with_untracked(|run| run.summary.id.clone());
    effect(move || {
        let id = id.clone();
        // It lives as long as the page.
        let _ = set_interval_with_handle(
            move || {
                let id = id.clone();
                if !run.with_untracked(|run| run.summary.status.is_final()) {
                    spawn_local(async move {
                        if let Ok(detail) = get_run(id).await {
                            run.set(detail);
                        }
                    });
                }
            },
            REFRESH,
        );
    });
    view! {
        <TopBar />
        <main class="page">
            <Notice error=failure />
            {live::view(move || view! { <Detail detail=run.get() failure /> })}
        </main>
    }
    .into_any()
}

#[component]
fn Detail(detail: RunDetail, failure: RwSignal<Option<ApiError>>) -> impl IntoView {
    let RunDetail { summary, payload, output, error, idempotency_key, replay_of, attempts, logs, children } = detail;
    let live = !summary.status.is_final();
    let id = summary.id.clone();
    let cancel = move |_| {
        let id = id.clone();
        spawn_local(async move {
            if let Err(error) = cancel_run(id).await {
                failure.set(Some(error));
            }
        });
    };
    let id = summary.id.clone();
    let replay = move |_| {
        let id = id.clone();
        spawn_local(async move {
            match replay_run(id).await {
                Ok(run) => {
                    let _ = location().set_href(&format!("/runs/{run}"));
                }
                Err(error) => failure.set(Some(error)),
            }
        });
    };
    let project = summary
        .project
        .clone()
        .map(|p| view! { <dt>"Project"</dt><dd><a href=format!("/p/{p}")>{p.to_string()}</a></dd> });
    let parent = summary
        .parent
        .clone()
        .map(|p| view! { <dt>"Started by"</dt><dd><a href=format!("/runs/{p}")>{p.to_string()}</a></dd> });
    let replayed =
        replay_of.map(|r| view! { <dt>"Repeats"</dt><dd><a href=format!("/runs/{r}")>{r.to_string()}</a></dd> });
    let key = idempotency_key.map(|key| view! { <dt>"Idempotency key"</dt><dd><code>{key}</code></dd> });
    let children = (!children.is_empty()).then(|| {
        view! {
            <section class="panel">
                <h2>"Runs it started"</h2>
                <RunTable runs=Signal::stored(children) none="" hint="" />
            </section>
        }
    });
    view! {
        <div class="row between">
            <div>
                <h1>{summary.task.clone()}</h1>
                <p class="muted">{summary.title.clone()}</p>
            </div>
            <div class="row">
                {live.then(|| view! { <button class="button danger" type="button" on:click=on(cancel)><Icon name="stop" />"Cancel"</button> })}
                {(!live).then(|| view! { <button class="button" type="button" on:click=on(replay)><Icon name="reload" />"Replay"</button> })}
            </div>
        </div>
        <section class="panel">
            <dl class="facts">
                <dt>"Status"</dt>
                <dd><Status status=summary.status /></dd>
                <dt>"Run"</dt>
                <dd><code>{summary.id.to_string()}</code></dd>
                <dt>"Submitted"</dt>
                <dd><Ago at=summary.created_at /></dd>
                <dt>"Took"</dt>
                <dd><RunTook run=summary.clone() /></dd>
                {project}
                {parent}
                {replayed}
                {key}
            </dl>
        </section>
        {error.map(|error| view! { <div class="failure"><Icon name="alert" /><div><strong>"Why it failed"</strong><p>{error.message}</p></div></div> })}
        <section class="panel">
            <h2>{format!("Attempts ({} of {})", summary.attempt, summary.max_attempts)}</h2>
            <ol class="attempts">{attempts.into_iter().map(|attempt| view! { <AttemptRow attempt /> }).collect_view()}</ol>
        </section>
        {children}
        <section class="panel">
            <h2>"Log"</h2>
            <ul class="run-log">{logs.into_iter().map(|log| view! { <LogRow log /> }).collect_view()}</ul>
        </section>
        <section class="panel">
            <h2>"Input"</h2>
            <pre class="json">{pretty(&payload)}</pre>
        </section>
        {output.map(|output| view! { <section class="panel"><h2>"Output"</h2><pre class="json">{pretty(&output)}</pre></section> })}
    }
    .into_any()
}

#[component]
fn AttemptRow(attempt: Attempt) -> impl IntoView {
    let Attempt { number, started_at, finished_at, error, crashed, .. } = attempt;
    let (state, words) = match (&error, crashed, finished_at) {
        (Some(_), ..) => ("failed", "failed"),
        (None, true, _) => ("failed", "cut off by the end of the server"),
        (None, false, Some(_)) => ("done", "done"),
        (None, false, None) => ("working", "running"),
    };
    view! {
        <li>
            <span class="dot" data-state=state></span>
            <span>{format!("{number}. {words}")}</span>
            <span class="muted">{finished_at.map(|end| duration(end.saturating_sub(started_at)))}</span>
            {error.map(|error| view! { <p class="run-error">{error.message}</p> })}
        </li>
    }
    .into_any()
}

#[component]
fn LogRow(log: RunLog) -> impl IntoView {
    let level = match log.level {
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let clock = RwSignal::new(None::<String>);
    effect(move || clock.set(browser::clock_time(log.at)));
    view! {
        <li data-level=level>
            <time>{live::text(move || clock.get().unwrap_or_default())}</time>
            <span>{log.message}</span>
        </li>
    }
    .into_any()
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
