//! Sandboxes as the product uses them: life cycle, commands and their output, files, ports, previews.
//!
//! Owns the mapping from a project to its one sandbox and everything that happens inside it. It must not know the
//! agent, the tools, the workflow engine or the web pages; how isolation is done is behind [`provider::Provider`].

mod error;
pub mod local;
pub mod provider;

pub use error::SandboxError;
