//! Batches: runs that a caller submits and looks at together, and projects that belong to an API key.

use super::super::{Db, StoreError, now_ms};
use super::rows;
use crate::domain::{ProjectId, RunId};
use sqlx::Row as _;
use std::sync::Arc;

/// All batches.
#[derive(Clone)]
pub struct Batches {
    db: Arc<Db>,
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its id.
    pub id: String,
    /// When it was made (Unix ms).
    pub created_at: u64,
    /// How many runs it is to have.
    pub run_count: u32,
    /// Whether all of them are there.
    pub sealed: bool,
    /// Its runs so far, by their place in it.
    pub runs: Vec<(u32, RunId)>,
}

impl Batches {
    pub(super) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// Makes a batch, or finds the one made before with the same key. True if it was found.
    pub async fn create(
        &self,
        id: &str,
        owner: &str,
        run_count: u32,
        key: Option<&str>,
    ) -> Result<(String, bool), StoreError> {
        let made = sqlx::query(
            "INSERT INTO batches (id, owner, created_at, run_count, idempotency_key) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING",
        )
        .bind(id)
        .bind(owner)
        .bind(now_ms().cast_signed())
        .bind(run_count)
        .bind(key)
        .execute(&self.db.writer)
        .await?;
        if made.rows_affected() > 0 {
            return Ok((id.to_owned(), false));
        }
        let row = sqlx::query("SELECT id FROM batches WHERE owner = ? AND idempotency_key = ?")
            .bind(owner)
            .bind(key)
            .fetch_one(&self.db.reader)
            .await?;
        Ok((row.try_get("id")?, true))
    }

    /// A batch of this owner with its runs.
    pub async fn get(&self, id: &str, owner: &str) -> Result<Batch, StoreError> {
        let row = sqlx::query("SELECT * FROM batches WHERE id = ? AND owner = ?")
            .bind(id)
            .bind(owner)
            .fetch_optional(&self.db.reader)
            .await?
            .ok_or_else(|| StoreError::not_found("batch", id))?;
        let items = sqlx::query("SELECT idx, run FROM batch_items WHERE batch = ? ORDER BY idx");
        let items = items.bind(id).fetch_all(&self.db.reader).await?;
        Ok(Batch {
            id: id.to_owned(),
            created_at: row.try_get::<i64, _>("created_at")?.cast_unsigned(),
            run_count: row.try_get("run_count")?,
            sealed: row.try_get("sealed")?,
            runs: items
                .iter()
                .map(|row| Ok((row.try_get("idx")?, rows::id(row, "run", RunId::parse)?)))
                .collect::<Result<_, StoreError>>()?,
        })
    }

    /// Adds a run at its place. False if that place is taken.
    pub async fn add(&self, id: &str, index: u32, run: &RunId) -> Result<bool, StoreError> {
        let added = sqlx::query("INSERT INTO batch_items (batch, idx, run) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(index)
            .bind(run.as_str())
            .execute(&self.db.writer)
            .await?;
        Ok(added.rows_affected() > 0)
    }

    /// Notes that all runs are there.
    pub async fn seal(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE batches SET sealed = 1 WHERE id = ?").bind(id).execute(&self.db.writer).await?;
        Ok(())
    }

    /// Gives a project to an API key.
    pub async fn own(&self, project: &ProjectId, owner: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO owned_projects (project, owner) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(project.as_str())
            .bind(owner)
            .execute(&self.db.writer)
            .await?;
        Ok(())
    }

    /// Whether a project belongs to this API key.
    pub async fn owns(&self, project: &ProjectId, owner: &str) -> Result<bool, StoreError> {
        let found = sqlx::query("SELECT 1 FROM owned_projects WHERE project = ? AND owner = ?")
            .bind(project.as_str())
            .bind(owner)
            .fetch_optional(&self.db.reader)
            .await?;
        Ok(found.is_some())
    }
}
