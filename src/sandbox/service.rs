//! The service: the one way to a project's sandbox.
//!
//! Owns the entries of all projects and every task started for them. The parts are in files of their own: `life`
//! (up, down, deletion), `command`, `piped` and `supervisor` (commands), `watcher` (ports, idleness, files), `files`,
//! `probe` and `archive`.

use super::activity::Tracked;
use super::entry::{Entry, lock};
use super::provider::{Connection, Provider, SandboxSpec};
use super::resume::ResumeList;
use super::{PreviewAddress, SandboxError};
use crate::config::SandboxConfig;
use crate::domain::{EventBody, ProjectId, ProjectState, SandboxId, SandboxPhase, SandboxView};
use crate::store::{Store, StoreError, new_sandbox_id};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Sandboxes of all projects. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) inner: Arc<Inner>,
}

/// What all clones share.
pub(super) struct Inner {
    pub(super) config: SandboxConfig,
    pub(super) preview: PreviewAddress,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Store,
    pub(super) data_dir: PathBuf,
    /// Tasks that live longer than one sandbox: bringing up, watching for death, going to sleep.
    pub(super) tasks: TaskTracker,
    /// Set when the server shuts down: nothing is brought up any more.
    pub(super) closing: CancellationToken,
    /// What goes wrong in apps.
    pub(super) faults: super::faults::Faults,
    entries: Mutex<HashMap<ProjectId, Arc<Entry>>>,
    ids: Mutex<HashMap<SandboxId, ProjectId>>,
    outputs: Mutex<HashMap<ProjectId, watch::Sender<u64>>>,
}

