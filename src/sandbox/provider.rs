//! The seam between sandboxes as the product uses them and how isolation is done.
//!
//! The shapes follow e2b's envd (process and filesystem services), so that one service drives the embedded provider
//! and a remote one alike. A provider must not know projects, tasks or HTTP.

use super::SandboxError;
pub use super::tree::{Tree, TreeChange, TreeEntry, TreeEvent, TreeKind};
use crate::domain::{FileKind, Limits, NetworkLine, NetworkPolicy, SandboxId};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How sandboxes are made.
#[async_trait]
pub trait Provider: Send + Sync {
    /// `local` or `e2b`.
    fn name(&self) -> &'static str;

    /// The limits a new sandbox gets and how they are held.
    fn limits(&self) -> Limits;

    /// Languages and tools usable inside, as far as they are known by now, for the agent's prompt and for `doctor`. The
    /// first call may block for a moment.
    fn tools(&self) -> Vec<HostTool>;

    /// Builds a sandbox over the workspace, ready for commands. Fails closed: no isolation, no sandbox.
    async fn start(&self, spec: SandboxSpec) -> Result<Arc<dyn Instance>, SandboxError>;

    /// The workspace's files, usable while no sandbox is alive.
    fn files(&self, spec: &SandboxSpec) -> Arc<dyn Files>;

    /// Copies a workspace, with the tools' state beside it, to a new one. Shares the blocks where the file system can.
    async fn copy_workspace(&self, _from: &SandboxSpec, _to: &SandboxSpec) -> Result<(), SandboxError> {
        Err(SandboxError::Invalid(format!("the provider {} cannot copy workspaces", self.name())))
    }

    /// Removes what there is of a sandbox besides its workspace, wherever that is. It never starts again.
    async fn forget(&self, _spec: &SandboxSpec) -> Result<(), SandboxError> {
        Ok(())
    }

    /// What may leave sandboxes, where this provider decides that.
    fn network(&self) -> Option<&dyn Network> {
        None
    }

    /// Everything needed for a sandbox, really tried, each with the fix where it fails.
    async fn doctor(&self) -> Vec<Check>;
}

/// What may leave sandboxes, and what did. A sandbox is known here by its id from the first call on, alive or not.
#[async_trait]
pub trait Network: Send + Sync {
    /// Sets what a sandbox may reach. Connections that are forbidden now are cut. Fails if a rule cannot be read or held.
    async fn set_policy(&self, id: &SandboxId, policy: &NetworkPolicy) -> Result<(), SandboxError>;

    /// Its destinations so far, the latest first. Empty where they are not told.
    fn ledger(&self, id: &SandboxId) -> Vec<NetworkLine>;

    /// Takes up what an earlier server knew of a sandbox that is not alive. A rule that cannot be held is told at its
    /// next start at the latest.
    fn restore(&self, id: &SandboxId, policy: &NetworkPolicy, lines: &[NetworkLine]) -> Result<(), SandboxError>;

    /// Grows whenever the ledger changes.
    fn changed(&self, id: &SandboxId) -> watch::Receiver<u64>;

    /// Forgets a sandbox that is gone for good.
    fn forget(&self, id: &SandboxId);
}

/// What to build.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    /// Its id.
    pub id: SandboxId,
    /// The workspace on the host's disk; the provider creates it if missing. It appears inside as `/home/user`, or is a
    /// copy of what is there, as of the last [`Files::sync`].
    pub workspace: PathBuf,
    /// Environment of every command, on top of the provider's own.
    pub env: BTreeMap<String, String>,
}

/// A program that is usable inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTool {
    /// `node`, `npm`, `python3`, `go` ...
    pub name: String,
    /// The version it prints, shortened.
    pub version: String,
    /// Where it is inside.
    pub path: PathBuf,
}

/// One line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was tried.
    pub name: String,
    /// Whether it works.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do about it, a command where possible.
    pub fix: Option<String>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// Works.
    Ok,
    /// Works with less than it could.
    Degraded,
    /// Does not work and something needs it.
    Failed,
}

/// A live sandbox.
#[async_trait]
pub trait Instance: Send + Sync {
    /// Its id.
    fn id(&self) -> &SandboxId;

    /// Starts a process. Dropping the handle does not end it.
    async fn spawn(&self, process: ProcessConfig) -> Result<Process, SandboxError>;

    /// Sends a signal to a process and all it started. An unknown pid is not an error: it has ended.
    async fn signal(&self, pid: u32, signal: Signal) -> Result<(), SandboxError>;

    /// TCP ports that something inside listens on, without the sandbox's own.
    async fn open_ports(&self) -> Result<Vec<u16>, SandboxError>;

    /// Connects to a port inside. Where there is no other way in, the stream speaks HTTP/1.1 and nothing else.
    async fn connect(&self, port: u16) -> Result<Box<dyn Connection>, SandboxError>;

    /// What it uses now.
    async fn usage(&self) -> Result<SandboxUsage, SandboxError>;

    /// All its files, also those outside the workspace, with the rights of its user.
    async fn tree(&self) -> Result<Arc<dyn Tree>, SandboxError> {
        Err(SandboxError::Invalid("this provider shows no files outside the workspace".to_owned()))
    }

