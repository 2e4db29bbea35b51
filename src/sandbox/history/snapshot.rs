//! The workspace as a tree, and a tree as the workspace again.
//!
//! What can be rebuilt (packages, caches, build output) is neither stored nor touched. A file whose size and time did
//! not change since the last look is not read again.

use super::repo::{LINK, Leaf, Leaves, ObjectId, Repo};
use crate::domain::FileKind;
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{EntryInfo, Files, ListOptions};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;

/// The most files.
const FILES_MAX: usize = 20_000;
/// The largest file.
const FILE_MAX: u64 = 32 << 20;
/// A file changed so recently may change again within the same tick of its clock (ms).
const RACY: u64 = 2_000;

/// The files of a workspace.
pub(super) struct Snapshot {
    /// Those that are stored.
    pub leaves: Leaves,
    /// Those that are too large or could not be read.
    pub left_out: Vec<String>,
}

/// What was stored last time, so that unchanged files need not be read.
#[derive(Default, Serialize, Deserialize)]
struct Seen(HashMap<String, SeenFile>);

#[derive(Serialize, Deserialize)]
struct SeenFile {
    size: u64,
    modified_at: u64,
    id: String,
}

/// Runs work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, SandboxError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| SandboxError::Io(error.to_string()))??)
}

/// Names that are not part of a checkpoint.
fn is_skipped(path: &str, skip: &[String]) -> bool {
    path.split('/').any(|part| skip.iter().any(|name| name == part))
}

async fn list(files: &dyn Files) -> Result<(Vec<EntryInfo>, Vec<String>), SandboxError> {
    let skip = crate::sandbox::files::skipped();
    let options = ListOptions { depth: 64, max_entries: FILES_MAX, skip: skip.clone() };
    let listing = match files.list("", options).await {
        Ok(listing) => listing,
        Err(SandboxError::NotFound(_)) => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(error),
    };
    let cut = listing.truncated.into_iter().filter(|path| !is_skipped(path, &skip)).collect();
    let kept = listing.entries.into_iter().filter(|info| {
        let name = info.path.rsplit('/').next().unwrap_or_default();
        // Files that are just being written, under our own temporary names.
        let temporary = name.starts_with(".sandcastle-") && name.ends_with(".tmp");
        info.kind != FileKind::Directory && !is_skipped(&info.path, &skip) && !temporary
    });
    Ok((kept.collect(), cut))
}

/// Stores the workspace's files.
pub(super) async fn take(files: &dyn Files, repo: &Repo, now: u64) -> Result<Snapshot, SandboxError> {
    let index = repo.dir().join("sandcastle-index.json");
    let seen = load(index.clone()).await;
    let (entries, mut left_out) = list(files).await?;
    let (mut leaves, mut fresh) = (Leaves::new(), HashMap::new());
    for info in entries {
        let known = seen.0.get(&info.path).filter(|s| s.size == info.size && s.modified_at == info.modified_at);
        let known = known.filter(|_| info.kind == FileKind::File).and_then(|s| ObjectId::parse(&s.id));
        let id = match known {
            Some(id) => id,
            None => match store(files, repo, &info).await? {
                Some(id) => id,
                None => {
                    left_out.push(info.path);
                    continue;
                }
            },
        };
        if info.modified_at + RACY < now {
            let seen = SeenFile { size: info.size, modified_at: info.modified_at, id: id.to_string() };
            fresh.insert(info.path.clone(), seen);
        }
        let mode = match info.kind {
            FileKind::Symlink => LINK,
            _ if info.mode & 0o111 != 0 => 0o100_755,
            _ => 0o100_644,
        };
        leaves.insert(info.path, Leaf { mode, id });
    }
    blocking(move || std::fs::write(index, serde_json::to_vec(&Seen(fresh))?)).await?;
    Ok(Snapshot { leaves, left_out })
}

async fn load(index: PathBuf) -> Seen {
    // Without it every file is read again, which is slower and nothing else.
    blocking(move || Ok(serde_json::from_slice(&std::fs::read(index)?)?)).await.unwrap_or_default()
}

/// Stores one file; none if it is too large or went away.
async fn store(files: &dyn Files, repo: &Repo, info: &EntryInfo) -> Result<Option<ObjectId>, SandboxError> {
    let content = match (info.kind, &info.symlink_target) {
        (FileKind::Symlink, Some(target)) => target.clone().into_bytes().into(),
        (FileKind::File, _) if info.size <= FILE_MAX => match files.read(&info.path, 0, FILE_MAX + 1).await {
            Ok(content) if content.len() as u64 <= FILE_MAX => content,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let repo = repo.clone();
    blocking(move || repo.write("blob", &content)).await.map(Some)
}

/// Makes the workspace's files those of `wanted`; `have` is what is there now. Links are left as they are.
pub(super) async fn put(files: &dyn Files, repo: &Repo, have: &Leaves, wanted: &Leaves) -> Result<(), SandboxError> {
    for path in have.keys().filter(|path| !wanted.contains_key(*path)) {
        files.remove(path).await?;
    }
    for (path, leaf) in wanted.iter().filter(|(path, leaf)| have.get(*path) != Some(leaf) && leaf.mode != LINK) {
        if let Ok(info) = files.stat(path).await
            && info.kind == FileKind::Directory
        {
            files.remove(path).await?;
        }
        let (repo, id) = (repo.clone(), leaf.id);
        let content = blocking(move || repo.read("blob", id)).await?;
        files.write(path, content.into(), leaf.mode == 0o100_755).await?;
    }
    Ok(())
}
