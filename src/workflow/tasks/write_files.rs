//! `writeFiles`: writes whole files.

use crate::domain::ProjectId;
use crate::sandbox::{FileWrite, Service, WrittenFile};
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Writes files; writing the same again changes nothing.
pub struct WriteFiles {
    service: Service,
}

/// What `writeFiles` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteFilesInput {
    /// The project.
    pub project: ProjectId,
    /// The files, each replaced whole.
    pub files: Vec<FileWrite>,
}

/// What `writeFiles` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteFilesOutput {
    /// The files that are in the workspace now.
    pub files: Vec<WrittenFile>,
}

impl WriteFiles {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for WriteFiles {
    const NAME: &'static str = "writeFiles";
    const IN_SANDBOX: bool = true;
    type Input = WriteFilesInput;
    type Output = WriteFilesOutput;

    async fn run(&self, ctx: TaskContext, input: WriteFilesInput) -> Result<WriteFilesOutput, TaskError> {
        let files = self.service.write_files(&input.project, ctx.call.as_ref(), input.files).await?;
        Ok(WriteFilesOutput { files })
    }
}
