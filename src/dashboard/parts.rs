//! Pieces that the list and a run share.

use crate::domain::{RunSummary, civil};
use crate::ui::kit::duration;
use crate::ui::kit::format::ago;
use leptos::prelude::*;

/// How long ago something was, with the moment itself on a closer look.
#[component]
pub(super) fn When(at: u64, now: u64) -> impl IntoView {
    view! { <time title=moment(at)>{ago(at, now)}</time> }.into_any()
}

/// A button that copies a text; it is not there without scripts, where it could do nothing.
#[component]
pub(super) fn Copy(
    /// The text.
    text: String,
    /// What it is, for its name.
    what: &'static str,
) -> impl IntoView {
    let name = format!("Copy {what}");
    view! {
        <button class="icon-button copy" type="button" data-copy=text aria-label=name.clone() title=name>
            <Mark name="copy" />
        </button>
    }
    .into_any()
}

/// The same for what stands below it in its section, which need not be in the page twice.
#[component]
pub(super) fn CopyBelow(
    /// What it is, for its name.
    what: &'static str,
) -> impl IntoView {
    view! { <Copy text=String::new() what /> }.into_any()
}

/// An icon of the sprite.
#[component]
pub(super) fn Mark(name: &'static str) -> impl IntoView {
    view! { <svg class="icon" aria-hidden="true"><use_ href=format!("/icons.svg#{name}")></use_></svg> }.into_any()
}

/// How long a run waited for its first attempt.
pub(super) fn queued(run: &RunSummary) -> Option<String> {
    Some(duration(run.started_at?.saturating_sub(run.created_at)))
}

/// How long a run took, or takes so far.
pub(super) fn took(run: &RunSummary, now: u64) -> Option<String> {
    let started = run.started_at?;
    Some(match run.finished_at {
        Some(finished) => duration(finished.saturating_sub(started)),
        None => duration(now.saturating_sub(started) / 1_000 * 1_000),
    })
}

/// A moment in UTC, as `2026-11-24 19:03:12.345 UTC`.
pub(super) fn moment(at: u64) -> String {
    let ms = at % 86_400_000;
    let (year, month, day) = civil((at / 86_400_000) as i64);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{:03} UTC", ms % 1_000)
}

/// The text's beginning on one line.
pub(super) fn short(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= most {
        return line.to_owned();
    }
    let kept: String = line.chars().take(most).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc_to_the_millisecond() {
        assert_eq!(moment(0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(moment(1_709_164_799_999), "2024-02-28 23:59:59.999 UTC");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(short("één\ntwee", 10), "één");
        assert_eq!(short("ééééé", 3), "ééé…");
    }
}
