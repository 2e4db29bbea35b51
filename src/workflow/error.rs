//! What can go wrong with runs, and how a task says whether trying again makes sense.

use crate::domain::{ApiError, ErrorCode, RunId};
use crate::store::StoreError;

/// Why a run could not be submitted, found or cancelled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WorkflowError {
    /// No task of this name is registered.
    #[error("there is no task named \"{0}\"")]
    UnknownTask(String),
    /// The payload is over its limit.
    #[error("the payload of {task} is {bytes} bytes long; at most {limit} bytes are allowed")]
    PayloadTooLarge {
        /// The task.
        task: String,
        /// Its length as JSON.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A run was asked to repeat that has not ended.
    #[error("the run {0} has not ended yet; cancel it or wait for its end before replaying it")]
    NotFinished(RunId),
    /// A run was asked to repeat whose task is not to be repeated.
    #[error("a run of {task} cannot be replayed: {reason}")]
    NotReplayable {
        /// The task.
        task: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A run was to be moved that does not wait for its time.
    #[error("the run {0} has started already; only a delayed run can be rescheduled")]
    NotDelayed(RunId),
    /// A run that is to be repeated worked in a project that is gone.
    #[error("the run {0} cannot be replayed: its project and sandbox were deleted")]
    ProjectGone(RunId),
    /// The engine no longer takes runs.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store failed or does not know the run.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WorkflowError {
    /// Whether it is about this run alone: another may still succeed.
    pub fn is_about_one_run(&self) -> bool {
        match self {
            Self::NotFinished(_) | Self::NotDelayed(_) | Self::ProjectGone(_) | Self::UnknownTask(_) => true,
            Self::PayloadTooLarge { .. } | Self::NotReplayable { .. } => true,
            Self::Store(error) => error.is_not_found(),
            Self::ShuttingDown => false,
        }
    }
}

impl From<WorkflowError> for ApiError {
    fn from(error: WorkflowError) -> Self {
        let code = match error {
            WorkflowError::Store(error) => return error.into(),
            WorkflowError::UnknownTask(_) => ErrorCode::InvalidInput,
            WorkflowError::PayloadTooLarge { .. } => ErrorCode::TooLarge,
            WorkflowError::NotFinished(_)
            | WorkflowError::NotReplayable { .. }
            | WorkflowError::NotDelayed(_)
            | WorkflowError::ProjectGone(_) => ErrorCode::Conflict,
            WorkflowError::ShuttingDown => ErrorCode::Cancelled,
        };
        Self::new(code, error.to_string())
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// The same attempt may succeed later (infrastructure).
    #[error("{0}")]
    Retry(ApiError),
    /// Trying again cannot help.
    #[error("{0}")]
    Fatal(ApiError),
    /// Stopped because its token was cancelled.
    #[error("cancelled")]
    Cancelled,
}
