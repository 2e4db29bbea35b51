//! `getSandboxStatus`: what the sandbox is doing.

use crate::domain::{ProjectId, SandboxPhase, SandboxView};
use crate::sandbox::Service;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Looks at the sandbox without waking it.
pub struct GetSandboxStatus {
    service: Service,
}

/// What `getSandboxStatus` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetSandboxStatusInput {
    /// The project.
    pub project: ProjectId,
}

/// What `getSandboxStatus` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GetSandboxStatusOutput {
    /// `running`, `stopped` (asleep or failed; the files are kept) or `unknown` (there never was one).
    pub status: &'static str,
    /// The sandbox itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxView>,
}

impl GetSandboxStatus {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for GetSandboxStatus {
    const NAME: &'static str = "getSandboxStatus";
    type Input = GetSandboxStatusInput;
    type Output = GetSandboxStatusOutput;

    async fn run(&self, _: TaskContext, input: GetSandboxStatusInput) -> Result<GetSandboxStatusOutput, TaskError> {
        let sandbox = self.service.status(&input.project).await?;
        let status = match sandbox.as_ref().map(|sandbox| sandbox.phase) {
            Some(SandboxPhase::Running | SandboxPhase::Creating) => "running",
            Some(SandboxPhase::Asleep | SandboxPhase::Failed) => "stopped",
            None => "unknown",
        };
        Ok(GetSandboxStatusOutput { status, sandbox })
    }
}
