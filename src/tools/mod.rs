//! What the model can do: one file a tool, each a schema, a translation of arguments to one task, and a report.
//!
//! A tool is pure. [`Tool::prepare`] turns arguments into a [`Job`] (a task with its input), the agent has the
//! workflow run it, and [`Job::report`] puts the task's output into words. So a tool cannot touch a sandbox, and every
//! effect of the agent is a run that can be seen, retried and cancelled.

mod args;
mod create_sandbox;
mod edit_file;
mod fetch_page;
mod generate_files;
mod get_sandbox_url;
mod lenient;
mod list_files;
mod read_file;
mod read_logs;
mod run_command;
mod search_files;
mod step_check;
mod stop_command;
mod text;
mod update_plan;

use crate::domain::{ApiError, ErrorCode, PlanStep, ProjectId};
use crate::llm::ToolSpec;
use serde_json::Value;
use std::time::Duration;

pub use run_command::RunCommandLimits;

/// Something the model can ask for.
pub trait Tool: Send + Sync {
    /// Its name, description and argument schema, as the model sees them.
    fn spec(&self) -> ToolSpec;

    /// Translates arguments into a job. Errors tell the model what to correct.
    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError>;
}

/// What a call comes to.
pub enum Action {
    /// A task to run.
    Run(Job),
    /// A plan to show.
    Plan(Planned),
}

/// A plan to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// All of it.
    pub steps: Vec<PlanStep>,
    /// Checks that could not be read, each in a sentence for the model.
    pub left_out: Vec<String>,
}

/// A task to run for a call.
pub struct Job {
    /// What it does in a few words, for the card: `npm install`, `4 files`.
    pub title: String,
    /// The task's name.
    pub task: &'static str,
    /// Its input.
    pub input: Value,
    /// How long it may take, where the tool knows.
    pub max_duration: Option<Duration>,
    /// Puts the output into words.
    report: Reporter,
}

type Reporter = Box<dyn FnOnce(Value) -> Result<Report, ToolError> + Send>;

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One line for the card.
    pub summary: String,
    /// What the model reads.
    pub output: String,
    /// Whether it came to nothing although it ran (a command with an exit code): repeating it unchanged is pointless.
    pub in_vain: bool,
}

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// The model is told and may correct itself.
    #[error("{0}")]
    Model(String),
    /// The turn cannot go on.
    #[error("{0}")]
    Fatal(ApiError),
}

impl Job {
    fn new<R>(title: impl Into<String>, task: &'static str, input: Value, report: R) -> Self
    where
        R: FnOnce(Value) -> Result<Report, ToolError> + Send + 'static,
    {
        Self { title: title.into(), task, input, max_duration: None, report: Box::new(report) }
    }

    /// Puts the task's outcome into words. Failures a model can do something about become [`ToolError::Model`].
    pub fn report(self, outcome: Result<Value, ApiError>) -> Result<Report, ToolError> {
        match outcome {
            Ok(output) => (self.report)(output),
            Err(error) => match error.code {
                ErrorCode::Cancelled | ErrorCode::Storage | ErrorCode::Internal => Err(ToolError::Fatal(error)),
                _ => Err(ToolError::Model(error.message)),
            },
        }
    }
}

/// All tools, in the order in which the model is told of them.
pub struct Toolbox(Vec<Box<dyn Tool>>);

impl Toolbox {
    /// The standard tools.
    pub fn new(limits: RunCommandLimits) -> Self {
        Self(vec![
            Box::new(create_sandbox::CreateSandbox),
            Box::new(generate_files::GenerateFiles),
            Box::new(run_command::RunCommand::new(limits)),
            Box::new(get_sandbox_url::GetSandboxUrl),
            Box::new(read_file::ReadFile),
            Box::new(edit_file::EditFile),
            Box::new(list_files::ListFiles),
            Box::new(search_files::SearchFiles),
            Box::new(read_logs::ReadLogs),
            Box::new(stop_command::StopCommand),
            Box::new(fetch_page::FetchPage),
        ])
    }

    /// What the model is told.
    pub fn specs(&self) -> Vec<ToolSpec> {
        self.0.iter().map(|tool| tool.spec()).chain([update_plan::spec()]).collect()
    }

