//! Documents: pages of facts and forms that run no code in the browser, drawn on the server for each look.
//!
//! Nothing here is ever compiled into the browser's download, and everything works without scripts, so what a person rarely
//! needs costs the other pages nothing. Owns how these pages look; it must not know HTTP, and asks nothing itself: it is
//! given what it draws.

mod changes;
mod edit;
mod error;
mod faults;
mod import;
mod keys;
mod login;
mod models;
mod parts;
mod project;
mod settings;
mod sure;

pub use changes::ChangesPage;
pub use edit::EditPage;
pub use faults::{FaultRow, FaultsPage};
pub use import::ImportPage;
pub use keys::{KeyRow, KeysPage, NewKey};
pub use models::{EndpointRow, ModelRow, ModelsPage, TrialRow, address as models_address};
pub use project::{ProjectSettings, Typed};
pub use settings::{Check, SettingsPage};
pub use sure::SurePage;

use crate::domain::ApiError;
use crate::ui::{ShellOptions, document};
use changes::Changes;
use edit::Edit;
use error::ErrorPage;
use faults::Faults;
use import::Import;
use keys::Keys;
use leptos::prelude::*;
use login::Login;
use models::Models;
use parts::{Frame, Head, Parent};
use project::Project;
use settings::Settings;
use sure::Sure;

/// A document with all it shows.
pub enum Document {
    /// `/settings`: what this server is set to.
    Settings(SettingsPage),
    /// `/settings/keys`: keys of programs.
    Keys(KeysPage),
    /// `/settings/models`: endpoints and models.
    Models(ModelsPage),
    /// `/import`: projects made from what is there.
    Import(ImportPage),
    /// `/p/{project}/settings`
    Project(ProjectSettings),
    /// `/p/{project}/changes/{message}`: what a turn changed.
    Changes(ChangesPage),
    /// `/p/{project}/faults`: errors of the app.
    Faults(FaultsPage),
    /// `/p/{project}/edit/{message}`: an earlier message, to be sent again.
    Edit(EditPage),
    /// The question before something is done to many runs.
    Sure(SurePage),
    /// `/login`: asks for the access token.
    Login {
        /// The local path to go to afterwards, for instance `/p/prj_1`.
        next: String,
    },
    /// Any failure a person can meet, 404 included.
    Error {
        /// What happened and what to do.
        error: ApiError,
        /// The HTTP status it was answered with.
        status: u16,
        /// The local page it came from, if that is known.
        back: Option<String>,
    },
}

impl Document {
    /// What it is called, in its tab and in its heading.
    fn name(&self) -> &'static str {
        match self {
            Self::Settings(_) => "Settings",
            Self::Keys(_) => "Keys for programs",
            Self::Models(_) => "Models",
            Self::Import(_) => "Import a project",
            Self::Project(_) => "Project settings",
            Self::Changes(_) => "What this turn changed",
            Self::Faults(_) => "Errors of the app",
            Self::Edit(_) => "Send again",
            Self::Sure(page) if page.replay => "Replay all runs that fit?",
            Self::Sure(_) => "Cancel all runs that fit?",
            Self::Login { .. } => "Sign in",
            Self::Error { status: 404, .. } => "Not found",
            Self::Error { .. } => "Something went wrong",
        }
    }
}

/// The document, whole. `problem` says why the form that was sent has changed nothing, where the page is drawn once
/// more with what was typed.
pub fn document_html(page: Document, problem: Option<String>, options: &ShellOptions<'_>) -> String {
    let title = format!("{} · Sandcastle", page.name());
    let head = Head { name: page.name(), theme: options.theme, problem };
    document(&title, || view! { <DocumentView page head /> }.into_any(), options)
}

/// What stands inside `<body>`.
#[component]
fn DocumentView(page: Document, head: Head) -> impl IntoView {
    match page {
        Document::Settings(page) => view! { <Frame head here="/settings"><Settings page /></Frame> }.into_any(),
        Document::Keys(page) => {
            view! { <Frame head here="/settings/keys" under=Parent::Settings><Keys page /></Frame> }.into_any()
        }
        Document::Models(page) => {
            let here = models::address(&page.search);
            view! { <Frame head here under=Parent::Settings><Models page /></Frame> }.into_any()
        }
        Document::Import(page) => {
            view! { <Frame head here="/import" under=Parent::Home><Import page /></Frame> }.into_any()
        }
        Document::Project(page) => {
            let (here, under) = (format!("/p/{}/settings", page.project), Parent::Project(page.project.clone()));
            view! { <Frame head here under><Project page /></Frame> }.into_any()
        }
        Document::Changes(page) => {
            let here = format!("/p/{}/changes/{}", page.project, page.message);
            let under = Parent::Project(page.project.clone());
            view! { <Frame head here under wide=true><Changes page /></Frame> }.into_any()
        }
        Document::Faults(page) => {
            let (here, under) = (format!("/p/{}/faults", page.project), Parent::Project(page.project.clone()));
            view! { <Frame head here under><Faults page /></Frame> }.into_any()
        }
        Document::Edit(page) => {
            let here = format!("/p/{}/edit/{}", page.project, page.message);
            let under = Parent::Project(page.project.clone());
            view! { <Frame head here under><Edit page /></Frame> }.into_any()
        }
        Document::Sure(page) => {
            let (here, under) = (page.list.clone(), Parent::Runs(page.list.clone()));
            view! { <Frame head here under><Sure page /></Frame> }.into_any()
        }
        Document::Login { next } => view! { <Login next problem=head.problem /> }.into_any(),
        Document::Error { error, status, back } => view! { <ErrorPage error status back /> }.into_any(),
    }
}

#[cfg(test)]
mod tests;
