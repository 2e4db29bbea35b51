//! Keys of programs: made once, stored as a digest, looked up on every use so that a revoked key stops at once.
//!
//! Owns the table of keys for every kind of API. It must not know what a key opens.

use super::{Db, Store, StoreError, now_ms};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteRow};
use sqlx::{Row as _, SqlitePool};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Characters of a key that a list shows.
const HINT: usize = 4;
/// Characters of a name.
const NAME_MAX: usize = 80;

/// Which API a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The e2b API: `e2b_` and 40 hexadecimal digits.
    E2b,
    /// The Trigger.dev API: `tr_dev_sk_` and 24 hexadecimal digits. Its SDK asks the server for public tokens with a
    /// key of this form; with others it signs them by the key itself, of which only a digest is kept here.
    Trigger,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::E2b, Self::Trigger];

    /// How it is written on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::E2b => "e2b",
            Self::Trigger => "trigger",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a key begins with, and its random bytes.
    fn shape(self) -> (&'static str, usize) {
        match self {
            Self::E2b => ("e2b_", 20),
            Self::Trigger => ("tr_dev_sk_", 12),
        }
    }
}

/// A key as it can be shown: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, `key_` and a ULID.
    pub id: String,
    /// What it opens.
    pub kind: KeyKind,
    /// What a person called it.
    pub name: String,
    /// Its last characters.
    pub hint: String,
    /// When it was made (Unix ms).
    pub created_at: u64,
}

/// The keys of all programs. Cheap to clone.
#[derive(Clone)]
pub struct KeyStore {
    writer: SqlitePool,
    reader: SqlitePool,
    /// Keeps the data folder's lock where this is the server's own store.
    _db: Option<Arc<Db>>,
}

impl KeyStore {
    pub(super) fn new(db: Arc<Db>) -> Self {
        Self { writer: db.writer.clone(), reader: db.reader.clone(), _db: Some(db) }
    }

    /// The keys of a data folder, for the command line: beside a running server, or alone in a folder that may be new.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        match Store::open(data_dir).await {
            Ok(store) => Ok(store.keys().clone()),
            Err(StoreError::Locked { .. }) => {
                let options = SqliteConnectOptions::new()
                    .filename(data_dir.join("db.sqlite"))
                    .create_if_missing(false)
                    .busy_timeout(Duration::from_secs(10));
                let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
                Ok(Self { writer: pool.clone(), reader: pool, _db: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a key. The text is returned here and never again.
    pub async fn create(&self, kind: KeyKind, name: &str) -> Result<(ApiKey, String), StoreError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(StoreError::Invalid(format!("a key's name has 1 to {NAME_MAX} characters on one line")));
        }
        let (prefix, length) = kind.shape();
        let mut random = vec![0; length];
        getrandom::fill(&mut random).map_err(|error| StoreError::Database(format!("no random bytes: {error}")))?;
        let text = format!("{prefix}{}", hex(&random));
        let key = ApiKey {
            id: format!("key_{}", ulid::Ulid::new().to_string().to_ascii_lowercase()),
            kind,
            name: name.to_owned(),
            hint: text.chars().skip(text.len() - HINT).collect(),
            created_at: now_ms(),
        };
        sqlx::query("INSERT INTO api_keys (id, kind, name, digest, hint, created_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&key.id)
            .bind(kind.name())
            .bind(&key.name)
            .bind(digest(&text))
            .bind(&key.hint)
            .bind(i64::try_from(key.created_at).unwrap_or(i64::MAX))
            .execute(&self.writer)
            .await?;
        Ok((key, text))
    }

    /// Keys that are not revoked, the oldest first.
    pub async fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query("SELECT * FROM api_keys WHERE revoked_at IS NULL ORDER BY n").fetch_all(&self.reader);
        rows.await?.iter().map(from_row).collect()
    }

    /// Ends a key, named by its id, or by its name where only one key has it.
    pub async fn revoke(&self, which: &str) -> Result<ApiKey, StoreError> {
        let keys = self.list().await?;
        let found: Vec<&ApiKey> = match keys.iter().find(|key| key.id == which) {
            Some(key) => vec![key],
            None => keys.iter().filter(|key| key.name == which).collect(),
        };
        let key = match found.as_slice() {
            [key] => (*key).clone(),
            [] => return Err(StoreError::not_found("key", which)),
            _ => return Err(StoreError::Invalid(format!("several keys are called \"{which}\"; revoke one by its id"))),
        };
        sqlx::query("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(i64::try_from(now_ms()).unwrap_or(i64::MAX))
            .bind(&key.id)
            .execute(&self.writer)
            .await?;
        Ok(key)
    }

    /// The key with this text, if it is of that kind and not revoked.
    pub async fn authenticate(&self, kind: KeyKind, text: &str) -> Result<Option<ApiKey>, StoreError> {
        // A digest of a random key cannot be aimed at, so looking it up tells nothing by its duration.
        let row = sqlx::query("SELECT * FROM api_keys WHERE digest = ? AND kind = ? AND revoked_at IS NULL")
            .bind(digest(text))
            .bind(kind.name())
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(from_row).transpose()
    }
}

fn from_row(row: &SqliteRow) -> Result<ApiKey, StoreError> {
    let kind: &str = row.try_get("kind")?;
    Ok(ApiKey {
        id: row.try_get("id")?,
        kind: KeyKind::parse(kind).ok_or_else(|| StoreError::Corrupt(format!("unknown kind of key: {kind}")))?,
        name: row.try_get("name")?,
        hint: row.try_get("hint")?,
        created_at: u64::try_from(row.try_get::<i64, _>("created_at")?).unwrap_or(0),
    })
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
