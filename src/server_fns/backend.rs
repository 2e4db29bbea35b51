//! What the interface asks of the server, as one trait: the services implement it, the gallery has a fixture.

use crate::domain::{
    ApiError, Attached, CommandId, FileNode, LogSlice, MessageId, NetworkMode, ProjectId, ProjectState, ProjectSummary,
};
use crate::ui::{FileView, ModelTrial};
use async_trait::async_trait;
use leptos::prelude::use_context;
use std::sync::Arc;

/// Everything a server function can do; the functions of the same names have the meaning.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Creates a project and sends its first message.
    async fn create_project(
        &self,
        prompt: String,
        files: Vec<Attached>,
        model: Option<String>,
    ) -> Result<ProjectId, ApiError>;
    /// Sends a message.
    async fn send_message(
        &self,
        project: ProjectId,
        text: String,
        files: Vec<Attached>,
        model: Option<String>,
    ) -> Result<MessageId, ApiError>;
    /// Stops the running turn.
    async fn stop_turn(&self, project: ProjectId) -> Result<(), ApiError>;
    /// Tries the last turn again, or goes on.
    async fn retry_turn(&self, project: ProjectId) -> Result<(), ApiError>;
    /// Moves a message that waits one place up, or withdraws it.
    async fn queue_message(&self, project: ProjectId, message: MessageId, up: bool) -> Result<(), ApiError>;
    /// Gives the project another name.
    async fn rename_project(&self, project: ProjectId, name: String) -> Result<(), ApiError>;
    /// Projects that have these words.
    async fn list_projects(&self, words: String, most: usize) -> Result<Vec<ProjectSummary>, ApiError>;
    /// Deletes the project.
    async fn delete_project(&self, project: ProjectId) -> Result<(), ApiError>;
    /// The project's present.
    async fn fetch_state(&self, project: ProjectId) -> Result<ProjectState, ApiError>;
    /// The workspace's tree.
    async fn list_files(&self, project: ProjectId) -> Result<Vec<FileNode>, ApiError>;
    /// A file, highlighted.
    async fn open_file(&self, project: ProjectId, path: String) -> Result<FileView, ApiError>;
    /// Starts the sandbox, if it does not run.
    async fn start_sandbox(&self, project: ProjectId) -> Result<(), ApiError>;
    /// Ends a command.
    async fn stop_command(&self, project: ProjectId, command: CommandId) -> Result<(), ApiError>;
    /// Output of a command from an offset on, or its tail.
    async fn command_output(&self, p: ProjectId, command: CommandId, from: Option<u64>) -> Result<LogSlice, ApiError>;
    /// Sets what the sandbox may reach where no rule says otherwise; the rules stay.
    async fn set_network_mode(&self, project: ProjectId, mode: NetworkMode) -> Result<(), ApiError>;
    /// Allows one more destination.
    async fn allow_destination(&self, project: ProjectId, target: String) -> Result<(), ApiError>;
    /// What is known of a model by trying it, as soon as there is more than `seen`.
    async fn try_model(&self, model: String, seen: u32) -> Result<ModelTrial, ApiError>;
    /// What stands inside a page of the runs dashboard.
    async fn runs_part(&self, path: String) -> Result<String, ApiError>;
}

/// The backend of this request. The handler of `/api/fn/` provides it as context.
pub(super) fn backend() -> Result<Arc<dyn Backend>, ApiError> {
    use_context::<Arc<dyn Backend>>().ok_or_else(|| ApiError::internal("The server is not ready yet."))
}
