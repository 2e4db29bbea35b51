//! Starts one init and brings it to the point where it serves. Knows the protocol's first packets and nothing after.

use super::env::base_files;
use super::link::{Link, poll};
use super::toolchain::Toolchains;
use super::wire::{self, Event, Setup, Wire};
use super::workspace::{HOME, Workspace};
use super::{Shared, cgroup};
use crate::sandbox::SandboxError;
use crate::sandbox::provider::SandboxSpec;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Building takes milliseconds; a machine that needs longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(20);
/// `/tmp` inside.
const TMP_BYTES: u64 = 256 << 20;

/// A sandbox that serves requests.
pub struct Launched {
    /// To its init.
    pub link: Link,
    /// Its init, as the host sees it.
    pub init: Init,
    /// Its way out.
    pub egress: [OwnedFd; 3],
}

/// The first process of a sandbox. Dropping it kills and reaps it.
pub struct Init {
    /// Its pid on the host.
    pub pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    reaped: bool,
}

impl Init {
    /// Waits until it has ended, and reaps it.
    pub async fn wait(&mut self) {
        if self.pidfd.readable().await.is_ok() {
            self.reap();
        }
    }

    /// Kills it and with it everything inside.
    pub fn kill(&self) {
        // It may have ended already.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), rustix::process::Signal::KILL);
    }

    fn reap(&mut self) {
        // A failure means that someone reaped it before us, which is as good.
        let _ = waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), WaitIdOptions::EXITED);
        self.reaped = true;
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            self.reap();
        }
    }
}

/// Builds a sandbox. When this future is dropped, what was built is taken down.
pub async fn launch(
    shared: &Shared,
    spec: &SandboxSpec,
    workspace: &Workspace,
    group: Option<&cgroup::Group>,
) -> Result<Launched, SandboxError> {
    let binary = shared.init_binary()?;
    let setup = setup(shared, spec, workspace, shared.toolchains(), group.is_some());
    tokio::time::timeout(PATIENCE, handshake(&binary, &setup, group))
        .await
        .unwrap_or_else(|_| Err(SandboxError::NotIsolated("building it took more than 20 seconds".to_owned())))
}

async fn handshake(binary: &Path, setup: &Setup, group: Option<&cgroup::Group>) -> Result<Launched, SandboxError> {
    let (link, theirs) = Link::pair()?;
    let mut starter = tokio::process::Command::new(binary)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| SandboxError::NotIsolated(format!("the init binary cannot be run: {error}")))?;
    link.send(&setup.encode(), &[]).await?;
    let mut buffer = vec![0; wire::MAX_MESSAGE];
    let init = match link.receive(&mut buffer).await {
        Some((Event::Born { pid }, fds)) => born(pid, fds)?,
        Some((Event::Refused { step, errno }, _)) => return Err(refused(&step, errno)),
        _ => return Err(SandboxError::NotIsolated("the init binary ended without a word".to_owned())),
    };
    // It has nothing left to do, and until it has ended init is its child and not ours. Moving init into its groups
    // can wait for the kernel for milliseconds, so it happens while init builds; nothing runs inside before both are done.
    let (adopted, ended, built) = tokio::join!(adopt(group, init.pid), starter.wait(), link.receive(&mut buffer));
    adopted?;
    ended?;
    match built {
        Some((Event::Ready { landlock }, fds)) => {
            tracing::debug!(landlock, pid = init.pid, "sandbox ready");
            Ok(Launched { link, init, egress: egress(fds)? })
        }
        Some((Event::Refused { step, errno }, _)) => Err(refused(&step, errno)),
        _ => Err(SandboxError::NotIsolated("the sandbox's first process died while it was built".to_owned())),
    }
}

async fn adopt(group: Option<&cgroup::Group>, pid: u32) -> Result<(), SandboxError> {
    let Some(group) = group.cloned() else { return Ok(()) };
    let limited =
        move || group.adopt(pid).map_err(|error| SandboxError::Io(format!("cannot limit the sandbox: {error}")));
    super::blocking(limited).await
}

fn born(pid: u32, fds: Vec<OwnedFd>) -> Result<Init, SandboxError> {
    let odd = || SandboxError::NotIsolated("the init binary broke the protocol".to_owned());
    let valid = i32::try_from(pid).ok().and_then(Pid::from_raw).is_some();
    let [pidfd] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| odd())?;
    if !valid {
        return Err(odd());
    }
    Ok(Init { pid, pidfd: poll(pidfd)?, reaped: false })
}

/// The DNS, HTTP and HTTPS sockets.
fn egress(fds: Vec<OwnedFd>) -> Result<[OwnedFd; 3], SandboxError> {
    let sockets = <[OwnedFd; 3]>::try_from(fds)
        .map_err(|_| SandboxError::NotIsolated("the init binary sent no network sockets".to_owned()))?;
    for socket in &sockets {
        rustix::io::ioctl_fionbio(socket, true).map_err(std::io::Error::from)?;
    }
    Ok(sockets)
}

/// Why a host refuses, in words that lead to the fix.
fn refused(step: &wire::Text, errno: i32) -> SandboxError {
    let step = String::from_utf8_lossy(&step.0);
    let error = std::io::Error::from_raw_os_error(errno);
    let hint = super::doctor::hint(&step, errno).map(|hint| format!("; {hint}")).unwrap_or_default();
    SandboxError::NotIsolated(format!("could not {step}: {error}{hint}"))
}

fn setup(
    shared: &Shared,
    spec: &SandboxSpec,
    workspace: &Workspace,
    toolchains: &Toolchains,
    memory_is_held: bool,
) -> Setup {
    let config = &shared.config;
    let (root, links) = toolchains.root();
    Setup {
        version: wire::VERSION,
        host_uid: workspace.uid,
        host_gid: workspace.gid,
        privileged: workspace.privileged,
        hostname: spec.id.as_str().into(),
        home: HOME.into(),
        mounts: root.into_iter().chain(workspace.mounts()).collect(),
        links,
        files: base_files(spec.id.as_str()),
        tmp_bytes: TMP_BYTES,
        processes: config.processes,
        open_files: config.open_files,
        file_bytes: config.disk_mib << 20,
        data_bytes: if memory_is_held { 0 } else { config.memory_mib << 20 },
    }
}
