//! `createSandbox`: makes sure that the project has a live sandbox.

use crate::domain::{Limits, ProjectId, SandboxId};
use crate::sandbox::Service;
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Creates or wakes the sandbox.
pub struct CreateSandbox {
    service: Service,
}

/// What `createSandbox` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateSandboxInput {
    /// The project.
    pub project: ProjectId,
}

/// What `createSandbox` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateSandboxOutput {
    /// The sandbox. A project keeps its sandbox for life, so a second run finds the first one's.
    pub sandbox_id: SandboxId,
    /// How it is isolated: `local` or `e2b`.
    pub provider: String,
    /// What it may use.
    pub limits: Limits,
}

impl CreateSandbox {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for CreateSandbox {
    const NAME: &'static str = "createSandbox";
    const IN_SANDBOX: bool = true;
    type Input = CreateSandboxInput;
    type Output = CreateSandboxOutput;

    async fn run(&self, _: TaskContext, input: CreateSandboxInput) -> Result<CreateSandboxOutput, TaskError> {
        let sandbox = self.service.ensure(&input.project).await?;
        Ok(CreateSandboxOutput { sandbox_id: sandbox.id, provider: sandbox.provider, limits: sandbox.limits })
    }
}
