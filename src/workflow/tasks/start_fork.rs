//! `startFork`: brings a forked project to life: packages, the background commands of the original, its preview.

use crate::domain::{FileNode, LogLevel, ProjectId};
use crate::sandbox::{CommandSpec, Service};
use crate::workflow::{RetryPolicy, Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Installing may take so long.
const INSTALL: Duration = Duration::from_secs(600);
/// The app may take so long to answer.
const ANSWER: Duration = Duration::from_secs(120);

/// The task.
pub struct StartFork {
    service: Service,
}

/// What `startFork` is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartForkInput {
    /// The new project.
    pub project: ProjectId,
    /// The background commands to start: line and folder.
    pub commands: Vec<(String, String)>,
    /// The port of the app, if one was shown.
    pub port: Option<u16>,
}

/// What `startFork` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartForkOutput {
    /// Where the app answers.
    pub url: Option<String>,
}

impl StartFork {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    /// Packages are not part of a checkpoint: they are installed again where a project says which. Each is a step, so
    /// that an installation that was cut off, which leaves half a folder of packages, is done again and others are not.
    async fn install(&self, ctx: &TaskContext, project: &ProjectId) -> Result<(), TaskError> {
        let missing = async {
            let tree = self.service.list_files(project).await?;
            Ok(installs(&tree).into_iter().map(|(folder, line)| (folder, line.to_owned())).collect())
        };
        let missing: Vec<(String, String)> = ctx.step("look for packages", missing).await?;
        for (folder, line) in missing {
            let name = if folder.is_empty() { line.clone() } else { format!("{line} in {folder}") };
            ctx.step(&name, self.install_one(ctx, project, folder, line)).await?;
        }
        Ok(())
    }

    async fn install_one(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        folder: String,
        line: String,
    ) -> Result<(), TaskError> {
        let spec = CommandSpec {
            line: line.clone(),
            cwd: folder,
            timeout: Some(INSTALL),
            run: Some(ctx.run.clone()),
            ..CommandSpec::default()
        };
        let command = self.service.start_command(project, spec).await?;
        let exit = self.service.wait_command(project, &command, &ctx.cancel).await?;
        if !exit.success() {
            ctx.log(LogLevel::Warn, format!("{line}: {}", exit.describe())).await;
        }
        Ok(())
    }

    /// Starts what is to run in the background and does not yet: after a crash, waking the sandbox has started again
    /// what an earlier execution of this run began.
    async fn start_servers(&self, ctx: &TaskContext, input: &StartForkInput) -> Result<(), TaskError> {
        let running = self.service.background_commands(&input.project).await?;
        for (line, cwd) in &input.commands {
            if running.iter().any(|command| command.line == *line && command.cwd == *cwd) {
                continue;
            }
            let spec = CommandSpec {
                line: line.clone(),
                cwd: cwd.clone(),
                background: true,
                run: Some(ctx.run.clone()),
                ..CommandSpec::default()
            };
            self.service.start_command(&input.project, spec).await?;
        }
        Ok(())
    }
}

/// What to install and where: beside each package list that has no packages yet, in the root and one level below.
fn installs(tree: &[FileNode]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let levels = std::iter::once(("", tree)).chain(tree.iter().map(|n| (n.path.as_str(), n.children.as_slice())));
    for (folder, nodes) in levels {
        let has = |name: &str| nodes.iter().any(|node| node.name == name);
        if has("package.json") && !has("node_modules") {
            let line = match (has("pnpm-lock.yaml"), has("yarn.lock")) {
                (true, _) => "pnpm install",
                (_, true) => "yarn install",
                _ => "npm install",
            };
            found.push((folder.to_owned(), line));
        }
        if has("requirements.txt") && !has(".venv") {
            found.push((folder.to_owned(), "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"));
        }
    }
    found
}

#[async_trait]
impl Task for StartFork {
    const NAME: &'static str = "startFork";
    const IN_SANDBOX: bool = true;
    const NO_REPLAY: Option<&'static str> =
        Some("it would start the app a second time. Ask the agent of the fork to start it, or fork again.");
    type Input = StartForkInput;
    type Output = StartForkOutput;

    // What fails here fails again: a package that is gone, an app that does not start.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(&self, ctx: TaskContext, input: StartForkInput) -> Result<StartForkOutput, TaskError> {
        self.service.ensure(&input.project).await?;
        self.install(&ctx, &input.project).await?;
        self.start_servers(&ctx, &input).await?;
        let Some(port) = input.port else { return Ok(StartForkOutput { url: None }) };
        let probe = self.service.wait_for_url(&input.project, port, ANSWER, &ctx.cancel).await?;
        Ok(StartForkOutput { url: Some(probe.url) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FileKind, build_tree};

    #[test]
    fn packages_are_installed_where_they_are_listed_and_missing() {
        let files =
            ["package.json", "api/requirements.txt", "web/package.json", "web/pnpm-lock.yaml", "web/node_modules/x"];
        let tree = build_tree(files.map(|path| (path.to_owned(), FileKind::File, 1)));
        let got: Vec<_> = installs(&tree).into_iter().map(|(folder, line)| format!("{folder}: {line}")).collect();
        assert_eq!(got, [": npm install", "api: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"]);
    }
}
