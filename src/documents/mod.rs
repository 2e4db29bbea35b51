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

pub use changes::ChangesPage;
pub use edit::EditPage;
pub use faults::{FaultRow, FaultsPage};
pub use keys::{KeyRow, KeysPage, NewKey};
pub use models::{EndpointRow, ModelRow, ModelsPage, TrialRow};
pub use project::ProjectSettings;
pub use settings::{Check, SettingsPage};

use crate::domain::ApiError;
use crate::ui::{ShellOptions, Theme, document};
use changes::Changes;
use edit::Edit;
use error::ErrorPage;
use faults::Faults;
use import::Import;
use keys::Keys;
use leptos::prelude::*;
use login::Login;
use models::Models;
use parts::{Frame, Parent};
use project::Project;
use settings::Settings;

/// A document with all it shows.
pub enum Document {
    /// `/settings`: what this server is set to.
    Settings(SettingsPage),
    /// `/settings/keys`: keys of programs.
    Keys(KeysPage),
    /// `/settings/models`: endpoints and models.
    Models(ModelsPage),
    /// `/import`: projects made from what is there.
    Import,
    /// `/p/{project}/settings`
    Project(ProjectSettings),
    /// `/p/{project}/changes/{message}`: what a turn changed.
    Changes(ChangesPage),
    /// `/p/{project}/faults`: errors of the app.
    Faults(FaultsPage),
    /// `/p/{project}/edit/{message}`: an earlier message, to be sent again.
    Edit(EditPage),
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
    },
}

impl Document {
    /// What it is called, in its tab and in its heading.
    fn name(&self) -> &'static str {
        match self {
            Self::Settings(_) => "Settings",
            Self::Keys(_) => "Keys for programs",
            Self::Models(_) => "Models",
            Self::Import => "Import a project",
            Self::Project(_) => "Project settings",
            Self::Changes(_) => "What this turn changed",
            Self::Faults(_) => "Errors of the app",
            Self::Edit(_) => "Send again",
            Self::Login { .. } => "Sign in",
            Self::Error { status: 404, .. } => "Not found",
            Self::Error { .. } => "Something went wrong",
        }
    }
}

/// The document, whole.
pub fn document_html(page: Document, options: &ShellOptions<'_>) -> String {
    let (title, theme) = (format!("{} · Sandcastle", page.name()), options.theme);
    document(&title, || view! { <DocumentView page theme /> }.into_any(), options)
}

/// What stands inside `<body>`.
#[component]
fn DocumentView(page: Document, theme: Theme) -> impl IntoView {
    let name = page.name();
    match page {
        Document::Settings(page) => view! { <Frame name theme here="/settings"><Settings page /></Frame> }.into_any(),
        Document::Keys(page) => {
            view! { <Frame name theme here="/settings/keys" under=Parent::Settings><Keys page /></Frame> }.into_any()
        }
        Document::Models(page) => {
            view! { <Frame name theme here="/settings/models" under=Parent::Settings><Models page /></Frame> }
                .into_any()
        }
        Document::Import => view! { <Frame name theme here="/import" under=Parent::Home><Import /></Frame> }.into_any(),
        Document::Project(page) => {
            let (here, under) = (format!("/p/{}/settings", page.project), Parent::Project(page.project.clone()));
            view! { <Frame name theme here under><Project page /></Frame> }.into_any()
        }
        Document::Changes(page) => {
            let here = format!("/p/{}/changes/{}", page.project, page.message);
            let under = Parent::Project(page.project.clone());
            view! { <Frame name theme here under wide=true><Changes page /></Frame> }.into_any()
        }
        Document::Faults(page) => {
            let (here, under) = (format!("/p/{}/faults", page.project), Parent::Project(page.project.clone()));
            view! { <Frame name theme here under><Faults page /></Frame> }.into_any()
        }
        Document::Edit(page) => {
            let here = format!("/p/{}/edit/{}", page.project, page.message);
            let under = Parent::Project(page.project.clone());
            view! { <Frame name theme here under><Edit page /></Frame> }.into_any()
        }
        Document::Login { next } => view! { <Login next /> }.into_any(),
        Document::Error { error, status } => view! { <ErrorPage error status /> }.into_any(),
    }
}

#[cfg(test)]
mod tests;
