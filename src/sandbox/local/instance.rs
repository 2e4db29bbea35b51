//! One live sandbox: routes init's events to whoever waits for them, and takes everything down at the end.
//!
//! Its keeper task owns init and ends only when init is reaped, the control group removed and every waiter told.

use super::launch::{Init, Launched, launch};
use super::link::Link;
use super::process::{self, Output};
use super::wire::{Event, Request, Text};
use super::workspace::{HOME, Workspace};
use super::{Shared, blocking, cgroup, env, ports, watch};
use crate::domain::{SandboxId, clean_path};
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{
    Connection, ExitStatus, Instance, Process, ProcessConfig, SandboxSpec, SandboxUsage, Signal,
};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch as watched};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Init answers in microseconds; one that does not for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(15);
/// Sockets fetched at a time, so that most connections need no round trip.
const SOCKETS: u8 = 4;
/// Events after the handshake are small; a longer one is not ours.
const EVENT_BYTES: usize = 4096;

/// A live sandbox.
pub struct LocalInstance {
    inner: Arc<Inner>,
}

/// What the keeper, the watcher and callers share.
pub struct Inner {
    id: SandboxId,
    shared: Arc<Shared>,
    workspace: Workspace,
    env: BTreeMap<String, String>,
    link: Link,
    proc_dir: OwnedFd,
    group: Option<cgroup::Group>,
    state: Mutex<State>,
    next: AtomicU32,
    disk: AtomicU64,
    running: watched::Sender<usize>,
    stop: CancellationToken,
    closed: CancellationToken,
    death: Mutex<Option<String>>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    starting: HashMap<u32, oneshot::Sender<Result<u32, SandboxError>>>,
    commands: HashMap<u32, Command>,
    by_pid: HashMap<u32, u32>,
    replies: HashMap<u32, oneshot::Sender<(Event, Vec<OwnedFd>)>>,
    sockets: Vec<OwnedFd>,
}

struct Command {
    pid: u32,
    exit: Option<oneshot::Sender<ExitStatus>>,
    ooms_before: u64,
    doom: Option<String>,
}

impl LocalInstance {
    /// Builds a sandbox and starts its keeper.
    pub async fn start(shared: Arc<Shared>, spec: SandboxSpec) -> Result<Self, SandboxError> {
        let (tell, told) = oneshot::channel();
        let tasks = TaskTracker::new();
        // A task of its own, so that a caller who gives up half way leaves nothing behind.
        tasks.spawn(live(shared, spec, tasks.clone(), tell));
        let inner = told.await.map_err(|_| SandboxError::Dead("it could not be started".to_owned()))??;
        Ok(Self { inner })
    }
}

impl Drop for LocalInstance {
    fn drop(&mut self) {
        self.inner.stop.cancel();
    }
}

/// A sandbox's whole life.
async fn live(
    shared: Arc<Shared>,
    spec: SandboxSpec,
    tasks: TaskTracker,
    tell: oneshot::Sender<Result<Arc<Inner>, SandboxError>>,
) {
    match build(shared, spec, tasks).await {
        Ok((inner, init)) => {
            if tell.send(Ok(Arc::clone(&inner))).is_err() {
                inner.stop.cancel();
            }
            inner.tasks.spawn(watch::run(Arc::clone(&inner)));
            keep(&inner, init).await;
        }
        // The caller may have gone; then nobody needs to know.
        Err(error) => drop(tell.send(Err(error))),
    }
}

async fn build(shared: Arc<Shared>, spec: SandboxSpec, tasks: TaskTracker) -> Result<(Arc<Inner>, Init), SandboxError> {
    let (preparing, id, files) = (Arc::clone(&shared), spec.id.clone(), spec.workspace.clone());
    let workspace = blocking(move || {
        preparing.toolchains();
        preparing.uids.prepare(&id, &files)
    })
    .await?;
    let result = build_over(&shared, spec, &workspace, tasks).await;
    result.inspect_err(|_| shared.uids.release(workspace.uid))
}

async fn build_over(
    shared: &Arc<Shared>,
    spec: SandboxSpec,
    workspace: &Workspace,
    tasks: TaskTracker,
) -> Result<(Arc<Inner>, Init), SandboxError> {
    let group = shared.cgroups.create(&spec.id, &shared.config)?;
    let launched = launch(shared, &spec, workspace, group.as_ref()).await;
    if let (Err(_), Some(group)) = (&launched, &group) {
        group.remove().await;
    }
    let Launched { link, init, egress } = launched?;
    let mut environment = env::base(shared.toolchains());
    environment.extend(spec.env);
    let closed = CancellationToken::new();
    let inner = Inner {
        proc_dir: open_proc(init.pid)?,
        id: spec.id,
        shared: Arc::clone(shared),
        workspace: workspace.clone(),
        env: environment,
        link,
        group,
        state: Mutex::default(),
        next: AtomicU32::new(1),
        disk: AtomicU64::new(0),
        running: watched::Sender::new(0),
        stop: CancellationToken::new(),
        closed: closed.clone(),
        death: Mutex::default(),
        tasks,
    };
    shared.egress.attach(&inner.id, egress, closed);
    Ok((Arc::new(inner), init))
}

