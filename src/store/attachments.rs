//! Files that came with messages: a folder of bytes named by their digest, and a table of who has them.
//!
//! Equal files are one, also across projects. A file goes when the last project that sent it does, or a day after an
//! upload that was never sent.

use super::{Db, StoreError};
use crate::domain::{AttachmentId, ProjectId};
use sha2::{Digest, Sha256};
use sqlx::Row;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// An upload that nobody sent is kept so long.
const UNSENT: Duration = Duration::from_secs(24 * 3600);

/// The files. Cheap to clone.
#[derive(Clone)]
pub struct Attachments {
    db: Arc<Db>,
    folder: Arc<Path>,
}

impl Attachments {
    pub(super) fn new(db: Arc<Db>, data_dir: &Path) -> Self {
        Self { db, folder: data_dir.join("attachments").into() }
    }

    /// Keeps these bytes and says how they are called.
    pub async fn put(&self, content: Vec<u8>) -> Result<AttachmentId, StoreError> {
        let folder = Arc::clone(&self.folder);
        blocking(move || {
            let id = digest(&content)?;
            write(&folder, &id, &content).map_err(failed)?;
            Ok(id)
        })
        .await
    }

    /// The bytes of a file.
    pub async fn read(&self, id: &AttachmentId) -> Result<Vec<u8>, StoreError> {
        let (path, id) = (place(&self.folder, id), id.clone());
        blocking(move || match fs::read(path) {
            Ok(content) => Ok(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::not_found("attachment", id.as_str()))
            }
            Err(error) => Err(failed(error)),
        })
        .await
    }

    /// Notes that a project sent these files, so that they are kept as long as it is.
    pub async fn claim(&self, project: &ProjectId, ids: &[AttachmentId]) -> Result<(), StoreError> {
        for id in ids {
            sqlx::query("INSERT OR IGNORE INTO attachments (project, id) VALUES (?, ?)")
                .bind(project.as_str())
                .bind(id.as_str())
                .execute(&self.db.writer)
                .await?;
        }
        Ok(())
    }

    /// The files a project sent.
    pub async fn of(&self, project: &ProjectId) -> Result<Vec<AttachmentId>, StoreError> {
        let query = sqlx::query("SELECT id FROM attachments WHERE project = ?").bind(project.as_str());
        let rows = query.fetch_all(&self.db.reader).await?;
        rows.iter()
            .map(|row| {
                AttachmentId::parse(row.try_get::<String, _>("id")?).map_err(|e| StoreError::Corrupt(e.to_string()))
            })
            .collect()
    }

    /// Removes those of these files that no project has any more.
    pub async fn forget(&self, ids: Vec<AttachmentId>) -> Result<(), StoreError> {
        for id in ids {
            if !self.is_claimed(&id).await? {
                let path = place(&self.folder, &id);
                blocking(move || gone(fs::remove_file(path)).map_err(failed)).await?;
            }
        }
        Ok(())
    }

    /// Removes uploads of more than a day ago that no project has.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let folder = Arc::clone(&self.folder);
        let old = blocking(move || old_files(&folder).map_err(failed)).await?;
        self.forget(old).await
    }

    async fn is_claimed(&self, id: &AttachmentId) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM attachments WHERE id = ? LIMIT 1").bind(id.as_str());
        // The writer has seen every claim.
        Ok(query.fetch_optional(&self.db.writer).await?.is_some())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Database(error.to_string()))?
}

fn failed(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Database(format!("an attachment: {error}")),
    }
}

fn digest(content: &[u8]) -> Result<AttachmentId, StoreError> {
    let hex = Sha256::digest(content).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    AttachmentId::parse(hex).map_err(|error| StoreError::Invalid(error.to_string()))
}

fn place(folder: &Path, id: &AttachmentId) -> PathBuf {
    folder.join(id.as_str())
}

/// Writes beside the place and moves it there, so that a file that is there is whole.
fn write(folder: &Path, id: &AttachmentId, content: &[u8]) -> io::Result<()> {
    let path = place(folder, id);
    if let Ok(have) = File::open(&path) {
        // It counts as new, or the sweep could take it before it is sent.
        return have.set_modified(SystemTime::now());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let half = folder.join(format!("{id}.{}", ulid::Ulid::new()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half).and_then(|mut file| {
        file.write_all(content)?;
        fs::rename(&half, &path)
    });
    if written.is_err() {
        gone(fs::remove_file(&half))?;
    }
    written
}

/// What is gone already is as wanted.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn old_files(folder: &Path) -> io::Result<Vec<AttachmentId>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut old = Vec::new();
    for entry in entries {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age < UNSENT {
            continue;
        }
        match entry.file_name().to_str().map(AttachmentId::parse) {
            Some(Ok(id)) => old.push(id),
            // Half of an upload that was cut off.
            _ => gone(fs::remove_file(entry.path()))?,
        }
    }
    Ok(old)
}
