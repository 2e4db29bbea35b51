//! The runs dashboard: `/runs` and `/runs/{run}` as HTML, drawn on the server for each look.
//!
//! The browser gets markup and a few lines of WebAssembly that fetch it again when a run changes, so what a run looks
//! like costs nothing in the download, works without scripts (links and forms), and 100,000 runs weigh as much as fifty.
//! Owns how runs are shown; it must not know HTTP, and asks nothing itself: it is given what it draws.

mod detail;
mod errors;
mod failure;
mod list;
mod parts;
mod query;
mod timeline;

pub use detail::{RunPage, run_html};
pub use list::{ListPage, list_html};
pub use query::{ListQuery, PERIODS};

use leptos::prelude::*;

/// Draws a view outside of any page.
fn html(view: impl FnOnce() -> AnyView) -> String {
    let owner = Owner::new();
    let html = owner.with(|| view().to_html());
    drop(owner);
    html
}
