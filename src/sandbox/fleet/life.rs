//! A sandbox's life: made, resumed, paused, given more time, deleted.

use super::hub::Hub;
use super::images::BASE;
use super::journal::Level;
use super::paths::HOME;
use super::ready::{shell, until_ready};
use super::record::{Network, OnTimeout, Phase, Record};
use super::sandbox::{Live, Sandbox};
use super::watchers::Watchers;
use super::{Fleet, FleetError, LIVE_MAX, after, lock, now_ms};
use crate::domain::{NetworkPolicy, SandboxId};
use crate::store::{FleetTable, new_sandbox_id};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The clock looks at least so often, whatever the system's time does meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long a new sandbox's start command has to be ready before it is handed out all the same: callers wait a minute.
const READY_IN: Duration = Duration::from_secs(30);

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
        let sandbox = Arc::new(Sandbox::new(record.clone()));
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
        let live = {
            let _alone = sandbox.life.lock().await;
            let record = sandbox.record();
            if record.phase == Phase::Paused && !record.auto_resume {
                return Err(FleetError::Paused);
            }
            let live = self.wake(&sandbox).await?;
            if record.phase == Phase::Paused {
                self.running(&sandbox, after(record.timeout), "resumed by traffic").await?;
            }
            live
        };
        Ok((sandbox, live))
    }

    /// Resumes a paused sandbox, or gives a running one more time, never less. Whether it was paused. With `reboot`
    /// the processes of a paused one end first.
    pub async fn resume(&self, sandbox: &Arc<Sandbox>, timeout: u64, reboot: bool) -> Result<bool, FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        let record = sandbox.record();
        let paused = record.phase == Phase::Paused;
        if paused
            && reboot
            && let Some(live) = sandbox.set_live(None)
        {
            live.instance.shutdown().await;
        }
        let ends_at = if paused { after(timeout) } else { record.ends_at.max(after(timeout)) };
        sandbox.change(|record| record.timeout = timeout);
        if paused {
            self.wake(sandbox).await?;
            self.running(sandbox, ends_at, "resumed").await?;
        } else if ends_at != record.ends_at {
            self.end_at(sandbox, ends_at).await?;
        }
        Ok(paused)
    }

    /// Pauses a sandbox; with `memory` its processes wait where they are, as long as the server runs.
    pub async fn pause(&self, sandbox: &Arc<Sandbox>, memory: bool) -> Result<Paused, FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        if sandbox.record().phase == Phase::Paused {
            return Ok(Paused::Already);
        }
        // The record first: from now on nothing new gets in.
        let record = sandbox.change(|record| record.phase = Phase::Paused);
        self.inner.save(&record).await?;
        if let Some(live) = sandbox.live() {
            live.awake.cancel();
            live.frozen.store(true, Ordering::Release);
            if !memory || live.instance.freeze(true).await.is_err() {
                sandbox.set_live(None);
                live.instance.shutdown().await;
            }
        }
        sandbox.journal.add(Level::Info, if memory { "paused" } else { "paused, without its processes" });
        Ok(Paused::Now)
    }

    /// Deletes a sandbox with its files.
    pub async fn kill(&self, sandbox: &Arc<Sandbox>) -> Result<(), FleetError> {
        // Out of sight first, so that whoever listens and comes back finds that it is gone.
        let Some(_) = lock(&self.inner.sandboxes).remove(sandbox.id()) else {
            return Err(FleetError::NoSandbox(sandbox.id().to_string()));
        };
        sandbox.gone.cancel();
        sandbox.stop().await;
        if let Some(network) = self.inner.provider.network() {
            network.forget(sandbox.id());
        }
        self.inner.store.fleet().delete(FleetTable::Sandboxes, sandbox.id().as_str()).await?;
        // The caller need not wait for a large workspace; a server that stops meanwhile goes on at its next start.
        let (inner, id) = (Arc::clone(&self.inner), sandbox.id().clone());
        self.inner.tasks.spawn(async move { inner.remove_files(&id).await });
        Ok(())
    }

    /// Sets when a running sandbox ends, from now in milliseconds.
    pub async fn set_timeout(&self, sandbox: &Arc<Sandbox>, timeout: u64) -> Result<(), FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        sandbox.change(|record| record.timeout = timeout);
        self.end_at(sandbox, after(timeout)).await
    }

    /// Gives a sandbox more time from now, never less.
    pub async fn extend(&self, sandbox: &Arc<Sandbox>, timeout: u64) -> Result<(), FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        let ends_at = sandbox.record().ends_at.max(after(timeout));
        self.end_at(sandbox, ends_at).await
    }

    /// Replaces the rules of its way out. Who reaches its ports, and as what they see themselves, was said when it was
    /// made and stays.
    pub async fn set_network(&self, sandbox: &Arc<Sandbox>, network: Network) -> Result<(), FleetError> {
        let _alone = sandbox.life.lock().await;
        self.not_gone(sandbox)?;
        self.hold(sandbox.id(), &network).await?;
        let record = sandbox.change(|record| {
            let (private_ports, mask_host) = (record.network.private_ports, record.network.mask_host.take());
            record.network = Network { private_ports, mask_host, ..network };
        });
        Ok(self.inner.save(&record).await?)
    }

    fn not_gone(&self, sandbox: &Sandbox) -> Result<(), FleetError> {
        if sandbox.gone.is_cancelled() { Err(FleetError::NoSandbox(sandbox.id().to_string())) } else { Ok(()) }
    }

    async fn end_at(&self, sandbox: &Sandbox, ends_at: u64) -> Result<(), FleetError> {
        let record = sandbox.change(|record| record.ends_at = ends_at);
        self.inner.save(&record).await?;
        self.inner.nudge.notify_one();
        Ok(())
    }

    async fn running(&self, sandbox: &Sandbox, ends_at: u64, how: &str) -> Result<(), FleetError> {
        sandbox.change(|record| {
            record.phase = Phase::Running;
            record.started_at = now_ms();
        });
        sandbox.journal.add(Level::Info, how);
        self.end_at(sandbox, ends_at).await
    }

    /// Its live part, thawed or started. The caller holds its life.
    async fn wake(&self, sandbox: &Arc<Sandbox>) -> Result<Live, FleetError> {
        self.not_gone(sandbox)?;
        let Some(live) = sandbox.live() else { return self.start(sandbox).await };
        if !live.frozen() {
            return Ok(live);
        }
        live.instance.freeze(false).await?;
        let awake = Live { awake: CancellationToken::new(), frozen: Arc::new(AtomicBool::new(false)), ..live };
        sandbox.set_live(Some(awake.clone()));
        Ok(awake)
    }

    async fn start(&self, sandbox: &Arc<Sandbox>) -> Result<Live, FleetError> {
        if self.inner.closing.is_cancelled() {
            return Err(FleetError::Closing);
        }
        if self.inner.live_count() >= LIVE_MAX {
            return Err(FleetError::Full(LIVE_MAX));
        }
        let record = sandbox.record();
        let mut envs = record.envs.clone();
        envs.insert("E2B_SANDBOX".to_owned(), "true".to_owned());
        envs.insert("E2B_SANDBOX_ID".to_owned(), record.id.to_string());
        envs.insert("E2B_TEMPLATE_ID".to_owned(), record.template.clone());
        self.hold(&record.id, &record.network).await?;
        let instance = self.inner.provider.start(self.inner.spec(&record.id, envs)).await?;
        let tree = instance.tree().await?;
        let live = Live {
            hub: Arc::new(Hub::new(Arc::clone(&instance), self.inner.tasks.clone())),
            tree,
            workdir: record.workdir.as_deref().unwrap_or(HOME).into(),
            quota: Arc::default(),
            watchers: Arc::new(Watchers::default()),
            awake: CancellationToken::new(),
            frozen: Arc::new(AtomicBool::new(false)),
            instance,
        };
        bring_up(sandbox, &record, &live).await?;
        self.watch_death(sandbox, &live);
        sandbox.set_live(Some(live.clone()));
        Ok(live)
    }

    /// Has what its owner set about the network held. A promise that nobody can hold is refused.
    async fn hold(&self, id: &SandboxId, network: &Network) -> Result<(), FleetError> {
        let policy = network.policy();
        match self.inner.provider.network() {
            Some(holder) => Ok(holder.set_policy(id, &policy).await?),
            None if policy == NetworkPolicy::default() => Ok(()),
            None => Err(FleetError::Invalid("network rules are not supported by this server".to_owned())),
        }
    }

    /// Tells listeners and the journal if it dies by itself.
    fn watch_death(&self, sandbox: &Arc<Sandbox>, live: &Live) {
        let (sandbox, instance) = (Arc::clone(sandbox), Arc::clone(&live.instance));
        self.inner.tasks.spawn(async move {
            instance.closed().cancelled().await;
            if let Some(cause) = instance.death() {
                sandbox.journal.add(Level::Error, format!("it died: {cause}; the next word to it starts it again"));
            }
            sandbox.forget_live(&instance);
        });
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
        let record = sandbox.record();
        if record.ends_at > now_ms() || record.phase != Phase::Running || self.inner.closing.is_cancelled() {
            return;
        }
        let result = match record.on_timeout {
            OnTimeout::Kill => self.kill(sandbox).await,
            OnTimeout::Pause => self.pause(sandbox, record.keep_memory).await.map(drop),
        };
        match result {
            Ok(()) | Err(FleetError::NoSandbox(_)) => {}
            Err(error) => tracing::warn!(sandbox = %record.id, %error, "a sandbox outlives its time"),
        }
    }
}

/// Starts what the template starts and waits until that is ready, for a while.
async fn bring_up(sandbox: &Sandbox, record: &Record, live: &Live) -> Result<(), FleetError> {
    let line = |line: &str| shell(line, record.workdir.as_deref(), BTreeMap::new());
    if let Some(start) = &record.start_command {
        live.hub.start(line(start), Some("start-command".to_owned())).await?;
    }
    // One that only lets time pass was for the build.
    let ready = record.ready_command.as_ref().filter(|question| !question.starts_with("sleep "));
    if let Some(question) = ready
        && let Err(last) = until_ready(&live.hub, live.instance.as_ref(), line(question), READY_IN).await
    {
        let seconds = READY_IN.as_secs();
        sandbox.journal.add(Level::Warn, format!("not ready after {seconds} seconds: {question}{last}"));
    }
    Ok(())
}

/// 160 random bits as text.
pub(super) fn secret() -> Result<String, FleetError> {
    let mut random = [0u8; 20];
    getrandom::fill(&mut random).map_err(|error| FleetError::Invalid(format!("no random bytes: {error}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
