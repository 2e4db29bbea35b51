//! How a sandbox's processes start: the sandbox below, its rules, and what its template starts.

use super::hub::Hub;
use super::journal::Level;
use super::paths::HOME;
use super::ready::{shell, until_ready};
use super::record::{Network, Record};
use super::sandbox::{Live, Sandbox};
use super::watchers::Watchers;
use super::{Fleet, FleetError, lock};
use crate::domain::{NetworkPolicy, SandboxId};
use crate::sandbox::provider::Instance;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a new sandbox's start command has to be ready before it is handed out all the same: callers wait a minute.
const READY_IN: Duration = Duration::from_secs(30);

impl Fleet {
    /// Its live part, thawed or started. The caller holds its life.
    pub(super) async fn wake(&self, sandbox: &Arc<Sandbox>) -> Result<Live, FleetError> {
        self.not_gone(sandbox)?;
        let Some(live) = sandbox.live() else { return self.start(sandbox).await };
        if !live.frozen() {
            return Ok(live);
        }
        live.instance.freeze(false).await?;
        let awake = Live { awake: CancellationToken::new(), frozen_at: Arc::default(), ..live };
        sandbox.set_live(Some(awake.clone()));
        Ok(awake)
    }

    /// Starts one that has no live part. The caller holds its life.
    pub(super) async fn start(&self, sandbox: &Arc<Sandbox>) -> Result<Live, FleetError> {
        if self.inner.closing.is_cancelled() {
            return Err(FleetError::Closing);
        }
        let (before, _starts) = Starts::one_more(&self.inner.starting);
        self.make_room(before).await?;
        let record = sandbox.record();
        let mut envs = record.envs.clone();
        envs.insert("E2B_SANDBOX".to_owned(), "true".to_owned());
        envs.insert("E2B_SANDBOX_ID".to_owned(), record.id.to_string());
        envs.insert("E2B_TEMPLATE_ID".to_owned(), record.template.clone());
        self.hold(&record.id, &record.network).await?;
        let instance = self.inner.provider.start(self.inner.spec(&record.id, envs)).await?;
        let live = match self.equip(sandbox, &record, &instance).await {
            Ok(live) => live,
            Err(error) => {
                // What its template started holds on to it, so it would not go by itself.
                instance.shutdown().await;
                return Err(error);
            }
        };
        self.watch_death(sandbox, &live);
        sandbox.set_live(Some(live.clone()));
        Ok(live)
    }

    /// Where as many are alive as may be, those paused longest lose their processes. They keep their files, and start
    /// again when they are resumed.
    ///
    /// So many starts began before this one and have not ended: they count as alive.
    async fn make_room(&self, starting: usize) -> Result<(), FleetError> {
        while self.inner.live_count() + starting >= self.inner.live_max {
            let mut frozen: Vec<(u64, Arc<Sandbox>)> = {
                let sandboxes = lock(&self.inner.sandboxes);
                let frozen = sandboxes.values().filter_map(|sandbox| {
                    let at = sandbox.live()?.frozen_at.load(Ordering::Acquire);
                    (at != 0).then(|| (at, Arc::clone(sandbox)))
                });
                frozen.collect()
            };
            frozen.sort_by_key(|(at, _)| *at);
            // One that is just being changed is left alone: whoever does that may wait for room too.
            let chosen = frozen.iter().find_map(|(_, sandbox)| Some((sandbox, sandbox.life.try_lock().ok()?)));
            let Some((sandbox, _alone)) = chosen else { return Err(FleetError::Full(self.inner.live_max)) };
            if let Some(live) = sandbox.live().filter(Live::frozen) {
                sandbox.set_live(None);
                live.instance.shutdown().await;
                sandbox.journal.add(Level::Warn, "its processes ended while it was paused: another needed the room");
            }
        }
        Ok(())
    }

    async fn equip(
        &self,
        sandbox: &Sandbox,
        record: &Record,
        instance: &Arc<dyn Instance>,
    ) -> Result<Live, FleetError> {
        let live = Live {
            hub: Arc::new(Hub::new(Arc::clone(instance), Arc::clone(&sandbox.commands), self.inner.tasks.clone())),
            tree: instance.tree().await?,
            workdir: record.workdir.as_deref().unwrap_or(HOME).into(),
            quota: Arc::default(),
            watchers: Arc::new(Watchers::default()),
            awake: CancellationToken::new(),
            frozen_at: Arc::default(),
            instance: Arc::clone(instance),
        };
        let gone = sandbox.gone();
        tokio::select! {
            brought_up = bring_up(sandbox, record, &live) => brought_up?,
            () = gone.cancelled() => return Err(FleetError::NoSandbox(record.id.to_string())),
            () = self.inner.closing.cancelled() => return Err(FleetError::Closing),
        }
        Ok(live)
    }

    /// Has what its owner set about the network held. A promise that nobody can hold is refused.
    pub(super) async fn hold(&self, id: &SandboxId, network: &Network) -> Result<(), FleetError> {
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

/// Counts a start while it lives.
struct Starts<'a>(&'a AtomicUsize);

impl<'a> Starts<'a> {
    /// With how many there were.
    fn one_more(count: &'a AtomicUsize) -> (usize, Self) {
        (count.fetch_add(1, Ordering::AcqRel), Self(count))
    }
}

impl Drop for Starts<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
