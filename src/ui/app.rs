//! The root of every page; the same on both sides.

use super::page::PageData;
use leptos::prelude::*;

/// The page, whole: what stands inside `<body>`.
#[component]
pub fn App(
    /// What to show.
    page: PageData,
) -> impl IntoView {
    view! { <main>{page.title()}</main> }
}
