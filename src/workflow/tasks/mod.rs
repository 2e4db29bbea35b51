//! The tasks that touch a sandbox, one file each. Each is a thin call into [`sandbox::Service`](crate::sandbox::Service):
//! what it adds is a wire form, a retry rule and, where an effect must not happen twice, the way to recognise it.
//!
//! Only failures of the infrastructure are tried again. A command that exits with 1 has run; that is a result.

mod checkpoint;
pub mod compat;
mod create_sandbox;
mod edit_file;
mod fetch_page;
mod get_sandbox_status;
mod get_sandbox_url;
mod import_git;
mod list_files;
mod put_attachments;
mod read_file;
mod read_logs;
mod run_command;
mod search_files;
mod self_check;
mod start_fork;
mod stop_command;
mod write_files;

pub use checkpoint::{MakeCheckpoint, MakeCheckpointInput, RestoreCheckpoint, RestoreCheckpointInput};
pub use create_sandbox::{CreateSandbox, CreateSandboxInput, CreateSandboxOutput};
pub use edit_file::{EditFile, EditFileInput};
pub use fetch_page::{FetchPage, FetchPageInput, FetchPageOutput};
pub use get_sandbox_status::{GetSandboxStatus, GetSandboxStatusInput, GetSandboxStatusOutput};
pub use get_sandbox_url::{GetSandboxUrl, GetSandboxUrlInput};
pub use import_git::{ImportGit, ImportGitInput};
pub use list_files::{ListFiles, ListFilesInput, ListFilesOutput};
pub use put_attachments::{PutAttachments, PutAttachmentsInput, PutAttachmentsOutput};
pub use read_file::{ReadFile, ReadFileInput};
pub use read_logs::{ReadLogs, ReadLogsInput, ReadLogsOutput};
pub use run_command::{RunCommand, RunCommandInput, RunCommandOutput};
pub use search_files::{SearchFiles, SearchFilesInput};
pub use self_check::{SelfCheck, SelfCheckInput, SelfCheckOutput};
pub use start_fork::{StartFork, StartForkInput, StartForkOutput};
pub use stop_command::{StopCommand, StopCommandInput, StopCommandOutput};
pub use write_files::{WriteFiles, WriteFilesInput, WriteFilesOutput};

use super::{TaskError, Workflow};
use crate::sandbox::{SandboxError, Service};
use crate::store::{Store, StoreError};

/// Makes all of them known.
pub fn register(workflow: &Workflow, service: &Service, store: &Store) {
    let events = store.events();
    workflow.register(CreateSandbox::new(service.clone()));
    workflow.register(WriteFiles::new(service.clone()));
    workflow.register(PutAttachments::new(service.clone(), store.attachments().clone()));
    workflow.register(ReadFile::new(service.clone()));
    workflow.register(EditFile::new(service.clone()));
    workflow.register(ListFiles::new(service.clone()));
    workflow.register(RunCommand::new(service.clone(), events.clone()));
    workflow.register(StopCommand::new(service.clone()));
    workflow.register(SearchFiles::new(service.clone()));
    workflow.register(FetchPage::new(service.clone()));
    workflow.register(MakeCheckpoint::new(service.clone(), events.clone()));
    workflow.register(RestoreCheckpoint::new(service.clone()));
    workflow.register(StartFork::new(service.clone()));
    workflow.register(ImportGit::new(service.clone()));
    workflow.register(SelfCheck::new(service.clone(), store.attachments().clone()));
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
