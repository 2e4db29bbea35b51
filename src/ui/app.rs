//! The root of every page; the same on both sides.

use super::browser;
use super::kit::provide_clock;
use super::page::PageData;
use super::pages::{ErrorPage, Home, Login, Settings};
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
    Effect::new(move |_| browser::set_root_attribute("data-hydrated", ""));
    match page {
        PageData::Home { projects, models, samples, demo } => {
            view! { <Home projects models samples demo /> }.into_any()
        }
        PageData::Project(page) => view! { <WorkbenchPage page=*page /> }.into_any(),
        PageData::Runs { html, live, .. } => view! { <RunsPage html live /> }.into_any(),
        PageData::Settings(facts) => view! { <Settings facts=*facts /> }.into_any(),
        PageData::Login { next } => view! { <Login next /> }.into_any(),
        PageData::Error { error, status } => view! { <ErrorPage error status /> }.into_any(),
    }
}
