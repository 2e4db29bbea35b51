//! The workbench: header, chat, splitter, work pane. Owns what its parts share and the keyboard.

mod context;
mod facts;
mod header;
mod splitter;
mod tabs;

pub use context::Workbench;
pub use splitter::{Split, Splitter};

use crate::ui::chat::Chat;
use crate::ui::code::Code;
use crate::ui::kit::{effect, live};
use crate::ui::logs::Logs;
use crate::ui::page::{Pane, ProjectPage};
use crate::ui::preview::Preview;
use crate::ui::runs::ProjectRuns;
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
        </div>
    }
    .into_any()
}
