//! Endpoints a person adds: kept sealed in the store, offered by the catalog.

use super::{Services, aptitude};
use crate::config::Secret;
use crate::domain::{ApiError, ErrorCode};
use crate::llm::{Endpoint, ModelInfo, ModelSource, NamedEndpoint};
use crate::store::{ModelNote, SavedEndpoint, StoreError};

/// Characters of an endpoint's name.
const NAME_MAX: usize = 40;
/// Models of a new endpoint that are tried at once; the others when they are chosen.
const AT_ONCE: usize = 3;

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
            if aptitude(&note).is_some_and(|aptitude| aptitude.spoken) {
                self.catalog.speak_tools(&model, true);
            }
        }
        Ok(())
    }

    /// Adds an endpoint, or changes the one of the same name. A missing key keeps the one that is there. A name whose
    /// prefix means other models is refused: they would be asked in each other's place.
    /// Returns the prefix.
    pub async fn save_endpoint(&self, name: &str, base_url: &str, key: Option<&str>) -> Result<String, ApiError> {
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
            prefix: prefix.clone(),
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            key: key.map(Secret::new).or(kept),
        };
        self.store.secrets().save_endpoint(&endpoint).await?;
        self.load_endpoints().await?;
        Ok(prefix)
    }

    /// Tries the first models of an endpoint that nobody is billed for and of which nothing is known.
    pub async fn try_offered(&self, prefix: &str) -> Result<(), ApiError> {
        let endpoints = self.store.secrets().endpoints().await?;
        let Some(endpoint) = endpoints.into_iter().find(|e| e.prefix == prefix) else { return Ok(()) };
        let (source, notes) =
            (ModelSource::Endpoint { name: endpoint.name }, self.store.secrets().model_notes().await?);
        let (models, _) = self.catalog.list().await;
        let due = |m: &&ModelInfo| m.source == source && self.trials.is_due(m, notes.get(&m.model.id));
        for model in models.iter().filter(due).take(AT_ONCE) {
            self.trials.begin(&model.model.id);
        }
        Ok(())
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
