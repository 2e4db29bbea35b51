//! The five tasks of the original platform, under their names and with their payloads and outputs, for programs that
//! were written for it.
//!
//! Where the original caught every error and reported success, these fail with the reason and are tried again where
//! that can help. Each sandbox has a project of its own, which belongs to the API key that made it.

use super::run_command::{RunCommand, RunCommandInput};
use crate::domain::{ProjectId, SandboxId, SandboxPhase};
use crate::sandbox::{FileWrite, Service};
use crate::store::EventLog;
use crate::workflow::{RunRequest, Task, TaskContext, TaskError, Workflow};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Their names.
pub const NAMES: [&str; 5] = ["create-sandbox", "run-command", "write-files", "get-sandbox-url", "get-sandbox-status"];
/// How long a sandbox lives unless said otherwise, in milliseconds.
const TIMEOUT_MS: u64 = 600_000;

/// Makes all of them known.
pub(super) fn register(workflow: &Workflow, service: &Service, events: &EventLog) {
    workflow.register(CreateSandbox { service: service.clone(), events: events.clone() });
    workflow.register(RunCommandHere { inner: RunCommand::new(service.clone(), events.clone()) });
    workflow.register(WriteFiles { service: service.clone() });
    workflow.register(GetUrl { service: service.clone() });
    workflow.register(GetStatus { service: service.clone() });
    workflow.register(EndSandbox { service: service.clone() });
}

/// What a run does, in a few words.
pub fn title(task: &str, payload: &Value) -> String {
    match task {
        "run-command" => line(payload["command"].as_str().unwrap_or_default(), &strings(&payload["args"])),
        "write-files" => format!("{} files", payload["files"].as_array().map_or(0, Vec::len)),
        "get-sandbox-url" => format!("port {}", payload["port"]),
        _ => payload["sandboxId"].as_str().unwrap_or("sandbox").to_owned(),
    }
}

/// Writes of one sandbox happen in the order they were asked for.
pub fn lane(task: &str, project: Option<&ProjectId>) -> Option<String> {
    project.filter(|_| task == "write-files").map(|project| format!("{project}/write"))
}

struct CreateSandbox {
    service: Service,
    events: EventLog,
}

#[derive(Clone, Debug, Deserialize)]
struct CreateInput {
    timeout: Option<u64>,
    #[serde(default)]
    ports: Vec<u16>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    sandbox_id: SandboxId,
    ports: Vec<u16>,
    timeout: u64,
}

#[async_trait]
impl Task for CreateSandbox {
    const NAME: &'static str = "create-sandbox";
    type Input = CreateInput;
    type Output = CreateOutput;

    async fn run(&self, ctx: TaskContext, input: CreateInput) -> Result<CreateOutput, TaskError> {
        // Recorded and named after the run, so that a second attempt finds the project of the first, whenever that was
        // cut off, and no sandbox is left behind.
        let project: ProjectId = ctx
            .step("project", async {
                let project = self.events.project_of_run(&ctx.run, "Sandbox of the API").await?;
                if let Some(owner) = &ctx.owner {
                    ctx.workflow().store().batches().own(&project, owner).await?;
                }
                Ok(project)
            })
            .await?;
        let sandbox_id: SandboxId = ctx.step("sandbox", async { Ok(self.service.ensure(&project).await?.id) }).await?;
        let timeout = input.timeout.unwrap_or(TIMEOUT_MS);
        let end = RunRequest {
            task: EndSandbox::NAME.to_owned(),
            title: format!("{sandbox_id} after {} s", timeout / 1_000),
            payload: json!({ "project": project }),
            project: Some(project),
            idempotency_key: Some(ctx.run.to_string()),
            delay: Some(Duration::from_millis(timeout)),
            ..RunRequest::default()
        };
        ctx.workflow().submit(end).await.map_err(|error| TaskError::Retry(error.into()))?;
        Ok(CreateOutput { sandbox_id, ports: input.ports, timeout })
    }
}

/// Ends the processes of a sandbox whose time is over. Its files are kept; using it wakes it.
struct EndSandbox {
    service: Service,
}

#[derive(Clone, Debug, Deserialize)]
struct EndInput {
    project: ProjectId,
}

#[async_trait]
impl Task for EndSandbox {
    const NAME: &'static str = "endSandbox";
    const NO_REPLAY: Option<&'static str> =
        Some("the time of its sandbox was over then. A sandbox that is used again goes to sleep by itself.");
    type Input = EndInput;
    type Output = ();

    async fn run(&self, _: TaskContext, input: EndInput) -> Result<(), TaskError> {
        Ok(self.service.sleep(&input.project).await?)
    }
}

