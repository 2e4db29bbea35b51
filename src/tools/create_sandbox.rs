//! `create_sandbox`: makes or wakes the project's sandbox.

use super::{Job, Report, Tool, ToolError};
use crate::domain::ProjectId;
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// The tool.
pub(super) struct CreateSandbox;

impl Tool for CreateSandbox {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "create_sandbox",
            description: "Create the project's sandbox, or wake it if it sleeps. Call it once before anything else in \
                          a new project. There is one sandbox per project; calling again is harmless and keeps files.",
            parameters: json!({"type": "object", "properties": {}}),
        }
    }

    fn prepare(&self, project: &ProjectId, _: &Value) -> Result<Job, ToolError> {
        Ok(Job::new("sandbox", "createSandbox", json!({"project": project}), |_| {
            Ok(Report {
                summary: String::new(),
                output: "The sandbox is ready. The workspace is /home/user; paths are relative to it.".to_owned(),
                in_vain: false,
            })
        }))
    }
}
