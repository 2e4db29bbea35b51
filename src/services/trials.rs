//! Trials of models: what a model can do is found out by asking it, behind whatever a person does meanwhile.
//!
//! Owns which models are tried without being asked for (those nobody is billed for), the trials under way, one at a time,
//! because models of one machine share its memory, and what is noted at their end. A trial has a client of its own: what
//! it tries out disturbs no turn.

use crate::domain::ApiError;
use crate::llm::{Aptitude, Catalog, ModelInfo, probe};
use crate::store::{ModelNote, Secrets};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A trial takes at most so long, the loading of a local model included.
const PATIENCE: Duration = Duration::from_secs(180);
/// A model that did not answer is left alone so long, unless a person asks for it.
const AGAIN: Duration = Duration::from_secs(600);

/// Trials of models. Cheap to clone.
#[derive(Clone)]
pub struct Trials(Arc<Inner>);

struct Inner {
    catalog: Catalog,
    secrets: Secrets,
    by_itself: bool,
    under_way: Mutex<HashMap<String, watch::Receiver<Trial>>>,
    failed: Mutex<HashMap<String, (Instant, String)>>,
    turn: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How far a trial is.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Grows with each piece of news.
    pub step: u32,
    /// Whether it waits for the end of another.
    pub waits: bool,
    /// Questions answered so far.
    pub asked: usize,
    /// What they showed.
    pub found: Aptitude,
    /// How it ended; none while it runs. An error says why the model could not be tried.
    pub end: Option<Result<(), String>>,
}

/// What is known of a model.
pub enum Known {
    /// It is being tried.
    UnderWay(watch::Receiver<Trial>),
    /// It was tried.
    Tried(Aptitude),
    /// It could not be tried, for this reason.
    Failed(String),
    /// Nothing.
    Nothing,
}

