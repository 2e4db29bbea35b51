//! Any failure a person can meet.

use crate::domain::ApiError;
use crate::ui::kit::Brand;
use leptos::prelude::*;

#[component]
pub(super) fn ErrorPage(
    /// What happened.
    error: ApiError,
    /// The HTTP status.
    status: u16,
    /// The local page it came from.
    back: Option<String>,
) -> impl IntoView {
    let title = match status {
        404 => "There is nothing here",
        401 | 403 => "This is not allowed",
        _ => "Something went wrong",
    };
    view! {
        <header class="topbar">
            <Brand />
        </header>
        <main class="center">
            <p class="status-code">{status}</p>
            <h1>{title}</h1>
            <p class="muted">{error.message}</p>
            {error.request_id.map(|id| view! { <p class="muted small">"Request "<code>{id}</code></p> })}
            <p class="row">
                {back.map(|back| view! { <a class="button" href=back>"Back to where you were"</a> })}
                <a class="button" href="/">"To your projects"</a>
            </p>
        </main>
    }
    .into_any()
}
