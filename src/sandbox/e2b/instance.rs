//! A live sandbox at the service: opened, kept alive while it is used, and put to sleep.

use super::control::Opened;
use super::envd::{Envd, Life};
use super::error::E2bError;
use super::mirror::Mirror;
use super::ports::{Ports, listening};
use super::record::Record;
use super::{Shared, process};
use crate::domain::SandboxId;
use crate::sandbox::SandboxError;
use crate::sandbox::entry::lock;
use crate::sandbox::provider::{
    Connection, Files as _, Instance, Process, ProcessConfig, SandboxSpec, SandboxUsage, Signal,
};
use async_trait::async_trait;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A sandbox gets more time at least so often.
const EXTEND_EVERY: Duration = Duration::from_secs(60);
/// Going to sleep takes at most so long to bring the last files here.
const LAST_SYNC: Duration = Duration::from_secs(30);
const MADE_ANEW: &str =
    "e2b no longer had this project's sandbox. Its files are back; packages have to be installed again";

/// A live sandbox.
pub struct RemoteInstance {
    shared: Arc<Shared>,
    spec: SandboxSpec,
    envd: Envd,
    mirror: Arc<Mirror>,
    ports: Ports,
    /// Marks of the processes that were started, by pid.
    marks: Mutex<HashMap<u32, String>>,
    notice: watch::Sender<Option<String>>,
    /// All that serves it: processes, connections, the clock. Ends with it.
    tasks: TaskTracker,
}

impl RemoteInstance {
    /// Wakes the project's sandbox, or makes one where it has none or the service has lost it.
    pub async fn start(shared: Arc<Shared>, spec: SandboxSpec, mirror: Arc<Mirror>) -> Result<Self, SandboxError> {
        let rules = shared.network.rules(&spec.id)?;
        let Entered { opened, ports, state } = enter(&shared, &spec).await?;
        let envd = Envd::new(Arc::clone(&shared.control), opened);
        if state == State::Woken {
            shared.control.set_network(envd.id(), &rules).await?;
        }
        // What ran before belongs to nobody any more: a server that died, or a pause that kept memory, left it.
        envd.signal_marked(None, Signal::Kill).await?;
        envd.mark_boot().await?;
        let own = match ports {
            Some(ports) => ports,
            None => {
                let ports = listening(&envd).await?;
                let api_url = shared.control.config().api_url.clone();
                Record { api_url, sandbox: envd.id().to_owned(), ports: ports.clone() }.save(&spec).await?;
                ports
            }
        };
        mirror.attach(&envd, state != State::Woken).await?;
        shared.network.awake(&spec.id, envd.id());
        let notice = (state == State::MadeAgain).then(|| MADE_ANEW.to_owned());
        let tasks = TaskTracker::new();
        tasks.spawn(keep(envd.clone(), Arc::clone(&shared)));
        let ports = Ports::new(envd.clone(), own);
        Ok(Self {
            shared,
            spec,
            envd,
            mirror,
            ports,
            marks: Mutex::default(),
            notice: watch::Sender::new(notice),
            tasks,
        })
    }

    fn life(&self) -> &Life {
        self.envd.life()
    }

    fn alive(&self) -> Result<(), SandboxError> {
        if !self.life().closed().is_cancelled() {
            return Ok(());
        }
        Err(SandboxError::Dead(self.life().death().unwrap_or_else(|| "it was put to sleep".to_owned())))
    }
}

/// How a sandbox came to be awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The project's own, as it was.
    Woken,
    /// The project's first.
    Made,
    /// One in place of another that is gone.
    MadeAgain,
}

struct Entered {
    opened: Opened,
    /// Ports that were open when it was made, if that is known.
    ports: Option<BTreeSet<u16>>,
    state: State,
}

async fn enter(shared: &Shared, spec: &SandboxSpec) -> Result<Entered, SandboxError> {
    let control = &shared.control;
    let record = Record::load(spec, &control.config().api_url).await;
    let known = record.is_some();
    if let Some(record) = record
        && let Some(opened) = control.connect(&record.sandbox).await?
    {
        return Ok(Entered { opened, ports: Some(record.ports), state: State::Woken });
    }
    let state = if known { State::MadeAgain } else { State::Made };
    // One whose making was not answered is this project's too.
    let opened = match control.find(spec.id.as_str()).await? {
        Some(lost) => control.connect(&lost).await?,
        None => None,
    };
    let opened = match opened {
        Some(opened) => opened,
        None => control.create(spec.id.as_str(), &shared.network.rules(&spec.id)?).await?,
    };
    // Remembered before anything else can fail, or nobody would ever end it. A server that dies now takes the
    // template's ports for the project's at the next start.
    let api_url = control.config().api_url.clone();
    Record { api_url, sandbox: opened.id.clone(), ports: BTreeSet::new() }.save(spec).await?;
    Ok(Entered { opened, ports: None, state })
}