/// Held open, so that a reused pid cannot be mistaken for this sandbox.
fn open_proc(pid: u32) -> Result<OwnedFd, SandboxError> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(open(format!("/proc/{pid}"), flags, Mode::empty()).map_err(std::io::Error::from)?)
}

async fn keep(inner: &Arc<Inner>, mut init: Init) {
    let mut buffer = vec![0; EVENT_BYTES];
    let ooms = inner.ooms();
    let by_itself = loop {
        tokio::select! {
            () = inner.stop.cancelled() => break false,
            received = inner.link.receive(&mut buffer) => match received {
                Some((event, fds)) => inner.route(event, fds),
                None => break true,
            },
        }
    };
    if by_itself {
        let cause = if inner.ooms() > ooms { inner.memory_reason() } else { "its first process ended".to_owned() };
        tracing::warn!(sandbox = %inner.id, cause, "sandbox died");
        inner.death.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
    }
    inner.link.close();
    init.kill();
    init.wait().await;
    inner.abandon();
    if let Some(group) = &inner.group {
        group.remove().await;
    }
    inner.shared.uids.release(inner.workspace.uid);
    inner.closed.cancel();
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn ooms(&self) -> u64 {
        self.group.as_ref().map_or(0, cgroup::Group::ooms)
    }

    fn memory_reason(&self) -> String {
        format!("out of memory: {} MiB limit", self.shared.config.memory_mib)
    }

    fn route(self: &Arc<Self>, event: Event, fds: Vec<OwnedFd>) {
        match event {
            Event::Started { id, pid } => self.started(id, pid),
            Event::Failed { id, errno, step } => {
                let waiter = self.state().starting.remove(&id);
                if let Some(waiter) = waiter {
                    let _ = waiter.send(Err(start_error(errno, &step)));
                }
            }
            Event::Exited { id, code, signal } => {
                let status = ExitStatus {
                    code: (signal == 0).then_some(code),
                    signal: (signal != 0).then_some(signal),
                    reason: None,
                };
                self.exited(id, status);
            }
            Event::Gone { id } => self.gone(id),
            Event::Sockets { id } | Event::Usage { id, .. } => {
                let waiter = self.state().replies.remove(&id);
                if let Some(waiter) = waiter {
                    let _ = waiter.send((event, fds));
                }
            }
            // Only the handshake has these; from a live init they mean nothing.
            Event::Born { .. } | Event::Ready { .. } | Event::Refused { .. } => {}
        }
    }

    fn started(self: &Arc<Self>, id: u32, pid: u32) {
        let waiter = {
            let mut state = self.state();
            if let Some(command) = state.commands.get_mut(&id) {
                command.pid = pid;
            }
            state.by_pid.insert(pid, id);
            state.starting.remove(&id)
        };
        if waiter.is_none_or(|waiter| waiter.send(Ok(pid)).is_err()) {
            // Whoever asked has given up. Sent from a task of its own: the keeper must go on reading.
            let inner = Arc::clone(self);
            self.tasks.spawn(async move {
                let kill = Request::Signal { id, signal: libc::SIGKILL };
                let _ = inner.link.request(&kill, &[]).await;
            });
        }
    }

    fn exited(&self, id: u32, mut status: ExitStatus) {
        let exit = self.state().commands.get_mut(&id).and_then(|command| {
            let killed = status.signal == Some(libc::SIGKILL) || status.code == Some(128 + libc::SIGKILL);
            status.reason = command
                .doom
                .take()
                .or_else(|| (killed && self.ooms() > command.ooms_before).then(|| self.memory_reason()));
            command.exit.take()
        });
        if let Some(exit) = exit {
            let _ = exit.send(status);
        }
    }

    fn gone(&self, id: u32) {
        let mut state = self.state();
        if let Some(waiter) = state.starting.remove(&id) {
            let _ = waiter.send(Err(SandboxError::Dead("the command was killed while it started".to_owned())));
        }
        let Some(command) = state.commands.remove(&id) else { return };
        if state.by_pid.get(&command.pid) == Some(&id) {
            state.by_pid.remove(&command.pid);
        }
        let left = state.commands.len();
        drop(state);
        self.running.send_replace(left);
        if let Some(exit) = command.exit {
            let reason = command.doom.unwrap_or_else(|| "something in the sandbox killed its supervisor".to_owned());
            let _ = exit.send(ExitStatus { code: None, signal: Some(libc::SIGKILL), reason: Some(reason) });
        }
    }

    /// Tells everyone who waits that nothing will come any more.
    fn abandon(&self) {
        let state = std::mem::take(&mut *self.state());
        let why = || self.death_reason().unwrap_or_else(|| "it was stopped".to_owned());
        for (_, waiter) in state.starting {
            let _ = waiter.send(Err(SandboxError::Dead(why())));
        }
        for (_, command) in state.commands {
            if let Some(exit) = command.exit {
                let reason = command.doom.or_else(|| self.death_reason());
                let _ = exit.send(ExitStatus { code: None, signal: Some(libc::SIGKILL), reason });
            }
        }
        self.running.send_replace(0);
    }

    fn death_reason(&self) -> Option<String> {
        self.death.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request that init answers, and waits for the answer.
    async fn ask(&self, id: u32, request: Request) -> Result<(Event, Vec<OwnedFd>), SandboxError> {
        let (tell, told) = oneshot::channel();
        self.state().replies.insert(id, tell);
        let asked = async {
            self.link.request(&request, &[]).await?;
            told.await.map_err(|_| self.dead())
        };
        let answer = tokio::select! {
            answer = tokio::time::timeout(PATIENCE, asked) => answer.unwrap_or_else(|_| Err(self.dead())),
            () = self.closed.cancelled() => Err(self.dead()),
        };
        if answer.is_err() {
            self.state().replies.remove(&id);
        }
        answer
    }

    fn dead(&self) -> SandboxError {
        SandboxError::Dead(self.death_reason().unwrap_or_else(|| "it was stopped".to_owned()))
    }

    /// A socket in the sandbox's network.
    async fn socket(&self, v6: bool) -> Result<OwnedFd, SandboxError> {
        if !v6 && let Some(socket) = self.state().sockets.pop() {
            return Ok(socket);
        }
        let id = self.number();
        let (v4_count, v6_count) = if v6 { (0, 1) } else { (SOCKETS, 0) };
        let (_, mut fds) = self.ask(id, Request::Sockets { id, v4: v4_count, v6: v6_count }).await?;
        let socket = fds.pop().ok_or_else(|| self.dead())?;
        if !v6 {
            self.state().sockets.extend(fds);
        }
        Ok(socket)
    }

    /// What the sandbox uses now.
    pub async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        let id = self.number();
        let (answer, _) = self.ask(id, Request::Usage { id }).await?;
        let Event::Usage { memory, processes, cpu_ms, .. } = answer else { return Err(self.dead()) };
        let memory = self.group.as_ref().and_then(cgroup::Group::memory).unwrap_or(memory);
        Ok(SandboxUsage { memory, processes, disk: self.disk.load(Ordering::Relaxed), cpu_ms })
    }

    /// Kills every command, which then ends with this reason.
    pub async fn kill_all(&self, reason: &str) {
        tracing::warn!(sandbox = %self.id, reason, "commands killed");
        for command in self.state().commands.values_mut() {
            command.doom.get_or_insert_with(|| reason.to_owned());
        }
        // If the link is broken the sandbox is ending anyway.
        let _ = self.link.request(&Request::KillAll {}, &[]).await;
    }

    /// Whether memory is held by the kernel, so that nobody needs to watch it.
    pub fn memory_is_held(&self) -> bool {
        self.group.is_some()
    }

    /// Its configuration.
    pub fn config(&self) -> &crate::config::SandboxConfig {
        &self.shared.config
    }

    /// Its directories.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Remembers what the directories hold, in bytes.
    pub fn set_disk(&self, bytes: u64) {
        self.disk.store(bytes, Ordering::Relaxed);
    }

    /// Follows how many commands run.
    pub fn watch_running(&self) -> watched::Receiver<usize> {
        self.running.subscribe()
    }

    /// Cancelled when it ends.
    pub fn stopping(&self) -> (&CancellationToken, &CancellationToken) {
        (&self.stop, &self.closed)
    }
}

