//! What server functions answer in the gallery.

use crate::fixtures;
use async_trait::async_trait;
use sandcastle::domain::{
    ApiError, Attached, CommandId, ErrorCode, FileNode, LogSlice, MessageId, NetworkMode, ProjectId, ProjectState,
    ProjectSummary,
};
use sandcastle::render::{highlight, language_of};
use sandcastle::server_fns::Backend;
use sandcastle::ui::{FileBody, FileView, ModelTrial};

/// Answers from fixtures; what changes something is refused with words.
pub struct Fixture;

fn refused<T>() -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::Conflict, "This is the gallery: nothing here can be changed."))
}

#[async_trait]
impl Backend for Fixture {
    async fn create_project(
        &self,
        _prompt: String,
        _files: Vec<Attached>,
        _model: Option<String>,
    ) -> Result<ProjectId, ApiError> {
        refused()
    }
    async fn send_message(
        &self,
        _project: ProjectId,
        _text: String,
        _files: Vec<Attached>,
        _model: Option<String>,
    ) -> Result<MessageId, ApiError> {
        refused()
    }
    async fn try_model(&self, model: String, _seen: u32) -> Result<ModelTrial, ApiError> {
        Ok(ModelTrial { words: format!("Trying {model}: calls a tool ✓, two at once ✗"), ..ModelTrial::default() })
    }
    async fn stop_turn(&self, _project: ProjectId) -> Result<(), ApiError> {
        refused()
    }
    async fn retry_turn(&self, _project: ProjectId) -> Result<(), ApiError> {
        refused()
    }
    async fn queue_message(&self, _: ProjectId, _: MessageId, _: bool) -> Result<(), ApiError> {
        Ok(())
    }

    async fn rename_project(&self, _project: ProjectId, _name: String) -> Result<(), ApiError> {
        refused()
    }
    async fn list_projects(&self, _words: String, _most: usize) -> Result<Vec<ProjectSummary>, ApiError> {
        refused()
    }
    async fn delete_project(&self, _project: ProjectId) -> Result<(), ApiError> {
        refused()
    }
    async fn fetch_state(&self, _project: ProjectId) -> Result<ProjectState, ApiError> {
        refused()
    }
    async fn list_files(&self, _project: ProjectId) -> Result<Vec<FileNode>, ApiError> {
        Ok(fixtures::files())
    }
    async fn open_file(&self, _project: ProjectId, path: String) -> Result<FileView, ApiError> {
        let text = fixtures::source(&path);
        let body = match path.rsplit('.').next() {
            Some("png" | "ico") => FileBody::Binary,
            _ => {
                let shown = highlight(&path, text);
                FileBody::Text { lines: shown.lines, truncated: shown.truncated }
            }
        };
        Ok(FileView { size: text.len() as u64, language: language_of(&path).to_owned(), path, body })
    }
    async fn start_sandbox(&self, _project: ProjectId) -> Result<(), ApiError> {
        refused()
    }
    async fn stop_command(&self, _project: ProjectId, _command: CommandId) -> Result<(), ApiError> {
        refused()
    }
    async fn command_output(&self, _p: ProjectId, _c: CommandId, _from: Option<u64>) -> Result<LogSlice, ApiError> {
        Ok(LogSlice { start: 0, end: 24, total: 24, text: "kept from an earlier day".to_owned() })
    }
    async fn set_network_mode(&self, _project: ProjectId, _mode: NetworkMode) -> Result<(), ApiError> {
        refused()
    }
    async fn allow_destination(&self, _project: ProjectId, _target: String) -> Result<(), ApiError> {
        refused()
    }
    async fn runs_part(&self, _path: String) -> Result<String, ApiError> {
        refused()
    }
}
