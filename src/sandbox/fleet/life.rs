//! A sandbox's life: made, resumed, paused, given more time, deleted. How its processes start is in `start`.

use super::images::BASE;
use super::journal::Level;
use super::record::{Network, OnTimeout, Phase, Record};
use super::sandbox::{Live, Sandbox};
use super::{Fleet, FleetError, after, lock, now_ms};
use crate::domain::SandboxId;
use crate::sandbox::SandboxError;
use crate::store::{FleetTable, new_sandbox_id};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The clock looks at least so often, whatever the system's time does meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What to make.
#[derive(Clone, Debug)]
pub struct NewSandbox {
    /// The key it will belong to.
    pub owner: String,
    /// `base`, or a name or id of an image.
    pub template: String,
    /// How long it lives, in milliseconds.
    pub timeout: u64,
    /// The caller's words about it.
    pub metadata: BTreeMap<String, String>,
    /// Environment of its commands.
    pub envs: BTreeMap<String, String>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// Whether that keeps processes.
    pub keep_memory: bool,
    /// Whether traffic wakes it.
    pub auto_resume: bool,
    /// Its way out.
    pub network: Network,
}

/// What a pause found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// It ran and is paused now.
    Now,
    /// It was paused before.
    Already,
}

impl Fleet {
    /// Makes a sandbox; it is ready when this returns.
    pub async fn create(&self, new: NewSandbox) -> Result<Record, FleetError> {
        let image = self.image_for(&new.owner, &new.template)?;
        let now = now_ms();
        let mut envs = image.as_ref().map(|image| image.envs.clone()).unwrap_or_default();
        envs.extend(new.envs);
        let record = Record {
            id: new_sandbox_id(),
            owner: new.owner,
            template: image.as_ref().map_or_else(|| BASE.to_owned(), |image| image.public_id().to_string()),
            alias: image.as_ref().and_then(|image| image.names.first().cloned()),
            token: secret()?,
            traffic_token: new.network.private_ports.then(secret).transpose()?,
            metadata: new.metadata,
            envs,
            created_at: now,
            started_at: now,
            ends_at: after(new.timeout),
            timeout: new.timeout,
            phase: Phase::Running,
            on_timeout: new.on_timeout,
            keep_memory: new.keep_memory,
            auto_resume: new.auto_resume,
            network: new.network,
            start_command: image.as_ref().and_then(|image| image.start_command.clone()),
            ready_command: image.as_ref().and_then(|image| image.ready_command.clone()),
            workdir: image.as_ref().and_then(|image| image.workdir.clone()),
        };
        if let Some(image) = &image {
            self.copy(&image.id, &record.id).await?;
        }
        self.bring_in(record).await
    }

    /// Starts a new sandbox over files that are in place, and keeps its record.
    pub(super) async fn bring_in(&self, record: Record) -> Result<Record, FleetError> {
        let sandbox = Arc::new(Sandbox::new(record.clone(), self.inner.commands()));
        let _alone = sandbox.life.lock().await;
        let (started, saved) = tokio::join!(self.start(&sandbox), self.inner.save(&record));
        if let Err(error) = started.and(saved.map_err(Into::into)) {
            if let Some(live) = sandbox.set_live(None) {
                live.instance.shutdown().await;
            }
            if let Err(error) = self.inner.store.fleet().delete(FleetTable::Sandboxes, record.id.as_str()).await {
                tracing::warn!(sandbox = %record.id, %error, "the record of a sandbox that did not start stays");
            }
            self.inner.remove_files(&record.id).await;
            return Err(error);
        }
        lock(&self.inner.sandboxes).insert(record.id.clone(), Arc::clone(&sandbox));
        self.inner.nudge.notify_one();
        Ok(record)
    }

    /// A sandbox that answers: one whose processes were lost starts again, a paused one wakes if it may.
    pub async fn enter(&self, id: &SandboxId) -> Result<(Arc<Sandbox>, Live), FleetError> {
        let sandbox = self.find(id).ok_or_else(|| FleetError::NoSandbox(id.to_string()))?;
        if let Some(live) = sandbox.live().filter(|live| !live.frozen()) {
            return Ok((sandbox, live));
        }
        let (fleet, entered) = (self.clone(), Arc::clone(&sandbox));
        let live = self.to_the_end(async move { fleet.rouse(&entered).await }).await?;
        Ok((sandbox, live))
    }

