//! The models to choose from: what pages show without waiting, and what programs get when they ask.

use super::AppState;
use super::error::Json;
use crate::llm::{Catalog, DEMO_MODEL, ModelInfo, ModelSource, SamplePrompt, samples};
use crate::services::{Services, Trials, aptitude};
use crate::store::{ModelNote, Secrets};
use crate::ui::{ModelOption, Sample};
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A page waits so long for a list it has never seen, and then goes without.
const PATIENCE: Duration = Duration::from_millis(150);
/// A list older than this is read again, behind the page that shows it.
const STALE: Duration = Duration::from_secs(15);

/// The last list read, and its refreshing.
#[derive(Clone)]
pub struct Models(Arc<Inner>);

struct Inner {
    catalog: Catalog,
    secrets: Secrets,
    trials: Trials,
    last: watch::Sender<Option<List>>,
    reading: AtomicBool,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    samples: Vec<Sample>,
}

#[derive(Clone)]
struct List {
    read_at: Instant,
    models: Arc<[ModelInfo]>,
    notes: Arc<BTreeMap<String, ModelNote>>,
}

impl Models {
    /// Over the catalog of these services, of which a first reading begins at once. Readings are owned by `tasks` and end
    /// on `shutdown`.
    pub fn new(services: &Services, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        let (catalog, secrets) = (services.catalog.clone(), services.store.secrets().clone());
        let trials = services.trials.clone();
        let (last, reading) = (watch::Sender::new(None), AtomicBool::new(false));
        let samples = samples().into_iter().map(sample).collect();
        let this = Self(Arc::new(Inner { catalog, secrets, trials, last, reading, tasks, shutdown, samples }));
        this.read();
        this
    }

    /// For a picker; empty while the provider has not answered yet.
    pub async fn options(&self) -> Vec<ModelOption> {
        let models = self.known().await;
        let notes = self.0.last.borrow().as_ref().map(|list| Arc::clone(&list.notes)).unwrap_or_default();
        let option = |info: &ModelInfo| {
            let note = notes.get(&info.model.id);
            ModelOption { untried: self.0.trials.is_due(info, note), ..option(info, note) }
        };
        let mut options: Vec<ModelOption> = models.iter().map(option).collect();
        // Stable: the default stays first among its equals.
        options.sort_by_key(|option| option.group != FAVOURITES);
        options
    }

    /// Whether only the recorded demo can answer.
    pub async fn only_demo(&self) -> bool {
        self.known().await.iter().all(|model| model.model.id == DEMO_MODEL)
    }

    /// The model that answers when a message names none, and how much it shall think; empty if not known.
    pub async fn default_model(&self) -> (String, String) {
        let known = self.known().await;
        let default = known.iter().find(|model| model.default).or(known.first());
        let both = default.map(|model| (model.model.id.clone(), model.effort.clone().unwrap_or_default()));
        both.unwrap_or_default()
    }

    /// All that is known of each model; empty while the provider has not answered yet.
    pub async fn list(&self) -> Arc<[ModelInfo]> {
        self.known().await
    }

    /// Reads the list again, because a setting changed.
    pub fn refresh(&self) {
        self.read();
    }

    /// Prompts that are known to work.
    pub fn samples(&self) -> Vec<Sample> {
        self.0.samples.clone()
    }

    async fn known(&self) -> Arc<[ModelInfo]> {
        let last = self.0.last.borrow().clone();
        if last.as_ref().is_none_or(|list| list.read_at.elapsed() > STALE) {
            self.read();
        }
        if let Some(list) = last {
            return list.models;
        }
        let mut first = self.0.last.subscribe();
        let waited = tokio::time::timeout(PATIENCE, first.wait_for(Option::is_some)).await;
        waited
            .ok()
            .and_then(Result::ok)
            .and_then(|list| list.as_ref().map(|list| Arc::clone(&list.models)))
            .unwrap_or_default()
    }

    /// Reads the list unless that is being done: in a task, so that a page that is left does not cut it off.
    fn read(&self) {
        if self.0.reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let list = this.0.shutdown.run_until_cancelled(this.0.catalog.list()).await;
            if let Some((models, _)) = list {
                // Without notes a picker is in another order and nothing else.
                let notes = this.0.secrets.model_notes().await.unwrap_or_default();
                let list = List { read_at: Instant::now(), models: models.into(), notes: notes.into() };
                this.0.last.send_replace(Some(list));
            }
            this.0.reading.store(false, Ordering::Release);
        });
    }
}

fn sample(sample: SamplePrompt) -> Sample {
    Sample { title: sample.name, stack: sample.stack, prompt: sample.prompt }
}

/// The group of the models a person marked.
const FAVOURITES: &str = "Favourites";

fn option(info: &ModelInfo, note: Option<&ModelNote>) -> ModelOption {
    let favourite = note.is_some_and(|note| note.favourite);
    let group = match &info.source {
        _ if favourite => FAVOURITES.to_owned(),
        ModelSource::Provider => info.model.id.split_once('/').map(|(maker, _)| maker.to_owned()).unwrap_or_default(),
        ModelSource::Local { name } | ModelSource::Endpoint { name } => name.clone(),
        ModelSource::Demo => String::new(),
    };
    let cannot = if note.and_then(aptitude).is_some_and(|a| !a.calls) { " (chat only)" } else { "" };
    let label = format!("{}{cannot}", info.model.label);
    let (blind, demo) = (info.images == Some(false), info.model.demo);
    ModelOption { id: info.model.id.clone(), label, group, blind, demo, untried: false }
}

/// Answer of `GET /api/models`.
#[derive(Debug, Serialize)]
pub struct ModelsAnswer {
    models: Vec<ModelInfo>,
    /// Why the configured provider's own list is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// `GET /api/models`
pub async fn list(State(app): State<AppState>) -> Json<ModelsAnswer> {
    let (models, problem) = app.services.catalog.list().await;
    Json(ModelsAnswer { models, problem: problem.map(|error| error.to_string()) })
}
