//! What can go wrong in the store, told apart by what a person can do about it.

use crate::domain::{ApiError, ErrorCode, RunId};
use std::path::PathBuf;

/// A store error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such project, run or other record.
    #[error("there is no {kind} with the id {id}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// A run of this task was submitted before with the same idempotency key.
    #[error("the run {0} was submitted with the same idempotency key")]
    Duplicate(RunId),
    /// The data folder cannot be made or written.
    #[error(
        "the data folder {path} is not writable ({reason}). Give the server's user write access to it, or choose \
         another folder with --data-dir.",
        path = path.display()
    )]
    NotWritable {
        /// The data folder.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// Another server works on this data folder.
    #[error(
        "another Sandcastle server is using the data folder {path}. Stop it first, or choose another folder with \
         --data-dir.",
        path = path.display()
    )]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// The database was made by a newer version.
    #[error(
        "the database was written by a newer version of Sandcastle. Use that version, or another folder with \
         --data-dir."
    )]
    Newer,
    /// What was asked for makes no sense as given.
    #[error("{0}")]
    Invalid(String),
    /// The disk is full.
    #[error("the disk with the data folder is full. Free some space and try again.")]
    Full,
    /// The database file is damaged, or something else wrote to it.
    #[error("the database is damaged: {0}. Restore it from a backup.")]
    Corrupt(String),
    /// The store is closed: the server is shutting down.
    #[error("the server is shutting down")]
    Closed,
    /// Any other failure of the database.
    #[error("the database failed: {0}")]
    Database(String),
}

impl StoreError {
    /// A missing record.
    pub fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { kind, id: id.into() }
    }

    /// Whether it says that something does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The primary result codes of SQLite that a person can act on.
mod sqlite {
    pub const IOERR: u32 = 10;
    pub const CORRUPT: u32 = 11;
    pub const FULL: u32 = 13;
    pub const NOTADB: u32 = 26;
    /// The `write` extension of `IOERR`, which some file systems give instead of `FULL`.
    pub const IOERR_WRITE: u32 = IOERR | (3 << 8);
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolClosed => Self::Closed,
            sqlx::Error::Database(database) => {
                let code = database.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
                match (code & 0xff, code) {
                    (sqlite::FULL, _) | (_, sqlite::IOERR_WRITE) => Self::Full,
                    (sqlite::CORRUPT | sqlite::NOTADB, _) => Self::Corrupt(database.message().to_owned()),
                    _ => Self::Database(database.message().to_owned()),
                }
            }
            _ => Self::Database(error.to_string()),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;
        match error {
            MigrateError::VersionMissing(_) => Self::Newer,
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Database(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NotFound { .. } => ErrorCode::NotFound,
            StoreError::Invalid(_) => ErrorCode::InvalidInput,
            StoreError::NotWritable { .. } | StoreError::Full => ErrorCode::Storage,
            StoreError::Locked { .. } | StoreError::Duplicate(_) => ErrorCode::Conflict,
            StoreError::Closed => ErrorCode::Cancelled,
            StoreError::Newer | StoreError::Corrupt(_) | StoreError::Database(_) => ErrorCode::Internal,
        };
        match code {
            ErrorCode::Internal => {
                tracing::error!(%error, "store");
                Self::new(code, "the database failed; the server's log says why")
            }
            _ => Self::new(code, error.to_string()),
        }
    }
}
