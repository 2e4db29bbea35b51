//! Statuses of runs in words and tones, the same wherever runs are shown.

use crate::domain::RunStatus;
use leptos::prelude::*;

/// A status for styles.
pub(crate) fn tone(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Completed => "done",
        RunStatus::Executing | RunStatus::Dequeued | RunStatus::Waiting => "working",
        RunStatus::PendingVersion | RunStatus::Delayed | RunStatus::Queued => "idle",
        RunStatus::Canceled | RunStatus::Expired => "asleep",
        RunStatus::Failed | RunStatus::Crashed | RunStatus::SystemFailure | RunStatus::TimedOut => "failed",
    }
}

/// A status in words.
pub(crate) fn words(status: RunStatus) -> String {
    let mut text = status.as_str().to_ascii_lowercase().replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// A status as a pill.
#[component]
pub(crate) fn StatusPill(
    /// The status.
    status: RunStatus,
) -> impl IntoView {
    view! {
        <span class="pill" data-state=tone(status)>
            <span class="dot" data-state=tone(status)></span>
            <span>{words(status)}</span>
        </span>
    }
    .into_any()
}
