//! A provider for tests that isolates nothing: processes and files of the host, ports of its loopback.
//!
//! It lets the service, the proxy and everything above be tested in places where no sandbox can be built. It is never
//! shipped.

use async_trait::async_trait;
use bytes::Bytes;
use sandcastle::domain::{FileKind, Limits, SandboxId};
use sandcastle::sandbox::SandboxError;
use sandcastle::sandbox::provider::*;
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Counts starts and can be told to fail.
#[derive(Default)]
pub struct HostProvider {
    pub starts: AtomicUsize,
    pub fail: Mutex<Option<SandboxError>>,
    pub instances: Mutex<Vec<Arc<HostInstance>>>,
    pub spawns: Arc<Spawns>,
}

/// What becomes of processes that are to start.
#[derive(Default)]
pub struct Spawns {
    /// They never do.
    pub hang: AtomicBool,
    /// The next one fails like this.
    pub fail: Mutex<Option<SandboxError>>,
}

#[async_trait]
impl Provider for HostProvider {
    fn name(&self) -> &'static str {
        "host"
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn tools(&self) -> Vec<HostTool> {
        Vec::new()
    }

    async fn start(&self, spec: SandboxSpec) -> Result<Arc<dyn Instance>, SandboxError> {
        if let Some(error) = self.fail.lock().unwrap().clone() {
            return Err(error);
        }
        self.starts.fetch_add(1, Ordering::SeqCst);
        std::fs::create_dir_all(&spec.workspace)?;
        let instance = Arc::new(HostInstance {
            spec,
            groups: Mutex::default(),
            closed: CancellationToken::new(),
            death: Mutex::default(),
            spawns: Arc::clone(&self.spawns),
        });
        self.instances.lock().unwrap().push(Arc::clone(&instance));
        Ok(instance)
    }

    fn files(&self, spec: &SandboxSpec) -> Arc<dyn Files> {
        Arc::new(HostFiles { root: spec.workspace.clone() })
    }

    async fn doctor(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// A "sandbox": the process groups started by it.
pub struct HostInstance {
    spec: SandboxSpec,
    groups: Mutex<HashSet<u32>>,
    closed: CancellationToken,
    death: Mutex<Option<String>>,
    spawns: Arc<Spawns>,
}

impl HostInstance {
    /// Dies by itself.
    pub fn die(&self, why: &str) {
        *self.death.lock().unwrap() = Some(why.to_owned());
        self.kill_all();
        self.closed.cancel();
    }

    fn kill_all(&self) {
        for group in self.groups.lock().unwrap().drain() {
            kill_group(group, libc::SIGKILL);
        }
    }

    /// Processes of the groups, leaders' children included.
    fn pids(&self) -> Vec<u32> {
        let groups = self.groups.lock().unwrap().clone();
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let after = stat.rsplit(')').next().unwrap_or_default();
            if after.split_whitespace().nth(2).and_then(|g| g.parse().ok()).is_some_and(|g: u32| groups.contains(&g)) {
                pids.push(pid);
            }
        }
        pids
    }
}

impl Drop for HostInstance {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn kill_group(group: u32, signal: i32) {
    // SAFETY: plain system call; a group that is gone is an error that does not matter.
    unsafe { libc::kill(-(group as i32), signal) };
}

#[async_trait]
impl Instance for HostInstance {
    fn id(&self) -> &SandboxId {
        &self.spec.id
    }

    async fn spawn(&self, process: ProcessConfig) -> Result<Process, SandboxError> {
        if self.closed.is_cancelled() {
            return Err(SandboxError::Dead("closed".to_owned()));
        }
        if self.spawns.hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if let Some(error) = self.spawns.fail.lock().unwrap().take() {
            return Err(error);
        }
        let mut child = tokio::process::Command::new(&process.cmd)
            .args(&process.args)
            .envs(&self.spec.env)
            .envs(&process.envs)
            .current_dir(self.spec.workspace.join(&process.cwd))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = child.id().unwrap();
        self.groups.lock().unwrap().insert(pid);
        let (send, events) = mpsc::channel(16);
        let mut out = child.stdout.take().unwrap();
        let mut err = child.stderr.take().unwrap();
        tokio::spawn(async move {
            let (mut a, mut b) = (vec![0; 32768], vec![0; 32768]);
            let (mut out_open, mut err_open) = (true, true);
            let mut status = None;
            loop {
                // Once the process has ended, only what it left in the pipes is read: a daemon may hold them open.
                let drained = tokio::time::sleep(std::time::Duration::from_millis(100));
                tokio::select! {
                    biased;
                    n = out.read(&mut a), if out_open => match n {
                        Ok(n) if n > 0 => drop(send.send(ProcessEvent::Stdout(Bytes::copy_from_slice(&a[..n]))).await),
                        _ => out_open = false,
                    },
                    n = err.read(&mut b), if err_open => match n {
                        Ok(n) if n > 0 => drop(send.send(ProcessEvent::Stderr(Bytes::copy_from_slice(&b[..n]))).await),
                        _ => err_open = false,
                    },
                    ended = child.wait(), if status.is_none() => status = Some(ended.unwrap()),
                    () = drained, if status.is_some() => break,
                    else => break,
                }
                if status.is_some() && !out_open && !err_open {
                    break;
                }
            }
            use std::os::unix::process::ExitStatusExt;
            let status = status.unwrap();
            let end = ExitStatus { code: status.code(), signal: status.signal(), reason: None };
            drop(send.send(ProcessEvent::End(end)).await);
        });
        Ok(Process { pid, events, stdin: None, terminal: None })
    }

