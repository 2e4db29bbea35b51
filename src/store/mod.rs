//! Everything that outlives the process, but for workspaces and command output: one SQLite file in the data folder, and
//! beside it the files that came with messages.
//!
//! Owns the schema, the event log with its in-memory folds, the transcript and the run records. It must not know what
//! a turn, a task or a sandbox does. All writes go through one connection in WAL mode, so that runs and events keep
//! one order; `synchronous=NORMAL` survives the death of the process, and after a loss of power the file is
//! consistent but may lack its last moments.

mod attachments;
mod error;
mod events;
mod fleet;
mod ids;
mod keys;
mod loaded;
mod runs;
mod schema;
mod secrets;
mod transcript;
mod vault;
mod writer;

pub use attachments::Attachments;
pub use error::StoreError;
pub use events::EventLog;
pub use fleet::{FleetStore, FleetTable};
pub use ids::{new_call_id, new_command_id, new_message_id, new_project_id, new_run_id, new_sandbox_id, now_ms};
pub use keys::{ApiKey, KeyKind, KeyStore};
pub use runs::{
    AttemptChange, Batch, Batches, Descendant, Happening, Place, RunChange, RunCount, RunError, RunFilter, RunLabels,
    RunRecord, RunStore, What,
};
pub use secrets::{ModelNote, SavedEndpoint, Secrets};
pub use transcript::{Transcript, TranscriptEntry};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection, SqlitePool};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;
use writer::Writer;

/// Connections that only read; WAL lets them work beside the writer.
const READERS: u32 = 4;

/// The open store. Cheap to clone; the last clone releases the data folder.
#[derive(Clone)]
pub struct Store {
    db: Arc<Db>,
    events: EventLog,
    transcript: Transcript,
    runs: RunStore,
    secrets: Secrets,
    keys: KeyStore,
    fleet: FleetStore,
    attachments: Attachments,
}

impl Store {
    /// Opens or creates the store in `data_dir` and takes the folder for this process.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let folder = data_dir.to_owned();
        let open = move || Ok::<_, StoreError>((claim(&folder)?, vault::Vault::open(&folder)?));
        let (lock, vault) =
            tokio::task::spawn_blocking(open).await.map_err(|error| StoreError::Database(error.to_string()))??;
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join("db.sqlite"))
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true);
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = pool(1).before_acquire(|connection, _| Box::pin(out_of_transaction(connection)));
        let writer = writer.connect_with(options.clone()).await?;
        schema::migrator().run(&writer).await?;
        let reader = pool(READERS).connect_with(options.read_only(true)).await?;
        let db = Arc::new(Db { writer, reader, together: Writer::default(), writes: TaskTracker::new(), _lock: lock });
        let events = EventLog::new(Arc::clone(&db));
        let transcript = Transcript::new(Arc::clone(&db));
        let runs = RunStore::new(Arc::clone(&db), events.clone());
        let secrets = Secrets::new(Arc::clone(&db), vault);
        let keys = KeyStore::new(Arc::clone(&db));
        let fleet = FleetStore::new(Arc::clone(&db));
        let attachments = Attachments::new(Arc::clone(&db), data_dir);
        Ok(Self { db, events, transcript, runs, secrets, keys, fleet, attachments })
    }

    /// Projects and their events.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// What the model was told and said.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Sealed settings: secrets of projects, endpoints, notes about models.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Task runs, for the workflow engine.
    pub fn runs(&self) -> &RunStore {
        &self.runs
    }

    /// Keys of programs.
    pub fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// Files that came with messages.
    pub fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    /// What the e2b API made.
    pub fn fleet(&self) -> &FleetStore {
        &self.fleet
    }

    /// A key of the server's own, 32 random bytes made when it is first asked for.
    pub async fn secret(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut fresh = vec![0; 32];
        getrandom::fill(&mut fresh).map_err(|error| StoreError::Database(format!("no random bytes: {error}")))?;
        sqlx::query("INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(fresh)
            .execute(&self.db.writer)
            .await?;
        let row = sqlx::query("SELECT value FROM secrets WHERE name = ?").bind(name).fetch_one(&self.db.reader).await?;
        Ok(sqlx::Row::try_get(&row, "value")?)
    }

    /// Whether the database answers and can be written, for readiness checks.
    pub async fn check(&self) -> Result<(), StoreError> {
        let transaction = self.db.writer.begin_with("BEGIN IMMEDIATE").await?;
        transaction.rollback().await?;
        Ok(())
    }

    /// Finishes writes that have begun, moves the journal into the database file and closes it. Later calls fail
    /// with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.db.writes.close();
        self.db.writes.wait().await;
        self.db.reader.close().await;
        self.db.writer.close().await;
    }
}

/// Whether a connection can be used. SQLite ends a transaction by itself when the disk is full; the driver goes on
/// believing that it is in one, and every later write would fail. Such a connection is replaced.
async fn out_of_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // Perhaps only because a rollback is under way: an answer comes behind it.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// The two pools and what must live as long as they do.
struct Db {
    /// One connection: SQLite has one writer anyway, and a queue here is fair where its lock is not.
    writer: SqlitePool,
    reader: SqlitePool,
    /// Joins writes into one commit.
    together: Writer,
    /// Owns the writes that must reach memory once they are on disk, even if whoever asked for them is gone.
    writes: TaskTracker,
    _lock: File,
}

impl Db {
    /// Writes and commits, together with what others write at the same time. Run it within [`Db::to_the_end`].
    async fn commit(&self, unit: Box<dyn loaded::Rider>) -> Result<(), StoreError> {
        self.together.commit(&self.writer, unit).await
    }

    /// Runs a write to its end even if the caller is dropped meanwhile (a closed HTTP connection).
    async fn to_the_end<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.writes.is_closed() {
            return Err(StoreError::Closed);
        }
        self.writes.spawn(write).await.map_err(|error| StoreError::Database(format!("a write was cut off: {error}")))?
    }
}

/// Makes the data folder and its database file, private to the user, and locks the folder for this process.
fn claim(data_dir: &Path) -> Result<File, StoreError> {
    let refused = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::NotWritable { path: data_dir.to_owned(), reason: error.to_string() },
    };
    let private = |path: PathBuf| OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    if !data_dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(refused)?;
        std::fs::set_permissions(data_dir, PermissionsExt::from_mode(0o700)).map_err(refused)?;
    }
    let lock = private(data_dir.join("lock")).map_err(refused)?;
    if !fs4::fs_std::FileExt::try_lock_exclusive(&lock).map_err(refused)? {
        return Err(StoreError::Locked { path: data_dir.to_owned() });
    }
    // SQLite would make it readable for everyone; its journal files take the mode of this one.
    private(data_dir.join("db.sqlite")).map_err(refused)?;
    Ok(lock)
}
