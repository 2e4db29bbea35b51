//! A project's files: whole writes, exact edits, bounded reads and the tree. Usable while the sandbox sleeps.

use super::SandboxError;
use super::edit::{self, Edit};
use super::entry::Entry;
use super::provider::{Files, ListOptions};
use super::service::{Inner, Service};
use crate::domain::{CallId, EventBody, FileKind, FileNode, ProjectId, TREE_MAX, build_tree, clean_path};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The largest file written in one piece, in bytes.
const WRITE_MAX: usize = 16 * 1024 * 1024;
/// The most text of a file that is read, in bytes.
const READ_MAX: u64 = 1024 * 1024;
/// The deepest level of a tree.
const TREE_DEPTH: u32 = 24;

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWrite {
    /// Path relative to the workspace.
    pub path: String,
    /// The whole content.
    pub content: String,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// Path relative to the workspace.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A file's content for people and models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// Path relative to the workspace.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// The text, at most 1 MiB; none for a binary file.
    pub text: Option<String>,
    /// Whether it is not UTF-8 text.
    pub binary: bool,
    /// Whether `text` is only the beginning.
    pub truncated: bool,
}

impl Service {
    /// Writes whole files and records each that was written, also when a later one fails. Every path is checked
    /// before the first is written. A file that begins with `#!` is made executable, and one that was stays so.
    pub async fn write_files(
        &self,
        project: &ProjectId,
        call: Option<&CallId>,
        files: Vec<FileWrite>,
    ) -> Result<Vec<WrittenFile>, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let mut checked = Vec::with_capacity(files.len());
        for file in files {
            if file.content.len() > WRITE_MAX {
                return Err(SandboxError::Limit(format!("{} is larger than 16 MiB", file.path)));
            }
            checked.push((clean_path(&file.path)?, file.content));
        }
        let mut written = Vec::with_capacity(checked.len());
        let mut failure = None;
        for (path, content) in checked {
            match write_one(&entry, &path, content).await {
                Ok(file) => written.push(file),
                Err(error) => {
                    failure = Some(about(&path, error));
                    break;
                }
            }
        }
        self.inner.report_written(&entry, call, &written).await?;
        match failure {
            Some(error) => Err(error),
            None => Ok(written),
        }
    }

    /// Puts files of any kind into a workspace; works while the sandbox is asleep.
    pub async fn put_files(
        &self,
        project: &ProjectId,
        files: Vec<(String, Vec<u8>, bool)>,
    ) -> Result<(), SandboxError> {
        let entry = self.inner.entry(project).await?;
        for (path, content, executable) in files {
            entry.files.write(&path, content.into(), executable).await.map_err(|error| about(&path, error))?;
        }
        self.inner.emit(project, vec![EventBody::FilesChanged]).await
    }

    /// Makes the workspace's folder on this machine what is in the sandbox now, for whoever copies it as a whole.
    pub async fn sync_files(&self, project: &ProjectId) -> Result<(), SandboxError> {
        self.inner.entry(project).await?.files.sync().await
    }

    /// Reads a file; works while the sandbox is asleep.
    pub async fn read_file(&self, project: &ProjectId, path: &str) -> Result<FileContent, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let path = clean_path(path)?;
        read_one(entry.present_files().await?, path).await
    }

    /// The beginning of a file of any kind, at most `max` bytes.
    pub async fn read_bytes(&self, project: &ProjectId, path: &str, max: u64) -> Result<Bytes, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let path = clean_path(path)?;
        entry.files.read(&path, 0, max).await.map_err(|error| about(&path, error))
    }

    /// Replaces texts in a file, each of which must occur exactly once. All or nothing.
    pub async fn edit_file(
        &self,
        project: &ProjectId,
        call: Option<&CallId>,
        path: &str,
        edits: Vec<Edit>,
    ) -> Result<WrittenFile, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let path = clean_path(path)?;
        let content = read_one(entry.present_files().await?, path.clone()).await?;
        let text = match content {
            FileContent { truncated: true, .. } => {
                return Err(SandboxError::Limit(format!("{path} is larger than 1 MiB; change it with a command")));
            }
            FileContent { text: Some(text), .. } => text,
            FileContent { text: None, .. } => {
                return Err(SandboxError::Invalid(format!("{path} is not a text file")));
            }
        };
        let text = edit::apply(&path, &text, &edits)?;
        let written = write_one(&entry, &path, text).await.map_err(|error| about(&path, error))?;
        self.inner.report_written(&entry, call, std::slice::from_ref(&written)).await?;
        Ok(written)
    }

    /// The file tree. Directories of packages and caches are listed but not entered.
    pub async fn list_files(&self, project: &ProjectId) -> Result<Vec<FileNode>, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let options = ListOptions { depth: TREE_DEPTH, max_entries: TREE_MAX, skip: skipped() };
        if let Err(error) = entry.files.sync().await {
            // A tree that is a moment old is better than none.
            tracing::warn!(%project, %error, "the tree may be out of date");
        }
        let listing = match entry.files.list("", options).await {
            Ok(listing) => listing,
            // No workspace yet: no files.
            Err(SandboxError::NotFound(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut tree = build_tree(listing.entries.into_iter().map(|entry| (entry.path, entry.kind, entry.size)));
        for path in &listing.truncated {
            mark_truncated(&mut tree, path);
        }
        Ok(tree)
    }
}

impl Inner {
    async fn report_written(
        &self,
        entry: &Entry,
        call: Option<&CallId>,
        written: &[WrittenFile],
    ) -> Result<(), SandboxError> {
        if written.is_empty() {
            return Ok(());
        }
        let event = |file: &WrittenFile| EventBody::FileWritten {
            path: file.path.clone(),
            bytes: file.bytes,
            call: call.cloned(),
        };
        entry.activity.touch();
        self.emit(&entry.project, written.iter().map(event).collect()).await
    }
}

/// Names of directories that hold packages, caches and build output: listed, not entered, not in archives.
pub(super) fn skipped() -> Vec<String> {
    [
        "node_modules",
        ".git",
        ".next",
        ".nuxt",
        ".svelte-kit",
        ".turbo",
        ".vite",
        ".parcel-cache",
        ".venv",
        "venv",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "target",
        ".cache",
        ".npm",
        ".local",
        ".cargo",
    ]
    .map(str::to_owned)
    .to_vec()
}

async fn write_one(entry: &Entry, path: &str, content: String) -> Result<WrittenFile, SandboxError> {
    let was_executable = match entry.files.stat(path).await {
        Ok(info) if info.kind == FileKind::Directory => {
            return Err(SandboxError::Invalid("it is a directory".to_owned()));
        }
        Ok(info) => info.kind == FileKind::File && info.mode & 0o100 != 0,
        Err(_) => false,
    };
    let executable = was_executable || content.starts_with("#!");
    let info = entry.files.write(path, Bytes::from(content), executable).await?;
    Ok(WrittenFile { path: path.to_owned(), bytes: info.size })
}

async fn read_one(files: &dyn Files, path: String) -> Result<FileContent, SandboxError> {
    let info = files.stat(&path).await.map_err(|error| about(&path, error))?;
    if info.kind == FileKind::Directory {
        return Err(SandboxError::Invalid(format!("{path} is a directory; list it instead")));
    }
    let bytes = files.read(&path, 0, READ_MAX).await.map_err(|error| about(&path, error))?;
    let size = info.size.max(bytes.len() as u64);
    let truncated = size > bytes.len() as u64;
    let text = as_text(&bytes, truncated).map(str::to_owned);
    Ok(FileContent { path, size, binary: text.is_none(), truncated, text })
}

/// The bytes as text, unless they are binary. A character cut by the read limit is left off.
fn as_text(bytes: &[u8], truncated: bool) -> Option<&str> {
    if bytes.iter().take(8192).any(|b| *b == 0) {
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

/// The error with the path it is about.
fn about(path: &str, error: SandboxError) -> SandboxError {
    match error {
        SandboxError::NotFound(_) => SandboxError::NotFound(format!("there is no file {path}")),
        SandboxError::Invalid(why) => SandboxError::Invalid(format!("{path}: {why}")),
        SandboxError::Limit(why) => SandboxError::Limit(format!("{path}: {why}")),
        SandboxError::Io(why) => SandboxError::Io(format!("{path}: {why}")),
        other => other,
    }
}

fn mark_truncated(nodes: &mut [FileNode], path: &str) {
    for node in nodes {
        if node.path == path {
            node.truncated = true;
        } else if path.strip_prefix(node.path.as_str()).is_some_and(|rest| rest.starts_with('/')) {
            mark_truncated(&mut node.children, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_binary_and_a_cut_character_is_left_off() {
        assert_eq!(as_text(b"plain", false), Some("plain"));
        assert_eq!(as_text(b"a\0b", false), None);
        assert_eq!(as_text(&[0xff, 0xfe], false), None);
        assert_eq!(as_text(&[b'a', 0xc3], true), Some("a"));
        assert_eq!(as_text(&[b'a', 0xc3], false), None);
    }
}
