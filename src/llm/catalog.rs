//! Which models there are: the configured provider's, those of local servers, and the demo while none is configured.
//!
//! Owns the mapping from the id a person chose to a client. Lists are read lazily and kept for five minutes; an
//! answer is never held up by a list that cannot be had.

use super::endpoint::{Endpoint, StreamLimits};
use super::openai::OpenAiClient;
use super::{DEMO_MODEL, ModelClient, ModelError};
use crate::config::ModelConfig;
use crate::domain::ModelRef;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a list is believed.
const FRESH: Duration = Duration::from_secs(300);
/// How long a failure to read one is believed.
const RETRY: Duration = Duration::from_secs(10);
/// A local server answers at once or is not there.
const LOCAL_TIMEOUT: Duration = Duration::from_millis(400);
/// The configured provider may be across the world.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(10);
/// Local servers: the prefix of their models' ids and where they listen by default.
const LOCAL: [(&str, &str, &str); 4] = [
    ("ollama", "Ollama", "http://127.0.0.1:11434/v1"),
    ("lmstudio", "LM Studio", "http://127.0.0.1:1234/v1"),
    ("local8080", "llama.cpp", "http://127.0.0.1:8080/v1"),
    ("local8000", "vLLM", "http://127.0.0.1:8000/v1"),
];
/// Chosen in this order when the provider offers them and no default is set: good at calling tools.
const PREFERRED: [&str; 8] = [
    "anthropic/claude-sonnet-4.6",
    "anthropic/claude-sonnet-4.5",
    "claude-sonnet-4",
    "openai/gpt-5",
    "gpt-5",
    "gpt-4.1",
    "qwen3-coder",
    "gemini-2.5-pro",
];

/// A model a person can choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// How it is named in requests to this server.
    #[serde(flatten)]
    pub model: ModelRef,
    /// Who serves it.
    pub source: ModelSource,
    /// Whether it answers when a message names none.
    pub default: bool,
}

/// Who serves a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelSource {
    /// `AI_GATEWAY_BASE_URL`.
    Provider,
    /// A server found on this machine.
    Local {
        /// Its product name.
        name: String,
    },
    /// The recorded demo.
    Demo,
}

/// All models, and the clients to reach them.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    config: ModelConfig,
    demo: Endpoint,
    limits: StreamLimits,
    probe_local: bool,
    cache: Mutex<Option<Cached>>,
}

#[derive(Clone)]
struct Cached {
    read_at: Instant,
    models: Vec<ModelInfo>,
    /// Why the configured provider's list is missing.
    problem: Option<ModelError>,
}

impl Catalog {
    /// The catalog over this configuration; `demo` is where the recorded model answers.
    pub fn new(config: ModelConfig, demo: Endpoint, limits: StreamLimits, probe_local: bool) -> Self {
        Self(Arc::new(Inner { config, demo, limits, probe_local, cache: Mutex::new(None) }))
    }

    /// Every model that can be chosen, the default first, and why the provider's own list is missing if it is.
    pub async fn list(&self) -> (Vec<ModelInfo>, Option<ModelError>) {
        let mut cache = self.0.cache.lock().await;
        let keep = |c: &&Cached| c.read_at.elapsed() < if c.problem.is_some() { RETRY } else { FRESH };
        if let Some(have) = cache.as_ref().filter(keep) {
            return (have.models.clone(), have.problem.clone());
        }
        let fresh = self.read().await;
        *cache = Some(fresh.clone());
        (fresh.models, fresh.problem)
    }

