//! `stop_command`: ends a command that runs in the background.

use super::{Job, Report, Tool, ToolError, args};
use crate::domain::ProjectId;
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// The tool.
pub(super) struct StopCommand;

impl Tool for StopCommand {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "stop_command",
            description: "Stop a background command and everything it started.",
            parameters: json!({
                "type": "object",
                "properties": {"command_id": {"type": "string", "description": "The cmd_... that run_command returned"}},
                "required": ["command_id"],
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let command = args::command(arguments)?;
        let input = json!({"project": project, "commandId": command});
        Ok(Job::new("stop a command", "stopCommand", input, move |_| {
            Ok(Report { summary: "stopped".to_owned(), output: format!("{command} is stopped"), in_vain: false })
        }))
    }
}
