//! `generate_files`: writes whole files, whose contents are in the call.

use super::{Job, Report, Tool, ToolError, args};
use crate::domain::ProjectId;
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// Bytes of one file and of one call. The workspace's own limits come on top.
const FILE_MAX: usize = 2 * 1024 * 1024;
const CALL_MAX: usize = 8 * 1024 * 1024;

/// The tool.
pub(super) struct GenerateFiles;

impl Tool for GenerateFiles {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "generate_files",
            description: "Write files with their complete contents. Existing files are replaced, folders are made. For \
                          small changes to a file that exists use edit_file instead. Put each path before its content.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "files": {
                        "type": "array",
                        "description": "The files, in the order in which a reader would want them",
                        "items": {
                            "type": "object",
                            "properties": {
                                "path": {"type": "string", "description": "Relative to the workspace, e.g. src/app.js"},
                                "content": {"type": "string", "description": "The whole content"},
                            },
                            "required": ["path", "content"],
                        },
                    },
                },
                "required": ["files"],
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let mut files = Vec::new();
        let mut total = 0;
        for (at, file) in args::list(arguments, "files")?.iter().enumerate() {
            let named = |error| match error {
                ToolError::Model(message) => ToolError::Model(format!("files[{at}]: {message}")),
                fatal @ ToolError::Fatal(_) => fatal,
            };
            let path = args::path(file, "path").map_err(named)?;
            let content = args::text(file, "content").map_err(named)?;
            total += content.len();
            if content.len() > FILE_MAX || total > CALL_MAX {
                return Err(ToolError::Model(format!("{path}: files may have 2 MiB each and 8 MiB in one call")));
            }
            files.push(json!({"path": path, "content": content}));
        }
        let written: Vec<(String, usize)> = files
            .iter()
            .map(|f| (f["path"].as_str().unwrap_or_default().to_owned(), f["content"].as_str().map_or(0, str::len)))
            .collect();
        let title = match written.as_slice() {
            [(path, _)] => path.clone(),
            many => format!("{} files", many.len()),
        };
        Ok(Job::new(title, "writeFiles", json!({"project": project, "files": files}), move |_| {
            let list: String = written.iter().map(|(path, bytes)| format!("{path} ({bytes} bytes)\n")).collect();
            Ok(Report { summary: size(total), output: format!("Written:\n{list}"), in_vain: false })
        }))
    }
}

/// A size for people.
fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        _ => format!("{:.1} KB", bytes as f64 / 1024.0),
    }
}