fn start_error(errno: i32, step: &Text) -> SandboxError {
    let step = String::from_utf8_lossy(&step.0);
    match errno {
        libc::ENOENT if step.starts_with("run") => SandboxError::NotFound("no such program in the sandbox".to_owned()),
        libc::ENOENT | libc::ENOTDIR => SandboxError::NotFound("no such directory in the sandbox".to_owned()),
        libc::EAGAIN => SandboxError::Limit("the sandbox has too many processes".to_owned()),
        _ => SandboxError::Invalid(format!("could not {step}: {}", std::io::Error::from_raw_os_error(errno))),
    }
}

/// A command's ends of its three standard streams, and ours.
struct Stdio {
    theirs: [OwnedFd; 3],
    output: Output,
    stdin: Option<pipe::Sender>,
}

fn stdio(with_stdin: bool) -> Result<Stdio, SandboxError> {
    let pair = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from);
    let ((out_ours, out_theirs), (err_ours, err_theirs)) = (pair()?, pair()?);
    let (in_theirs, stdin) = if with_stdin {
        let (theirs, ours) = pair()?;
        (theirs, Some(pipe::Sender::from_owned_fd(ours)?))
    } else {
        (std::fs::File::open("/dev/null")?.into(), None)
    };
    let output =
        Output { stdout: pipe::Receiver::from_owned_fd(out_ours)?, stderr: pipe::Receiver::from_owned_fd(err_ours)? };
    Ok(Stdio { theirs: [in_theirs, out_theirs, err_theirs], output, stdin })
}

