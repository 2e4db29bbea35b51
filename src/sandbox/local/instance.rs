//! One sandbox from its building to its end, behind the provider's trait.
//!
//! Its keeper task owns init and ends only when init is reaped, the control group removed and every waiter told.

use super::launch::{Init, Launched, launch};
use super::live::{Exec, Live, Own};
use super::news::News;
use super::process::{self, Output};
use super::terminal::PseudoTerminal;
use super::tree::LocalTree;
use super::wire::Text;
use super::workspace::{HOME, Workspace};
use super::{EgressSockets, Inside, Shared, blocking, env, ports, watch};
use crate::domain::{SandboxId, clean_path};
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{Connection, Instance, Process, ProcessConfig, SandboxSpec, SandboxUsage, Signal, Tree};
use async_trait::async_trait;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch as watched};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Events after the handshake are small; a longer one is not ours.
const EVENT_BYTES: usize = 4096;

/// A live sandbox.
pub struct LocalInstance {
    live: Arc<Live>,
}

impl LocalInstance {
    /// Builds a sandbox and starts its keeper.
    pub async fn start(shared: Arc<Shared>, spec: SandboxSpec) -> Result<Self, SandboxError> {
        let (tell, told) = oneshot::channel();
        let tasks = TaskTracker::new();
        // A task of its own, so that a caller who gives up half way leaves nothing behind.
        tasks.spawn(whole_life(shared, spec, tasks.clone(), tell));
        let live = told.await.map_err(|_| SandboxError::Dead("it could not be started".to_owned()))??;
        Ok(Self { live })
    }
}

impl Drop for LocalInstance {
    fn drop(&mut self) {
        self.live.stop.cancel();
    }
}

/// A sandbox's whole life.
async fn whole_life(
    shared: Arc<Shared>,
    spec: SandboxSpec,
    tasks: TaskTracker,
    tell: oneshot::Sender<Result<Arc<Live>, SandboxError>>,
) {
    match build(shared, spec, tasks).await {
        Ok((live, init)) => {
            if tell.send(Ok(Arc::clone(&live))).is_err() {
                live.stop.cancel();
            }
            live.tasks.spawn(watch::run(Arc::clone(&live)));
            keep(&live, init).await;
        }
        // The caller may have gone; then nobody needs to know.
        Err(error) => drop(tell.send(Err(error))),
    }
}

async fn build(shared: Arc<Shared>, spec: SandboxSpec, tasks: TaskTracker) -> Result<(Arc<Live>, Init), SandboxError> {
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
) -> Result<(Arc<Live>, Init), SandboxError> {
    let folders = workspace.open()?;
    let group = shared.cgroups.create(&spec.id, &shared.config)?;
    let launched = launch(shared, &spec, workspace, group.as_ref()).await;
    if let (Err(_), Some(group)) = (&launched, &group) {
        group.remove().await;
    }
    let Launched { link, init, egress } = launched?;
    let mut environment = env::base(shared.toolchains());
    environment.extend(spec.env);
    let closed = CancellationToken::new();
    let live = Arc::new(Live {
        pid: init.pid,
        proc_dir: open_proc(init.pid)?,
        id: spec.id,
        shared: Arc::clone(shared),
        workspace: workspace.clone(),
        folders,
        env: environment,
        link,
        group,
        stop: CancellationToken::new(),
        closed: closed.clone(),
        tasks,
        disk: AtomicU64::new(0),
        running: watched::Sender::new(0),
        news: News::default(),
        own: Own::default(),
    });
    let [dns, http, https] = egress;
    let inside = Arc::clone(&live) as Arc<dyn Inside>;
    let sockets = EgressSockets { dns: dns.into(), http: http.into(), https: https.into(), inside };
    shared.egress.attach(&live.id, sockets, closed);
    Ok((live, init))
}

