//! What changed between two trees, file by file and line by line.

use super::repo::{LINK, Leaves, Repo};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};
use std::io;
use std::time::Duration;

/// Files above this size are compared as a whole.
const TEXT_MAX: usize = 512 * 1024;
/// Lines around a change that are shown.
const CONTEXT: usize = 3;
/// Comparing one file may take so long; then it is compared coarsely.
const TIME: Duration = Duration::from_millis(500);

/// A changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Path relative to the workspace.
    pub path: String,
    /// How it changed.
    pub kind: ChangeKind,
    /// Lines that are new.
    pub added: u32,
    /// Lines that are gone.
    pub removed: u32,
    /// The changed places; empty for what is not text.
    pub hunks: Vec<Hunk>,
}

/// How a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its content or mode is another.
    Changed,
}

/// A changed place with the lines around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hunk {
    /// The first line before and after, from 1.
    pub at: (usize, usize),
    /// The lines: `+`, `-` or a space, then the text.
    pub lines: Vec<(char, String)>,
}

/// Compares two trees. Blocking.
pub(super) fn between(repo: &Repo, old: &Leaves, new: &Leaves) -> io::Result<Vec<FileChange>> {
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut changes = Vec::new();
    for path in paths {
        let (before, after) = (old.get(path), new.get(path));
        let kind = match (before, after) {
            (before, after) if before == after => continue,
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let text = |leaf: Option<&super::repo::Leaf>| match leaf {
            None => Ok(Some(String::new())),
            Some(leaf) if leaf.mode == LINK => Ok(None),
            Some(leaf) => Ok::<_, io::Error>(as_text(repo.read("blob", leaf.id)?)),
        };
        let (hunks, added, removed) = match (text(before)?, text(after)?) {
            (Some(before), Some(after)) => hunks(&before, &after),
            _ => (Vec::new(), 0, 0),
        };
        changes.push(FileChange { path: path.clone(), kind, added, removed, hunks });
    }
    Ok(changes)
}

fn as_text(content: Vec<u8>) -> Option<String> {
    if content.len() > TEXT_MAX || content.contains(&0) { None } else { String::from_utf8(content).ok() }
}

fn hunks(before: &str, after: &str) -> (Vec<Hunk>, u32, u32) {
    let diff = TextDiff::configure().timeout(TIME).diff_lines(before, after);
    let (mut added, mut removed) = (0, 0);
    let mut hunks = Vec::new();
    for group in diff.grouped_ops(CONTEXT) {
        let Some(first) = group.first() else { continue };
        let at = (first.old_range().start + 1, first.new_range().start + 1);
        let mut lines = Vec::new();
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Insert => {
                    added += 1;
                    '+'
                }
                ChangeTag::Delete => {
                    removed += 1;
                    '-'
                }
                ChangeTag::Equal => ' ',
            };
            lines.push((sign, change.value().trim_end_matches(['\n', '\r']).to_owned()));
        }
        hunks.push(Hunk { at, lines });
    }
    (hunks, added, removed)
}

#[cfg(test)]
mod tests {
    use super::super::repo::Leaf;
    use super::*;

    #[test]
    fn a_change_is_told_with_its_lines_and_binary_files_without() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::open(dir.path().join("r")).unwrap();
        let tree = |files: &[(&str, &[u8])]| -> Leaves {
            let leaf = |content: &[u8]| Leaf { mode: 0o100_644, id: repo.write("blob", content).unwrap() };
            files.iter().map(|(path, content)| ((*path).to_owned(), leaf(content))).collect()
        };
        let old = tree(&[("a", b"1\n2\n3\n"), ("gone", b"x\n"), ("same", b"s"), ("bin", b"\0a")]);
        let new = tree(&[("a", b"1\ntwo\n3\n"), ("new", b"n\nm\n"), ("same", b"s"), ("bin", b"\0b")]);
        let got = between(&repo, &old, &new).unwrap();
        let short: Vec<_> = got.iter().map(|c| (c.path.as_str(), c.kind, c.added, c.removed)).collect();
        assert_eq!(
            short,
            [
                ("a", ChangeKind::Changed, 1, 1),
                ("bin", ChangeKind::Changed, 0, 0),
                ("gone", ChangeKind::Removed, 0, 1),
                ("new", ChangeKind::Added, 2, 0)
            ]
        );
        let lines: Vec<String> = got[0].hunks[0].lines.iter().map(|(sign, text)| format!("{sign}{text}")).collect();
        assert_eq!(lines, [" 1", "-2", "+two", " 3"]);
    }
}