    /// Parses a call as the model wrote it.
    pub fn prepare(&self, project: &ProjectId, name: &str, arguments: &str) -> Result<Action, ToolError> {
        let tool = self.0.iter().find(|tool| means(name, tool.spec().name));
        if tool.is_none() && !means(name, update_plan::NAME) {
            let known: Vec<&str> = self.specs().iter().map(|spec| spec.name).collect();
            return Err(ToolError::Model(format!("there is no tool \"{name}\". The tools are: {}.", known.join(", "))));
        }
        let arguments = lenient::parse(arguments).map_err(|error| {
            let cut = if error.is_eof() {
                " They end too early: the call was probably longer than one answer may be, so split it (for instance \
                 fewer files in each call)."
            } else {
                ""
            };
            ToolError::Model(format!("the arguments of {name} are not valid JSON ({error}).{cut} Send the call again."))
        })?;
        if !arguments.is_object() {
            return Err(ToolError::Model(format!("the arguments of {name} must be one JSON object with named fields")));
        }
        match tool {
            Some(tool) => tool.prepare(project, &arguments).map(Action::Run),
            None => update_plan::read(&arguments).map(Action::Plan),
        }
    }
}

/// Whether a model that writes `said` means the tool `name`: `functions.runCommand` and `run-command` are `run_command`.
fn means(said: &str, name: &str) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let said = said.trim();
    said == name || plain(said.rsplit(['.', ':', '/']).next().unwrap_or(said)) == plain(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepare(name: &str, arguments: &str) -> Result<Job, ToolError> {
        let project = ProjectId::parse("prj_1").unwrap();
        let toolbox = Toolbox::new(RunCommandLimits { default: Duration::from_secs(300) });
        match toolbox.prepare(&project, name, arguments)? {
            Action::Run(job) => Ok(job),
            Action::Plan(plan) => panic!("{plan:?}"),
        }
    }

    fn message(name: &str, arguments: &str) -> String {
        match prepare(name, arguments) {
            Err(ToolError::Model(message)) => message,
            Err(other) => panic!("{other:?}"),
            Ok(job) => panic!("{}", job.title),
        }
    }

    #[test]
    fn an_unknown_tool_is_answered_with_the_known_ones() {
        let text = message("make_coffee", "{}");
        assert!(
            text.contains("make_coffee") && text.contains("run_command") && text.contains("stop_command"),
            "{text}"
        );
    }

    #[test]
    fn malformed_arguments_are_answered_with_what_is_wrong() {
        assert!(message("run_command", "{\"command\": \"ls").contains("end too early"));
        assert!(message("run_command", "{\"command\" \"ls\"}").contains("not valid JSON"));
        assert!(message("run_command", "{}").contains("\"command\""));
        assert!(message("run_command", "{\"command\": 5}").contains("\"command\""));
        assert!(message("generate_files", "{\"files\": []}").contains("\"files\""));
        assert!(
            message("generate_files", "{\"files\": [{\"path\": \"../../x\", \"content\": \"\"}]}")
                .contains("outside the workspace")
        );
        assert!(message("get_sandbox_url", "{\"port\": 99999}").contains("\"port\""));
        assert!(
            message("edit_file", "{\"path\": \"a\", \"edits\": [{\"search\": \"\", \"replace\": \"\"}]}")
                .contains("\"search\"")
        );
        assert!(message("read_logs", "{\"command_id\": \"7\"}").contains("command"));
    }

    #[test]
    fn numbers_and_flags_in_quotes_are_understood() {
        let job = prepare("run_command", "{\"command\": \"node x\", \"background\": \"true\"}").ok().unwrap();
        assert_eq!(job.input["background"], json!(true));
        let job = prepare("get_sandbox_url", "{\"port\": \"3000\"}").ok().unwrap();
        assert_eq!(job.input["port"], json!(3000));
    }

    #[test]
    fn every_schema_names_its_required_fields_among_its_properties() {
        for spec in Toolbox::new(RunCommandLimits { default: Duration::from_secs(1) }).specs() {
            let required = spec.parameters["required"].as_array().cloned().unwrap_or_default();
            assert!(
                required.iter().all(|f| spec.parameters["properties"].get(f.as_str().unwrap()).is_some()),
                "{}",
                spec.name
            );
        }
    }
}