    async fn signal(&self, pid: u32, signal: Signal) -> Result<(), SandboxError> {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        kill_group(pid, number);
        Ok(())
    }

    async fn open_ports(&self) -> Result<Vec<u16>, SandboxError> {
        let mut sockets = HashSet::new();
        for pid in self.pids() {
            let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            for fd in fds.flatten() {
                if let Ok(link) = std::fs::read_link(fd.path())
                    && let Some(inode) = link.to_string_lossy().strip_prefix("socket:[")
                {
                    sockets.insert(inode.trim_end_matches(']').to_owned());
                }
            }
        }
        let mut ports = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in std::fs::read_to_string(table)?.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                if fields[3] == "0A" && sockets.contains(fields[9]) {
                    let port = fields[1].rsplit(':').next().unwrap();
                    ports.push(u16::from_str_radix(port, 16).unwrap());
                }
            }
        }
        Ok(ports)
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(_) => Err(SandboxError::PortClosed(port)),
        }
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        Ok(SandboxUsage::default())
    }

    fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    fn death(&self) -> Option<String> {
        self.death.lock().unwrap().clone()
    }

    async fn shutdown(&self) {
        self.kill_all();
        self.closed.cancel();
    }
}

struct HostFiles {
    root: PathBuf,
}

impl HostFiles {
    fn info(&self, path: &str) -> Result<EntryInfo, SandboxError> {
        let full = self.root.join(path);
        let data = std::fs::symlink_metadata(&full)?;
        let kind = match data.file_type() {
            t if t.is_dir() => FileKind::Directory,
            t if t.is_symlink() => FileKind::Symlink,
            _ => FileKind::File,
        };
        let modified = data.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap();
        Ok(EntryInfo {
            path: path.to_owned(),
            kind,
            size: data.len(),
            mode: data.permissions().mode(),
            modified_at: modified.as_millis() as u64,
            symlink_target: std::fs::read_link(&full).ok().map(|t| t.to_string_lossy().into_owned()),
        })
    }

    fn walk(&self, dir: &Path, depth: u32, options: &ListOptions, into: &mut Listing) -> Result<(), SandboxError> {
        for entry in std::fs::read_dir(self.root.join(dir))? {
            let path = dir.join(entry?.file_name());
            let text = path.to_string_lossy().into_owned();
            let info = self.info(&text)?;
            let enter = info.kind == FileKind::Directory;
            into.entries.push(info);
            if enter {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if options.skip.contains(&name) || depth >= options.depth {
                    into.truncated.push(text);
                } else {
                    self.walk(&path, depth + 1, options, into)?;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Files for HostFiles {
    async fn stat(&self, path: &str) -> Result<EntryInfo, SandboxError> {
        self.info(path)
    }

    async fn read(&self, path: &str, offset: u64, max: u64) -> Result<Bytes, SandboxError> {
        let bytes = std::fs::read(self.root.join(path))?;
        Ok(Bytes::from(bytes).slice(offset as usize..).split_to_at_most(max as usize))
    }

    async fn write(&self, path: &str, content: Bytes, executable: bool) -> Result<EntryInfo, SandboxError> {
        let full = self.root.join(path);
        std::fs::create_dir_all(full.parent().unwrap())?;
        std::fs::write(&full, content)?;
        std::fs::set_permissions(&full, PermissionsExt::from_mode(if executable { 0o755 } else { 0o644 }))?;
        self.info(path)
    }

    async fn list(&self, path: &str, options: ListOptions) -> Result<Listing, SandboxError> {
        let mut listing = Listing::default();
        self.walk(Path::new(path), 1, &options, &mut listing)?;
        Ok(listing)
    }

    async fn make_dir(&self, path: &str) -> Result<(), SandboxError> {
        Ok(std::fs::create_dir_all(self.root.join(path))?)
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        let path = self.root.join(path);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), SandboxError> {
        Ok(std::fs::rename(self.root.join(from), self.root.join(to))?)
    }
}

trait SplitAtMost {
    fn split_to_at_most(self, max: usize) -> Bytes;
}

impl SplitAtMost for Bytes {
    fn split_to_at_most(self, max: usize) -> Bytes {
        let end = self.len().min(max);
        self.slice(..end)
    }
}
