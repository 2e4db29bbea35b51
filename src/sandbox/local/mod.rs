//! The embedded provider: Linux namespaces around a tiny init, no daemon, no container tool, with root or without.
//!
//! Owns how isolation is done on this host: finding the init binary and toolchains, building sandboxes, their commands,
//! ports, files and limits. It must not know projects, HTTP, or what the network policy is (see [`EgressHook`]).

mod cgroup;
mod copy;
mod doctor;
mod env;
mod files;
mod floor;
mod identity;
mod inside;
mod instance;
mod launch;
mod link;
mod live;
mod news;
mod oom;
mod ports;
mod process;
mod terminal;
mod toolchain;
mod tree;
mod tree_watch;
pub(in crate::sandbox) mod walk;
mod watch;
#[path = "../../../init/src/wire.rs"]
mod wire;
mod workspace;

pub(in crate::sandbox) use files::LocalFiles;

use super::SandboxError;
use super::provider::{Check, Files, HostTool, Instance, Network, Provider, SandboxSpec};
use crate::config::SandboxConfig;
use crate::domain::{Limits, SandboxId};
use async_trait::async_trait;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use toolchain::Toolchains;

/// Who serves a sandbox's way out: names, then connections to ports 80 and 443.
pub trait EgressHook: Send + Sync {
    /// Takes a new sandbox's sockets; serves them until `closed`. Called on the async runtime; must not block.
    fn attach(&self, id: &SandboxId, sockets: EgressSockets, closed: CancellationToken);

    /// What it may let through, if it decides that.
    fn network(&self) -> Option<&dyn Network> {
        None
    }
}

/// What the way out may ask of a live sandbox.
#[async_trait]
pub trait Inside: Send + Sync {
    /// The program that holds the TCP socket with these two ports, where it can be found out.
    async fn owner(&self, local: u16, remote: u16) -> Option<String>;

    /// A new TCP socket of the sandbox's network, non-blocking. None once the sandbox is dead.
    async fn socket(&self) -> Option<OwnedFd>;
}

/// Sockets that live in the sandbox's network and are served out here. All are non-blocking.
pub struct EgressSockets {
    /// The name server the sandbox's `/etc/resolv.conf` names.
    pub dns: std::net::UdpSocket,
    /// Every connection to port 80 of any address; the local address of an accepted socket is the one asked for.
    pub http: std::net::TcpListener,
    /// Likewise port 443.
    pub https: std::net::TcpListener,
    /// For what the three cannot tell.
    pub inside: Arc<dyn Inside>,
}

/// Makes sandboxes on this machine.
pub struct LocalProvider {
    shared: Arc<Shared>,
}

/// What every sandbox needs.
struct Shared {
    config: SandboxConfig,
    data_dir: PathBuf,
    egress: Arc<dyn EgressHook>,
    cgroups: cgroup::Cgroups,
    toolchains: OnceLock<Toolchains>,
    uids: workspace::Uids,
    floor: floor::Floor,
    /// How long a sandbox's init may take to answer.
    patience: Duration,
}

impl LocalProvider {
    /// A provider whose sandboxes get their way out from `egress`. Nothing is started yet.
    pub fn new(config: SandboxConfig, data_dir: PathBuf, egress: Arc<dyn EgressHook>) -> Self {
        prepare_process();
        let cgroups = cgroup::Cgroups::detect();
        let toolchains = OnceLock::new();
        let (uids, floor) = (workspace::Uids::default(), floor::Floor::default());
        let patience = live::PATIENCE;
        Self { shared: Arc::new(Shared { config, data_dir, egress, cgroups, toolchains, uids, floor, patience }) }
    }

    /// The same with sandboxes given up when their init does not answer for so long. Before the first sandbox.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.patience = patience;
        }
        self
    }
}

impl Shared {
    /// The host's toolchains; the first call looks for them and takes a moment.
    fn toolchains(&self) -> &Toolchains {
        self.toolchains.get_or_init(|| Toolchains::detect(&self.config.extra_mounts))
    }

    fn limits(&self) -> Limits {
        let config = &self.config;
        let memory = match self.cgroups.mechanism() {
            Some(group) if self.cgroups.holds_cpu() => format!("memory and CPU by {group}"),
            Some(group) => format!("memory by {group}, CPU by priority"),
            None => "memory by a limit a process and a watcher, CPU by priority".to_owned(),
        };
        Limits {
            memory_mib: config.memory_mib,
            processes: config.processes,
            disk_mib: config.disk_mib,
            cpu_percent: if self.cgroups.holds_cpu() { config.cpu_percent } else { 0 },
            files: config.files,
            open_files: config.open_files,
            output_mib: super::output::KEPT_MIB,
            mechanism: format!("{memory}, processes and open files by resource limits, disk by a watcher"),
        }
    }

    /// The init binary: configured, beside the server's, or where a development build puts it.
    fn init_binary(&self) -> Result<PathBuf, SandboxError> {
        if let Some(path) = &self.config.init {
            return if path.is_file() {
                Ok(path.clone())
            } else {
                Err(SandboxError::NotIsolated(format!("the configured init binary {} is missing", path.display())))
            };
        }
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|dir| dir.join(INIT_NAME)));
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(INIT_TARGET).join("init").join(INIT_NAME);
        beside.into_iter().chain([built]).find(|path| path.is_file()).ok_or_else(|| {
            SandboxError::NotIsolated(format!(
                "the {INIT_NAME} binary is not beside the server's; build it with \
                 `cargo build -p {INIT_NAME} --profile init --target {INIT_TARGET}` or set its path"
            ))
        })
    }
}

const INIT_NAME: &str = "sandcastle-init";
const INIT_TARGET: &str = concat_target();

const fn concat_target() -> &'static str {
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-musl" } else { "x86_64-unknown-linux-musl" }
}

/// Sandboxes' first processes become our children when their starter ends, and each sandbox has a few open files.
fn prepare_process() {
    use rustix::process::{Resource, Rlimit, getrlimit, set_child_subreaper, setrlimit};
    if let Err(error) = set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "ended sandboxes may be left as zombies");
    }
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

#[async_trait]
impl Provider for LocalProvider {
    fn name(&self) -> &'static str {
        "local"
    }

    fn limits(&self) -> Limits {
        self.shared.limits()
    }

    fn tools(&self) -> Vec<HostTool> {
        self.shared.toolchains().tools().to_vec()
    }

    async fn start(&self, spec: SandboxSpec) -> Result<Arc<dyn Instance>, SandboxError> {
        let instance = instance::LocalInstance::start(Arc::clone(&self.shared), spec).await?;
        Ok(Arc::new(instance))
    }

    fn files(&self, spec: &SandboxSpec) -> Arc<dyn Files> {
        Arc::new(LocalFiles::new(spec.workspace.clone()))
    }

    async fn copy_workspace(&self, from: &SandboxSpec, to: &SandboxSpec) -> Result<(), SandboxError> {
        let (shared, from, to) = (Arc::clone(&self.shared), from.workspace.clone(), to.clone());
        blocking(move || {
            let target = shared.uids.prepare(&to.id, &to.workspace)?;
            let copied = copy::workspace(&from, &target, &shared.config);
            shared.uids.release(target.uid);
            copied
        })
        .await
    }

    fn network(&self) -> Option<&dyn Network> {
        self.shared.egress.network()
    }

    async fn doctor(&self) -> Vec<Check> {
        doctor::run(Arc::clone(&self.shared)).await
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SandboxError::Io(error.to_string()))?
}
