//! The tasks that touch a sandbox, one file each. Each is a thin call into [`sandbox::Service`](crate::sandbox::Service):
//! what it adds is a wire form, a retry rule and, where an effect must not happen twice, the way to recognise it.
//!
//! Only failures of the infrastructure are tried again. A command that exits with 1 has run; that is a result.

pub mod compat;
mod create_sandbox;
mod edit_file;
mod get_sandbox_status;
mod get_sandbox_url;
mod list_files;
mod read_file;
mod read_logs;
mod run_command;
mod stop_command;
mod write_files;

pub use create_sandbox::{CreateSandbox, CreateSandboxInput, CreateSandboxOutput};
pub use edit_file::{EditFile, EditFileInput};
pub use get_sandbox_status::{GetSandboxStatus, GetSandboxStatusInput, GetSandboxStatusOutput};
pub use get_sandbox_url::{GetSandboxUrl, GetSandboxUrlInput};
pub use list_files::{ListFiles, ListFilesInput, ListFilesOutput};
pub use read_file::{ReadFile, ReadFileInput};
pub use read_logs::{ReadLogs, ReadLogsInput, ReadLogsOutput};
pub use run_command::{RunCommand, RunCommandInput, RunCommandOutput};
pub use stop_command::{StopCommand, StopCommandInput, StopCommandOutput};
pub use write_files::{WriteFiles, WriteFilesInput, WriteFilesOutput};

use super::{TaskError, Workflow};
use crate::sandbox::{SandboxError, Service};
use crate::store::{EventLog, StoreError};

/// Makes all of them known.
pub fn register(workflow: &Workflow, service: &Service, events: &EventLog) {
    workflow.register(CreateSandbox::new(service.clone()));
    workflow.register(WriteFiles::new(service.clone()));
    workflow.register(ReadFile::new(service.clone()));
    workflow.register(EditFile::new(service.clone()));
    workflow.register(ListFiles::new(service.clone()));
    workflow.register(RunCommand::new(service.clone(), events.clone()));
    workflow.register(StopCommand::new(service.clone()));
    workflow.register(ReadLogs::new(service.clone(), events.clone()));
    workflow.register(GetSandboxUrl::new(service.clone()));
    workflow.register(GetSandboxStatus::new(service.clone()));
    compat::register(workflow, service, events);
}

impl From<SandboxError> for TaskError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Cancelled => Self::Cancelled,
            error if error.is_retryable() => Self::Retry(error.into()),
            error => Self::Fatal(error.into()),
        }
    }
}

impl From<StoreError> for TaskError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(_) => Self::Retry(error.into()),
            error => Self::Fatal(error.into()),
        }
    }
}
