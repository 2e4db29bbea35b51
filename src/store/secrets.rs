//! Sealed settings: secrets of projects, endpoints with their keys, and what is noted about models.

use super::vault::Vault;
use super::{Db, StoreError, now_ms};
use crate::config::Secret;
use crate::domain::ProjectId;
use sqlx::Row;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Secrets and endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    db: Arc<Db>,
    vault: Arc<Vault>,
}

/// A server of models that a person added.
#[derive(Clone, Debug)]
pub struct SavedEndpoint {
    /// What the ids of its models begin with.
    pub prefix: String,
    /// Its name for people.
    pub name: String,
    /// Base URL.
    pub base_url: String,
    /// Its key.
    pub key: Option<Secret>,
}

/// What is noted about a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelNote {
    /// Whether a person marked it.
    pub favourite: bool,
    /// What it can do, as JSON.
    pub aptitude: Option<String>,
}

impl Secrets {
    pub(super) fn new(db: Arc<Db>, vault: Vault) -> Self {
        Self { db, vault: Arc::new(vault) }
    }

    /// Sets a project's secret; commands see it as an environment variable.
    pub async fn set(&self, project: &ProjectId, name: &str, value: &Secret) -> Result<(), StoreError> {
        let sealed = self.vault.seal(&format!("{project}/{name}"), value.expose())?;
        sqlx::query("INSERT OR REPLACE INTO project_secrets (project, name, sealed) VALUES (?, ?, ?)")
            .bind(project.as_str())
            .bind(name)
            .bind(sealed)
            .execute(&self.db.writer)
            .await?;
        Ok(())
    }

    /// Forgets a secret.
    pub async fn remove(&self, project: &ProjectId, name: &str) -> Result<(), StoreError> {
        let delete =
            sqlx::query("DELETE FROM project_secrets WHERE project = ? AND name = ?").bind(project.as_str()).bind(name);
        delete.execute(&self.db.writer).await?;
        Ok(())
    }

    /// A project's secrets by name, for the environment of its commands and to keep them out of what models read.
    pub async fn of(&self, project: &ProjectId) -> Result<BTreeMap<String, Secret>, StoreError> {
        let rows = sqlx::query("SELECT name, sealed FROM project_secrets WHERE project = ? ORDER BY name")
            .bind(project.as_str())
            .fetch_all(&self.db.reader)
            .await?;
        let mut secrets = BTreeMap::new();
        for row in rows {
            let name: String = row.try_get("name")?;
            let sealed: Vec<u8> = row.try_get("sealed")?;
            let value = self.vault.open_value(&format!("{project}/{name}"), &sealed)?;
            secrets.insert(name, Secret::new(value));
        }
        Ok(secrets)
    }

    /// Adds or replaces an endpoint.
    pub async fn save_endpoint(&self, endpoint: &SavedEndpoint) -> Result<(), StoreError> {
        let label = format!("endpoint/{}", endpoint.prefix);
        let sealed = endpoint.key.as_ref().map(|key| self.vault.seal(&label, key.expose())).transpose()?;
        sqlx::query(
            "INSERT OR REPLACE INTO endpoints (prefix, name, base_url, sealed_key, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&endpoint.prefix)
        .bind(&endpoint.name)
        .bind(&endpoint.base_url)
        .bind(sealed)
        .bind(now_ms().cast_signed())
        .execute(&self.db.writer)
        .await?;
        Ok(())
    }

    /// Forgets an endpoint and its key.
    pub async fn remove_endpoint(&self, prefix: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM endpoints WHERE prefix = ?").bind(prefix).execute(&self.db.writer).await?;
        Ok(())
    }

    /// The endpoints, in the order they were added.
    pub async fn endpoints(&self) -> Result<Vec<SavedEndpoint>, StoreError> {
        let query = "SELECT prefix, name, base_url, sealed_key FROM endpoints ORDER BY created_at, prefix";
        let mut endpoints = Vec::new();
        for row in sqlx::query(query).fetch_all(&self.db.reader).await? {
            let prefix: String = row.try_get("prefix")?;
            let sealed: Option<Vec<u8>> = row.try_get("sealed_key")?;
            let label = format!("endpoint/{prefix}");
            let key = sealed.map(|sealed| self.vault.open_value(&label, &sealed)).transpose()?.map(Secret::new);
            endpoints.push(SavedEndpoint {
                prefix,
                name: row.try_get("name")?,
                base_url: row.try_get("base_url")?,
                key,
            });
        }
        Ok(endpoints)
    }

    /// What is noted about models, by id.
    pub async fn model_notes(&self) -> Result<BTreeMap<String, ModelNote>, StoreError> {
        let rows = sqlx::query("SELECT model, favourite, aptitude FROM model_notes").fetch_all(&self.db.reader).await?;
        let note = |row: &sqlx::sqlite::SqliteRow| {
            let favourite: i64 = row.try_get("favourite")?;
            Ok((row.try_get("model")?, ModelNote { favourite: favourite != 0, aptitude: row.try_get("aptitude")? }))
        };
        rows.iter().map(note).collect()
    }

    /// Notes something about a model.
    pub async fn note_model(&self, model: &str, note: &ModelNote) -> Result<(), StoreError> {
        sqlx::query("INSERT OR REPLACE INTO model_notes (model, favourite, aptitude) VALUES (?, ?, ?)")
            .bind(model)
            .bind(i64::from(note.favourite))
            .bind(&note.aptitude)
            .execute(&self.db.writer)
            .await?;
        Ok(())
    }
}