async fn keep(live: &Arc<Live>, mut init: Init) {
    let mut buffer = vec![0; EVENT_BYTES];
    let ooms = live.ooms();
    let by_itself = loop {
        tokio::select! {
            () = live.stop.cancelled() => break false,
            received = live.link.receive(&mut buffer) => match received {
                Some((event, fds)) => live.route(event, fds),
                None => break true,
            },
        }
    };
    if by_itself {
        let cause = if live.ooms() > ooms { live.memory_reason() } else { "its first process ended".to_owned() };
        tracing::warn!(sandbox = %live.id, cause, "sandbox died");
        live.died(cause);
    }
    live.link.close();
    init.kill();
    init.wait().await;
    live.abandon();
    if let Some(group) = &live.group {
        group.remove().await;
    }
    live.shared.uids.release(live.workspace.uid);
    live.closed.cancel();
}

/// Held open, so that a reused pid cannot be mistaken for this sandbox.
fn open_proc(pid: u32) -> Result<OwnedFd, SandboxError> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(open(format!("/proc/{pid}"), flags, Mode::empty()).map_err(std::io::Error::from)?)
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
        &self.live.id
    }

    async fn spawn(&self, process: ProcessConfig) -> Result<Process, SandboxError> {
        let live = &self.live;
        let cwd = match process.cwd.as_str() {
            "" | "." | "/home/user" => HOME.to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("{HOME}/{}", clean_path(path)?),
        };
        let mut environment = live.env.clone();
        environment.extend(process.envs);
        let env = environment.iter().map(|(name, value)| Text::from(format!("{name}={value}"))).collect();
        let argv = std::iter::once(process.cmd).chain(process.args).map(Text::from).collect();
        let cwd = Text::from(cwd);
        let (tell, events) = mpsc::channel(process::BACKLOG);
        if let Some(size) = process.terminal {
            let (columns, rows) = (size.columns, size.rows);
            let (ours, theirs) = live.terminal(columns, rows).await?;
            let stdio = [theirs.try_clone()?, theirs.try_clone()?, theirs];
            let (pid, exited) = live.exec(Exec { argv, env, cwd, stdio, terminal: true }).await?;
            let terminal = Arc::new(PseudoTerminal::new(ours)?);
            let (input, receiver) = mpsc::channel(process::BACKLOG);
            live.tasks.spawn(Arc::clone(&terminal).pump(exited, tell, live.closed.clone()));
            live.tasks.spawn(Arc::clone(&terminal).feed(receiver, live.closed.clone()));
            return Ok(Process { pid, events, stdin: Some(input), terminal: Some(terminal) });
        }
        let Stdio { theirs, output, stdin } = stdio(process.stdin)?;
        let (pid, exited) = live.exec(Exec { argv, env, cwd, stdio: theirs, terminal: false }).await?;
        live.tasks.spawn(process::pump(output, exited, tell, live.closed.clone()));
        let stdin = stdin.map(|pipe| {
            let (sender, receiver) = mpsc::channel(process::BACKLOG);
            live.tasks.spawn(process::feed(pipe, receiver, live.closed.clone()));
            sender
        });
        Ok(Process { pid, events, stdin, terminal: None })
    }

    async fn signal(&self, pid: u32, signal: Signal) -> Result<(), SandboxError> {
        self.live.signal(pid, signal).await
    }

    async fn open_ports(&self) -> Result<Vec<u16>, SandboxError> {
        if self.live.closed.is_cancelled() {
            return Err(self.live.dead());
        }
        // The kernel makes these tables up as they are read; they are small and never wait for a disk.
        ports::listening(&self.live.proc_dir)
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
        for v6 in [false, true] {
            let socket = self.live.socket(v6).await?;
            if let Some(stream) = ports::connect(socket, v6, port).await? {
                return Ok(Box::new(stream));
            }
        }
        Err(SandboxError::PortClosed(port))
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        self.live.usage().await
    }

    async fn tree(&self) -> Result<Arc<dyn Tree>, SandboxError> {
        Ok(Arc::new(LocalTree::new(self.live.root().await?, Arc::clone(&self.live))))
    }

    async fn freeze(&self, frozen: bool) -> Result<(), SandboxError> {
        self.live.freeze(frozen).await
    }

    fn closed(&self) -> CancellationToken {
        self.live.closed.clone()
    }

    fn notice(&self) -> watched::Receiver<Option<String>> {
        self.live.news.notice()
    }

    fn death(&self) -> Option<String> {
        self.live.death_reason()
    }

    async fn shutdown(&self) {
        self.live.stop.cancel();
        self.live.tasks.close();
        self.live.tasks.wait().await;
    }
}
