//! Which models there are: the configured provider's, those of endpoints added in the settings, those of local servers,
//! and the demo while there is nothing else.
//!
//! Owns the lists and the clients; which server an id means is `route`'s. Lists are read lazily and kept for five minutes;
//! an answer waits for them only where they decide who answers.

use super::endpoint::{Endpoint, StreamLimits};
use super::offered::{OfferedModel, Price};
use super::openai::OpenAiClient;
use super::request::{Dialect, Dialects};
use super::route::{Group, Routes, is_same_server};
use super::{DEMO_MODEL, ModelClient, ModelError};
use crate::config::ModelConfig;
use crate::domain::ModelRef;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// How it is named in requests to this server.
    #[serde(flatten)]
    pub model: ModelRef,
    /// Who serves it.
    pub source: ModelSource,
    /// Whether it answers when a message names none.
    pub default: bool,
    /// How much it shall think then, if that was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Whether nobody is billed for asking it, as far as can be known.
    #[serde(default)]
    pub free: bool,
    /// Tokens it reads at most, if its server tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// Dollars for a million tokens sent, and for a million received, if its server tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<(f64, f64)>,
    /// Whether it reads images, if its server tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<bool>,
}

/// A server a person added in the settings.
#[derive(Clone, Debug)]
pub struct NamedEndpoint {
    /// What the ids of its models begin with.
    pub prefix: String,
    /// Its name for people.
    pub name: String,
    /// Where it is, with its key.
    pub endpoint: Endpoint,
}

/// A model ready to be asked.
#[derive(Clone)]
pub struct Resolved {
    /// The client.
    pub client: Arc<dyn ModelClient>,
    /// The id its server knows.
    pub wire: String,
    /// How it is announced.
    pub name: ModelRef,
    /// How much it shall think, if the id ended in `:low`, `:medium` or `:high`.
    pub effort: Option<String>,
}

/// A client with a memory of its own.
pub struct Apart {
    /// The client.
    pub client: OpenAiClient,
    /// The id its server knows.
    pub wire: String,
    url: String,
    dialects: Dialects,
}

impl Apart {
    /// Whether tools are spelled in the text, which its server may have made necessary.
    pub fn speaks_tools(&self) -> bool {
        self.dialects.of(&self.url, &self.wire).spoken_tools
    }
}

/// Who serves a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelSource {
    /// `AI_GATEWAY_BASE_URL`.
    Provider,
    /// An endpoint added in the settings.
    Endpoint {
        /// Its name.
        name: String,
    },
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
    routes: RwLock<Routes>,
    dialects: Dialects,
    cache: Mutex<Option<Cached>>,
}

#[derive(Clone)]
struct Cached {
    read_at: Instant,
    models: Vec<ModelInfo>,
    /// Why a list is missing.
    problem: Option<ModelError>,
}

impl Catalog {
    /// The catalog over this configuration; `demo` is where the recorded model answers.
    pub fn new(config: ModelConfig, demo: Endpoint, limits: StreamLimits, probe_local: bool) -> Self {
        let routes = Routes(groups(&config, Vec::new(), probe_local));
        let (routes, dialects, cache) = (RwLock::new(routes), Dialects::default(), Mutex::new(None));
        Self(Arc::new(Inner { config, demo, limits, probe_local, routes, dialects, cache }))
    }

