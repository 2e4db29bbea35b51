//! Sandboxes made over the e2b API: who owns them, how long they live, their commands, snapshots and templates.
//!
//! They are not projects: nothing of the agent, of tasks or of previews reaches them, and they reach nothing of those.
//! It must not know HTTP, nor how the API words things; that is the gateway's.

mod command;
mod commands;
mod error;
#[cfg(test)]
mod fake;
mod hub;
mod images;
mod journal;
mod life;
mod metrics;
mod output;
mod owners;
pub mod paths;
mod quota;
mod ready;
mod record;
mod sandbox;
mod start;
mod templates;
mod watchers;

pub use command::Command;
pub use commands::Selector;
pub use error::FleetError;
pub use hub::Hub;
pub use images::{Made, SNAPSHOTS_MAX};
pub use journal::{Level, Line};
pub use life::{NewSandbox, Paused};
pub use metrics::Sample;
pub use output::{Seen, Source, Viewer};
pub use quota::Quota;
pub use record::{Image, ImageKind, Network, OnTimeout, Phase, Record};
pub use sandbox::{Live, Sandbox};
pub use templates::{Base, Build, Entry, Reason, Recipe, Share, Status, Step, Template};
pub use watchers::{WATCHERS_MAX, Watchers};

use self::commands::Commands;
use self::output::Spool;
use super::entry::lock;
use super::local::walk;
use super::provider::{Provider, SandboxSpec};
use crate::domain::SandboxId;
use crate::store::{FleetTable, Store, StoreError, now_ms};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Sandboxes that may be alive at once, the frozen ones included; those make room for others.
pub const LIVE_MAX: usize = 500;
/// Bytes on disk of old output, for all commands of a sandbox together.
pub const OUTPUT_MAX: u64 = 256 << 20;

/// All API sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    provider: Arc<dyn Provider>,
    store: Store,
    data_dir: PathBuf,
    live_max: usize,
    disk_floor: u64,
    /// Sandboxes that are being started.
    starting: AtomicUsize,
    sandboxes: Mutex<HashMap<SandboxId, Arc<Sandbox>>>,
    images: Mutex<BTreeMap<SandboxId, Image>>,
    /// The owners of snapshots that are being made.
    coming: Mutex<Vec<String>>,
    builds: templates::Builds,
    /// Tasks of the fleet and of its sandboxes.
    tasks: TaskTracker,
    closing: CancellationToken,
    /// A sandbox's end has changed.
    nudge: Notify,
}

impl Fleet {
    /// A fleet over a data folder; call [`Fleet::boot`] before anything else.
    pub fn new(provider: Arc<dyn Provider>, store: Store, data_dir: PathBuf) -> Self {
        Self {
            inner: Arc::new(Inner {
                provider,
                store,
                data_dir,
                live_max: LIVE_MAX,
                disk_floor: 0,
                starting: AtomicUsize::new(0),
                sandboxes: Mutex::default(),
                images: Mutex::default(),
                coming: Mutex::default(),
                builds: templates::Builds::default(),
                tasks: TaskTracker::new(),
                closing: CancellationToken::new(),
                nudge: Notify::new(),
            }),
        }
    }

