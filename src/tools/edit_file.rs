//! `edit_file`: exact search and replace in one file, several at once, all or nothing.

use super::{Job, Report, Tool, ToolError, args};
use crate::domain::ProjectId;
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// The tool.
pub(super) struct EditFile;

impl Tool for EditFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "edit_file",
            description: "Change a file by exact search and replace. Each search text must occur exactly once in the \
                          file, so include enough of the lines around it. All edits are made or none.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Relative to the workspace"},
                    "edits": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "search": {"type": "string", "description": "Text in the file, exactly as it is, with its spaces"},
                                "replace": {"type": "string", "description": "What takes its place"},
                            },
                            "required": ["search", "replace"],
                        },
                    },
                },
                "required": ["path", "edits"],
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let path = args::path(arguments, "path")?;
        let mut edits = Vec::new();
        for edit in args::list(arguments, "edits")? {
            let search = args::text(edit, "search")?;
            if search.is_empty() {
                return Err(ToolError::Model(
                    "\"search\" is empty; to write a whole file use generate_files".to_owned(),
                ));
            }
            edits.push(json!({"search": search, "replace": args::text(edit, "replace")?}));
        }
        let count = edits.len();
        let title = path.clone();
        Ok(Job::new(title, "editFile", json!({"project": project, "path": path, "edits": edits}), move |_| {
            let changes = if count == 1 { "1 change".to_owned() } else { format!("{count} changes") };
            Ok(Report { output: format!("{path}: {changes} made"), summary: changes, in_vain: false })
        }))
    }
}