/// Gives the sandbox more time until it ends, and looks into its template meanwhile.
async fn keep(envd: Envd, shared: Arc<Shared>) {
    let closed = envd.life().closed().clone();
    let both = futures::future::join(extend(&envd, &shared), shared.template.learn(&envd));
    tokio::select! {
        () = closed.cancelled() => {}
        _ = both => {}
    }
}

async fn extend(envd: &Envd, shared: &Shared) {
    let every = (shared.control.config().timeout / 3).min(EXTEND_EVERY);
    loop {
        tokio::time::sleep(every).await;
        match shared.control.extend(envd.id()).await {
            Ok(true) => {}
            Ok(false) => envd.life().die("e2b ended it: its time was up, or somebody deleted it"),
            // Commands and files will tell whoever needs it; the sandbox pauses by itself if this stays so.
            Err(error) => tracing::warn!(sandbox = envd.id(), %error, "a remote sandbox did not get more time"),
        }
    }
}

/// What envd tells of the machine.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    mem_used: u64,
    disk_used: u64,
}

#[async_trait]
impl Instance for RemoteInstance {
    fn id(&self) -> &SandboxId {
        &self.spec.id
    }

    async fn spawn(&self, config: ProcessConfig) -> Result<Process, SandboxError> {
        self.alive()?;
        let mark = ulid::Ulid::new().to_string();
        let process = process::spawn(&self.envd, &self.tasks, &self.spec.env, config, &mark).await?;
        lock(&self.marks).insert(process.pid, mark);
        Ok(process)
    }

    async fn signal(&self, pid: u32, signal: Signal) -> Result<(), SandboxError> {
        let mark = lock(&self.marks).get(&pid).cloned();
        let Some(mark) = mark.filter(|_| !self.life().closed().is_cancelled()) else { return Ok(()) };
        Ok(self.envd.signal_marked(Some(&mark), signal).await?)
    }

    async fn open_ports(&self) -> Result<Vec<u16>, SandboxError> {
        self.alive()?;
        Ok(self.ports.open().await?.into_iter().collect())
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
        self.alive()?;
        self.ports.connect(port, &self.tasks).await
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        self.alive()?;
        let metrics: Metrics = self.envd.metrics().await?;
        Ok(SandboxUsage { memory: metrics.mem_used, disk: metrics.disk_used, ..SandboxUsage::default() })
    }

    fn closed(&self) -> CancellationToken {
        self.life().closed().clone()
    }

    fn notice(&self) -> watch::Receiver<Option<String>> {
        self.notice.subscribe()
    }

    fn death(&self) -> Option<String> {
        self.life().death()
    }

    async fn shutdown(&self) {
        if !self.life().closed().is_cancelled() {
            self.fall_asleep().await;
        }
        self.shared.network.asleep(&self.spec.id);
        self.mirror.detach();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl RemoteInstance {
    async fn fall_asleep(&self) {
        let last = async {
            self.envd.signal_marked(None, Signal::Kill).await?;
            self.mirror.sync().await
        };
        match tokio::time::timeout(LAST_SYNC, last).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(sandbox = self.envd.id(), %error, "the last files are not here yet"),
            Err(_) => tracing::warn!(sandbox = self.envd.id(), "the last files are not here yet: e2b is slow"),
        }
        self.life().end();
        match self.shared.control.pause(self.envd.id()).await {
            Ok(_) => {}
            // It does so by itself when its time is up.
            Err(error) => tracing::warn!(sandbox = self.envd.id(), %error, "a remote sandbox was not paused"),
        }
    }
}

impl Drop for RemoteInstance {
    fn drop(&mut self) {
        self.life().end();
    }
}

/// Deletes a project's sandbox, if it has one.
pub async fn delete(shared: &Shared, spec: &SandboxSpec) -> Result<(), SandboxError> {
    if let Some(record) = Record::load(spec, &shared.control.config().api_url).await {
        let killed: Result<bool, E2bError> = shared.control.kill(&record.sandbox).await;
        killed?;
    }
    Record::remove(spec).await
}
