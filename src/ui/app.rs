//! The root of every live page; the same on both sides.

use super::browser;
use super::home::Home;
use super::kit::{effect, provide_clock};
use super::page::PageData;
use super::runs::RunsPage;
use super::workbench::WorkbenchPage;
use leptos::prelude::*;

/// The page, whole: what stands inside `<body>`.
#[component]
pub fn App(
    /// What to show.
    page: PageData,
) -> impl IntoView {
    provide_clock();
    // Tests and style sheets wait for this: from here on buttons work.
    effect(move || browser::set_root_attribute("data-hydrated", ""));
    let page = match page {
        PageData::Home { projects, models, effort, samples, demo } => {
            view! { <Home projects models effort samples demo /> }.into_any()
        }
        PageData::Project(page) => view! { <WorkbenchPage page=*page /> }.into_any(),
        PageData::Runs { html, live, .. } => view! { <RunsPage html live /> }.into_any(),
    };
    view! {
        {page}
        // What `browser` says for a moment. Only a region that was there before its words is read out.
        <p id="said" role="status"></p>
    }
    .into_any()
}
