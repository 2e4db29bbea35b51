//! The runs of one project.

use super::{RunTook, StatusPill};
use crate::domain::{Change, RunSummary};
use crate::ui::kit::{Ago, Empty, live, memo};
use crate::ui::workbench::Workbench;
use leptos::prelude::*;

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

/// Runs as a table.
#[component]
fn RunTable(
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
            <td><StatusPill status=run.status /></td>
            <td class="num">{format!("{} of {}", run.attempt, run.max_attempts)}</td>
            <td class="num"><RunTook run=run.clone() /></td>
            <td class="num"><Ago at=run.created_at /></td>
        </tr>
    }
    .into_any()
}
