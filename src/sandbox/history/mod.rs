//! Checkpoints: the workspace at the end of each turn, stored once however often it occurs.
//!
//! Each project has a git repository of its own beside its workspace, with one commit for each checkpoint. Going back
//! is a new commit as well, so nothing is ever lost. Works while the sandbox sleeps.

mod diff;
mod repo;
mod snapshot;

pub use diff::{ChangeKind, FileChange, Hunk};

use super::entry::Entry;
use super::service::Service;
use super::{CommandSpec, SandboxError};
use crate::domain::{Checkpoint, EventBody, ProjectId};
use crate::store::now_ms;
use repo::{Leaves, ObjectId, Repo};
use serde::Serialize;
use snapshot::{Bounds, blocking};
use std::path::PathBuf;

/// Files a checkpoint does not hold that are named.
const LEFT_OUT_TOLD: usize = 20;

/// A checkpoint with what it changed.
#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// The commit.
    pub commit: String,
    /// What it is called.
    pub title: String,
    /// The changed files, by path.
    pub files: Vec<FileChange>,
}

impl Service {
    /// Stores the workspace as it is now.
    pub async fn checkpoint(&self, project: &ProjectId, message: &str) -> Result<Checkpoint, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let _alone = entry.history.lock().await;
        let repo = repo_of(&entry).await?;
        let snapshot = snapshot::take(entry.present_files().await?, &repo, self.bounds(), now_ms()).await?;
        let message = match snapshot.left_out.len() {
            0 => message.to_owned(),
            n => format!("{message}\n\nNot included, too large, unreadable or oddly named: {n} files"),
        };
        let checkpoint = commit(&repo, snapshot.leaves, &message).await?;
        let left_out = snapshot.left_out.iter().take(LEFT_OUT_TOLD).map(|path| path.escape_debug().to_string());
        Ok(Checkpoint { left_out: left_out.collect(), ..checkpoint })
    }

    /// Makes the files those of a checkpoint; an empty id means no files. What was there before becomes a checkpoint itself.
    pub async fn restore(&self, project: &ProjectId, commit_id: &str) -> Result<Checkpoint, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let _alone = entry.history.lock().await;
        let repo = repo_of(&entry).await?;
        let wanted = if commit_id.is_empty() { Leaves::new() } else { leaves_of(&repo, find(commit_id)?).await? };
        let files = entry.present_files().await?;
        let now = snapshot::take(files, &repo, self.bounds(), now_ms()).await?;
        let head = head_leaves(&repo).await?;
        if head != now.leaves {
            commit(&repo, now.leaves.clone(), "Before going back").await?;
        }
        snapshot::put(files, &repo, &now.leaves, &wanted).await?;
        let short: String = commit_id.chars().take(8).collect();
        let message = if short.is_empty() { "Back to the beginning".to_owned() } else { format!("Back to {short}") };
        let checkpoint = commit(&repo, wanted, &message).await?;
        entry.activity.touch();
        self.inner.emit(project, vec![EventBody::FilesChanged]).await?;
        Ok(checkpoint)
    }

    fn bounds(&self) -> Bounds {
        Bounds::over(self.inner.config.disk_floor_mib << 20)
    }

    /// What a checkpoint changed, against the one before it.
    pub async fn changes(&self, project: &ProjectId, commit: &str) -> Result<Changes, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let repo = repo_of(&entry).await?;
        let id = find(commit)?;
        let (commit, missing) = (commit.to_owned(), missing(commit));
        blocking(move || {
            let parent = repo.parent_of(id)?;
            let old = parent.map(|parent| repo.leaves_of(parent)).transpose()?.unwrap_or_default();
            let files = diff::between(&repo, &old, &repo.leaves_of(id)?)?;
            Ok(Changes { commit, title: repo.subject_of(id)?, files })
        })
        .await
        .map_err(|error| not_found(error, missing))
    }

    /// Gives an empty project the files and the history of another one at a checkpoint.
    pub async fn fork_files(&self, from: &ProjectId, commit: &str, to: &ProjectId) -> Result<(), SandboxError> {
        let (source, target) = (self.inner.entry(from).await?, self.inner.entry(to).await?);
        let id = find(commit)?;
        let (old, new) = (source.dir.join("history.git"), target.dir.join("history.git"));
        {
            let _alone = source.history.lock().await;
            blocking(move || copy_objects(&old, &new)).await?;
        }
        let _alone = target.history.lock().await;
        let repo = repo_of(&target).await?;
        let wanted = leaves_of(&repo, id).await?;
        snapshot::put(&*target.files, &repo, &Leaves::new(), &wanted).await?;
        let owned = repo.clone();
        blocking(move || owned.set_head(id)).await?;
        self.inner.emit(to, vec![EventBody::FilesChanged]).await
    }

    /// The background commands that are to run in a project, for another one that shall run the same.
    pub async fn background_commands(&self, project: &ProjectId) -> Result<Vec<CommandSpec>, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let spec = |r: super::resume::Resumable| CommandSpec {
            line: r.line,
            cwd: r.cwd,
            env: r.env,
            background: true,
            ..CommandSpec::default()
        };
        Ok(entry.resume.entries().into_iter().map(spec).collect())
    }

    /// A file of the project's repository, for `git clone` over plain HTTP; none if there is no such file.
    pub async fn repository_file(&self, project: &ProjectId, path: &str) -> Result<Option<Vec<u8>>, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let repo = repo_of(&entry).await?;
        let path = path.to_owned();
        blocking(move || match path.as_str() {
            "info/refs" => Ok(repo.head()?.map(|head| format!("{head}\trefs/heads/main\n").into_bytes())),
            "HEAD" => std::fs::read(repo.dir().join("HEAD")).map(Some),
            object => {
                let parts: Vec<&str> = object.split('/').collect();
                let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
                match parts.as_slice() {
                    ["objects", folder, name] if hex(folder, 2) && hex(name, 38) => {
                        match std::fs::read(repo.dir().join("objects").join(folder).join(name)) {
                            Ok(bytes) => Ok(Some(bytes)),
                            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                            Err(error) => Err(error),
                        }
                    }
                    _ => Ok(None),
                }
            }
        })
        .await
    }
}

