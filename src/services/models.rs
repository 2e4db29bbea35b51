//! Endpoints a person adds: kept sealed in the store, offered by the catalog.

use super::Services;
use crate::config::Secret;
use crate::domain::{ApiError, ErrorCode};
use crate::llm::{Aptitude, Endpoint, ModelSource, NamedEndpoint, probe};
use crate::store::{ModelNote, SavedEndpoint, StoreError};
use tokio_util::sync::CancellationToken;

/// Characters of an endpoint's name.
const NAME_MAX: usize = 40;

impl Services {
    /// Gives the catalog the endpoints that are kept.
    pub async fn load_endpoints(&self) -> Result<(), StoreError> {
        let saved = self.store.secrets().endpoints().await?;
        let named = |saved: SavedEndpoint| NamedEndpoint {
            prefix: saved.prefix,
            name: saved.name,
            endpoint: Endpoint { base_url: saved.base_url, api_key: saved.key },
        };
        self.catalog.set_endpoints(saved.into_iter().map(named).collect()).await;
        for (model, note) in self.store.secrets().model_notes().await? {
            let aptitude = note.aptitude.and_then(|text| serde_json::from_str::<Aptitude>(&text).ok());
            if aptitude.is_some_and(|aptitude| aptitude.spoken) {
                self.catalog.speak_tools(&model, true);
            }
        }
        Ok(())
    }

    /// Adds an endpoint, or changes the one of the same name. A missing key keeps the one that is there. A name whose
    /// prefix means other models is refused: they would be asked in each other's place.
    pub async fn save_endpoint(&self, name: &str, base_url: &str, key: Option<&str>) -> Result<(), ApiError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(ApiError::invalid(format!("A name has 1 to {NAME_MAX} characters.")));
        }
        let base_url = base_url.trim().trim_end_matches('/');
        if !(base_url.starts_with("http://") || base_url.starts_with("https://"))
            || base_url.contains(char::is_whitespace)
        {
            return Err(ApiError::invalid("The address must begin with http:// or https://; it usually ends in /v1."));
        }
        let key = key.map(str::trim).filter(|key| !key.is_empty());
        if key.is_some_and(|key| !key.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ApiError::invalid("The key contains spaces or other characters no key has."));
        }
        let prefix = slug(name);
        let saved = self.store.secrets().endpoints().await?.into_iter().find(|e| e.prefix == prefix);
        match &saved {
            Some(other) if other.name != name => {
                return Err(taken(&prefix, &format!("the endpoint \"{}\"", other.name)));
            }
            Some(_) => {}
            // One that was saved before its prefix was taken stays what it is.
            None => match self.catalog.owner_of_prefix(&prefix, base_url).await {
                Some(ModelSource::Local { name }) => return Err(taken(&prefix, &format!("{name} on this machine"))),
                Some(_) => return Err(taken(&prefix, "the configured provider")),
                None => {}
            },
        }
        let kept = saved.and_then(|e| e.key);
        let endpoint = SavedEndpoint {
            prefix,
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            key: key.map(Secret::new).or(kept),
        };
        self.store.secrets().save_endpoint(&endpoint).await?;
        Ok(self.load_endpoints().await?)
    }

    /// Asks a model what it can do, and notes the result.
    pub async fn probe_model(&self, id: &str) -> Result<Aptitude, ApiError> {
        let model = self.catalog.resolve(Some(id)).await?;
        let mut aptitude = probe(&*model.client, &model.wire, &CancellationToken::new()).await?;
        if !aptitude.calls && !self.catalog.speaks_tools(id) {
            // Some servers drop tools without a word, where the model's template has no place for them.
            self.catalog.speak_tools(id, true);
            let spoken = probe(&*model.client, &model.wire, &CancellationToken::new()).await?;
            if spoken.calls {
                aptitude = spoken;
            } else {
                self.catalog.speak_tools(id, false);
            }
        }
        aptitude.spoken = self.catalog.speaks_tools(id);
        let mut note = self.note_of(id).await?;
        note.aptitude = serde_json::to_string(&aptitude).ok();
        self.store.secrets().note_model(id, &note).await?;
        Ok(aptitude)
    }

    /// Marks a model, or takes the mark away.
    pub async fn toggle_favourite(&self, id: &str) -> Result<(), ApiError> {
        let mut note = self.note_of(id).await?;
        note.favourite = !note.favourite;
        Ok(self.store.secrets().note_model(id, &note).await?)
    }

    async fn note_of(&self, id: &str) -> Result<ModelNote, StoreError> {
        Ok(self.store.secrets().model_notes().await?.remove(id).unwrap_or_default())
    }

    /// Forgets an endpoint and its key.
    pub async fn remove_endpoint(&self, prefix: &str) -> Result<(), ApiError> {
        self.store.secrets().remove_endpoint(prefix).await?;
        Ok(self.load_endpoints().await?)
    }
}

fn taken(prefix: &str, owner: &str) -> ApiError {
    let message = format!("Ids that begin with \"{prefix}/\" mean models of {owner}. Choose another name.");
    ApiError::new(ErrorCode::Conflict, message)
}

fn slug(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "endpoint".to_owned() } else { plain.to_owned() }
}
