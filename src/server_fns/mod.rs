//! Typed calls from the browser: each has a fixed address under `/api/fn/` and a body of one call on the [`Backend`].
//!
//! Owns names, arguments and the error's way over the wire. It must not hold logic; every function is a public
//! endpoint behind the guard.

#[cfg(feature = "ssr")]
mod backend;
mod codec;
mod error;

#[cfg(feature = "ssr")]
pub use backend::Backend;
#[cfg(feature = "ssr")]
use backend::backend;

use crate::domain::{
    ApiError, Attached, CommandId, FileNode, LogSlice, MessageId, NetworkMode, ProjectId, ProjectState, ProjectSummary,
};
use crate::ui::{FileView, ModelTrial};
use codec::{PostAnswer, PostArguments};
use leptos::prelude::*;

/// Creates a project and sends its first message.
#[server(prefix = "/api/fn", endpoint = "create_project", input = PostArguments, output = PostAnswer)]
pub async fn create_project(
    prompt: String,
    files: Vec<Attached>,
    model: Option<String>,
) -> Result<ProjectId, ApiError> {
    backend()?.create_project(prompt, files, model).await
}

/// Sends a message; while a turn runs it is queued and answered next.
#[server(prefix = "/api/fn", endpoint = "send_message", input = PostArguments, output = PostAnswer)]
pub async fn send_message(
    project: ProjectId,
    text: String,
    files: Vec<Attached>,
    model: Option<String>,
) -> Result<MessageId, ApiError> {
    backend()?.send_message(project, text, files, model).await
}

/// Stops the running turn.
#[server(prefix = "/api/fn", endpoint = "stop_turn", input = PostArguments, output = PostAnswer)]
pub async fn stop_turn(project: ProjectId) -> Result<(), ApiError> {
    backend()?.stop_turn(project).await
}

/// Tries the last turn again after a failure, or goes on after the step limit.
#[server(prefix = "/api/fn", endpoint = "retry_turn", input = PostArguments, output = PostAnswer)]
pub async fn retry_turn(project: ProjectId) -> Result<(), ApiError> {
    backend()?.retry_turn(project).await
}

/// Moves a message that waits one place up, or withdraws it.
#[server(prefix = "/api/fn", endpoint = "queue_message", input = PostArguments, output = PostAnswer)]
pub async fn queue_message(project: ProjectId, message: MessageId, up: bool) -> Result<(), ApiError> {
    backend()?.queue_message(project, message, up).await
}

/// Gives the project another name.
#[server(prefix = "/api/fn", endpoint = "rename_project", input = PostArguments, output = PostAnswer)]
pub async fn rename_project(project: ProjectId, name: String) -> Result<(), ApiError> {
    backend()?.rename_project(project, name).await
}

/// The newest projects whose name or first prompt has all these words, at most so many.
#[server(prefix = "/api/fn", endpoint = "list_projects", input = PostArguments, output = PostAnswer)]
pub async fn list_projects(words: String, most: usize) -> Result<Vec<ProjectSummary>, ApiError> {
    backend()?.list_projects(words, most).await
}

/// Deletes the project with its workspace and logs.
#[server(prefix = "/api/fn", endpoint = "delete_project", input = PostArguments, output = PostAnswer)]
pub async fn delete_project(project: ProjectId) -> Result<(), ApiError> {
    backend()?.delete_project(project).await
}

/// The project's present, after a gap in the event stream.
#[server(prefix = "/api/fn", endpoint = "project_state", input = PostArguments, output = PostAnswer)]
pub async fn fetch_state(project: ProjectId) -> Result<ProjectState, ApiError> {
    backend()?.fetch_state(project).await
}

/// The workspace's tree.
#[server(prefix = "/api/fn", endpoint = "list_files", input = PostArguments, output = PostAnswer)]
pub async fn list_files(project: ProjectId) -> Result<Vec<FileNode>, ApiError> {
    backend()?.list_files(project).await
}

/// A file, highlighted.
#[server(prefix = "/api/fn", endpoint = "open_file", input = PostArguments, output = PostAnswer)]
pub async fn open_file(project: ProjectId, path: String) -> Result<FileView, ApiError> {
    backend()?.open_file(project, path).await
}

/// Starts the sandbox if it does not run, and with it what ran in its background.
#[server(prefix = "/api/fn", endpoint = "start_sandbox", input = PostArguments, output = PostAnswer)]
pub async fn start_sandbox(project: ProjectId) -> Result<(), ApiError> {
    backend()?.start_sandbox(project).await
}

/// Ends a command and all it started.
#[server(prefix = "/api/fn", endpoint = "stop_command", input = PostArguments, output = PostAnswer)]
pub async fn stop_command(project: ProjectId, command: CommandId) -> Result<(), ApiError> {
    backend()?.stop_command(project, command).await
}

/// Output of a command from a byte offset on; `None` for its tail.
#[server(prefix = "/api/fn", endpoint = "command_output", input = PostArguments, output = PostAnswer)]
pub async fn command_output(project: ProjectId, command: CommandId, from: Option<u64>) -> Result<LogSlice, ApiError> {
    backend()?.command_output(project, command, from).await
}

/// Sets what the sandbox may reach where no rule says otherwise; the rules stay.
#[server(prefix = "/api/fn", endpoint = "set_network_mode", input = PostArguments, output = PostAnswer)]
pub async fn set_network_mode(project: ProjectId, mode: NetworkMode) -> Result<(), ApiError> {
    backend()?.set_network_mode(project, mode).await
}

/// Allows one more destination: a name, an address, or either with a port.
#[server(prefix = "/api/fn", endpoint = "allow_destination", input = PostArguments, output = PostAnswer)]
pub async fn allow_destination(project: ProjectId, target: String) -> Result<(), ApiError> {
    backend()?.allow_destination(project, target).await
}

/// What is known of a model by trying it, as soon as there is more than `seen`. One that costs nothing and was never tried
/// is tried from now on.
#[server(prefix = "/api/fn", endpoint = "try_model", input = PostArguments, output = PostAnswer)]
pub async fn try_model(model: String, seen: u32) -> Result<ModelTrial, ApiError> {
    backend()?.try_model(model, seen).await
}

/// What stands inside a page of the runs dashboard, drawn again. `path` is the page's path and query.
#[server(prefix = "/api/fn", endpoint = "runs_part", input = PostArguments, output = PostAnswer)]
pub async fn runs_part(path: String) -> Result<String, ApiError> {
    backend()?.runs_part(path).await
}
