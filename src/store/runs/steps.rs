//! The journal of a run: steps that are done are found again, so that they are never done twice.

use super::super::StoreError;
use super::{RunStore, rows};
use crate::domain::{ApiError, RunId};
use serde_json::Value;
use sqlx::Row as _;

impl RunStore {
    /// The result of a step that is done.
    pub async fn step_done(&self, run: &RunId, name: &str) -> Result<Option<Value>, StoreError> {
        let row = sqlx::query("SELECT output FROM steps WHERE run = ? AND name = ? AND output IS NOT NULL LIMIT 1")
            .bind(run.as_str())
            .bind(name)
            .fetch_optional(&self.db.reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        rows::json(&row, "output")
    }

    /// Records that a step begins and returns the number of its record.
    pub async fn step_begin(&self, run: &RunId, name: &str, attempt: u32, at: u64) -> Result<i64, StoreError> {
        // Nothing is added for a run that was deleted meanwhile.
        let added = sqlx::query(
            "INSERT INTO steps (run, name, attempt, started_at) SELECT id, ?, ?, ? FROM runs WHERE id = ? RETURNING n",
        )
        .bind(name)
        .bind(attempt)
        .bind(at.cast_signed())
        .bind(run.as_str())
        .fetch_optional(&self.db.writer)
        .await?;
        self.changed(run);
        match added {
            Some(row) => Ok(row.try_get("n")?),
            None => Err(StoreError::not_found("run", run.as_str())),
        }
    }

    /// Records how a step ended. With an output it is done for good.
    pub async fn step_end(
        &self,
        run: &RunId,
        step: i64,
        at: u64,
        result: Result<&Value, &ApiError>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE steps SET finished_at = ?, output = ?, error = ? WHERE n = ?")
            .bind(at.cast_signed())
            .bind(result.ok().map(Value::to_string))
            .bind(result.err().map(serde_json::to_string).transpose()?)
            .bind(step)
            .execute(&self.db.writer)
            .await?;
        self.changed(run);
        Ok(())
    }

    /// Records a step as done that goes on until a known time: what is left of it is found again.
    pub async fn step_note(&self, step: i64, until: u64, output: &Value) -> Result<(), StoreError> {
        sqlx::query("UPDATE steps SET finished_at = ?, output = ? WHERE n = ?")
            .bind(until.cast_signed())
            .bind(output.to_string())
            .bind(step)
            .execute(&self.db.writer)
            .await?;
        Ok(())
    }
}