struct RunCommandHere {
    inner: RunCommand,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommandInput {
    #[serde(rename = "sandboxId")]
    _sandbox: String,
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    wait: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CommandOutput {
    cmd_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// Both streams, in the order they were written: the sandbox gives a command one log.
    stdout: String,
    stderr: String,
}

#[async_trait]
impl Task for RunCommandHere {
    const NAME: &'static str = "run-command";
    const IN_SANDBOX: bool = true;
    type Input = CommandInput;
    type Output = CommandOutput;

    async fn run(&self, ctx: TaskContext, input: CommandInput) -> Result<CommandOutput, TaskError> {
        let command = RunCommandInput {
            project: project(&ctx)?,
            command: line(&input.command, &input.args),
            cwd: String::new(),
            env: Default::default(),
            background: !input.wait.unwrap_or(true),
            timeout_ms: None,
        };
        let done = self.inner.run(ctx, command).await?;
        Ok(CommandOutput {
            cmd_id: done.command_id.to_string(),
            exit_code: done.exit_code,
            stdout: done.output,
            stderr: String::new(),
        })
    }
}

struct WriteFiles {
    service: Service,
}

#[derive(Clone, Debug, Deserialize)]
struct FilesInput {
    #[serde(rename = "sandboxId")]
    _sandbox: String,
    files: Vec<FileWrite>,
}

#[async_trait]
impl Task for WriteFiles {
    const NAME: &'static str = "write-files";
    const IN_SANDBOX: bool = true;
    type Input = FilesInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: FilesInput) -> Result<Value, TaskError> {
        self.service.write_files(&project(&ctx)?, None, input.files).await?;
        Ok(json!({ "success": true }))
    }
}

struct GetUrl {
    service: Service,
}

#[derive(Clone, Debug, Deserialize)]
struct UrlInput {
    #[serde(rename = "sandboxId")]
    sandbox: String,
    port: u16,
}

#[async_trait]
impl Task for GetUrl {
    const NAME: &'static str = "get-sandbox-url";
    type Input = UrlInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: UrlInput) -> Result<Value, TaskError> {
        project(&ctx)?;
        let sandbox = SandboxId::parse(input.sandbox)
            .map_err(|error| TaskError::Fatal(crate::domain::ApiError::invalid(error.to_string())))?;
        Ok(json!({ "url": self.service.preview_address().url(&sandbox, input.port) }))
    }
}

struct GetStatus {
    service: Service,
}

#[derive(Clone, Debug, Deserialize)]
struct StatusInput {
    #[serde(rename = "sandboxId")]
    _sandbox: String,
}

#[async_trait]
impl Task for GetStatus {
    const NAME: &'static str = "get-sandbox-status";
    type Input = StatusInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, _: StatusInput) -> Result<Value, TaskError> {
        let sandbox = self.service.status(&project(&ctx)?).await?;
        let status = match sandbox.map(|sandbox| sandbox.phase) {
            Some(SandboxPhase::Running | SandboxPhase::Creating) => "running",
            Some(SandboxPhase::Asleep | SandboxPhase::Failed) => "stopped",
            None => "unknown",
        };
        Ok(json!({ "status": status }))
    }
}

/// The project of the run's sandbox, which whoever submitted it has found and checked.
fn project(ctx: &TaskContext) -> Result<ProjectId, TaskError> {
    let missing = || TaskError::Fatal(crate::domain::ApiError::invalid("the run belongs to no sandbox"));
    ctx.project.clone().ok_or_else(missing)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A command and its arguments as one line for the shell. A command alone may be a line already.
fn line(command: &str, args: &[String]) -> String {
    let quoted = args.iter().map(|arg| {
        let plain = !arg.is_empty() && arg.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
        if plain { arg.clone() } else { format!("'{}'", arg.replace('\'', r"'\''")) }
    });
    std::iter::once(command.to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_command_as_they_are() {
        let args = ["-c", "echo \"it's $HOME\"", ""].map(str::to_owned);
        assert_eq!(line("sh", &args), r#"sh -c 'echo "it'\''s $HOME"' ''"#);
        assert_eq!(line("npm install && npm test", &[]), "npm install && npm test");
    }

    #[test]
    fn runs_are_titled_by_what_they_do() {
        assert_eq!(title("run-command", &json!({"command": "npm", "args": ["install"]})), "npm install");
        assert_eq!(title("write-files", &json!({"files": [1, 2]})), "2 files");
        assert_eq!(title("create-sandbox", &json!({})), "sandbox");
    }
}
