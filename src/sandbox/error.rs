//! What can go wrong in a sandbox, as something a caller can act on.

use crate::domain::{ApiError, ErrorCode, PathError};

/// A sandbox error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SandboxError {
    /// The host cannot isolate; the text says why and the fix. Nothing was run.
    #[error("cannot create an isolated sandbox: {0}. Run `sandcastle doctor` for details.")]
    NotIsolated(String),
    /// The provider will not do it: the key is wrong, a quota is used up. The text says what to change.
    #[error("{0}")]
    Refused(String),
    /// A path is malformed or leaves the workspace.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no such file, command, sandbox or project.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense as given (a directory where a file is needed, an empty command).
    #[error("{0}")]
    Invalid(String),
    /// A limit was reached: disk full, too many processes, file too large.
    #[error("{0}")]
    Limit(String),
    /// Nothing listens on the port.
    #[error("nothing listens on port {0}")]
    PortClosed(u16),
    /// Nothing answered in time; the text says what was seen and carries the app's last output.
    #[error("{0}")]
    Unanswered(String),
    /// The sandbox is gone; starting it again may help. Worth a retry.
    #[error("the sandbox is not running: {0}")]
    Dead(String),
    /// The operating system or provider failed in a way that may pass. Worth a retry.
    #[error("{0}")]
    Io(String),
    /// Stopped on request.
    #[error("cancelled")]
    Cancelled,
}

impl SandboxError {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Dead(_) | Self::Io(_))
    }
}

impl From<std::io::Error> for SandboxError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound("no such file or directory".to_owned()),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Limit("the disk is full".to_owned())
            }
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<SandboxError> for ApiError {
    fn from(error: SandboxError) -> Self {
        let code = match &error {
            SandboxError::Path(_) | SandboxError::Invalid(_) => ErrorCode::InvalidInput,
            SandboxError::NotFound(_) => ErrorCode::NotFound,
            SandboxError::Limit(_) => ErrorCode::Storage,
            SandboxError::PortClosed(_) => ErrorCode::Conflict,
            SandboxError::Unanswered(_) => ErrorCode::Timeout,
            SandboxError::NotIsolated(_) | SandboxError::Refused(_) | SandboxError::Dead(_) | SandboxError::Io(_) => {
                ErrorCode::Sandbox
            }
            SandboxError::Cancelled => ErrorCode::Cancelled,
        };
        Self::new(code, error.to_string())
    }
}