#[async_trait]
impl Instance for LocalInstance {
    fn id(&self) -> &SandboxId {
        &self.inner.id
    }

    async fn spawn(&self, process: ProcessConfig) -> Result<Process, SandboxError> {
        let inner = &self.inner;
        if inner.stop.is_cancelled() || inner.closed.is_cancelled() {
            return Err(inner.dead());
        }
        let cwd = match process.cwd.as_str() {
            "" | "." | "/home/user" => HOME.to_owned(),
            path => format!("{HOME}/{}", clean_path(path)?),
        };
        let mut environment = inner.env.clone();
        environment.extend(process.envs);
        let env = environment.iter().map(|(name, value)| Text::from(format!("{name}={value}"))).collect();
        let argv = std::iter::once(process.cmd).chain(process.args).map(Text::from).collect();
        let Stdio { theirs, output, stdin } = stdio(process.stdin)?;
        let (exit, exited) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let id = inner.number();
        {
            let ooms_before = inner.ooms();
            let mut state = inner.state();
            state.starting.insert(id, tell);
            state.commands.insert(id, Command { pid: 0, exit: Some(exit), ooms_before, doom: None });
            inner.running.send_replace(state.commands.len());
        }
        let request = Request::Exec { id, argv, env, cwd: Text::from(cwd) };
        if let Err(error) = inner.link.request(&request, &theirs.each_ref().map(AsFd::as_fd)).await {
            let mut state = inner.state();
            state.starting.remove(&id);
            state.commands.remove(&id);
            inner.running.send_replace(state.commands.len());
            return Err(error);
        }
        drop(theirs);
        let pid = tokio::select! {
            pid = told => pid.map_err(|_| inner.dead())??,
            () = inner.closed.cancelled() => return Err(inner.dead()),
        };
        let (events_in, events) = mpsc::channel(process::BACKLOG);
        inner.tasks.spawn(process::pump(output, exited, events_in, inner.closed.clone()));
        let stdin = stdin.map(|pipe| {
            let (sender, receiver) = mpsc::channel(process::BACKLOG);
            inner.tasks.spawn(process::feed(pipe, receiver, inner.closed.clone()));
            sender
        });
        Ok(Process { pid, events, stdin })
    }

    async fn signal(&self, pid: u32, signal: Signal) -> Result<(), SandboxError> {
        let id = self.inner.state().by_pid.get(&pid).copied();
        let Some(id) = id else { return Ok(()) };
        let signal = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        match self.inner.link.request(&Request::Signal { id, signal }, &[]).await {
            // A dead sandbox has no processes left to signal.
            Err(SandboxError::Dead(_)) => Ok(()),
            result => result,
        }
    }

    async fn open_ports(&self) -> Result<Vec<u16>, SandboxError> {
        if self.inner.closed.is_cancelled() {
            return Err(self.inner.dead());
        }
        // The kernel makes these tables up as they are read; they are small and never wait for a disk.
        ports::listening(&self.inner.proc_dir)
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
        for v6 in [false, true] {
            let socket = self.inner.socket(v6).await?;
            if let Some(stream) = ports::connect(socket, v6, port).await? {
                return Ok(Box::new(stream));
            }
        }
        Err(SandboxError::PortClosed(port))
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        self.inner.usage().await
    }

    fn closed(&self) -> CancellationToken {
        self.inner.closed.clone()
    }

    fn death(&self) -> Option<String> {
        self.inner.death_reason()
    }

    async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}
