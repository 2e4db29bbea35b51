//! One API sandbox in memory: its record, and its live part while there is one.

use super::commands::Commands;
use super::hub::Hub;
use super::journal::Journal;
use super::metrics::Sample;
use super::quota::Quota;
use super::record::Record;
use super::watchers::Watchers;
use crate::domain::SandboxId;
use crate::sandbox::entry::lock;
use crate::sandbox::provider::{Instance, Tree};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// A sandbox.
pub struct Sandbox {
    id: SandboxId,
    record: Mutex<Record>,
    /// Held over every change of its life.
    pub(super) life: tokio::sync::Mutex<()>,
    live: Mutex<Option<Live>>,
    gone: Mutex<CancellationToken>,
    /// What happened to it.
    pub journal: Journal,
    /// What it runs and has run.
    pub(super) commands: Arc<Commands>,
    pub(super) samples: Mutex<VecDeque<Sample>>,
}

/// A sandbox that has processes. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    /// The sandbox itself.
    pub instance: Arc<dyn Instance>,
    /// Its files.
    pub tree: Arc<dyn Tree>,
    /// Where commands and relative paths begin.
    pub workdir: Arc<str>,
    /// Starts its commands.
    pub hub: Arc<Hub>,
    /// What may still be written into its files from outside.
    pub quota: Arc<Quota>,
    /// Its watches.
    pub watchers: Arc<Watchers>,
    /// Cancelled when it is paused or ends: whoever listens to it must come back.
    pub awake: CancellationToken,
    /// Since when its processes are stopped (Unix ms); 0 while they are not.
    pub(super) frozen_at: Arc<AtomicU64>,
}

impl Live {
    /// The absolute, clean path that a caller means.
    pub fn path(&self, path: &str) -> Result<String, String> {
        super::paths::absolute(&self.workdir, path)
    }

    /// Whether its processes are stopped.
    pub fn frozen(&self) -> bool {
        self.frozen_at.load(Ordering::Acquire) != 0
    }
}

impl Sandbox {
    pub(super) fn new(record: Record, commands: Commands) -> Self {
        Self {
            id: record.id.clone(),
            record: Mutex::new(record),
            life: tokio::sync::Mutex::default(),
            live: Mutex::default(),
            gone: Mutex::default(),
            journal: Journal::default(),
            commands: Arc::new(commands),
            samples: Mutex::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// What is known of it.
    pub fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Its token.
    pub fn token(&self) -> String {
        lock(&self.record).token.clone()
    }

    /// Samples of its use between two times (Unix ms).
    pub fn samples(&self, from: u64, to: u64) -> Vec<Sample> {
        lock(&self.samples).iter().filter(|sample| (from..=to).contains(&sample.at)).copied().collect()
    }

    /// Cancelled when it is deleted.
    pub(super) fn gone(&self) -> CancellationToken {
        lock(&self.gone).clone()
    }

    /// It could not be deleted after all.
    pub(super) fn come_back(&self) {
        *lock(&self.gone) = CancellationToken::new();
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Record)) -> Record {
        let mut record = lock(&self.record);
        change(&mut record);
        record.clone()
    }

    /// Its live part, frozen or not.
    pub(super) fn live(&self) -> Option<Live> {
        lock(&self.live).as_ref().filter(|live| !live.instance.closed().is_cancelled()).cloned()
    }

    pub(super) fn set_live(&self, live: Option<Live>) -> Option<Live> {
        std::mem::replace(&mut *lock(&self.live), live)
    }

    /// Lets go of a live part that has died.
    pub(super) fn forget_live(&self, instance: &Arc<dyn Instance>) {
        let mut live = lock(&self.live);
        if let Some(dead) = live.take_if(|live| Arc::ptr_eq(&live.instance, instance)) {
            dead.awake.cancel();
        }
    }

    /// Ends its processes, if it has some.
    pub(super) async fn stop(&self) {
        let _alone = self.life.lock().await;
        if let Some(live) = self.set_live(None) {
            live.awake.cancel();
            live.instance.shutdown().await;
        }
    }
}
