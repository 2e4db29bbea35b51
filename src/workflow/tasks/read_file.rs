//! `readFile`: reads one file.

use crate::domain::ProjectId;
use crate::sandbox::{FileContent, Service};
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::Deserialize;

/// Reads a file, also while the sandbox is asleep.
pub struct ReadFile {
    service: Service,
}

/// What `readFile` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadFileInput {
    /// The project.
    pub project: ProjectId,
    /// Path relative to the workspace.
    pub path: String,
}

impl ReadFile {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for ReadFile {
    const NAME: &'static str = "readFile";
    const IN_SANDBOX: bool = true;
    type Input = ReadFileInput;
    type Output = FileContent;

    async fn run(&self, _: TaskContext, input: ReadFileInput) -> Result<FileContent, TaskError> {
        Ok(self.service.read_file(&input.project, &input.path).await?)
    }
}
