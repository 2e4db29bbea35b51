//! Records of what the e2b API made: sandboxes, and images to make sandboxes from.
//!
//! Keeps each record as its owner's JSON. It must not know what is in one.

use super::{Db, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use std::sync::Arc;

/// Which records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetTable {
    /// Sandboxes.
    Sandboxes,
    /// Snapshots and templates.
    Images,
}

/// The records. Cheap to clone.
#[derive(Clone)]
pub struct FleetStore {
    db: Arc<Db>,
}

impl FleetStore {
    pub(super) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// All records of a table, the oldest first.
    pub async fn all<T: DeserializeOwned>(&self, table: FleetTable) -> Result<Vec<T>, StoreError> {
        let sql = match table {
            FleetTable::Sandboxes => "SELECT record FROM fleet_sandboxes ORDER BY created_at, id",
            FleetTable::Images => "SELECT record FROM fleet_images ORDER BY created_at, id",
        };
        let rows = sqlx::query(sql).fetch_all(&self.db.reader).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row.try_get("record")?)?)).collect()
    }

    /// Writes a record, new or changed.
    pub async fn put<T: Serialize>(
        &self,
        table: FleetTable,
        id: &str,
        owner: &str,
        created_at: u64,
        record: &T,
    ) -> Result<(), StoreError> {
        let sql = match table {
            FleetTable::Sandboxes => {
                "INSERT INTO fleet_sandboxes (id, owner, created_at, record) VALUES (?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record"
            }
            FleetTable::Images => {
                "INSERT INTO fleet_images (id, owner, created_at, record) VALUES (?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record"
            }
        };
        sqlx::query(sql)
            .bind(id)
            .bind(owner)
            .bind(i64::try_from(created_at).unwrap_or(i64::MAX))
            .bind(serde_json::to_string(record)?)
            .execute(&self.db.writer)
            .await?;
        Ok(())
    }

    /// Forgets a record.
    pub async fn delete(&self, table: FleetTable, id: &str) -> Result<(), StoreError> {
        let sql = match table {
            FleetTable::Sandboxes => "DELETE FROM fleet_sandboxes WHERE id = ?",
            FleetTable::Images => "DELETE FROM fleet_images WHERE id = ?",
        };
        sqlx::query(sql).bind(id).execute(&self.db.writer).await?;
        Ok(())
    }
}
