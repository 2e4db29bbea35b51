//! `search_files`: finds lines in the workspace.

use super::text::OUTPUT_MAX;
use super::{Job, Report, Tool, ToolError, args};
use crate::domain::ProjectId;
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// The tool.
pub(super) struct SearchFiles;

impl Tool for SearchFiles {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "search_files",
            description: "Find lines in the files of the workspace. Packages, caches and build output are left out. \
                          Returns path:line: text, at most 200 lines.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "pattern": {"type": "string", "description": "Text to find, exactly as it is"},
                    "regex": {"type": "boolean", "description": "Whether pattern is a regular expression"},
                    "ignore_case": {"type": "boolean"},
                    "path": {"type": "string", "description": "A folder; default is the whole workspace"},
                    "ending": {"type": "string", "description": "Only files whose names end so, e.g. .tsx"},
                },
                "required": ["pattern"],
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let pattern = args::words(arguments, "pattern")?;
        let ending = match arguments.get("ending") {
            None | Some(Value::Null) => String::new(),
            // `*.tsx` is how people write it.
            Some(_) => args::text(arguments, "ending")?.trim_start_matches('*').to_owned(),
        };
        let input = json!({
            "project": project,
            "pattern": pattern,
            "regex": args::flag(arguments, "regex")?,
            "ignoreCase": args::flag(arguments, "ignore_case")?,
            "folder": args::folder(arguments, "path")?,
            "ending": ending,
        });
        Ok(Job::new(pattern, "searchFiles", input, |output| Ok(report(&output))))
    }
}

fn report(output: &Value) -> Report {
    let lines = output.get("lines").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let files = output.get("files").and_then(Value::as_u64).unwrap_or_default();
    if lines.is_empty() {
        let output = format!("No line matches in {files} files.");
        return Report { summary: "nothing found".to_owned(), output, in_vain: false };
    }
    let mut text = String::new();
    let mut shown = 0;
    for line in lines {
        let part = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = line.get("number").and_then(Value::as_u64).unwrap_or_default();
        let next = format!("{}:{number}: {}\n", part("path"), part("text"));
        if text.len() + next.len() > OUTPUT_MAX {
            break;
        }
        text.push_str(&next);
        shown += 1;
    }
    let more = output.get("more").and_then(Value::as_bool).unwrap_or_default();
    if more || shown < lines.len() {
        text.push_str(&format!("[only the first {shown} lines are shown; search for something narrower]\n"));
    }
    let summary = if shown == 1 { "1 line".to_owned() } else { format!("{shown} lines") };
    Report { summary, output: text, in_vain: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_named() {
        let line = |n: usize| json!({"path": "a.js", "number": n, "text": "x".repeat(200)});
        let got = report(&json!({"lines": (1..=200).map(line).collect::<Vec<_>>(), "more": true, "files": 3}));
        assert!(got.output.starts_with("a.js:1: xxx") && got.output.len() < OUTPUT_MAX + 100);
        assert!(got.output.contains("search for something narrower"));
        assert!(report(&json!({"lines": [], "files": 3})).output.contains("3 files"));
    }
}
