//! What the model was told and said, per project, in its own wire form: also the journal from which a turn resumes.

use super::{Db, StoreError};
use crate::domain::{ProjectId, RunId};
use serde_json::Value;
use sqlx::Row;
use std::sync::Arc;

/// The transcripts of all projects.
#[derive(Clone)]
pub struct Transcript {
    db: Arc<Db>,
}

/// One message of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscriptEntry {
    /// The turn that added it.
    pub turn: RunId,
    /// The step of the turn that added it.
    pub step: u32,
    /// The message, as the model's API spells it.
    pub message: Value,
}

impl Transcript {
    pub(super) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// Appends a step's messages, all or none. A step that is there already is left as it is, so that a step that is
    /// finished again after a crash appears once.
    pub async fn append(
        &self,
        project: &ProjectId,
        turn: &RunId,
        step: u32,
        messages: &[Value],
    ) -> Result<(), StoreError> {
        let mut transaction = self.db.writer.begin_with("BEGIN IMMEDIATE").await?;
        let known = sqlx::query("SELECT 1 FROM transcript WHERE project = ? AND turn = ? AND step = ? LIMIT 1")
            .bind(project.as_str())
            .bind(turn.as_str())
            .bind(step)
            .fetch_optional(&mut *transaction)
            .await?;
        if known.is_some() {
            return Ok(());
        }
        let exists = sqlx::query("SELECT 1 FROM projects WHERE id = ?").bind(project.as_str());
        if exists.fetch_optional(&mut *transaction).await?.is_none() {
            return Err(StoreError::not_found("project", project.as_str()));
        }
        for (idx, message) in (0i64..).zip(messages) {
            sqlx::query("INSERT INTO transcript (project, turn, step, idx, message) VALUES (?, ?, ?, ?, ?)")
                .bind(project.as_str())
                .bind(turn.as_str())
                .bind(step)
                .bind(idx)
                .bind(message.to_string())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Gives another project these turns.
    pub async fn copy(&self, from: &ProjectId, to: &ProjectId, turns: &[RunId]) -> Result<(), StoreError> {
        let mut transaction = self.db.writer.begin_with("BEGIN IMMEDIATE").await?;
        for turn in turns {
            sqlx::query(
                "INSERT INTO transcript (project, turn, step, idx, message) SELECT ?, turn, step, idx, message \
                 FROM transcript WHERE project = ? AND turn = ? ORDER BY n",
            )
            .bind(to.as_str())
            .bind(from.as_str())
            .bind(turn.as_str())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The whole transcript, oldest first; empty for an unknown project.
    pub async fn load(&self, project: &ProjectId) -> Result<Vec<TranscriptEntry>, StoreError> {
        let rows = sqlx::query("SELECT turn, step, message FROM transcript WHERE project = ? ORDER BY n")
            .bind(project.as_str())
            .fetch_all(&self.db.reader)
            .await?;
        rows.iter()
            .map(|row| {
                let turn: String = row.try_get("turn")?;
                let message: String = row.try_get("message")?;
                Ok(TranscriptEntry {
                    turn: RunId::parse(turn).map_err(|error| StoreError::Corrupt(error.to_string()))?,
                    step: row.try_get("step")?,
                    message: serde_json::from_str(&message)?,
                })
            })
            .collect()
    }
}