impl Trials {
    /// Over this catalog. `by_itself` says whether a model may be tried without being asked for.
    pub fn new(catalog: Catalog, secrets: Secrets, by_itself: bool) -> Self {
        Self(Arc::new(Inner {
            catalog,
            secrets,
            by_itself,
            under_way: Mutex::default(),
            failed: Mutex::default(),
            turn: Semaphore::new(1),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Ends what runs; it is forgotten.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Whether a model is to be tried as soon as it is chosen: nothing is known of it, and nobody pays for the answer.
    pub fn is_due(&self, model: &ModelInfo, note: Option<&ModelNote>) -> bool {
        let known = note.is_some_and(|note| note.aptitude.is_some());
        self.0.by_itself && model.free && !known && self.failure(&model.model.id).is_none()
    }

    /// Trials under way and those that failed lately, by the model's id.
    pub fn list(&self) -> Vec<(String, Known)> {
        let under_way = self.under_way().clone().into_iter().map(|(id, news)| (id, Known::UnderWay(news)));
        let failed = lock(&self.0.failed).clone().into_iter().filter(|(_, (at, _))| at.elapsed() < AGAIN);
        let mut all: Vec<_> = under_way.chain(failed.map(|(id, (_, why))| (id, Known::Failed(why)))).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// What is known of a model. One that is due is tried from now on.
    pub async fn of(&self, id: &str) -> Result<Known, ApiError> {
        if let Some(news) = self.under_way().get(id) {
            return Ok(Known::UnderWay(news.clone()));
        }
        let note = self.0.secrets.model_notes().await?.remove(id).unwrap_or_default();
        if let Some(aptitude) = aptitude(&note) {
            return Ok(Known::Tried(aptitude));
        }
        if let Some(why) = self.failure(id) {
            return Ok(Known::Failed(why));
        }
        let (models, _) = self.0.catalog.list().await;
        let due = models.iter().any(|model| model.model.id == id && self.is_due(model, Some(&note)));
        Ok(if due { Known::UnderWay(self.begin(id)) } else { Known::Nothing })
    }

    /// Tries a model, unless that is being done.
    pub fn begin(&self, id: &str) -> watch::Receiver<Trial> {
        let mut under_way = self.under_way();
        if let Some(news) = under_way.get(id) {
            return news.clone();
        }
        lock(&self.0.failed).remove(id);
        // The first news is that there will be some.
        let (tell, news) = watch::channel(Trial { step: 1, waits: !under_way.is_empty(), ..Trial::default() });
        under_way.insert(id.to_owned(), news.clone());
        let (this, id) = (self.clone(), id.to_owned());
        self.0.tasks.spawn(async move {
            let stop = this.0.stop.clone();
            stop.run_until_cancelled(this.run(&id, &tell)).await;
            this.under_way().remove(&id);
        });
        news
    }

    async fn run(&self, id: &str, tell: &watch::Sender<Trial>) {
        let Ok(_turn) = self.0.turn.acquire().await else { return };
        tell.send_if_modified(|trial| {
            let waited = std::mem::take(&mut trial.waits);
            trial.step += u32::from(waited);
            waited
        });
        let tried = tokio::time::timeout(PATIENCE, self.battery(id, tell)).await;
        let found = match tried {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(error.message),
            // What it showed in time is worth knowing; the rest counts as not shown.
            Err(_) if tell.borrow().found.calls => Ok(tell.borrow().found.clone()),
            Err(_) => Err(format!("It did not answer within {} s.", PATIENCE.as_secs())),
        };
        let end = match found {
            Ok(found) => {
                self.0.catalog.speak_tools(id, found.spoken);
                tell.send_modify(|trial| trial.found = found.clone());
                self.note(id, &found).await.map_err(|error| error.message)
            }
            Err(why) => Err(why),
        };
        if let Err(why) = &end {
            lock(&self.0.failed).insert(id.to_owned(), (Instant::now(), why.clone()));
        }
        tell.send_modify(|trial| (trial.step, trial.end) = (trial.step + 1, Some(end)));
    }

    async fn battery(&self, id: &str, tell: &watch::Sender<Trial>) -> Result<Aptitude, ApiError> {
        let first = self.ask(id, self.0.catalog.speaks_tools(id), tell).await?;
        if first.calls || first.spoken {
            return Ok(first);
        }
        // Some servers drop tools without a word, where the model's template has no place for them.
        let spoken = self.ask(id, true, tell).await?;
        Ok(if spoken.calls { spoken } else { first })
    }

    async fn ask(&self, id: &str, spoken: bool, tell: &watch::Sender<Trial>) -> Result<Aptitude, ApiError> {
        let apart = self.0.catalog.apart(id, spoken).await?;
        let mut news = |found: &Aptitude, asked: usize| {
            let found = Aptitude { spoken: apart.speaks_tools(), ..found.clone() };
            tell.send_modify(|trial| *trial = Trial { step: trial.step + 1, asked, found, ..Trial::default() });
        };
        let found = probe(&apart.client, &apart.wire, &self.0.stop, &mut news).await?;
        Ok(Aptitude { spoken: apart.speaks_tools(), ..found })
    }

    async fn note(&self, id: &str, found: &Aptitude) -> Result<(), ApiError> {
        let mut note = self.0.secrets.model_notes().await?.remove(id).unwrap_or_default();
        note.aptitude = serde_json::to_string(found).ok();
        Ok(self.0.secrets.note_model(id, &note).await?)
    }

    fn failure(&self, id: &str) -> Option<String> {
        let failed = lock(&self.0.failed);
        failed.get(id).filter(|(at, _)| at.elapsed() < AGAIN).map(|(_, why)| why.clone())
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Trial>>> {
        lock(&self.0.under_way)
    }
}

/// What a note says about a model's abilities.
pub fn aptitude(note: &ModelNote) -> Option<Aptitude> {
    serde_json::from_str(note.aptitude.as_deref()?).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
