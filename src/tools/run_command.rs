//! `run_command`: runs a shell command line, waiting for its end or leaving it in the background.

use super::text::{OUTPUT_MAX, gist, plain, tail};
use super::{Job, Report, Tool, ToolError, args};
use crate::domain::{CommandExit, ProjectId};
use crate::llm::ToolSpec;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest time a model may ask for, in seconds.
const TIMEOUT_MAX: u64 = 1800;

/// How long commands may take.
#[derive(Clone, Copy, Debug)]
pub struct RunCommandLimits {
    /// When the model names no time.
    pub default: Duration,
}

/// The tool.
pub(super) struct RunCommand {
    limits: RunCommandLimits,
}

/// What the task returns.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    command_id: String,
    #[serde(default)]
    exit_code: Option<i32>,
    #[serde(default)]
    signal: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    output: String,
    #[serde(default)]
    duration_ms: Option<u64>,
    #[serde(default)]
    interrupted: bool,
}

impl RunCommand {
    /// The tool with these limits.
    pub fn new(limits: RunCommandLimits) -> Self {
        Self { limits }
    }
}

impl Tool for RunCommand {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "run_command",
            description: "Run a shell command line (/bin/sh) in the sandbox. By default it waits for the end and \
                          returns the exit code and the end of the output. Set background to true for servers and \
                          watchers: it returns at once with a command id for read_logs and stop_command. Commands \
                          get no input; use flags such as --yes.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": {"type": "string", "description": "The command line, e.g. npm install --no-audit --no-fund"},
                    "background": {"type": "boolean", "description": "Do not wait for its end"},
                    "cwd": {"type": "string", "description": "Folder relative to the workspace"},
                    "timeout_seconds": {
                        "type": "integer",
                        "description": format!("Stop it after this time; default {}, at most {TIMEOUT_MAX}", self.limits.default.as_secs()),
                    },
                },
                "required": ["command"],
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let line = args::words(arguments, "command")?.trim();
        let background = args::flag(arguments, "background")?;
        let cwd = args::folder(arguments, "cwd")?;
        let timeout = args::number(arguments, "timeout_seconds", 1, TIMEOUT_MAX)?;
        let mut input = json!({"project": project, "command": line, "background": background, "cwd": cwd});
        let seconds = timeout.unwrap_or(self.limits.default.as_secs());
        if !background && let Some(map) = input.as_object_mut() {
            map.insert("timeoutMs".to_owned(), json!(seconds * 1000));
        }
        Ok(Job::new(line, "runCommand", input, move |output| {
            let outcome: Outcome = serde_json::from_value(output)
                .map_err(|e| ToolError::Model(format!("the command's result could not be read: {e}")))?;
            Ok(report(outcome, background))
        }))
    }
}

fn report(outcome: Outcome, background: bool) -> Report {
    let id = &outcome.command_id;
    let ended = outcome.exit_code.is_some() || outcome.signal.is_some() || outcome.reason.is_some();
    let output = tail(plain(&outcome.output).trim_end(), OUTPUT_MAX);
    let shown = if output.is_empty() { "(no output)" } else { &output };
    if outcome.interrupted {
        return Report {
            summary: "interrupted by a restart of the server".to_owned(),
            output: format!(
                "interrupted: true\nThe server restarted while {id} ran. It may have done a part of its \
                             work; run it again if that is safe.\n{shown}"
            ),
            in_vain: false,
        };
    }
    if background && !ended {
        return Report {
            summary: "running".to_owned(),
            output: format!(
                "started in the background as {id}; read_logs shows its output, get_sandbox_url waits for its port.\n{shown}"
            ),
            in_vain: false,
        };
    }
    let exit = CommandExit { code: outcome.exit_code, signal: outcome.signal, reason: outcome.reason };
    let how = exit.describe();
    let took = outcome
        .duration_ms
        .map(|ms| format!(" after {:.1} s", Duration::from_millis(ms).as_secs_f64()))
        .unwrap_or_default();
    let early = if background { "\nIt was to keep running in the background but has ended." } else { "" };
    let summary = match (exit.success(), gist(&output)) {
        (true, Some(line)) => line,
        (true, None) => "done".to_owned(),
        (false, Some(line)) => format!("{how}: {line}"),
        (false, None) => how.clone(),
    };
    Report { summary, output: format!("{how}{took} ({id}){early}\n{shown}"), in_vain: !exit.success() || background }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(value: Value) -> Outcome {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_failing_command_tells_the_model_its_code_and_its_output() {
        let got = report(
            outcome(json!({"commandId": "cmd_1", "exitCode": 127, "output": "sh: go: not found\n", "durationMs": 40})),
            false,
        );
        assert_eq!(got.output, "exit code 127 after 0.0 s (cmd_1)\nsh: go: not found");
        assert_eq!(got.summary, "exit code 127: sh: go: not found");
        assert!(got.in_vain);
    }

    #[test]
    fn an_interrupted_command_says_so_in_a_line_of_its_own() {
        let got = report(outcome(json!({"commandId": "cmd_1", "interrupted": true, "output": ""})), false);
        assert!(got.output.starts_with("interrupted: true\n"));
    }

    #[test]
    fn a_server_that_died_at_once_is_not_reported_as_running() {
        let got = report(outcome(json!({"commandId": "cmd_1", "exitCode": 1, "output": "EADDRINUSE"})), true);
        assert!(got.output.contains("has ended") && got.in_vain);
        let got = report(outcome(json!({"commandId": "cmd_1", "output": "listening"})), true);
        assert_eq!(got.summary, "running");
    }
}
