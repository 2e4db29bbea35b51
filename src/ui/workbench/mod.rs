//! The workbench: header, chat, splitter, work pane. Owns what its parts share and the keyboard.

mod context;
mod facts;
mod header;
mod splitter;
mod tabs;

pub use context::Workbench;
pub use splitter::{Split, Splitter};

use crate::domain::ErrorCode;
use crate::ui::chat::Chat;
use crate::ui::code::Code;
use crate::ui::kit::{Notice, effect, live};
use crate::ui::logs::Logs;
use crate::ui::page::{Pane, ProjectPage};
use crate::ui::preview::Preview;
use crate::ui::runs::ProjectRuns;
use crate::ui::store::Link;
use crate::ui::transport;
use header::Header;
use leptos::prelude::*;
use tabs::{PaneTabs, PhoneTabs};

/// The page at `/p/{project}`.
#[component]
pub fn WorkbenchPage(
    /// What it shows at first.
    page: ProjectPage,
) -> impl IntoView {
    let bench = Workbench::new(&page);
    provide_context(bench);
    effect(move || transport::connect(bench.store));
    bench.switch_when_ready();
    bench.listen_to_keys();
    let ProjectPage { models, files, open_file, .. } = page;
    let pane = bench.pane;
    let panel = move |of: Pane| move || pane.get() != of;
    view! {
        <div
            class="bench"
            data-pane=live::text(move || pane.get().slug())
            data-phone=live::text(move || if bench.phone_chat.get() { "chat" } else { "work" })
        >
            <Header />
            <Chat models />
            <Splitter split=Split::Chat />
            <section class="work" aria-label="Work">
                // On a phone, where the chat's own is out of sight.
                <Notice error=bench.failure />
                <PaneTabs />
                <div class="pane" id="pane-preview" role="tabpanel" aria-labelledby="tab-preview" hidden=live::flag(panel(Pane::Preview))>
                    <Preview />
                </div>
                <div class="pane" id="pane-code" role="tabpanel" aria-labelledby="tab-code" hidden=live::flag(panel(Pane::Code))>
                    <Code files open_file />
                </div>
                <div class="pane" id="pane-logs" role="tabpanel" aria-labelledby="tab-logs" hidden=live::flag(panel(Pane::Logs))>
                    <Logs />
                </div>
                <div class="pane" id="pane-runs" role="tabpanel" aria-labelledby="tab-runs" hidden=live::flag(panel(Pane::Runs))>
                    <ProjectRuns />
                </div>
            </section>
            <PhoneTabs />
            <Lost />
        </div>
    }
    .into_any()
}

/// Says why the page does not follow its project any more, and where to go.
#[component]
fn Lost() -> impl IntoView {
    let store = Workbench::here().store;
    live::view(move || {
        let Link::Lost(error) = store.link.get() else { return None };
        let way = match error.code {
            ErrorCode::NotFound => Some(("/", "All projects")),
            // The server asks for the token then.
            ErrorCode::Unauthorized | ErrorCode::Forbidden => Some(("", "Reload")),
            _ => None,
        };
        let way = way.map(|(href, words)| view! { <a href=href>{words}</a> });
        Some(view! { <p class="stopped" role="alert">{error.message} " " {way}</p> })
    })
    .into_any()
}
