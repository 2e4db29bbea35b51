//! What can go wrong with API sandboxes, told apart by what the API says about it.

use crate::sandbox::SandboxError;
use crate::store::StoreError;

/// An error of the fleet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FleetError {
    /// No such sandbox, or it belongs to another key.
    #[error("Sandbox \"{0}\" doesn't exist or you don't have access to it")]
    NoSandbox(String),
    /// No such image.
    #[error("template '{0}' not found")]
    NoImage(String),
    /// No such build, or not known any more.
    #[error("build '{0}' not found; a build that is under way ends with the server")]
    NoBuild(String),
    /// It is paused and nothing may wake it.
    #[error("the sandbox is paused")]
    Paused,
    /// It is not in the state for that.
    #[error("{0}")]
    Conflict(String),
    /// The request makes no sense as given.
    #[error("{0}")]
    Invalid(String),
    /// As many sandboxes run as may.
    #[error("you have reached the maximum number of concurrent E2B sandboxes ({0}); kill or pause one")]
    Full(usize),
    /// The key has as many snapshots as it may.
    #[error("this key has {0} snapshots, as many as it may have; delete one of them first")]
    Snapshots(usize),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closing,
    /// The sandbox below failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}