    /// The client for a model, the id to send, and how to name it. `None` is the default.
    pub async fn resolve(&self, model: Option<&str>) -> Result<(Arc<dyn ModelClient>, String, ModelRef), ModelError> {
        let id = match model.map(str::trim).filter(|m| !m.is_empty()) {
            Some(id) => id.to_owned(),
            None => self.default_id().await?,
        };
        if id == DEMO_MODEL {
            let client = OpenAiClient::new(&self.0.demo, self.0.limits)?;
            return Ok((Arc::new(client), id, demo_ref()));
        }
        let local = self.0.probe_local.then(|| {
            LOCAL
                .iter()
                .find_map(|(prefix, _, url)| Some((id.strip_prefix(*prefix)?.strip_prefix('/')?.to_owned(), *url)))
        });
        if let Some((wire, url)) = local.flatten() {
            let endpoint = Endpoint { base_url: url.to_owned(), api_key: None };
            let label = wire.clone();
            return Ok((
                Arc::new(OpenAiClient::new(&endpoint, self.0.limits)?),
                wire,
                ModelRef { id, label, demo: false },
            ));
        }
        if !self.0.config.configured {
            return Err(ModelError::Unknown(id));
        }
        let client = OpenAiClient::new(&self.provider(), self.0.limits)?;
        let label = label_of(&id);
        Ok((Arc::new(client), id.clone(), ModelRef { id, label, demo: false }))
    }

    async fn default_id(&self) -> Result<String, ModelError> {
        if !self.0.config.configured {
            return Ok(DEMO_MODEL.to_owned());
        }
        if let Some(id) = &self.0.config.default_model {
            return Ok(id.clone());
        }
        let (models, problem) = self.list().await;
        match models.into_iter().find(|m| m.source == ModelSource::Provider) {
            Some(model) => Ok(model.model.id),
            None => Err(problem.unwrap_or_else(|| ModelError::Unknown("default".to_owned()))),
        }
    }

    fn provider(&self) -> Endpoint {
        Endpoint { base_url: self.0.config.base_url.clone(), api_key: self.0.config.api_key.clone() }
    }

    async fn read(&self) -> Cached {
        let config = &self.0.config;
        let mut models = Vec::new();
        let mut problem = None;
        if config.configured {
            match self.models_of(&self.provider(), REMOTE_TIMEOUT).await {
                Ok(ids) => {
                    models.extend(ids.into_iter().map(|id| info(id.clone(), label_of(&id), ModelSource::Provider)))
                }
                Err(error) => problem = Some(error),
            }
            models.sort_by_key(|m| m.model.label.to_lowercase());
            self.put_default_first(&mut models);
        } else {
            models.push(ModelInfo { model: demo_ref(), source: ModelSource::Demo, default: true });
        }
        if self.0.probe_local {
            let probes = LOCAL.iter().map(|(prefix, name, url)| self.local(prefix, name, url));
            models.extend(futures::future::join_all(probes).await.into_iter().flatten());
        }
        Cached { read_at: Instant::now(), models, problem }
    }

    fn put_default_first(&self, models: &mut Vec<ModelInfo>) {
        let at = match &self.0.config.default_model {
            Some(id) => models.iter().position(|m| m.model.id == *id).unwrap_or_else(|| {
                // Gateways do not always list what they serve: what a person configured is offered.
                models.insert(0, info(id.clone(), label_of(id), ModelSource::Provider));
                0
            }),
            None => PREFERRED.iter().find_map(|p| models.iter().position(|m| m.model.id.contains(p))).unwrap_or(0),
        };
        if at < models.len() {
            let mut default = models.remove(at);
            default.default = true;
            models.insert(0, default);
        }
    }

    async fn local(&self, prefix: &str, name: &str, url: &str) -> Vec<ModelInfo> {
        let endpoint = Endpoint { base_url: url.to_owned(), api_key: None };
        let ids = self.models_of(&endpoint, LOCAL_TIMEOUT).await.unwrap_or_default();
        let source = ModelSource::Local { name: name.to_owned() };
        ids.into_iter().map(|id| info(format!("{prefix}/{id}"), id, source.clone())).collect()
    }

    async fn models_of(&self, endpoint: &Endpoint, timeout: Duration) -> Result<Vec<String>, ModelError> {
        OpenAiClient::new(endpoint, self.0.limits)?.models(timeout).await
    }
}

fn info(id: String, label: String, source: ModelSource) -> ModelInfo {
    ModelInfo { model: ModelRef { id, label, demo: false }, source, default: false }
}

fn demo_ref() -> ModelRef {
    ModelRef { id: DEMO_MODEL.to_owned(), label: "Demo (recorded, no key needed)".to_owned(), demo: true }
}

/// The part after the vendor: `anthropic/claude-sonnet-4.6` is known as `claude-sonnet-4.6`.
fn label_of(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}
