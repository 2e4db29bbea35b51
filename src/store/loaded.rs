//! One project in memory: its fold, its watchers and the order of its writes.
//!
//! The rule it keeps: memory follows disk. Nothing is folded before it is committed, and what is committed is folded
//! before the next write begins.

use super::{Db, StoreError, now_ms};
use crate::domain::{Event, EventBody, ProjectId, ProjectState};
use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, watch};

/// Events between two snapshots of the fold.
const SNAPSHOT_EVERY: u64 = 500;
/// Snapshots with another number are ignored and the whole log is folded. Raise it with every change of
/// `ProjectState` or of what `apply` does.
const SNAPSHOT_FORMAT: i64 = 1;
/// Events read at once while a project is opened.
const PAGE: usize = 1_000;

/// Something that is written in the same transaction as events, before them.
#[async_trait]
pub(super) trait Rider: Send + Sync {
    /// Writes it.
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError>;
}

/// A project in memory.
pub(super) struct Loaded {
    state: RwLock<Arc<ProjectState>>,
    last: watch::Sender<u64>,
    writing: Mutex<Writing>,
}

/// What only the one who writes needs.
struct Writing {
    snapshot_seq: u64,
    deleted: bool,
}

impl Loaded {
    /// A project with this fold, of which a snapshot up to `snapshot_seq` is on disk.
    pub(super) fn new(state: ProjectState, snapshot_seq: u64) -> Self {
        Self {
            last: watch::Sender::new(state.seq),
            state: RwLock::new(Arc::new(state)),
            writing: Mutex::new(Writing { snapshot_seq, deleted: false }),
        }
    }

    /// Reads a project from its last snapshot and the events after it.
    pub(super) async fn read(db: &Db, id: &ProjectId) -> Result<Self, StoreError> {
        let known = sqlx::query("SELECT 1 FROM projects WHERE id = ?").bind(id.as_str());
        if known.fetch_optional(&db.reader).await?.is_none() {
            return Err(StoreError::not_found("project", id.as_str()));
        }
        let mut state = read_snapshot(db, id).await?.unwrap_or_else(|| ProjectState::empty(id.clone()));
        let snapshot_seq = state.seq;
        loop {
            let page = read_events(db, id, state.seq, PAGE).await?;
            state.apply_all(&page);
            if page.len() < PAGE {
                return Ok(Self::new(state, snapshot_seq));
            }
        }
    }

    /// The fold.
    pub(super) fn state(&self) -> Arc<ProjectState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of the last event.
    pub(super) fn state_seq(&self) -> u64 {
        *self.last.borrow()
    }

    /// A channel with the number of the last event.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Whether somebody holds such a channel.
    pub(super) fn is_watched(&self) -> bool {
        self.last.receiver_count() > 0
    }

    /// See [`super::EventLog::append`]. Must be run to its end: between commit and fold it must not be dropped.
    pub(super) async fn append(
        &self,
        db: &Db,
        bodies: Vec<EventBody>,
        rider: Option<Box<dyn Rider>>,
    ) -> Result<Vec<Event>, StoreError> {
        let mut writing = self.writing.lock().await;
        let (id, events, folded) = self.number(bodies);
        if writing.deleted {
            return Err(StoreError::not_found("project", id.as_str()));
        }
        match (events.as_slice(), &folded, rider) {
            // By far the most frequent append is one piece of text: a statement alone is a transaction.
            ([event], None, None) => insert(&mut *db.writer.acquire().await?, &id, &EventRow::new(event)?).await?,
            (_, _, rider) => db.commit(Box::new(Together::new(&id, &events, folded.as_ref(), rider)?)).await?,
        }

        let seq = self.fold(&events, folded);
        if seq.saturating_sub(writing.snapshot_seq) >= SNAPSHOT_EVERY {
            match write_snapshot(db, &self.state()).await {
                Ok(()) => writing.snapshot_seq = seq,
                // The events are safe; only the next opening is slower.
                Err(error) => tracing::warn!(project = %id, %error, "no snapshot was written"),
            }
        }
        Ok(events)
    }

    /// Deletes the project's rows; appends that wait are refused.
    pub(super) async fn delete(&self, db: &Db) -> Result<(), StoreError> {
        let mut writing = self.writing.lock().await;
        let id = self.state().id.clone();
        sqlx::query("DELETE FROM projects WHERE id = ?").bind(id.as_str()).execute(&db.writer).await?;
        writing.deleted = true;
        Ok(())
    }