    async fn rouse(&self, sandbox: &Arc<Sandbox>) -> Result<Live, FleetError> {
        let _alone = sandbox.life.lock().await;
        let record = sandbox.record();
        if record.phase == Phase::Paused && !record.auto_resume {
            return Err(FleetError::Paused);
        }
        let live = self.wake(sandbox).await?;
        if record.phase == Phase::Paused {
            self.running(sandbox, record.timeout, "resumed by traffic").await?;
        }
        Ok(live)
    }

    /// Sees work through to its end, also when whoever asked for it leaves half way: what was stopped goes on, and what
    /// was started is known.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, FleetError>> + Send + 'static,
    ) -> Result<T, FleetError> {
        let done = self.inner.tasks.spawn(work).await;
        done.map_err(|error| FleetError::Sandbox(SandboxError::Io(error.to_string())))?
    }

    /// Resumes a paused sandbox, or gives a running one more time, never less. Whether it was paused. With `reboot`
    /// the processes of a paused one end first.
    pub async fn resume(&self, sandbox: &Arc<Sandbox>, timeout: u64, reboot: bool) -> Result<bool, FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        let record = sandbox.record();
        if record.phase == Phase::Running {
            let ends_at = record.ends_at.max(after(timeout));
            if (ends_at, timeout) != (record.ends_at, record.timeout) {
                self.keep(sandbox, |record| (record.ends_at, record.timeout) = (ends_at, timeout)).await?;
                self.inner.nudge.notify_one();
            }
            return Ok(false);
        }
        if reboot && let Some(live) = sandbox.set_live(None) {
            live.instance.shutdown().await;
        }
        self.wake(sandbox).await?;
        self.running(sandbox, timeout, "resumed").await?;
        Ok(true)
    }

    /// Pauses a sandbox; with `memory` its processes wait where they are, as long as the server runs and has room.
    pub async fn pause(&self, sandbox: &Arc<Sandbox>, memory: bool) -> Result<Paused, FleetError> {
        let _alone = sandbox.life.lock().await;
        self.pause_alone(sandbox, memory).await
    }

    /// The same; the caller holds its life.
    async fn pause_alone(&self, sandbox: &Sandbox, memory: bool) -> Result<Paused, FleetError> {
        self.not_gone(sandbox)?;
        if sandbox.record().phase == Phase::Paused {
            return Ok(Paused::Already);
        }
        // The record first: from now on nothing new gets in.
        self.keep(sandbox, |record| record.phase = Phase::Paused).await?;
        if let Some(live) = sandbox.live() {
            rest(sandbox, &live, memory).await;
        }
        sandbox.journal.add(Level::Info, if memory { "paused" } else { "paused, without its processes" });
        Ok(Paused::Now)
    }

    /// Deletes a sandbox with its files. One whose record cannot be deleted is there as before, without its processes.
    pub async fn kill(&self, sandbox: &Arc<Sandbox>) -> Result<(), FleetError> {
        let sandbox = self.put_out_of_sight(sandbox)?;
        self.clear_away(sandbox).await
    }

    /// Comes first, so that whoever listens and comes back finds that it is gone.
    fn put_out_of_sight(&self, sandbox: &Sandbox) -> Result<Arc<Sandbox>, FleetError> {
        let Some(sandbox) = lock(&self.inner.sandboxes).remove(sandbox.id()) else {
            return Err(FleetError::NoSandbox(sandbox.id().to_string()));
        };
        sandbox.gone().cancel();
        Ok(sandbox)
    }

    async fn clear_away(&self, sandbox: Arc<Sandbox>) -> Result<(), FleetError> {
        let inner = Arc::clone(&self.inner);
        self.to_the_end(async move {
            sandbox.stop().await;
            if let Err(error) = inner.store.fleet().delete(FleetTable::Sandboxes, sandbox.id().as_str()).await {
                sandbox.come_back();
                sandbox.journal.add(Level::Error, "it could not be deleted; its files are here, its processes are not");
                lock(&inner.sandboxes).insert(sandbox.id().clone(), sandbox);
                return Err(error.into());
            }
            sandbox.commands.give_up().await;
            if let Some(network) = inner.provider.network() {
                network.forget(sandbox.id());
            }
            // The caller need not wait for a large workspace; a server that stops meanwhile goes on at its next start.
            let (removing, id) = (Arc::clone(&inner), sandbox.id().clone());
            inner.tasks.spawn(async move { removing.remove_files(&id).await });
            Ok(())
        })
        .await
    }

    /// Sets when a running sandbox ends, from now in milliseconds.
    pub async fn set_timeout(&self, sandbox: &Arc<Sandbox>, timeout: u64) -> Result<(), FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        self.keep(sandbox, |record| (record.ends_at, record.timeout) = (after(timeout), timeout)).await?;
        self.inner.nudge.notify_one();
        Ok(())
    }

    /// Gives a sandbox more time from now, never less.
    pub async fn extend(&self, sandbox: &Arc<Sandbox>, timeout: u64) -> Result<(), FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        self.keep(sandbox, |record| record.ends_at = record.ends_at.max(after(timeout))).await?;
        self.inner.nudge.notify_one();
        Ok(())
    }

    /// Replaces the rules of its way out. Who reaches its ports, and as what they see themselves, was said when it was
    /// made and stays.
    pub async fn set_network(&self, sandbox: &Arc<Sandbox>, network: Network) -> Result<(), FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        let before = sandbox.record().network;
        self.hold(sandbox.id(), &network).await?;
        let (private_ports, mask_host) = (before.private_ports, before.mask_host.clone());
        let network = Network { private_ports, mask_host, ..network };
        let kept = self.keep(sandbox, |record| record.network = network).await;
        if kept.is_err()
            && let Err(error) = self.hold(sandbox.id(), &before).await
        {
            tracing::warn!(sandbox = %sandbox.id(), %error, "other network rules are held than are recorded");
        }
        kept
    }

    /// Changes a record. One that cannot be kept on disk is as it was. The caller holds its life.
    async fn keep(&self, sandbox: &Sandbox, change: impl FnOnce(&mut Record)) -> Result<(), FleetError> {
        let before = sandbox.record();
        let record = sandbox.change(change);
        if let Err(error) = self.inner.save(&record).await {
            sandbox.change(|record| *record = before);
            return Err(error.into());
        }
        Ok(())
    }

    pub(super) fn not_gone(&self, sandbox: &Sandbox) -> Result<(), FleetError> {
        if sandbox.gone().is_cancelled() { Err(FleetError::NoSandbox(sandbox.id().to_string())) } else { Ok(()) }
    }

    /// Records that a paused sandbox runs. One of which that cannot be recorded goes back to rest.
    async fn running(&self, sandbox: &Sandbox, timeout: u64, how: &str) -> Result<(), FleetError> {
        let now = Record {
            phase: Phase::Running,
            started_at: now_ms(),
            ends_at: after(timeout),
            timeout,
            ..sandbox.record()
        };
        if let Err(error) = self.keep(sandbox, |record| *record = now).await {
            if let Some(live) = sandbox.live() {
                rest(sandbox, &live, true).await;
            }
            return Err(error);
        }
        sandbox.journal.add(Level::Info, how);
        self.inner.nudge.notify_one();
        Ok(())
    }

    /// Ends or pauses sandboxes whose time is up.
    pub(super) async fn keep_time(&self) {
        loop {
            let now = now_ms();
            let running: Vec<Arc<Sandbox>> = lock(&self.inner.sandboxes)
                .values()
                .filter(|sandbox| sandbox.record().phase == Phase::Running)
                .cloned()
                .collect();
            for sandbox in running.iter().filter(|sandbox| sandbox.record().ends_at <= now) {
                let (fleet, sandbox) = (self.clone(), Arc::clone(sandbox));
                self.inner.tasks.spawn(async move { fleet.time_is_up(&sandbox).await });
            }
            let next = running.iter().map(|sandbox| sandbox.record().ends_at).filter(|at| *at > now).min();
            let wait = next.map_or(LONGEST_SLEEP, |at| Duration::from_millis(at - now).min(LONGEST_SLEEP));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.inner.nudge.notified() => {}
                () = self.inner.closing.cancelled() => return,
            }
        }
    }

    async fn time_is_up(&self, sandbox: &Arc<Sandbox>) {
        let alone = sandbox.life.lock().await;
        // Whoever held its life may have given it more time.
        let record = sandbox.record();
        if record.ends_at > now_ms() || record.phase != Phase::Running || self.inner.closing.is_cancelled() {
            return;
        }
        let result = match record.on_timeout {
            OnTimeout::Kill => {
                let gone = self.put_out_of_sight(sandbox);
                drop(alone);
                match gone {
                    Ok(sandbox) => self.clear_away(sandbox).await,
                    Err(error) => Err(error),
                }
            }
            OnTimeout::Pause => self.pause_alone(sandbox, record.keep_memory).await.map(drop),
        };
        match result {
            Ok(()) | Err(FleetError::NoSandbox(_)) => {}
            Err(error) => tracing::warn!(sandbox = %record.id, %error, "a sandbox outlives its time"),
        }
    }
}

