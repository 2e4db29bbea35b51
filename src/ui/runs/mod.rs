//! Task runs: of one project in the workbench, of all at `/runs`, and one in full at `/runs/{run}`.

mod detail;
mod list;

pub use detail::RunPage;
pub use list::{ProjectRuns, RunsPage};

use crate::domain::{RunStatus, RunSummary};
use crate::ui::kit::{duration, live, use_now};
use leptos::prelude::*;

/// A status for styles.
fn tone(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Completed => "done",
        RunStatus::Executing | RunStatus::Dequeued | RunStatus::Waiting => "working",
        RunStatus::PendingVersion | RunStatus::Delayed | RunStatus::Queued => "idle",
        RunStatus::Canceled | RunStatus::Expired => "asleep",
        RunStatus::Failed | RunStatus::Crashed | RunStatus::SystemFailure | RunStatus::TimedOut => "failed",
    }
}

/// A status in words.
fn words(status: RunStatus) -> String {
    let mut text = status.as_str().to_lowercase().replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// A status as a pill.
#[component]
fn Status(status: RunStatus) -> impl IntoView {
    view! {
        <span class="pill" data-state=tone(status)>
            <span class="dot" data-state=tone(status)></span>
            <span>{words(status)}</span>
        </span>
    }
    .into_any()
}

/// How long a run took, or takes so far.
#[component]
fn RunTook(run: RunSummary) -> impl IntoView {
    let now = use_now();
    let took = move || {
        let started = run.started_at?;
        let ms = match run.finished_at {
            Some(finished) => finished.saturating_sub(started),
            None => now.get()?.saturating_sub(started) / 1000 * 1000,
        };
        Some(duration(ms))
    };
    view! { <span>{live::text(move || took().unwrap_or_default())}</span> }.into_any()
}
