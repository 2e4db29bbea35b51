//! Lists of runs.

use super::{RunTook, Status, words};
use crate::domain::{Change, RunStatus, RunSummary};
use crate::server_fns::list_runs;
use crate::ui::kit::{Ago, Empty, TopBar, effect, live, memo};
use crate::ui::page::RunsQuery;
use crate::ui::workbench::Workbench;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::time::Duration;

/// How often a list with unfinished runs is read again.
const REFRESH: Duration = Duration::from_secs(2);

/// Statuses that can be asked for.
const STATUSES: [RunStatus; 6] = [
    RunStatus::Executing,
    RunStatus::Queued,
    RunStatus::Completed,
    RunStatus::Failed,
    RunStatus::Canceled,
    RunStatus::TimedOut,
];

/// The Runs pane of the workbench.
#[component]
pub fn ProjectRuns() -> impl IntoView {
    let store = Workbench::here().store;
    let runs =
        memo(move || store.read(Change::Runs, |state| state.runs.iter().rev().cloned().collect::<Vec<RunSummary>>()));
    view! {
        <div class="runs-pane">
            <RunTable
                runs=runs.into()
                none="No runs yet"
                hint="Each step of the agent is a durable run: retried, timed and logged."
            />
        </div>
    }
    .into_any()
}

/// The page at `/runs`.
#[component]
pub fn RunsPage(
    /// What the page came with.
    runs: Vec<RunSummary>,
    /// What was asked for.
    query: RunsQuery,
) -> impl IntoView {
    let list = RwSignal::new(runs);
    let asked = query.clone();
    effect(move || {
        let query = asked.clone();
        // It lives as long as the page.
        let _ = set_interval_with_handle(
            move || {
                let unfinished = list.with_untracked(|list| list.iter().any(|run| !run.status.is_final()));
                let query = query.clone();
                if unfinished && !document().hidden() {
                    spawn_local(async move {
                        // An old list is better than an error over it.
                        if let Ok(runs) = list_runs(query).await {
                            list.set(runs);
                        }
                    });
                }
            },
            REFRESH,
        );
    });
    let statuses = STATUSES
        .into_iter()
        .map(|status| view! { <option value=status.as_str() selected=query.status == Some(status)>{words(status)}</option> })
        .collect_view();
    view! {
        <TopBar />
        <main class="page">
            <div class="row between">
                <h1>"Runs"</h1>
                <form class="row" method="get" action="/runs">
                    {query.project.map(|project| view! { <input type="hidden" name="project" value=project.to_string() /> })}
                    <input class="input" name="task" placeholder="Task" aria-label="Task" value=query.task.unwrap_or_default() />
                    <select class="input" name="status" aria-label="Status">
                        <option value="">"Any status"</option>
                        {statuses}
                    </select>
                    <button class="button" type="submit">"Show"</button>
                </form>
            </div>
            <RunTable runs=list.into() none="No runs" hint="None match, or nothing has run yet." />
        </main>
    }
    .into_any()
}

/// Runs as a table.
#[component]
pub fn RunTable(
    /// Newest first.
    runs: Signal<Vec<RunSummary>>,
    /// What to say when there are none.
    none: &'static str,
    /// And why.
    hint: &'static str,
) -> impl IntoView {
    let empty = memo(move || runs.with(Vec::is_empty));
    view! {
        {live::view(move || empty.get().then(|| view! { <Empty icon="runs" title=none text=hint /> }))}
        <table class="runs" hidden=live::flag(move || empty.get())>
            <thead>
                <tr>
                    <th scope="col">"Task"</th>
                    <th scope="col">"Status"</th>
                    <th scope="col" class="num">"Attempt"</th>
                    <th scope="col" class="num">"Time"</th>
                    <th scope="col" class="num">"When"</th>
                </tr>
            </thead>
            <tbody>
                {live::each(
                    move || runs.get(),
                    |run| format!("{} {:?} {} {:?}", run.id, run.status, run.attempt, run.finished_at),
                    |run| view! { <RunRow run /> },
                )}
            </tbody>
        </table>
    }
    .into_any()
}

#[component]
fn RunRow(run: RunSummary) -> impl IntoView {
    let href = format!("/runs/{}", run.id);
    let nested = run.parent.is_some().to_string();
    view! {
        <tr data-nested=nested>
            <td>
                <a href=href>
                    <strong>{run.task.clone()}</strong>
                    <span class="run-title">{run.title.clone()}</span>
                </a>
                {run.error.clone().map(|error| view! { <p class="run-error">{error}</p> })}
            </td>
            <td><Status status=run.status /></td>
            <td class="num">{format!("{} of {}", run.attempt, run.max_attempts)}</td>
            <td class="num"><RunTook run=run.clone() /></td>
            <td class="num"><Ago at=run.created_at /></td>
        </tr>
    }
    .into_any()
}