/// Stops a sandbox's processes where they are, or ends them where that is not wanted or fails.
async fn rest(sandbox: &Sandbox, live: &Live, memory: bool) {
    live.awake.cancel();
    live.frozen_at.store(now_ms(), Ordering::Release);
    if !memory || live.instance.freeze(true).await.is_err() {
        sandbox.set_live(None);
        live.instance.shutdown().await;
    }
}

/// 160 random bits as text.
pub(super) fn secret() -> Result<String, FleetError> {
    let mut random = [0u8; 20];
    getrandom::fill(&mut random).map_err(|error| FleetError::Invalid(format!("no random bytes: {error}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fake::Starting;
    use super::*;
    use crate::store::{KeyKind, Store};
    use tokio::sync::Semaphore;

    fn new(owner: &str, timeout: u64) -> NewSandbox {
        NewSandbox {
            owner: owner.to_owned(),
            template: BASE.to_owned(),
            timeout,
            metadata: BTreeMap::new(),
            envs: BTreeMap::new(),
            on_timeout: OnTimeout::Kill,
            keep_memory: false,
            auto_resume: false,
            network: Network::default(),
        }
    }

    /// A fleet with so many places whose sandboxes start when they are allowed to, and a key for it.
    async fn fleet(places: usize) -> (Fleet, Arc<Semaphore>, String, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (store, start) = (Store::open(dir.path()).await.unwrap(), Arc::new(Semaphore::new(0)));
        let key = store.keys().create(KeyKind::E2b, "me").await.unwrap().0.id;
        let fleet = Fleet::new(Arc::new(Starting(Arc::clone(&start))), store, dir.path().to_owned());
        let fleet = fleet.with_live_max(places);
        (fleet, start, key, dir)
    }

    #[tokio::test]
    async fn sandboxes_that_start_at_the_same_time_share_the_places_that_are_left() {
        let (fleet, start, key, _dir) = fleet(2).await;
        let third = async {
            let refused = fleet.create(new(&key, 60_000)).await;
            start.add_permits(3);
            refused
        };
        let (one, two, three) = tokio::join!(fleet.create(new(&key, 60_000)), fleet.create(new(&key, 60_000)), third);
        assert!(one.is_ok() && matches!(three, Err(FleetError::Full(_))), "{three:?}");
        fleet.kill(&fleet.find(&two.unwrap().id).unwrap()).await.unwrap();
        assert!(fleet.create(new(&key, 60_000)).await.is_ok(), "one that ended gives its place back");
        fleet.shutdown().await;
    }

    #[tokio::test]
    async fn a_sandbox_that_is_given_more_time_at_the_last_moment_stays() {
        let (fleet, start, key, _dir) = fleet(1).await;
        start.add_permits(1);
        let sandbox = fleet.find(&fleet.create(new(&key, 0)).await.unwrap().id).unwrap();
        let extended = async {
            let _alone = sandbox.life.lock().await;
            tokio::task::yield_now().await;
            sandbox.change(|record| record.ends_at = after(60_000));
        };
        tokio::join!(extended, fleet.time_is_up(&sandbox));
        assert!(fleet.find(sandbox.id()).is_some());
        sandbox.change(|record| record.ends_at = 0);
        fleet.time_is_up(&sandbox).await;
        assert!(fleet.find(sandbox.id()).is_none());
        fleet.shutdown().await;
    }

    #[tokio::test]
    async fn the_look_for_a_token_holds_nobody_up() {
        let (fleet, start, key, _dir) = fleet(1).await;
        start.add_permits(1);
        let made = fleet.create(new(&key, 60_000)).await.unwrap();
        let found = fleet.find_by(|token| fleet.inner.sandboxes.try_lock().is_ok() && token == made.token);
        assert_eq!(found.unwrap().id(), &made.id);
        fleet.shutdown().await;
    }
}
