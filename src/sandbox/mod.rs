//! Sandboxes as the product uses them: life cycle, commands and their output, files, ports, previews.
//!
//! Owns the mapping from a project to its one sandbox and everything that happens inside it. It must not know the
//! agent, the tools, the workflow engine or the web pages; how isolation is done is behind [`provider::Provider`].

mod activity;
mod address;
mod archive;
mod base64;
mod command;
pub mod e2b;
mod edit;
pub mod egress;
mod entry;
mod error;
mod faults;
mod files;
pub mod fleet;
pub mod gateway;
mod history;
mod hop;
mod life;
pub mod local;
mod network;
mod output;
mod piped;
pub mod preview;
mod probe;
pub mod provider;
mod resume;
mod search;
mod service;
mod space;
mod supervisor;
mod symptoms;
mod tree;
pub mod unread;
mod watcher;

pub use address::PreviewAddress;
pub use command::CommandSpec;
pub use edit::Edit;
pub use error::SandboxError;
pub use faults::SeenFault;
pub use files::{FileContent, FileWrite, WrittenFile};
pub use history::{ChangeKind, Changes, FileChange, Hunk};
pub use output::LogFrom;
pub use piped::Piped;
pub use probe::UrlProbe;
pub use search::{Found, FoundLine, Search};
pub use service::Service;
