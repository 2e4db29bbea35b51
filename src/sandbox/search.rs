//! Searching the files of a workspace, also while its sandbox sleeps. Bounded in files, bytes and results.

use super::SandboxError;
use super::provider::ListOptions;
use super::service::Service;
use crate::domain::{FileKind, ProjectId};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// The most lines found.
const LINES_MAX: usize = 200;
/// The most files looked into.
const FILES_MAX: usize = 5000;
/// Larger files are not looked into.
const FILE_MAX: u64 = 1 << 20;
/// Characters of a line that are shown.
const LINE_CHARS: usize = 240;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Search {
    /// Text, or a regular expression if `regex` is set.
    pub pattern: String,
    /// Whether the pattern is a regular expression.
    #[serde(default)]
    pub regex: bool,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    pub ignore_case: bool,
    /// Only below this folder; empty for everything.
    #[serde(default)]
    pub folder: String,
    /// Only files whose path ends like this, for instance `.tsx`.
    #[serde(default)]
    pub ending: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The lines, at most 200.
    pub lines: Vec<FoundLine>,
    /// Whether there are more.
    pub more: bool,
    /// Files looked into.
    pub files: usize,
}

/// A line that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundLine {
    /// The file.
    pub path: String,
    /// Its number, from 1.
    pub number: usize,
    /// The line, cut.
    pub text: String,
}

impl Service {
    /// Lines that match, by path and number.
    pub async fn search_files(&self, project: &ProjectId, search: Search) -> Result<Found, SandboxError> {
        let pattern = compile(&search)?;
        let entry = self.inner.entry(project).await?;
        let options = ListOptions { depth: 24, max_entries: FILES_MAX, skip: super::files::skipped() };
        let files = entry.present_files().await?;
        let listing = match files.list(&search.folder, options).await {
            Ok(listing) => listing,
            Err(SandboxError::NotFound(_)) if search.folder.is_empty() => return Ok(Found::default()),
            Err(error) => return Err(error),
        };
        let mut found = Found::default();
        for info in listing.entries {
            let wanted = info.kind == FileKind::File && info.size <= FILE_MAX && info.path.ends_with(&search.ending);
            if !wanted {
                continue;
            }
            // A file that went away meanwhile has no lines.
            let Ok(content) = files.read(&info.path, 0, FILE_MAX).await else { continue };
            let Ok(text) = std::str::from_utf8(&content) else { continue };
            found.files += 1;
            for (number, line) in text.lines().enumerate().filter(|(_, line)| pattern.is_match(line)) {
                if found.lines.len() == LINES_MAX {
                    found.more = true;
                    return Ok(found);
                }
                let text = line.trim().chars().take(LINE_CHARS).collect();
                found.lines.push(FoundLine { path: info.path.clone(), number: number + 1, text });
            }
        }
        Ok(found)
    }
}

fn compile(search: &Search) -> Result<Regex, SandboxError> {
    let pattern = if search.regex { search.pattern.clone() } else { regex::escape(&search.pattern) };
    RegexBuilder::new(&pattern)
        .case_insensitive(search.ignore_case)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| SandboxError::Invalid(format!("the regular expression cannot be read: {error}")))
}
