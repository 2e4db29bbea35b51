//! `listFiles`: the tree of the workspace.

use crate::domain::{FileNode, ProjectId};
use crate::sandbox::Service;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Lists the files, also while the sandbox is asleep.
pub struct ListFiles {
    service: Service,
}

/// What `listFiles` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListFilesInput {
    /// The project.
    pub project: ProjectId,
}

/// What `listFiles` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListFilesOutput {
    /// The entries of the workspace's root.
    pub files: Vec<FileNode>,
}

impl ListFiles {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for ListFiles {
    const NAME: &'static str = "listFiles";
    const IN_SANDBOX: bool = true;
    type Input = ListFilesInput;
    type Output = ListFilesOutput;

    async fn run(&self, _: TaskContext, input: ListFilesInput) -> Result<ListFilesOutput, TaskError> {
        Ok(ListFilesOutput { files: self.service.list_files(&input.project).await? })
    }
}
