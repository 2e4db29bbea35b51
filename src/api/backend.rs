//! What the interface's calls do: the services behind the server functions' one trait.

use crate::domain::{
    ApiError, Attached, CommandId, FileNode, LogSlice, MessageId, NetworkMode, NetworkPolicy, ProjectId, ProjectState,
    ProjectSummary,
};
use crate::sandbox::{LogFrom, SandboxError};
use crate::server_fns::Backend;
use crate::services::{Known, Services};
use crate::ui::{FileBody, FileView, ModelTrial};
use async_trait::async_trait;
use std::time::Duration;

/// Output in one answer, in bytes.
const OUTPUT_MAX: u64 = 256 * 1024;
/// News of a trial are waited for so long; then the page asks again.
const TRIAL_NEWS: Duration = Duration::from_secs(20);

#[async_trait]
impl Backend for Services {
    async fn create_project(
        &self,
        prompt: String,
        files: Vec<Attached>,
        model: Option<String>,
    ) -> Result<ProjectId, ApiError> {
        let (id, _) = Services::create_project(self, None, Some(&prompt), &files, model.as_deref()).await?;
        Ok(id)
    }

    async fn send_message(
        &self,
        project: ProjectId,
        text: String,
        files: Vec<Attached>,
        model: Option<String>,
    ) -> Result<MessageId, ApiError> {
        Services::send_message(self, &project, &text, &files, model.as_deref()).await
    }

    async fn stop_turn(&self, project: ProjectId) -> Result<(), ApiError> {
        self.agent.stop(&project).await
    }

    async fn retry_turn(&self, project: ProjectId) -> Result<(), ApiError> {
        self.agent.retry(&project).await
    }

    async fn queue_message(&self, project: ProjectId, message: MessageId, up: bool) -> Result<(), ApiError> {
        match up {
            true => self.agent.move_up(&project, &message).await,
            false => self.agent.withdraw(&project, &message).await,
        }
    }

    async fn rename_project(&self, project: ProjectId, name: String) -> Result<(), ApiError> {
        Services::rename_project(self, &project, &name).await
    }

    async fn list_projects(&self, words: String, most: usize) -> Result<Vec<ProjectSummary>, ApiError> {
        Ok(self.find_projects(&words, most).await?.0)
    }

    async fn delete_project(&self, project: ProjectId) -> Result<(), ApiError> {
        Services::delete_project(self, &project).await
    }

    async fn fetch_state(&self, project: ProjectId) -> Result<ProjectState, ApiError> {
        Ok(ProjectState::clone(&*self.store.events().state(&project).await?))
    }

    async fn list_files(&self, project: ProjectId) -> Result<Vec<FileNode>, ApiError> {
        Ok(self.sandbox.list_files(&project).await?)
    }

    async fn open_file(&self, project: ProjectId, path: String) -> Result<FileView, ApiError> {
        self.store.events().state(&project).await?;
        let file = match self.sandbox.read_file(&project, &path).await {
            Ok(file) => file,
            // A file that is gone is a state of the view, not a failure of the call.
            Err(SandboxError::NotFound(_)) => {
                return Ok(FileView { path, size: 0, language: String::new(), body: FileBody::Missing });
            }
            Err(error) => return Err(error.into()),
        };
        let Some(text) = file.text else {
            return Ok(FileView { path: file.path, size: file.size, language: String::new(), body: FileBody::Binary });
        };
        // Highlighting a large file takes tens of milliseconds of a core.
        let (path, size, truncated) = (file.path, file.size, file.truncated);
        tokio::task::spawn_blocking(move || {
            let drawn = crate::render::highlight(&path, &text);
            let language = crate::render::language_of(&path).to_owned();
            let body = FileBody::Text { lines: drawn.lines, truncated: truncated || drawn.truncated };
            FileView { path, size, language, body }
        })
        .await
        .map_err(|_| ApiError::internal("the file could not be drawn"))
    }

    async fn start_sandbox(&self, project: ProjectId) -> Result<(), ApiError> {
        self.sandbox.ensure(&project).await?;
        Ok(())
    }

    async fn stop_command(&self, project: ProjectId, command: CommandId) -> Result<(), ApiError> {
        self.sandbox.stop_command(&project, &command).await?;
        Ok(())
    }

    async fn command_output(
        &self,
        project: ProjectId,
        command: CommandId,
        from: Option<u64>,
    ) -> Result<LogSlice, ApiError> {
        let from = from.map_or(LogFrom::Tail(OUTPUT_MAX), LogFrom::Offset);
        Ok(self.sandbox.read_log(&project, &command, from, OUTPUT_MAX).await?)
    }

    async fn set_network_mode(&self, project: ProjectId, mode: NetworkMode) -> Result<(), ApiError> {
        self.sandbox.change_network_policy(&project, |policy| NetworkPolicy { mode, ..policy }).await?;
        Ok(())
    }

    async fn allow_destination(&self, project: ProjectId, target: String) -> Result<(), ApiError> {
        self.sandbox.allow_destination(&project, &target).await?;
        Ok(())
    }

    async fn try_model(&self, model: String, seen: u32) -> Result<ModelTrial, ApiError> {
        let mut known = self.trials.of(&model).await?;
        if let Known::UnderWay(news) = &mut known {
            // Without news in time the page is told the same again.
            let fresh = news.wait_for(|trial| trial.step > seen || trial.end.is_some());
            let _same = tokio::time::timeout(TRIAL_NEWS, fresh).await;
        }
        Ok(trial_of(&model, &known))
    }

    async fn runs_part(&self, path: String) -> Result<String, ApiError> {
        Ok(super::dashboard::part(self, &path).await?.html)
    }
}

/// What a person who chose a model reads about it.
fn trial_of(model: &str, known: &Known) -> ModelTrial {
    let still = |words: String| ModelTrial { words, ..ModelTrial::default() };
    match known {
        Known::Nothing => ModelTrial::default(),
        Known::Failed(why) => still(format!("{model} could not be tried: {why}")),
        Known::Tried(found) if !found.calls => {
            still(format!("{model}: {}. Choose another to build something.", found.badge()))
        }
        Known::Tried(found) => still(format!("{model}: {}", found.badge())),
        Known::UnderWay(news) => {
            let trial = news.borrow();
            match &trial.end {
                Some(Ok(())) => trial_of(model, &Known::Tried(trial.found.clone())),
                Some(Err(why)) => trial_of(model, &Known::Failed(why.clone())),
                None => {
                    let words = match trial.waits {
                        true => format!("{model} waits: another model is being tried."),
                        false => format!("Trying {model}… {}", trial.found.so_far(trial.asked)),
                    };
                    ModelTrial { words: words.trim_end().to_owned(), step: trial.step, running: true }
                }
            }
        }
    }
}
