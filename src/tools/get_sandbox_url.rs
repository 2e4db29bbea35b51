//! `get_sandbox_url`: waits until a port answers HTTP and shows it in the preview.

use super::{Job, Report, Tool, ToolError, args};
use crate::domain::ProjectId;
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// The tool.
pub(super) struct GetSandboxUrl;

impl Tool for GetSandboxUrl {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "get_sandbox_url",
            description: "Wait until the app answers HTTP on a port of the sandbox, show it in the person's preview and \
                          return its URL. If nothing answers you get the last output of the background commands.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "port": {"type": "integer", "description": "The port the app listens on, e.g. 3000"},
                    "path": {"type": "string", "description": "Path to open, default /"},
                },
                "required": ["port"],
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let port = args::number(arguments, "port", 1, 65_535)?.ok_or_else(|| {
            ToolError::Model("the field \"port\" is missing: which port does the app listen on?".to_owned())
        })?;
        let path = match arguments.get("path") {
            Some(Value::String(path)) => path.trim().trim_start_matches('/').to_owned(),
            _ => String::new(),
        };
        Ok(Job::new(
            format!("port {port}"),
            "getSandboxUrl",
            json!({"project": project, "port": port}),
            move |output| {
                let url = output.get("url").and_then(Value::as_str).unwrap_or_default();
                let status = output.get("status").and_then(Value::as_u64).unwrap_or_default();
                let url = format!("{}/{path}", url.trim_end_matches('/'));
                // The app answers, but not with a page: the model should look before it claims success.
                let hint = if status >= 400 { " That is an error page: look at the logs and fix it." } else { "" };
                Ok(Report {
                    summary: format!("HTTP {status}"),
                    output: format!("{url} answers with HTTP status {status}.{hint}"),
                    in_vain: status >= 400,
                })
            },
        ))
    }
}