    /// Stops all processes where they are, or lets them go on.
    async fn freeze(&self, _frozen: bool) -> Result<(), SandboxError> {
        Err(SandboxError::Invalid("this provider cannot stop processes".to_owned()))
    }

    /// Cancelled once the sandbox is dead, however that came.
    fn closed(&self) -> CancellationToken;

    /// Which limit is near or was hit (`disk nearly full: 3400 of 4096 MiB`), now and whenever that changes.
    fn notice(&self) -> watch::Receiver<Option<String>> {
        watch::Sender::default().subscribe()
    }

    /// Why it is dead, if it died by itself (out of memory, over its disk limit).
    fn death(&self) -> Option<String>;

    /// Ends every process and the sandbox. The workspace stays.
    async fn shutdown(&self);
}

/// A byte stream to a port inside.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What to start (e2b: `process.ProcessConfig`).
#[derive(Clone, Debug, Default)]
pub struct ProcessConfig {
    /// The program, looked up in the sandbox's `PATH`.
    pub cmd: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment on top of the sandbox's.
    pub envs: BTreeMap<String, String>,
    /// Working directory: absolute inside, or relative to the workspace; empty for its root.
    pub cwd: String,
    /// Whether stdin is open; else it reads end of file at once.
    pub stdin: bool,
    /// A terminal of this size instead of pipes: all output comes as stdout, and stdin is open.
    pub terminal: Option<TerminalSize>,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// A process's terminal.
pub trait Terminal: Send + Sync {
    /// Changes the size; the program inside is told.
    fn resize(&self, size: TerminalSize) -> Result<(), SandboxError>;
}

/// A started process.
pub struct Process {
    /// Its pid inside the sandbox.
    pub pid: u32,
    /// Output and, last, the end. Bounded: a slow reader slows the process.
    pub events: mpsc::Receiver<ProcessEvent>,
    /// Its stdin, if asked for.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// Its terminal, if asked for.
    pub terminal: Option<Arc<dyn Terminal>>,
}

/// What a process does (e2b: `process.ProcessEvent`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It wrote to stdout.
    Stdout(Bytes),
    /// It wrote to stderr.
    Stderr(Bytes),
    /// It ended; nothing follows. Comes at the exit of the process even if something it started still holds its output.
    End(ExitStatus),
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Number of the signal that killed it.
    pub signal: Option<i32>,
    /// Why, where the sandbox knows: `out of memory: 512 MiB limit`.
    pub reason: Option<String>,
}

/// A signal one may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// Asks it to end.
    Terminate,
    /// Ends it.
    Kill,
}

/// What a sandbox uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxUsage {
    /// Memory in bytes.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Workspace in bytes, as last measured.
    pub disk: u64,
    /// CPU time in milliseconds, as far as the mechanism tells.
    pub cpu_ms: u64,
}

/// A workspace's files. Every path is relative to the workspace and never leaves it, whatever links lie inside.
#[async_trait]
pub trait Files: Send + Sync {
    /// Makes what is read here what is in the sandbox now, where that is not so anyway. Without a live sandbox there is
    /// nothing to do: what was there last stays readable.
    async fn sync(&self) -> Result<(), SandboxError> {
        Ok(())
    }

    /// Type, size and times of an entry; links are not followed.
    async fn stat(&self, path: &str) -> Result<EntryInfo, SandboxError>;

    /// A regular file's content, at most `max` bytes from `offset`.
    async fn read(&self, path: &str, offset: u64, max: u64) -> Result<Bytes, SandboxError>;

    /// Writes a whole file; where the provider can, a reader sees the old or the new one. Makes parents. `executable`
    /// sets the x bits.
    async fn write(&self, path: &str, content: Bytes, executable: bool) -> Result<EntryInfo, SandboxError>;

    /// Entries below `path` (empty for the root).
    async fn list(&self, path: &str, options: ListOptions) -> Result<Listing, SandboxError>;

    /// Makes a directory and its parents.
    async fn make_dir(&self, path: &str) -> Result<(), SandboxError>;

    /// Removes a file or a tree. A missing one is not an error.
    async fn remove(&self, path: &str) -> Result<(), SandboxError>;

    /// Renames; the target's parents must exist.
    async fn rename(&self, from: &str, to: &str) -> Result<(), SandboxError>;
}

/// An entry (e2b: `filesystem.EntryInfo`, the part we use).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryInfo {
    /// Path relative to the workspace.
    pub path: String,
    /// What it is. Sockets, devices and FIFOs are never listed.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Last change (Unix ms).
    pub modified_at: u64,
    /// Where a link points, as written.
    pub symlink_target: Option<String>,
}

/// How far to list.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Levels below the path; 1 for its own entries.
    pub depth: u32,
    /// Stop after so many entries.
    pub max_entries: usize,
    /// Names of directories that are listed but not entered (`node_modules`, `.git`).
    pub skip: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Entries in directory order; a directory comes before its entries.
    pub entries: Vec<EntryInfo>,
    /// Directories that were not entered or not finished.
    pub truncated: Vec<String>,
}
