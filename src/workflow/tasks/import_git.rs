//! `importGit`: a repository as a project's files. Git runs inside the sandbox, under its rules for going out.

use crate::domain::{Checkpoint, CommandExit, ProjectId};
use crate::sandbox::{CommandSpec, LogFrom, SandboxError, Service};
use crate::workflow::{RetryPolicy, Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::Deserialize;
use std::time::Duration;

/// Cloning may take so long.
const CLONE: Duration = Duration::from_secs(300);

/// The task.
pub struct ImportGit {
    service: Service,
}

/// What `importGit` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportGitInput {
    /// The project, without files.
    pub project: ProjectId,
    /// Where the repository is.
    pub url: String,
}

impl ImportGit {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for ImportGit {
    const NAME: &'static str = "importGit";
    const IN_SANDBOX: bool = true;
    const NO_REPLAY: Option<&'static str> =
        Some("its project has files by now. Import the repository again, which makes a new project.");
    type Input = ImportGitInput;
    type Output = Checkpoint;

    // A second clone would find the files of the first.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(&self, ctx: TaskContext, input: ImportGitInput) -> Result<Checkpoint, TaskError> {
        // Plain files behind a web server are a repository too, but not one that can be cut at a commit.
        let (mut exit, mut said) = self.clone_at(&ctx, &input, "--depth 1").await?;
        if !exit.success() && said.contains("dumb http") {
            (exit, said) = self.clone_at(&ctx, &input, "").await?;
        }
        if !exit.success() {
            let message = format!("{} could not be cloned ({}): {}", input.url, exit.describe(), said.trim());
            return Err(SandboxError::Invalid(message).into());
        }
        Ok(self.service.checkpoint(&input.project, &format!("Import of {}", input.url)).await?)
    }
}

impl ImportGit {
    /// Clones into the workspace. Returns how that ended and what git said.
    async fn clone_at(
        &self,
        ctx: &TaskContext,
        input: &ImportGitInput,
        depth: &str,
    ) -> Result<(CommandExit, String), SandboxError> {
        let spec = CommandSpec {
            line: format!("git clone --quiet {depth} -- \"$REPOSITORY\" ."),
            env: [("REPOSITORY", input.url.as_str()), ("GIT_TERMINAL_PROMPT", "0")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            timeout: Some(CLONE),
            run: Some(ctx.run.clone()),
            ..CommandSpec::default()
        };
        let command = self.service.start_command(&input.project, spec).await?;
        let exit = self.service.wait_command(&input.project, &command, &ctx.cancel).await?;
        let log = self.service.read_log(&input.project, &command, LogFrom::Tail(800), 800).await?;
        Ok((exit, log.text))
    }
}