async fn repo_of(entry: &Entry) -> Result<Repo, SandboxError> {
    let dir = entry.dir.join("history.git");
    blocking(move || Repo::open(dir)).await
}

async fn leaves_of(repo: &Repo, id: ObjectId) -> Result<Leaves, SandboxError> {
    let (repo, missing) = (repo.clone(), missing(&id.to_string()));
    blocking(move || repo.leaves_of(id)).await.map_err(|error| not_found(error, missing))
}

async fn head_leaves(repo: &Repo) -> Result<Leaves, SandboxError> {
    let repo = repo.clone();
    blocking(move || repo.head()?.map_or_else(|| Ok(Leaves::new()), |head| repo.leaves_of(head))).await
}

/// Commits the files over the last commit.
async fn commit(repo: &Repo, leaves: Leaves, message: &str) -> Result<Checkpoint, SandboxError> {
    let (repo, message) = (repo.clone(), message.to_owned());
    blocking(move || {
        let head = repo.head()?;
        let old = head.map(|head| repo.leaves_of(head)).transpose()?.unwrap_or_default();
        let changes = diff::between(&repo, &old, &leaves)?;
        let id = repo.commit(repo.write_tree(&leaves)?, head, &message, now_ms())?;
        repo.set_head(id)?;
        Ok(Checkpoint {
            commit: id.to_string(),
            files: u32::try_from(changes.len()).unwrap_or(u32::MAX),
            added: changes.iter().map(|c| c.added).sum(),
            removed: changes.iter().map(|c| c.removed).sum(),
            left_out: Vec::new(),
        })
    })
    .await
}

fn find(commit: &str) -> Result<ObjectId, SandboxError> {
    ObjectId::parse(commit).ok_or_else(|| missing(commit))
}

fn missing(commit: &str) -> SandboxError {
    SandboxError::NotFound(format!("there is no checkpoint {commit} in this project"))
}

fn not_found(error: SandboxError, missing: SandboxError) -> SandboxError {
    if matches!(error, SandboxError::NotFound(_)) { missing } else { error }
}

/// Objects never change, so they are linked where the file system can, else copied.
fn copy_objects(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    let repo = Repo::open(to.to_owned())?;
    for folder in std::fs::read_dir(from.join("objects"))? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        let target: PathBuf = repo.dir().join("objects").join(folder.file_name());
        std::fs::create_dir_all(&target)?;
        for object in std::fs::read_dir(folder.path())? {
            let object = object?;
            let path = target.join(object.file_name());
            if std::fs::hard_link(object.path(), &path).is_err() {
                std::fs::copy(object.path(), &path)?;
            }
        }
    }
    Ok(())
}
