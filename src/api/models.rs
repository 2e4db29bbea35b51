//! The models to choose from: what pages show without waiting, and what programs get when they ask.

use super::AppState;
use super::error::Json;
use crate::llm::{Catalog, ModelInfo, ModelSource, SamplePrompt, samples};
use crate::ui::{ModelOption, Sample};
use axum::extract::State;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
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
    last: Mutex<Option<(Instant, Arc<[ModelInfo]>)>>,
    reading: AtomicBool,
    tasks: TaskTracker,
    samples: Vec<Sample>,
}

impl Models {
    /// Over this catalog; reads are owned by `tasks`.
    pub fn new(catalog: Catalog, tasks: TaskTracker) -> Self {
        let (last, reading) = (Mutex::default(), AtomicBool::new(false));
        let samples = samples().into_iter().map(sample).collect();
        Self(Arc::new(Inner { catalog, last, reading, tasks, samples }))
    }

    /// For a picker; empty while the provider has not answered yet.
    pub async fn options(&self) -> Vec<ModelOption> {
        self.known().await.iter().map(option).collect()
    }

    /// The model that answers when a message names none; empty if not known.
    pub async fn default_model(&self) -> String {
        let known = self.known().await;
        let default = known.iter().find(|model| model.default).or(known.first());
        default.map(|model| model.model.id.clone()).unwrap_or_default()
    }

    /// Prompts that are known to work.
    pub fn samples(&self) -> Vec<Sample> {
        self.0.samples.clone()
    }

    async fn known(&self) -> Arc<[ModelInfo]> {
        let last = self.last();
        if last.as_ref().is_some_and(|(at, _)| at.elapsed() < STALE) || self.0.reading.swap(true, Ordering::AcqRel) {
            return last.map(|(_, models)| models).unwrap_or_default();
        }
        let this = self.clone();
        // In a task of its own, so that a reader who leaves does not cut the reading off.
        let reading = self.0.tasks.spawn(async move {
            let (models, _) = this.0.catalog.list().await;
            *this.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), models.into()));
            this.0.reading.store(false, Ordering::Release);
        });
        if last.is_none() {
            let _still_reading = tokio::time::timeout(PATIENCE, reading).await;
        }
        self.last().map(|(_, models)| models).unwrap_or_default()
    }

    fn last(&self) -> Option<(Instant, Arc<[ModelInfo]>)> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn sample(sample: SamplePrompt) -> Sample {
    Sample { title: sample.name, stack: sample.stack, prompt: sample.prompt }
}

fn option(info: &ModelInfo) -> ModelOption {
    let group = match &info.source {
        ModelSource::Provider => info.model.id.split_once('/').map(|(maker, _)| maker.to_owned()).unwrap_or_default(),
        ModelSource::Local { name } => name.clone(),
        ModelSource::Demo => String::new(),
    };
    ModelOption { id: info.model.id.clone(), label: info.model.label.clone(), group }
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