    /// Replaces the endpoints added in the settings.
    pub async fn set_endpoints(&self, endpoints: Vec<NamedEndpoint>) {
        let mut cache = self.0.cache.lock().await;
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *routes, Routes(groups(&self.0.config, endpoints, self.0.probe_local)));
        routes.recall(before);
        *cache = None;
    }

    /// Who has models whose ids begin with this and a slash, besides endpoints that were added and the server at `url`.
    /// Reads the lists if that was never done.
    pub async fn owner_of_prefix(&self, prefix: &str, url: &str) -> Option<ModelSource> {
        if self.0.cache.lock().await.is_none() {
            self.list().await;
        }
        self.routes().owner_of_prefix(prefix, url).cloned()
    }

    fn routes(&self) -> RwLockReadGuard<'_, Routes> {
        self.0.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers whether a model's server takes no tools.
    pub fn speak_tools(&self, id: &str, spoken_tools: bool) {
        let (url, wire) = self.server_of(id);
        let dialect = self.0.dialects.of(&url, &wire);
        self.0.dialects.learn(&url, &wire, Dialect { spoken_tools, ..dialect });
    }

    /// Whether a model's server turned out to take no tools, so that they are spelled in the text.
    pub fn speaks_tools(&self, id: &str) -> bool {
        let (url, wire) = self.server_of(id);
        self.0.dialects.of(&url, &wire).spoken_tools
    }

    /// Whether a model's server turned out to take no images. The demo takes none.
    pub fn is_blind(&self, id: &str) -> bool {
        if id == DEMO_MODEL {
            return true;
        }
        let (url, wire) = self.server_of(id);
        self.0.dialects.of(&url, &wire).no_images
    }

    /// The server of a model, and how it is called there.
    fn server_of(&self, id: &str) -> (String, String) {
        let routes = self.routes();
        let found = routes.find(id).map(|route| (route.group.endpoint.base_url.clone(), route.wire.to_owned()));
        let (url, wire) = found.unwrap_or_else(|| (self.0.config.base_url.clone(), id.to_owned()));
        (url.trim_end_matches('/').to_owned(), wire)
    }

    /// Every model that can be chosen, the default first, and why a list is missing if one is.
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

    /// What is known about a model's window, prices and inputs. Reads the lists if that was never done.
    pub async fn facts(&self, id: &str) -> OfferedModel {
        let known = || self.routes().find(id).and_then(|route| route.offered.cloned());
        if let Some(known) = known() {
            return known;
        }
        if self.0.cache.lock().await.is_none() {
            self.list().await;
        }
        known().unwrap_or_default()
    }

    /// A model's id without how much it shall think, and that; empty for its own way.
    pub fn split(&self, id: &str) -> (String, String) {
        let routes = self.routes();
        let (id, effort) = routes.split(id);
        (id.to_owned(), effort.unwrap_or_default().to_owned())
    }

    /// The client for a model, the id to send, and how to name it. `None` is the default.
    pub async fn resolve(&self, model: Option<&str>) -> Result<Resolved, ModelError> {
        let id = match model.map(str::trim).filter(|m| !m.is_empty()) {
            Some(id) => id.to_owned(),
            None => self.default_id().await?,
        };
        // What it plays was recorded, however much it shall think.
        if id.split(':').next() == Some(DEMO_MODEL) {
            let id = DEMO_MODEL.to_owned();
            return Ok(Resolved { client: self.client(&self.0.demo)?, wire: id, name: demo_ref(), effort: None });
        }
        self.read_if_open(&id).await;
        let routes = self.routes();
        let route = routes.find(&id).ok_or_else(|| ModelError::Unknown(id.clone()))?;
        let (client, wire) = (self.client(&route.group.endpoint)?, route.wire.to_owned());
        let effort = route.effort.map(str::to_owned);
        let label = effort.iter().fold(label_of(&wire), |label, effort| format!("{label}:{effort}"));
        Ok(Resolved { client, wire, name: ModelRef { id: id.clone(), label, demo: false }, effort })
    }

    /// A client of a model that learns for itself what the server does not understand: what is tried out with it disturbs
    /// nobody. `spoken_tools` says whether it begins with tools spelled in the text.
    pub async fn apart(&self, id: &str, spoken_tools: bool) -> Result<Apart, ModelError> {
        self.read_if_open(id).await;
        let routes = self.routes();
        let found = routes.find(id).map(|route| (route.group.endpoint.clone(), route.wire.to_owned()));
        let (endpoint, wire) = match found {
            _ if id == DEMO_MODEL => (self.0.demo.clone(), id.to_owned()),
            found => found.ok_or_else(|| ModelError::Unknown(id.to_owned()))?,
        };
        let url = endpoint.base_url.trim_end_matches('/').to_owned();
        let dialects = Dialects::default();
        dialects.learn(&url, &wire, Dialect { spoken_tools, ..self.0.dialects.of(&url, &wire) });
        let client = OpenAiClient::new(&endpoint, self.0.limits)?.with_dialects(dialects.clone());
        Ok(Apart { client, wire, url, dialects })
    }

    /// Reads the lists if that was never done and they decide where an id leads.
    async fn read_if_open(&self, id: &str) {
        let open = self.routes().is_open(id);
        if open && self.0.cache.lock().await.is_none() {
            self.list().await;
        }
    }

    fn client(&self, endpoint: &Endpoint) -> Result<Arc<dyn ModelClient>, ModelError> {
        Ok(Arc::new(self.openai(endpoint)?))
    }

    fn openai(&self, endpoint: &Endpoint) -> Result<OpenAiClient, ModelError> {
        Ok(OpenAiClient::new(endpoint, self.0.limits)?.with_dialects(self.0.dialects.clone()))
    }

    async fn default_id(&self) -> Result<String, ModelError> {
        if let Some(id) = &self.0.config.default_model {
            return Ok(id.clone());
        }
        if !self.routes().has_remote() {
            return Ok(DEMO_MODEL.to_owned());
        }
        let (models, problem) = self.list().await;
        match models.iter().find(|m| m.default) {
            Some(model) => Ok(model.model.id.clone()),
            None => Err(problem.unwrap_or_else(|| ModelError::Unknown("default".to_owned()))),
        }
    }

    async fn read(&self) -> Cached {
        let before = self.routes().0.clone();
        let lists = futures::future::join_all(before.iter().map(|g| self.models_of(&g.endpoint, g.timeout))).await;
        let (mut fresh, mut problem) = (Vec::new(), None);
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        for (group, list) in before.into_iter().zip(lists) {
            match list {
                Ok(offered) => {
                    fresh.push((group.prefix.clone(), group.source.clone()));
                    routes.learn(&group, offered);
                }
                // A local server that is not there is no problem.
                Err(_) if matches!(group.source, ModelSource::Local { .. }) => {}
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        let mut models = Vec::new();
        for group in routes.0.iter().filter(|g| fresh.contains(&(g.prefix.clone(), g.source.clone()))) {
            let offered = group.models.iter().flatten();
            let listed = |model: &OfferedModel| {
                let info = info(routes.id_of(group, &model.id), model, group.source.clone());
                ModelInfo { free: group.is_free(model), ..info }
            };
            let mut new: Vec<ModelInfo> = offered.map(listed).collect();
            new.sort_by_key(|m| m.model.label.to_lowercase());
            models.append(&mut new);
        }
        if routes.has_remote() {
            self.put_default_first(&routes, &mut models);
        } else {
            let demo = OfferedModel { id: DEMO_MODEL.to_owned(), images: Some(false), ..OfferedModel::default() };
            let mut demo = info(DEMO_MODEL.to_owned(), &demo, ModelSource::Demo);
            (demo.model, demo.default) = (demo_ref(), true);
            models.insert(0, demo);
        }
        Cached { read_at: Instant::now(), models, problem }
    }

    fn put_default_first(&self, routes: &Routes, models: &mut Vec<ModelInfo>) {
        let mut effort = None;
        let at = match &self.0.config.default_model {
            Some(id) => {
                let (id, thinking) = routes.split(id);
                effort = thinking.map(str::to_owned);
                models.iter().position(|m| m.model.id == *id).unwrap_or_else(|| {
                    // Gateways do not always list what they serve: what a person configured is offered.
                    let offered = OfferedModel { id: id.to_owned(), ..OfferedModel::default() };
                    models.insert(0, info(id.to_owned(), &offered, ModelSource::Provider));
                    0
                })
            }
            // A local server never answers in the place of a provider whose list is missing.
            None => {
                let remote = |m: &ModelInfo| !matches!(m.source, ModelSource::Local { .. });
                let preferred = |p: &&str| models.iter().position(|m| remote(m) && m.model.id.contains(p));
                PREFERRED.iter().find_map(preferred).or_else(|| models.iter().position(remote)).unwrap_or(models.len())
            }
        };
        if at < models.len() {
            let mut default = models.remove(at);
            (default.default, default.effort) = (true, effort);
            models.insert(0, default);
        }
    }

    async fn models_of(&self, endpoint: &Endpoint, timeout: Duration) -> Result<Vec<OfferedModel>, ModelError> {
        self.openai(endpoint)?.models(timeout).await
    }
}

/// The servers, in the order in which they are offered.
fn groups(config: &ModelConfig, added: Vec<NamedEndpoint>, probe_local: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    if config.configured {
        let endpoint = Endpoint { base_url: config.base_url.clone(), api_key: config.api_key.clone() };
        groups.push(Group::new("", ModelSource::Provider, endpoint, REMOTE_TIMEOUT));
    }
    for one in added {
        let source = ModelSource::Endpoint { name: one.name };
        groups.push(Group::new(&one.prefix, source, one.endpoint, REMOTE_TIMEOUT));
    }
    for (prefix, name, url) in LOCAL.iter().filter(|_| probe_local) {
        // A local server that was added as well would offer everything twice.
        if !groups.iter().any(|group| !group.prefix.is_empty() && is_same_server(&group.endpoint.base_url, url)) {
            let endpoint = Endpoint { base_url: (*url).to_owned(), api_key: None };
            groups.push(Group::new(prefix, ModelSource::Local { name: (*name).to_owned() }, endpoint, LOCAL_TIMEOUT));
        }
    }
    groups
}

fn info(id: String, offered: &OfferedModel, source: ModelSource) -> ModelInfo {
    let million = |price: Price| (price.input * 1e6, price.output * 1e6);
    ModelInfo {
        model: ModelRef { id, label: label_of(&offered.id), demo: false },
        source,
        default: false,
        effort: None,
        free: false,
        context: offered.context,
        price: offered.price.map(million),
        images: offered.images,
    }
}

fn demo_ref() -> ModelRef {
    ModelRef { id: DEMO_MODEL.to_owned(), label: "Demo (recorded)".to_owned(), demo: true }
}

/// The part after the vendor: `anthropic/claude-sonnet-4.6` is known as `claude-sonnet-4.6`.
fn label_of(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}
