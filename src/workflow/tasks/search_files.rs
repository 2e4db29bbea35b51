//! `searchFiles`: lines that match, in the files of the workspace.

use crate::domain::ProjectId;
use crate::sandbox::{Found, Search, Service};
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::Deserialize;

/// Searches.
pub struct SearchFiles {
    service: Service,
}

/// What `searchFiles` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchFilesInput {
    /// The project.
    pub project: ProjectId,
    /// What to look for, and where.
    #[serde(flatten)]
    pub search: Search,
}

impl SearchFiles {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for SearchFiles {
    const NAME: &'static str = "searchFiles";
    const IN_SANDBOX: bool = true;
    type Input = SearchFilesInput;
    type Output = Found;

    async fn run(&self, _: TaskContext, input: SearchFilesInput) -> Result<Found, TaskError> {
        Ok(self.service.search_files(&input.project, input.search).await?)
    }
}
