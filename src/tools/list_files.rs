//! `list_files`: what is in the workspace.

use super::text::OUTPUT_MAX;
use super::{Job, Report, Tool, ToolError, args};
use crate::domain::{FileKind, FileNode, ProjectId};
use crate::llm::ToolSpec;
use serde_json::{Value, json};
use std::fmt::Write;

/// The tool.
pub(super) struct ListFiles;

impl Tool for ListFiles {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "list_files",
            description: "List the files of the workspace with their sizes. Folders such as node_modules are named but \
                          not entered.",
            parameters: json!({
                "type": "object",
                "properties": {"path": {"type": "string", "description": "A folder; default is the whole workspace"}},
            }),
        }
    }

    fn prepare(&self, project: &ProjectId, arguments: &Value) -> Result<Job, ToolError> {
        let folder = args::folder(arguments, "path")?;
        let title = if folder.is_empty() { "workspace".to_owned() } else { folder.clone() };
        Ok(Job::new(title, "listFiles", json!({"project": project}), move |output| {
            let nodes = output.get("files").unwrap_or(&output).clone();
            let tree: Vec<FileNode> = serde_json::from_value(nodes)
                .map_err(|e| ToolError::Model(format!("the list could not be read: {e}")))?;
            let inside = if folder.is_empty() { Some(tree.as_slice()) } else { find(&tree, &folder) };
            let nodes = inside.ok_or_else(|| ToolError::Model(format!("there is no folder \"{folder}\"")))?;
            let mut lines = String::new();
            let count = list(nodes, &mut lines);
            let output = if lines.is_empty() { "(no files)".to_owned() } else { lines };
            let summary = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
            Ok(Report { summary, output, in_vain: false })
        }))
    }
}

fn find<'a>(nodes: &'a [FileNode], folder: &str) -> Option<&'a [FileNode]> {
    nodes.iter().filter(|n| n.kind == FileKind::Directory).find_map(|node| {
        if node.path == folder { Some(node.children.as_slice()) } else { find(&node.children, folder) }
    })
}

/// Writes one line an entry and returns the number of files.
fn list(nodes: &[FileNode], out: &mut String) -> usize {
    let mut count = 0;
    for node in nodes {
        if out.len() > OUTPUT_MAX {
            if !out.ends_with("…\n") {
                out.push_str("…\n");
            }
            continue;
        }
        // Writing to a String cannot fail.
        let _ = match node.kind {
            FileKind::Directory if node.truncated => writeln!(out, "{}/ (not listed)", node.path),
            FileKind::Directory => {
                count += list(&node.children, out);
                Ok(())
            }
            FileKind::Symlink => writeln!(out, "{} (link)", node.path),
            FileKind::File => {
                count += 1;
                writeln!(out, "{} {}", node.path, node.size)
            }
        };
    }
    count
}