impl Service {
    /// A service over a data folder; call [`Service::boot`] before anything else.
    pub fn new(
        config: SandboxConfig,
        preview: PreviewAddress,
        provider: Arc<dyn Provider>,
        store: Store,
        data_dir: PathBuf,
    ) -> Self {
        let inner = Inner {
            config,
            preview,
            provider,
            store,
            data_dir,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            faults: super::faults::Faults::default(),
            entries: Mutex::default(),
            ids: Mutex::default(),
            outputs: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The sandbox as last recorded; none if the project never had one.
    pub async fn status(&self, project: &ProjectId) -> Result<Option<SandboxView>, SandboxError> {
        Ok(self.inner.state(project).await?.sandbox.clone())
    }

    /// The project a sandbox belongs to.
    pub fn find(&self, id: &SandboxId) -> Option<ProjectId> {
        lock(&self.inner.ids).get(id).cloned()
    }

    /// How previews are addressed.
    pub fn preview_address(&self) -> &PreviewAddress {
        &self.inner.preview
    }

    /// Grows when any command of the project wrote; coalesced. While somebody holds it, the project has a viewer and
    /// its sandbox is not put to sleep.
    pub fn output_changed(&self, project: &ProjectId) -> watch::Receiver<u64> {
        self.inner.output_sender(project).subscribe()
    }

    /// Connects to a port inside. Wakes a sleeping sandbox; one that failed stays as it is.
    pub async fn connect(&self, id: &SandboxId, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
        let project = self.find(id).ok_or_else(|| SandboxError::NotFound("the sandbox was not found".to_owned()))?;
        let entry = self.inner.entry(&project).await?;
        let live = match entry.live() {
            Some(live) => live,
            None => {
                let view = self.status(&project).await?;
                if let Some(SandboxView { phase: SandboxPhase::Failed, detail, .. }) = view {
                    return Err(SandboxError::Dead(detail.unwrap_or_else(|| "it failed".to_owned())));
                }
                self.up(&entry).await?
            }
        };
        entry.activity.touch();
        let inner = live.instance.connect(port).await?;
        Ok(Box::new(Tracked { inner, activity: entry.activity.clone() }))
    }

    /// Connects to a port of a sandbox that is awake. The attempt does not count as use, the bytes do.
    pub async fn connect_awake(&self, id: &SandboxId, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
        let project = self.find(id).ok_or_else(|| SandboxError::NotFound("the sandbox was not found".to_owned()))?;
        let entry = self.inner.entry(&project).await?;
        let live = entry.live().ok_or_else(|| SandboxError::Dead("it is asleep".to_owned()))?;
        let inner = live.instance.connect(port).await?;
        Ok(Box::new(Tracked { inner, activity: entry.activity.clone() }))
    }
}

impl Inner {
    /// The project's present.
    pub(super) async fn state(&self, project: &ProjectId) -> Result<Arc<ProjectState>, SandboxError> {
        self.store.events().state(project).await.map_err(from_store)
    }

    /// Appends to the project's log.
    pub(super) async fn emit(&self, project: &ProjectId, bodies: Vec<EventBody>) -> Result<(), SandboxError> {
        self.store.events().append(project, bodies).await.map(drop).map_err(from_store)
    }

    /// The project's entry, made on first use.
    pub(super) async fn entry(&self, project: &ProjectId) -> Result<Arc<Entry>, SandboxError> {
        if let Some(entry) = lock(&self.entries).get(project) {
            return Ok(Arc::clone(entry));
        }
        let state = self.state(project).await?;
        let id = state.sandbox.as_ref().map_or_else(new_sandbox_id, |sandbox| sandbox.id.clone());
        let dir = self.project_dir(project);
        let spec = SandboxSpec { id: id.clone(), workspace: dir.join("workspace"), env: command_env() };
        let files = self.provider.files(&spec);
        let resume = ResumeList::load(dir.join("resume.json"));
        let output = self.output_sender(project);
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(project) {
            return Ok(Arc::clone(entry));
        }
        // Not before nobody else can have made it: a policy that was changed since would be replaced by an older one.
        self.take_up_network(&id, &state)?;
        lock(&self.ids).insert(id, project.clone());
        let entry = Arc::new(Entry::new(project.clone(), dir, spec, files, resume, output));
        entries.insert(project.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    pub(super) fn all_entries(&self) -> Vec<Arc<Entry>> {
        lock(&self.entries).values().cloned().collect()
    }

    /// Remembers whose sandbox this is, without loading anything else.
    pub(super) fn register(&self, id: SandboxId, project: ProjectId) {
        lock(&self.ids).insert(id, project);
    }

    /// Forgets a deleted project.
    pub(super) fn forget(&self, entry: &Entry) {
        lock(&self.entries).remove(&entry.project);
        lock(&self.ids).remove(&entry.id);
        lock(&self.outputs).remove(&entry.project);
    }

    pub(super) fn project_dir(&self, project: &ProjectId) -> PathBuf {
        self.data_dir.join("projects").join(project.as_str())
    }

    /// A sandbox as people see it.
    pub(super) fn view(&self, entry: &Entry, phase: SandboxPhase, detail: Option<String>) -> SandboxView {
        SandboxView {
            id: entry.id.clone(),
            phase,
            detail,
            provider: self.provider.name().to_owned(),
            limits: self.provider.limits(),
        }
    }

    fn output_sender(&self, project: &ProjectId) -> watch::Sender<u64> {
        lock(&self.outputs).entry(project.clone()).or_insert_with(|| watch::Sender::new(0)).clone()
    }
}

/// The store's errors as a sandbox caller can act on them.
pub(super) fn from_store(error: StoreError) -> SandboxError {
    match error {
        StoreError::NotFound { .. } => SandboxError::NotFound(error.to_string()),
        StoreError::Full | StoreError::NotWritable { .. } => SandboxError::Limit(error.to_string()),
        _ => SandboxError::Io(error.to_string()),
    }
}

/// Environment of every command: output at once, and no asking or reporting home.
fn command_env() -> BTreeMap<String, String> {
    [
        ("TERM", "xterm-256color"),
        ("BROWSER", "none"),
        ("NEXT_TELEMETRY_DISABLED", "1"),
        ("npm_config_yes", "true"),
        ("npm_config_fund", "false"),
        ("npm_config_audit", "false"),
        ("npm_config_update_notifier", "false"),
        ("PYTHONUNBUFFERED", "1"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}
