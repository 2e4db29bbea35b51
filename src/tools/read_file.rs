//! `read_file`: reads a text file, or some of its lines.

use super::text::OUTPUT_MAX;
use super::{Job, Report, Tool, ToolError, args};
use crate::domain::ProjectId;
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// The tool.
pub(super) struct ReadFile;

/// More than [`OUTPUT_MAX`], because a file that is cut cannot be edited exactly.
const FILE_MAX: usize = 4 * OUTPUT_MAX;

impl Tool for ReadFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read_file",
            description: "Read a text file of the workspace. Give line numbers to read a part of a long file.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Relative to the workspace"},
                    "start_line": {"type": "integer", "description": "First line, from 1"},
                    "end_line": {"type": "integer", "description": "Last line, included"},
                },
                "required": ["path"],
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let path = args::path(arguments, "path")?;
        let start = args::number(arguments, "start_line", 1, u64::from(u32::MAX))?;
        let end = args::number(arguments, "end_line", 1, u64::from(u32::MAX))?;
        let title = path.clone();
        Ok(Job::new(title, "readFile", json!({"project": project, "path": path}), move |output| {
            let size = output.get("size").and_then(Value::as_u64).unwrap_or_default();
            let Some(text) = output.get("text").and_then(Value::as_str) else {
                return Err(ToolError::Model(format!("{path} is not a text file ({size} bytes)")));
            };
            let lines = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
            let (first, last) = (lines(start).unwrap_or(1), lines(end).unwrap_or(usize::MAX));
            let part: Vec<&str> =
                text.split_inclusive('\n').skip(first - 1).take(last.saturating_sub(first - 1)).collect();
            let count = part.len();
            let mut shown = part.concat();
            let mut note = String::new();
            if shown.len() > FILE_MAX {
                let cut = (0..=FILE_MAX).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
                shown.truncate(cut);
                let at = first + shown.lines().count();
                note = format!("\n[cut here; go on with start_line {at}]");
            } else if output.get("truncated").and_then(Value::as_bool) == Some(true) {
                note = format!("\n[the file is longer: {size} bytes in all]");
            }
            let summary = if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
            let output = if size == 0 { "(the file is empty)".to_owned() } else { format!("{shown}{note}") };
            Ok(Report { summary, output, in_vain: false })
        }))
    }
}
