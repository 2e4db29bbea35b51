//! Workspace paths and the file tree, as text: nothing here touches a disk.

use super::json::FromJson;
use serde::{Deserialize, Serialize};

/// Entries of a project's tree at most; the ones behind are not listed.
pub const TREE_MAX: usize = 5000;
/// The longest path accepted, in bytes.
const PATH_MAX: usize = 1024;

/// Why a path is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing left after cleaning.
    #[error("the path is empty")]
    Empty,
    /// `..` would leave the workspace, or the path is absolute and elsewhere.
    #[error("\"{0}\" is outside the workspace; use a path relative to it")]
    Escapes(String),
    /// Over 1,024 bytes.
    #[error("the path is longer than 1024 bytes")]
    TooLong,
    /// A NUL or another control character.
    #[error("the path contains a control character")]
    Control,
}

/// Makes a path relative to the workspace: strips `./`, `/home/user/` and doubled slashes, resolves `..`.
///
/// The workspace's root itself is the empty string, which is an error here: callers that allow it check first.
pub fn clean_path(path: &str) -> Result<String, PathError> {
    if path.len() > PATH_MAX {
        return Err(PathError::TooLong);
    }
    if path.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    let escapes = || PathError::Escapes(path.to_owned());
    let inner = match path.strip_prefix("/home/user") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ if path.starts_with('/') => return Err(escapes()),
        _ => path.strip_prefix("~/").unwrap_or(path),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in inner.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(escapes)?;
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { Err(PathError::Empty) } else { Ok(parts.join("/")) }
}

/// What a tree's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link; it is shown, never followed.
    Symlink,
}

/// An entry of the file tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct FileNode {
    /// The last part of its path.
    pub name: String,
    /// Path relative to the workspace.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes, for files.
    pub size: u64,
    /// Entries of a directory, directories first, then by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<FileNode>,
    /// Whether a directory has entries that are not listed here (`node_modules`, or too deep).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Builds the tree from flat entries `(path, kind, size)`. Missing parents are made; order does not matter.
pub fn build_tree(entries: impl IntoIterator<Item = (String, FileKind, u64)>) -> Vec<FileNode> {
    let mut roots: Vec<FileNode> = Vec::new();
    for (path, kind, size) in entries {
        insert(&mut roots, "", &path, kind, size);
    }
    sort(&mut roots);
    roots
}

fn insert(nodes: &mut Vec<FileNode>, parent: &str, rest: &str, kind: FileKind, size: u64) {
    let (name, deeper) = match rest.split_once('/') {
        Some((name, deeper)) => (name, Some(deeper)),
        None => (rest, None),
    };
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
    let at = nodes.iter().position(|n| n.name == name).unwrap_or_else(|| {
        nodes.push(FileNode {
            name: name.to_owned(),
            path: path.clone(),
            kind: FileKind::Directory,
            size: 0,
            children: Vec::new(),
            truncated: false,
        });
        nodes.len() - 1
    });
    let Some(node) = nodes.get_mut(at) else { return };
    match deeper {
        Some(deeper) => insert(&mut node.children, &path, deeper, kind, size),
        None => {
            node.kind = kind;
            node.size = size;
        }
    }
}

fn sort(nodes: &mut [FileNode]) {
    nodes.sort_by(|a, b| {
        let rank = |n: &FileNode| n.kind != FileKind::Directory;
        rank(a)
            .cmp(&rank(b))
            .then_with(|| a.name.to_ascii_lowercase().cmp(&b.name.to_ascii_lowercase()))
            .then_with(|| a.name.cmp(&b.name))
    });
    for node in nodes {
        sort(&mut node.children);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_relative_and_never_leave_the_workspace() {
        let clean = |p| clean_path(p);
        assert_eq!(clean("./app//page.tsx"), Ok("app/page.tsx".to_owned()));
        assert_eq!(clean("/home/user/a/../b"), Ok("b".to_owned()));
        assert_eq!(clean("~/x"), Ok("x".to_owned()));
        assert!(matches!(clean("../x"), Err(PathError::Escapes(_))));
        assert!(matches!(clean("/etc/passwd"), Err(PathError::Escapes(_))));
        assert!(matches!(clean("/home/username/x"), Err(PathError::Escapes(_))));
        assert_eq!(clean("a/.."), Err(PathError::Empty));
        assert_eq!(clean("a\0b"), Err(PathError::Control));
    }

    #[test]
    fn the_tree_puts_directories_first_and_sorts_by_name() {
        let file = |p: &str| (p.to_owned(), FileKind::File, 1);
        let tree = build_tree([file("b.txt"), file("src/z.rs"), file("A.txt"), file("src/a/m.rs")]);
        let names: Vec<_> = tree.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["src", "A.txt", "b.txt"]);
        assert_eq!(tree[0].children[0].path, "src/a");
        assert_eq!(tree[0].children[0].children[0].path, "src/a/m.rs");
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_clean_path_is_plain_and_stays_as_it_is(path in "(/home/user/?|~/|/|\\./)?([^/]{0,4}/|\\.\\./|\\./|//){0,6}\\PC{0,6}") {
            if let Ok(clean) = clean_path(&path) {
                prop_assert!(!clean.is_empty() && !clean.starts_with('/') && !clean.ends_with('/'));
                prop_assert!(clean.split('/').all(|part| !["", ".", ".."].contains(&part)));
                prop_assert!(!clean.chars().any(char::is_control) && clean.len() <= PATH_MAX);
                // A first part that is a tilde means the workspace, so that one is taken off again.
                if !clean.starts_with("~/") {
                    let again = clean_path(&clean);
                    prop_assert_eq!(again, Ok(clean));
                }
            }
        }
    }
}
