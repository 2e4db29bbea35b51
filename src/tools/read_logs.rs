//! `read_logs`: the end of a command's output, while it runs and afterwards.

use super::text::{OUTPUT_MAX, gist, last_lines, plain, tail};
use super::{Job, Report, Tool, ToolError, args};
use crate::domain::{CommandExit, ProjectId};
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// Lines shown unless the model names a number.
const DEFAULT_LINES: u64 = 100;

/// The tool.
pub(super) struct ReadLogs;

impl Tool for ReadLogs {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read_logs",
            description: "Read the end of a command's output, for instance of a dev server in the background, to find \
                          errors or to see whether it is ready.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "command_id": {"type": "string", "description": "The cmd_... that run_command returned; default: the newest background command"},
                    "lines": {"type": "integer", "description": format!("How many lines; default {DEFAULT_LINES}")},
                },
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let command = match arguments.get("command_id") {
            None | Some(Value::Null) => None,
            Some(_) => Some(args::command(arguments)?),
        };
        let lines = args::number(arguments, "lines", 1, 5000)?.unwrap_or(DEFAULT_LINES);
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        let input = json!({"project": project, "commandId": command, "tail": OUTPUT_MAX * 2});
        Ok(Job::new("output of a command", "readLogs", input, move |output| {
            let text = plain(output.get("text").and_then(Value::as_str).unwrap_or_default());
            let shown = tail(last_lines(&text, lines), OUTPUT_MAX);
            let summary = gist(&shown).unwrap_or_else(|| "no output".to_owned());
            let exit: Option<CommandExit> =
                output.get("exit").and_then(|exit| serde_json::from_value(exit.clone()).ok());
            let which =
                output.get("line").and_then(Value::as_str).map(|line| format!("$ {line}\n")).unwrap_or_default();
            let state = exit.map_or_else(|| "still running".to_owned(), |exit| format!("ended: {}", exit.describe()));
            let shown = if shown.is_empty() { "(no output so far)" } else { &shown };
            Ok(Report { summary, output: format!("{which}{state}\n{shown}"), in_vain: false })
        }))
    }
}