    /// The same with another number of sandboxes alive at once than [`LIVE_MAX`]. Before the first sandbox.
    pub fn with_live_max(mut self, live_max: usize) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.live_max = live_max;
        }
        self
    }

    /// The same with so many MiB of the host's disk that old output of commands leaves free. Before the first sandbox.
    pub fn with_disk_floor(mut self, mib: u64) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.disk_floor = mib << 20;
        }
        self
    }

    /// Takes up what the last start left: every sandbox is there again; those that ran start at the first word to them.
    pub async fn boot(&self) -> Result<(), StoreError> {
        let records: Vec<Record> = self.inner.store.fleet().all(FleetTable::Sandboxes).await?;
        let images: Vec<Image> = self.inner.store.fleet().all(FleetTable::Images).await?;
        let known: HashSet<String> = records
            .iter()
            .map(|record| record.id.to_string())
            .chain(images.iter().flat_map(|image| [image.id.to_string(), image.public_id().to_string()]))
            .collect();
        lock(&self.inner.images).extend(images.into_iter().map(|image| (image.id.clone(), image)));
        for record in records {
            let sandbox = Arc::new(Sandbox::new(record, self.inner.commands()));
            sandbox.journal.add(Level::Info, "the server started again; its files are here, its processes are not");
            lock(&self.inner.sandboxes).insert(sandbox.id().clone(), sandbox);
        }
        let (root, output) = (self.inner.data_dir.join("fleet"), self.inner.output_dir());
        // Whose output it was has ended with the last server.
        let swept =
            tokio::task::spawn_blocking(move || sweep(&root, &known).and(sweep(&output, &HashSet::new()))).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(%error, "files of deleted API sandboxes were not all removed");
        }
        let (clock, meter) = (self.clone(), self.clone());
        self.inner.tasks.spawn(async move { clock.keep_time().await });
        self.inner.tasks.spawn(async move { meter.measure().await });
        Ok(())
    }

    /// Ends every sandbox's processes and joins every task. Files and records stay.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        let all: Vec<Arc<Sandbox>> = lock(&self.inner.sandboxes).values().cloned().collect();
        futures::future::join_all(all.iter().map(|sandbox| sandbox.stop())).await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// A sandbox by its id, whoever owns it.
    pub fn find(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        lock(&self.inner.sandboxes).get(id).cloned()
    }

    /// A sandbox of this owner. One of somebody else looks like none.
    pub fn owned(&self, owner: &str, id: &str) -> Result<Arc<Sandbox>, FleetError> {
        let short: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
        let found = SandboxId::parse(id).ok().and_then(|id| self.find(&id));
        found.filter(|sandbox| sandbox.record().owner == owner).ok_or(FleetError::NoSandbox(short))
    }

    /// The records of an owner's sandboxes, in no order.
    pub fn records(&self, owner: &str) -> Vec<Record> {
        let sandboxes = lock(&self.inner.sandboxes);
        sandboxes.values().map(|sandbox| sandbox.record()).filter(|record| record.owner == owner).collect()
    }

    /// The sandbox whose token fits, for requests that name none. Nobody waits for the look at all tokens.
    pub fn find_by(&self, fits: impl Fn(&str) -> bool) -> Option<Arc<Sandbox>> {
        #[expect(clippy::needless_collect, reason = "what fits is not looked for under the lock")]
        let all: Vec<Arc<Sandbox>> = lock(&self.inner.sandboxes).values().cloned().collect();
        all.into_iter().find(|sandbox| fits(&sandbox.token()))
    }

    /// Memory and disk of a sandbox in MiB.
    pub fn size(&self) -> (u64, u64) {
        let limits = self.inner.provider.limits();
        (limits.memory_mib, limits.disk_mib)
    }
}

impl Inner {
    fn dir(&self, id: &SandboxId) -> PathBuf {
        self.data_dir.join("fleet").join(id.as_str())
    }

    /// What to build for a sandbox, or where an image's files are.
    fn spec(&self, id: &SandboxId, envs: BTreeMap<String, String>) -> SandboxSpec {
        SandboxSpec { id: id.clone(), workspace: self.dir(id).join("workspace"), env: envs }
    }

    fn output_dir(&self) -> PathBuf {
        self.data_dir.join("fleet-output")
    }

    /// The commands of a new sandbox.
    fn commands(&self) -> Commands {
        Commands::new(Spool::new(self.output_dir(), OUTPUT_MAX, self.disk_floor))
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        let fleet = self.store.fleet();
        fleet.put(FleetTable::Sandboxes, record.id.as_str(), &record.owner, record.created_at, record).await
    }

    async fn remove_files(&self, id: &SandboxId) {
        let dir = self.dir(id);
        let removed = tokio::task::spawn_blocking(move || walk::remove_path(&dir)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(sandbox = %id, %error, "its files were not all removed; the next start tries again");
        }
    }

    fn live_count(&self) -> usize {
        lock(&self.sandboxes).values().filter(|sandbox| sandbox.live().is_some()).count()
    }
}

/// Removes directories that belong to nothing known.
fn sweep(root: &std::path::Path, known: &HashSet<String>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    let mut swept = Ok(());
    for entry in entries {
        let entry = entry?;
        if !known.contains(&*entry.file_name().to_string_lossy()) {
            // One that cannot be removed keeps none of the others.
            swept = walk::remove_path(&entry.path()).and(swept);
        }
    }
    swept
}

/// When a time of so many milliseconds from now ends.
fn after(milliseconds: u64) -> u64 {
    now_ms().saturating_add(milliseconds)
}
