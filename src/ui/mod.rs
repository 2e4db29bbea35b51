//! The interface: leptos components, the same on the server (HTML) and in the browser (hydrated).
//!
//! Owns every live page, the client's store and its transport. It must not know axum, SQL or the sandbox: pages come as
//! [`PageData`], changes as `domain::Event`s over one SSE stream, actions go through `server_fns`.

mod app;
pub mod browser;
mod chat;
mod code;
mod home;
pub(crate) mod kit;
mod logs;
mod page;
mod preview;
pub(crate) mod run_words;
mod runs;
mod shell;
mod store;
#[cfg(test)]
mod tests;
mod transport;
mod workbench;

pub use kit::money;
pub use page::{
    FileBody, FileView, Layout, ModelOption, ModelTrial, PageData, Pane, ProjectList, ProjectPage, Sample, Theme,
};
pub use shell::{Assets, ShellOptions, document, shell};