    /// The bodies as the next events and, where the project's line in a list changes, the fold with them.
    fn number(&self, bodies: Vec<EventBody>) -> (ProjectId, Vec<Event>, Option<ProjectState>) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        // A clock that is set back must not make the log's times run backwards.
        let at = now_ms().max(state.updated_at);
        let events: Vec<Event> = (state.seq + 1..).zip(bodies).map(|(seq, body)| Event { seq, at, body }).collect();
        let folded = events.iter().any(|event| changes_summary(&event.body)).then(|| {
            let mut next = ProjectState::clone(&state);
            next.apply_all(&events);
            next
        });
        (state.id.clone(), events, folded)
    }

    fn fold(&self, events: &[Event], folded: Option<ProjectState>) -> u64 {
        let seq = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            match folded {
                Some(folded) => *state = Arc::new(folded),
                None => {
                    Arc::make_mut(&mut state).apply_all(events);
                }
            }
            state.seq
        };
        self.last.send_replace(seq);
        seq
    }
}

/// A rider, events and the project's line in a list, written together.
struct Together {
    project: ProjectId,
    rider: Option<Box<dyn Rider>>,
    events: Vec<EventRow>,
    summary: Option<String>,
}

/// An event as it is stored.
struct EventRow {
    seq: u64,
    at: u64,
    body: String,
}

impl Together {
    fn new(
        project: &ProjectId,
        events: &[Event],
        folded: Option<&ProjectState>,
        rider: Option<Box<dyn Rider>>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            project: project.clone(),
            rider,
            events: events.iter().map(EventRow::new).collect::<Result<_, _>>()?,
            summary: folded.map(|folded| serde_json::to_string(&folded.summary())).transpose()?,
        })
    }
}

impl EventRow {
    fn new(event: &Event) -> Result<Self, StoreError> {
        Ok(Self { seq: event.seq, at: event.at, body: serde_json::to_string(&event.body)? })
    }
}

#[async_trait]
impl Rider for Together {
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        if let Some(rider) = &self.rider {
            rider.write(&mut *connection).await?;
        }
        for event in &self.events {
            insert(&mut *connection, &self.project, event).await?;
        }
        if let Some(summary) = &self.summary {
            sqlx::query("UPDATE projects SET summary = ? WHERE id = ?")
                .bind(summary)
                .bind(self.project.as_str())
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}

async fn insert(connection: &mut SqliteConnection, id: &ProjectId, event: &EventRow) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO events (project, seq, at, body) VALUES (?, ?, ?, ?)")
        .bind(id.as_str())
        .bind(event.seq.cast_signed())
        .bind(event.at.cast_signed())
        .bind(&event.body)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the event can change [`crate::domain::ProjectSummary`] in more than its time.
fn changes_summary(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::ProjectCreated { .. }
            | EventBody::ProjectRenamed { .. }
            | EventBody::UserMessage { .. }
            | EventBody::TurnStarted { .. }
            | EventBody::TurnFinished { .. }
            | EventBody::SandboxChanged { .. }
            | EventBody::PreviewReady { .. }
    )
}

/// Events of a project above `seq`, in order.
pub(super) async fn read_events(db: &Db, id: &ProjectId, seq: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query("SELECT seq, at, body FROM events WHERE project = ? AND seq > ? ORDER BY seq LIMIT ?")
        .bind(id.as_str())
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&db.reader)
        .await?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get("body")?;
            Ok(Event {
                seq: row.try_get::<i64, _>("seq")?.cast_unsigned(),
                at: row.try_get::<i64, _>("at")?.cast_unsigned(),
                body: serde_json::from_str(&body)?,
            })
        })
        .collect()
}

async fn read_snapshot(db: &Db, id: &ProjectId) -> Result<Option<ProjectState>, StoreError> {
    let row = sqlx::query("SELECT state FROM snapshots WHERE project = ? AND format = ?")
        .bind(id.as_str())
        .bind(SNAPSHOT_FORMAT)
        .fetch_optional(&db.reader)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let text: String = row.try_get("state")?;
    // A snapshot is a cache: one that cannot be read costs time, nothing else.
    Ok(serde_json::from_str(&text)
        .inspect_err(|error| tracing::warn!(project = %id, %error, "a snapshot is unreadable"))
        .ok())
}

async fn write_snapshot(db: &Db, state: &ProjectState) -> Result<(), StoreError> {
    sqlx::query("INSERT OR REPLACE INTO snapshots (project, format, seq, state) VALUES (?, ?, ?, ?)")
        .bind(state.id.as_str())
        .bind(SNAPSHOT_FORMAT)
        .bind(state.seq.cast_signed())
        .bind(serde_json::to_string(state)?)
        .execute(&db.writer)
        .await?;
    Ok(())
}
