//! The event log: append, read and watch a project's numbered events, and the fold of them that is kept in memory.
//!
//! Owns which projects are in memory. How one project is read, written and folded is in `loaded`.

use super::ids::project_id_of;
use super::loaded::{Loaded, Rider};
use super::{Db, StoreError, new_project_id, now_ms};
use crate::domain::{Event, EventBody, ProjectId, ProjectState, ProjectSummary, RunId};
use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Projects kept in memory although nobody uses them.
const LOADED_KEPT: usize = 200;

/// The logs of all projects.
#[derive(Clone)]
pub struct EventLog {
    inner: Arc<Inner>,
}

struct Inner {
    db: Arc<Db>,
    projects: Mutex<Projects>,
    /// Held while a project is read from disk or deleted, so that no project is ever in memory twice.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Projects {
    /// Each with the time it was last asked for, on the clock below.
    loaded: HashMap<ProjectId, (Arc<Loaded>, u64)>,
    clock: u64,
}

impl EventLog {
    pub(super) fn new(db: Arc<Db>) -> Self {
        Self { inner: Arc::new(Inner { db, projects: Mutex::default(), loading: tokio::sync::Mutex::default() }) }
    }

    /// Creates a project whose log begins with [`EventBody::ProjectCreated`].
    pub async fn create_project(&self, name: &str) -> Result<ProjectId, StoreError> {
        self.create(new_project_id(), name).await
    }

    /// The project of a run, made when it is first asked for: an execution after a crash finds it again.
    pub async fn project_of_run(&self, run: &RunId, name: &str) -> Result<ProjectId, StoreError> {
        let id = project_id_of(run);
        match self.load(&id).await {
            Err(error) if error.is_not_found() => self.create(id, name).await,
            found => found.map(|_| id),
        }
    }

    async fn create(&self, id: ProjectId, name: &str) -> Result<ProjectId, StoreError> {
        let loaded = Arc::new(Loaded::new(ProjectState::empty(id.clone()), 0));
        let created = EventBody::ProjectCreated { project: id.clone(), name: name.to_owned() };
        let row = InsertProject { id: id.clone(), created_at: now_ms() };
        self.write(Arc::clone(&loaded), vec![created], Some(Box::new(row))).await?;
        self.keep(&id, loaded);
        Ok(id)
    }

    /// Deletes a project with its events, transcript and runs. Watchers see their channel closed.
    pub async fn delete_project(&self, id: &ProjectId) -> Result<(), StoreError> {
        let loaded = self.load(id).await?;
        let (log, id) = (self.clone(), id.clone());
        let delete = async move {
            let _alone = log.inner.loading.lock().await;
            loaded.delete(&log.inner.db).await?;
            log.projects_in_memory().loaded.remove(&id);
            Ok(())
        };
        self.inner.db.to_the_end(delete).await
    }

    /// Numbers the events, commits them together, folds them and wakes the watchers. All or nothing: after an error
    /// neither disk nor memory has changed. The write is finished even if the caller is dropped.
    pub async fn append(&self, id: &ProjectId, bodies: Vec<EventBody>) -> Result<Vec<Event>, StoreError> {
        self.append_with(id, bodies, None).await
    }

    /// The project folded up to its last event.
    pub async fn state(&self, id: &ProjectId) -> Result<Arc<ProjectState>, StoreError> {
        Ok(self.load(id).await?.state())
    }

    /// At most `limit` events with a number above `seq`, in order.
    pub async fn after(&self, id: &ProjectId, seq: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let loaded = self.load(id).await?;
        if loaded.state_seq() <= seq {
            return Ok(Vec::new());
        }
        super::loaded::read_events(&self.inner.db, id, seq, limit).await
    }

    /// A channel that holds the number of the last event; it closes when the project is deleted.
    pub async fn watch(&self, id: &ProjectId) -> Result<watch::Receiver<u64>, StoreError> {
        Ok(self.load(id).await?.watch())
    }

    /// All projects, the one created last first.
    pub async fn projects(&self) -> Result<Vec<ProjectSummary>, StoreError> {
        self.newest_projects(usize::MAX).await
    }

