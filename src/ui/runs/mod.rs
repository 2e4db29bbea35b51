//! Task runs: of one project in the workbench, and the live frame around the dashboard that the server draws.

mod frame;
mod list;

pub use frame::RunsPage;
pub use list::ProjectRuns;

use super::run_words::StatusPill;
use crate::domain::RunSummary;
use crate::ui::kit::{duration, live, use_now};
use leptos::prelude::*;

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
