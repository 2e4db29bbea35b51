//! `getSandboxUrl`: waits until the app answers and returns its address.

use crate::domain::ProjectId;
use crate::sandbox::{Service, UrlProbe};
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::Deserialize;
use std::time::Duration;

/// Waits for an HTTP answer from a port inside.
pub struct GetSandboxUrl {
    service: Service,
}

/// What `getSandboxUrl` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetSandboxUrlInput {
    /// The project.
    pub project: ProjectId,
    /// The port the app listens on, inside.
    pub port: u16,
    /// How long to wait, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_timeout_ms() -> u64 {
    60_000
}

impl GetSandboxUrl {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for GetSandboxUrl {
    const NAME: &'static str = "getSandboxUrl";
    const IN_SANDBOX: bool = true;
    type Input = GetSandboxUrlInput;
    type Output = UrlProbe;

    async fn run(&self, ctx: TaskContext, input: GetSandboxUrlInput) -> Result<UrlProbe, TaskError> {
        let timeout = Duration::from_millis(input.timeout_ms);
        Ok(self.service.wait_for_url(&input.project, input.port, timeout, &ctx.cancel).await?)
    }
}
