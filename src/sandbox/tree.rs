//! All files of a live sandbox, as its own user sees them: the seam behind e2b's file service.
//!
//! Unlike a workspace's files these are reached by absolute paths, include `/tmp`, and exist only while the sandbox
//! lives. Errors are the operating system's, so that a front can word them as its protocol wants.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use tokio::sync::mpsc;

/// Files by absolute, clean paths (`/a/b`, without `.`, `..` and doubled slashes).
#[async_trait]
pub trait Tree: Send + Sync {
    /// An entry; a link is described, not followed.
    async fn stat(&self, path: &str) -> io::Result<TreeEntry>;

    /// Entries below a directory, `depth` levels deep.
    async fn list(&self, path: &str, depth: u32) -> io::Result<Vec<TreeEntry>>;

    /// Makes a directory and its parents; fails if it exists.
    async fn make_dir(&self, path: &str) -> io::Result<()>;

    /// Renames; makes the target's parents.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file or a tree. A missing one is not an error.
    async fn remove(&self, path: &str) -> io::Result<()>;

    /// Opens a regular file to read.
    async fn open(&self, path: &str) -> io::Result<std::fs::File>;

    /// Opens a file to be written from its start; makes it and its parents where missing.
    async fn create(&self, path: &str) -> io::Result<std::fs::File>;

    /// Replaces a file's metadata.
    async fn set_metadata(&self, path: &str, metadata: BTreeMap<String, String>) -> io::Result<()>;

    /// Tells what happens below a directory from now on; dropping the receiver ends it.
    async fn watch(&self, path: &str, recursive: bool) -> io::Result<mpsc::Receiver<TreeEvent>>;

    /// Bytes that may still be written below the workspace: what the disk limit and the host's free space leave, measured
    /// now. A provider without limits of its own has no end.
    async fn room(&self) -> io::Result<u64> {
        Ok(u64::MAX >> 1)
    }

    /// Bytes used and in total on the file system of the workspace.
    async fn space(&self) -> io::Result<(u64, u64)>;
}

/// An entry (e2b: `filesystem.EntryInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its last part.
    pub name: String,
    /// Absolute.
    pub path: String,
    /// What it is, or what its target is. None if that is neither file nor directory.
    pub kind: Option<TreeKind>,
    /// Size in bytes, of the entry itself.
    pub size: u64,
    /// Type and permission bits of the entry itself (`st_mode`).
    pub mode: u32,
    /// Permission bits of what it leads to.
    pub target_mode: u32,
    /// Name of the owner inside.
    pub owner: &'static str,
    /// Last change: seconds and nanoseconds.
    pub modified: (i64, u32),
    /// What a link leads to, as an absolute path where it exists, else as written.
    pub link: Option<String>,
    /// Given at upload.
    pub metadata: BTreeMap<String, String>,
}

/// What can be read or entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Something happened to an entry below a watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEvent {
    /// Path below the watched directory.
    pub name: String,
    /// What.
    pub change: TreeChange,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeChange {
    /// It is there now.
    Create,
    /// Its content changed.
    Write,
    /// It is gone.
    Remove,
    /// It has another name now.
    Rename,
    /// Its permissions or times changed.
    Chmod,
}
