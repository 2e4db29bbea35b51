//! The workspace as a tree, and a tree as the workspace again.
//!
//! What can be rebuilt (packages, caches, build output) is neither stored nor touched. A file whose size and time did
//! not change since the last look is not read again.

use super::repo::{LINK, Leaf, Leaves, ObjectId, Repo};
use crate::domain::{FileKind, clean_path};
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{EntryInfo, Files, ListOptions};
use crate::sandbox::space;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;

/// The most files.
const FILES_MAX: usize = 20_000;
/// The largest file.
const FILE_MAX: u64 = 32 << 20;
/// What one look stores anew, in bytes of content.
const NEW_MAX: u64 = 1 << 30;
/// The host's free space is looked at each time so much was stored.
const SPACE_EACH: u64 = 64 << 20;
/// A file changed so recently may change again within the same tick of its clock (ms).
const RACY: u64 = 2_000;

/// The files of a workspace.
pub(super) struct Snapshot {
    /// Those that are stored.
    pub leaves: Leaves,
    /// Those that are too large, could not be read or could not be put back.
    pub left_out: Vec<String>,
}

/// What bounds a look.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes that stay free on the host's disk.
    pub floor: u64,
    /// Bytes of content that are stored anew.
    pub new: u64,
}

impl Bounds {
    /// The usual ones over this much disk that stays free.
    pub fn over(floor: u64) -> Self {
        Self { floor, new: NEW_MAX }
    }
}

/// Whether a file of this path can be written and removed again. Odd names would be refused then, or lead to another
/// file: `~/x` means `x`, and a name that is not UTF-8 is only known by its replacement characters.
fn can_be_put_back(path: &str) -> bool {
    !path.contains(char::REPLACEMENT_CHARACTER) && clean_path(path).is_ok_and(|clean| clean == path)
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

/// Stores the workspace's files within bounds.
pub(super) async fn take(files: &dyn Files, repo: &Repo, bounds: Bounds, now: u64) -> Result<Snapshot, SandboxError> {
    let mut new = 0;
    has_space(repo, bounds.floor).await?;
    let index = repo.dir().join("sandcastle-index.json");
    let seen = load(index.clone()).await;
    let (entries, mut left_out) = list(files).await?;
    let (mut leaves, mut fresh) = (Leaves::new(), HashMap::new());
    for info in entries {
        if !can_be_put_back(&info.path) {
            left_out.push(info.path);
            continue;
        }
        let known = seen.0.get(&info.path).filter(|s| s.size == info.size && s.modified_at == info.modified_at);
        let known = known.filter(|_| info.kind == FileKind::File).and_then(|s| ObjectId::parse(&s.id));
        let id = match known {
            Some(id) => id,
            None => {
                let stored = match info.size <= bounds.new.saturating_sub(new) {
                    true => store(files, repo, &info).await?,
                    false => None,
                };
                let Some(id) = stored else {
                    left_out.push(info.path);
                    continue;
                };
                if new / SPACE_EACH != (new + info.size) / SPACE_EACH {
                    has_space(repo, bounds.floor).await?;
                }
                new += info.size;
                id
            }
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

/// Fails where the host's disk is nearly full: the history is not part of what a sandbox's disk may hold.
async fn has_space(repo: &Repo, floor: u64) -> Result<(), SandboxError> {
    let dir = repo.dir().to_owned();
    if blocking(move || space::is_scarce(&dir, floor)).await? {
        let floor = floor >> 20;
        let message = format!("the host's disk is nearly full: less than {floor} MiB are free, so no files are stored");
        return Err(SandboxError::Limit(message));
    }
    Ok(())
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

/// Makes the workspace's files those of `wanted`; `have` is what is there now. Links are left as they are, and so is
/// what has a name under which it cannot be put back, which histories of earlier versions hold.
pub(super) async fn put(files: &dyn Files, repo: &Repo, have: &Leaves, wanted: &Leaves) -> Result<(), SandboxError> {
    for path in have.keys().filter(|path| !wanted.contains_key(*path)) {
        files.remove(path).await?;
    }
    let differs = |path: &String, leaf: &Leaf| have.get(path) != Some(leaf) && leaf.mode != LINK;
    for (path, leaf) in wanted.iter().filter(|(path, leaf)| differs(path, leaf) && can_be_put_back(path)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::local::LocalFiles;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    fn workspace() -> (tempfile::TempDir, PathBuf, LocalFiles, Repo) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("workspace");
        fs::create_dir(&root).unwrap();
        let repo = Repo::open(dir.path().join("history.git")).unwrap();
        let files = LocalFiles::new(root.clone());
        (dir, root, files, repo)
    }

    #[tokio::test]
    async fn what_cannot_be_put_back_is_not_stored_and_going_back_touches_nothing_else_for_it() {
        let (_dir, root, files, repo) = workspace();
        fs::create_dir(root.join("~")).unwrap();
        for (path, content) in [("x", "mine"), ("~/x", "other"), ("new", "new"), ("line\nbreak", "odd")] {
            fs::write(root.join(path), content).unwrap();
        }
        symlink("x", root.join("odd\u{1}link")).unwrap();
        symlink("x", root.join(OsStr::from_bytes(b"latin\xe9"))).unwrap();
        let now = take(&files, &repo, Bounds::over(0), 0).await.unwrap();
        assert_eq!(now.leaves.keys().collect::<Vec<_>>(), ["new", "x"]);
        assert_eq!(now.left_out.len(), 4, "{:?}", now.left_out);
        let mut wanted = now.leaves.clone();
        wanted.remove("new");
        put(&files, &repo, &now.leaves, &wanted).await.unwrap();
        assert!(!root.join("new").exists() && root.join("line\nbreak").exists());
        assert_eq!(fs::read(root.join("x")).unwrap(), b"mine");
        // What an earlier version stored is passed over.
        let odd = Leaf { mode: 0o100_644, id: now.leaves["new"].id };
        let stored = Leaves::from([("~/x".to_owned(), odd), ("tab\t".to_owned(), odd)]);
        put(&files, &repo, &now.leaves, &stored).await.unwrap();
        assert!(!root.join("tab\t").exists() && fs::read(root.join("~/x")).unwrap() == b"other");
    }

    #[tokio::test]
    async fn a_look_stores_no_more_than_its_bounds_allow() {
        let (_dir, root, files, repo) = workspace();
        for name in ["a", "b"] {
            fs::write(root.join(name), format!("content {name}")).unwrap();
        }
        let bounds = Bounds { floor: 0, new: 12 };
        let far_ahead = u64::MAX;
        let first = take(&files, &repo, bounds, far_ahead).await.unwrap();
        assert_eq!((first.leaves.len(), first.left_out), (1, vec!["b".to_owned()]));
        // What is stored already is not new.
        assert_eq!(take(&files, &repo, bounds, far_ahead).await.unwrap().leaves.len(), 2);
        let full = take(&files, &repo, Bounds::over(u64::MAX), 0).await;
        assert!(matches!(full, Err(SandboxError::Limit(why)) if why.contains("disk is nearly full")));
    }
}
