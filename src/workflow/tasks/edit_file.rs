//! `editFile`: exact replacements in one file.

use crate::domain::ProjectId;
use crate::sandbox::{Edit, Service, WrittenFile};
use crate::workflow::{RetryPolicy, Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::Deserialize;

/// Replaces texts, all or nothing.
pub struct EditFile {
    service: Service,
}

/// What `editFile` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EditFileInput {
    /// The project.
    pub project: ProjectId,
    /// Path relative to the workspace.
    pub path: String,
    /// The replacements, in order; each text must occur exactly once.
    pub edits: Vec<Edit>,
}

impl EditFile {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for EditFile {
    const NAME: &'static str = "editFile";
    const IN_SANDBOX: bool = true;
    type Input = EditFileInput;
    type Output = WrittenFile;

    // An edit that reached the file before it failed would not find its text again and report the wrong reason.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(&self, ctx: TaskContext, input: EditFileInput) -> Result<WrittenFile, TaskError> {
        Ok(self.service.edit_file(&input.project, ctx.call.as_ref(), &input.path, input.edits).await?)
    }
}
