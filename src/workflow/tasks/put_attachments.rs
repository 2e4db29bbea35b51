//! `putAttachments`: puts files that came with a message into the workspace.

use crate::domain::{Attachment, ProjectId};
use crate::sandbox::Service;
use crate::store::Attachments;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Writes attachments, also while the sandbox is asleep; doing it again changes nothing.
pub struct PutAttachments {
    service: Service,
    attachments: Attachments,
}

/// What `putAttachments` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutAttachmentsInput {
    /// The project.
    pub project: ProjectId,
    /// The files, each with its path.
    pub files: Vec<Attachment>,
}

/// What `putAttachments` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PutAttachmentsOutput {
    /// Where the files are, relative to the workspace.
    pub paths: Vec<String>,
}

impl PutAttachments {
    /// The task over this service and these files.
    pub fn new(service: Service, attachments: Attachments) -> Self {
        Self { service, attachments }
    }
}

#[async_trait]
impl Task for PutAttachments {
    const NAME: &'static str = "putAttachments";
    const IN_SANDBOX: bool = true;
    type Input = PutAttachmentsInput;
    type Output = PutAttachmentsOutput;

    async fn run(&self, _: TaskContext, input: PutAttachmentsInput) -> Result<PutAttachmentsOutput, TaskError> {
        let mut files = Vec::with_capacity(input.files.len());
        for file in &input.files {
            files.push((file.path.clone(), self.attachments.read(&file.id).await?, false));
        }
        self.service.put_files(&input.project, files).await?;
        Ok(PutAttachmentsOutput { paths: input.files.into_iter().map(|file| file.path).collect() })
    }
}