    /// How many projects there are.
    pub async fn count_projects(&self) -> Result<usize, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM projects").fetch_one(&self.inner.db.reader).await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// At most so many projects, the one created last first.
    pub async fn newest_projects(&self, most: usize) -> Result<Vec<ProjectSummary>, StoreError> {
        let rows = sqlx::query(
            "SELECT summary, (SELECT at FROM events WHERE project = p.id ORDER BY seq DESC LIMIT 1) AS updated_at \
             FROM projects p ORDER BY p.created_at DESC, p.rowid DESC LIMIT ?",
        )
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.inner.db.reader)
        .await?;
        rows.iter()
            .map(|row| {
                let summary: String = row.try_get("summary")?;
                let updated_at: Option<i64> = row.try_get("updated_at")?;
                let mut summary: ProjectSummary = serde_json::from_str(&summary)?;
                // The stored summary is only rewritten when more than this changes.
                summary.updated_at = updated_at.map_or(summary.updated_at, i64::cast_unsigned);
                Ok(summary)
            })
            .collect()
    }

    /// Like [`EventLog::append`], with something else that is committed in the same transaction.
    pub(super) async fn append_with(
        &self,
        id: &ProjectId,
        bodies: Vec<EventBody>,
        rider: Option<Box<dyn Rider>>,
    ) -> Result<Vec<Event>, StoreError> {
        let loaded = self.load(id).await?;
        if bodies.is_empty() && rider.is_none() {
            return Ok(Vec::new());
        }
        self.write(loaded, bodies, rider).await
    }

    async fn write(
        &self,
        loaded: Arc<Loaded>,
        bodies: Vec<EventBody>,
        rider: Option<Box<dyn Rider>>,
    ) -> Result<Vec<Event>, StoreError> {
        let db = Arc::clone(&self.inner.db);
        self.inner.db.to_the_end(async move { loaded.append(&db, bodies, rider).await }).await
    }

    async fn load(&self, id: &ProjectId) -> Result<Arc<Loaded>, StoreError> {
        if let Some(found) = self.find(id) {
            return Ok(found);
        }
        let _alone = self.inner.loading.lock().await;
        if let Some(found) = self.find(id) {
            return Ok(found);
        }
        let loaded = Arc::new(Loaded::read(&self.inner.db, id).await?);
        self.keep(id, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn find(&self, id: &ProjectId) -> Option<Arc<Loaded>> {
        let mut projects = self.projects_in_memory();
        projects.clock += 1;
        let now = projects.clock;
        let (loaded, used) = projects.loaded.get_mut(id)?;
        *used = now;
        Some(Arc::clone(loaded))
    }

    /// Keeps a project in memory and, if there are many, forgets those used least recently and watched by nobody.
    fn keep(&self, id: &ProjectId, loaded: Arc<Loaded>) {
        let mut projects = self.projects_in_memory();
        projects.clock += 1;
        let now = projects.clock;
        projects.loaded.insert(id.clone(), (loaded, now));
        let excess = projects.loaded.len().saturating_sub(LOADED_KEPT);
        if excess == 0 {
            return;
        }
        // The map is locked, so an entry nobody else holds now cannot be found before it is gone.
        let idle = |(loaded, _): &(Arc<Loaded>, u64)| Arc::strong_count(loaded) == 1 && !loaded.is_watched();
        let mut unused: Vec<(u64, ProjectId)> =
            projects.loaded.iter().filter(|(_, e)| idle(e)).map(|(id, e)| (e.1, id.clone())).collect();
        unused.sort();
        for (_, id) in unused.into_iter().take(excess) {
            projects.loaded.remove(&id);
        }
    }

    fn projects_in_memory(&self) -> MutexGuard<'_, Projects> {
        self.inner.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The row that the first event refers to; its summary follows in the same transaction.
struct InsertProject {
    id: ProjectId,
    created_at: u64,
}

#[async_trait]
impl Rider for InsertProject {
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO projects (id, created_at, summary) VALUES (?, ?, '')")
            .bind(self.id.as_str())
            .bind(self.created_at.cast_signed())
            .execute(connection)
            .await?;
        Ok(())
    }
}
