//! What a live sandbox knows: its commands, who waits for which answer of init, and how to ask.
//!
//! The keeper feeds it init's events; callers and the watcher ask through it. It must not know who they are, nor decide
//! when the sandbox ends.

use super::link::Link;
use super::news::News;
use super::wire::{Event, Request, Text};
use super::workspace::Workspace;
use super::{Shared, cgroup};
use crate::domain::SandboxId;
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{ExitStatus, SandboxUsage, Signal};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch as watched};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Init answers in microseconds; one that does not for so long is stuck.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Sockets fetched at a time, so that most connections need no round trip.
const SOCKETS: u8 = 4;

/// What the keeper, the watcher and callers share.
pub struct Live {
    /// Its id.
    pub id: SandboxId,
    /// What all sandboxes share.
    pub shared: Arc<Shared>,
    /// Its directories and user.
    pub workspace: Workspace,
    /// The opened folders of files and of the tools' state, so that what is done inside cannot keep anyone from them.
    pub folders: [OwnedFd; 2],
    /// The environment of its commands.
    pub env: BTreeMap<String, String>,
    /// To its init.
    pub link: Link,
    /// Its init, as the host sees it.
    pub pid: u32,
    /// Init's folder in the host's `/proc`.
    pub proc_dir: OwnedFd,
    /// Its control group, where the host has them.
    pub group: Option<cgroup::Group>,
    /// Asks it to end.
    pub stop: CancellationToken,
    /// Cancelled when it has ended.
    pub closed: CancellationToken,
    /// All tasks that serve it; they end with it.
    pub tasks: TaskTracker,
    /// What its directories hold in bytes, as last measured.
    pub disk: AtomicU64,
    /// How many commands run.
    pub running: watched::Sender<usize>,
    /// Limits that are near or were hit. Empty at first.
    pub news: News,
    /// Empty at first.
    pub own: Own,
}

/// What only this file touches.
#[derive(Default)]
pub struct Own {
    state: Mutex<State>,
    next: AtomicU32,
    death: Mutex<Option<String>>,
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

/// What to start.
pub struct Exec {
    /// Program and arguments.
    pub argv: Vec<Text>,
    /// The whole environment, as `NAME=value`.
    pub env: Vec<Text>,
    /// Absolute, inside.
    pub cwd: Text,
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
    /// Whether its input is a terminal that becomes its own.
    pub terminal: bool,
}

/// Forgets a command that never reached init.
struct Unsent<'a> {
    live: &'a Live,
    id: u32,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.live.own.change(&self.live.running, |state| {
            state.starting.remove(&self.id);
            state.commands.remove(&self.id);
        });
    }
}

impl Own {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what runs and tells how much does. Told under the lock: a count that came late would be the last one, and
    /// whoever waits for commands would sleep while some run.
    fn change<T>(&self, running: &watched::Sender<usize>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        running.send_replace(state.commands.len());
        result
    }
}

impl Live {
    fn state(&self) -> MutexGuard<'_, State> {
        self.own.state()
    }

    /// Starts a command. Returns its pid, and later how it ended. Dropping this future half way kills the command.
    pub async fn exec(&self, request: Exec) -> Result<(u32, oneshot::Receiver<ExitStatus>), SandboxError> {
        if self.stop.is_cancelled() || self.closed.is_cancelled() {
            return Err(self.dead());
        }
        let Exec { argv, env, cwd, stdio, terminal } = request;
        let (exit, exited) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let id = self.number();
        let command = Command { pid: 0, exit: Some(exit), ooms_before: self.ooms(), doom: None };
        self.register(id, command, tell);
        let unsent = Unsent { live: self, id };
        self.link.request(&Request::Exec { id, argv, env, cwd, terminal }, &stdio.each_ref().map(AsFd::as_fd)).await?;
        std::mem::forget(unsent);
        drop(stdio);
        let pid = tokio::select! {
            pid = tokio::time::timeout(self.shared.patience, told) => match pid {
                Ok(pid) => pid.map_err(|_| self.dead())??,
                Err(_) => return Err(SandboxError::Dead("its first process does not answer".to_owned())),
            },
            () = self.closed.cancelled() => return Err(self.dead()),
        };
        Ok((pid, exited))
    }

    fn register(&self, id: u32, command: Command, tell: oneshot::Sender<Result<u32, SandboxError>>) {
        self.own.change(&self.running, |state| {
            state.starting.insert(id, tell);
            state.commands.insert(id, command);
        });
    }

    /// Signals a command with all it started. One that has ended is no error.
    pub async fn signal(&self, pid: u32, signal: Signal) -> Result<(), SandboxError> {
        let id = self.state().by_pid.get(&pid).copied();
        let Some(id) = id else { return Ok(()) };
        let signal = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        match self.link.request(&Request::Signal { id, signal }, &[]).await {
            // A dead sandbox has no processes left to signal.
            Err(SandboxError::Dead(_)) => Ok(()),
            result => result,
        }
    }

    /// Remembers why it died, if nothing is known yet.
    pub fn died(&self, cause: String) {
        self.own.death.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
    }

    pub(super) fn number(&self) -> u32 {
        self.own.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes one event of init to whoever waits for it.
    pub fn route(self: &Arc<Self>, event: Event, fds: Vec<OwnedFd>) {
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
            Event::Sockets { id }
            | Event::Usage { id, .. }
            | Event::Owner { id, .. }
            | Event::Terminal { id }
            | Event::Root { id } => {
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
            // Init is not believed in what nobody asked for.
            let Some(command) = state.commands.get_mut(&id) else { return };
            command.pid = pid;
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
            // Its own end may be another's: a package manager reports the kill of what it started in its own way.
            let failed = status.code != Some(0);
            status.reason = command
                .doom
                .take()
                .or_else(|| (failed && self.ooms() > command.ooms_before).then(|| self.memory_reason()));
            command.exit.take()
        });
        if let Some(exit) = exit {
            let _ = exit.send(status);
        }
    }

    fn gone(&self, id: u32) {
        let (waiter, command) = self.own.change(&self.running, |state| {
            let (waiter, command) = (state.starting.remove(&id), state.commands.remove(&id));
            if let Some(command) = &command
                && state.by_pid.get(&command.pid) == Some(&id)
            {
                state.by_pid.remove(&command.pid);
            }
            (waiter, command)
        });
        if let Some(waiter) = waiter {
            let _ = waiter.send(Err(SandboxError::Dead("the command was killed while it started".to_owned())));
        }
        let Some(command) = command else { return };
        if let Some(exit) = command.exit {
            let reason = command.doom.unwrap_or_else(|| "something in the sandbox killed its supervisor".to_owned());
            let _ = exit.send(ExitStatus { code: None, signal: Some(libc::SIGKILL), reason: Some(reason) });
        }
    }

    /// Tells everyone who waits that nothing will come any more.
    pub fn abandon(&self) {
        let state = self.own.change(&self.running, std::mem::take);
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
    }

    /// Why it died by itself.
    pub fn death_reason(&self) -> Option<String> {
        self.own.death.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request that init answers, and waits for the answer.
    pub(super) async fn ask(&self, id: u32, request: Request) -> Result<(Event, Vec<OwnedFd>), SandboxError> {
        let (tell, told) = oneshot::channel();
        self.state().replies.insert(id, tell);
        let asked = async {
            self.link.request(&request, &[]).await?;
            told.await.map_err(|_| self.dead())
        };
        let answer = tokio::select! {
            answer = tokio::time::timeout(self.shared.patience, asked) => answer.unwrap_or_else(|_| Err(SandboxError::Dead("its first process does not answer".to_owned()))),
            () = self.closed.cancelled() => Err(self.dead()),
        };
        if answer.is_err() {
            self.state().replies.remove(&id);
        }
        answer
    }

    /// The error for whoever wants something of it after its end.
    pub fn dead(&self) -> SandboxError {
        SandboxError::Dead(self.death_reason().unwrap_or_else(|| "it was stopped".to_owned()))
    }

    /// A socket in the sandbox's network.
    pub async fn socket(&self, v6: bool) -> Result<OwnedFd, SandboxError> {
        if !v6 && let Some(socket) = self.state().sockets.pop() {
            return Ok(socket);
        }
        let id = self.number();
        let (v4_count, v6_count) = if v6 { (0, 1) } else { (SOCKETS, 0) };
        let (_, mut fds) = self.ask(id, Request::Sockets { id, v4: v4_count, v6: v6_count }).await?;
        if !fds.iter().all(|fd| super::ports::is_fresh_socket(fd, v6)) {
            return Err(SandboxError::Dead("its first process broke the protocol".to_owned()));
        }
        let socket = fds.pop().ok_or_else(|| self.dead())?;
        if !v6 {
            self.state().sockets.extend(fds);
        }
        Ok(socket)
    }

    /// Both sides of a new terminal: ours, then the command's.
    pub async fn terminal(&self, columns: u16, rows: u16) -> Result<(OwnedFd, OwnedFd), SandboxError> {
        let id = self.number();
        let (_, fds) = self.ask(id, Request::Terminal { id, columns, rows }).await?;
        let [ours, theirs] = <[OwnedFd; 2]>::try_from(fds)
            .map_err(|_| SandboxError::Limit("the sandbox has no terminal left".to_owned()))?;
        Ok((ours, theirs))
    }

    /// The root directory inside.
    pub async fn root(&self) -> Result<OwnedFd, SandboxError> {
        let id = self.number();
        let (_, fds) = self.ask(id, Request::Root { id }).await?;
        let [root] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| self.dead())?;
        Ok(root)
    }

    /// Stops all processes where they are, or lets them go on.
    pub async fn freeze(&self, frozen: bool) -> Result<(), SandboxError> {
        self.link.request(&Request::Freeze { frozen }, &[]).await
    }

    /// What the sandbox uses now.
    pub async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        let id = self.number();
        let (answer, _) = self.ask(id, Request::Usage { id }).await?;
        let Event::Usage { memory, processes, cpu_ms, largest, .. } = answer else { return Err(self.dead()) };
        self.news.measured(memory, &largest);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Wake, Waker};

    /// Notes whether the state was held when it was woken.
    struct Woken {
        own: Arc<Own>,
        held: AtomicBool,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.held.store(self.own.state.try_lock().is_err(), Ordering::SeqCst);
        }
    }

    #[test]
    fn how_much_runs_is_told_before_anybody_can_change_it_again() {
        let (own, running) = (Arc::new(Own::default()), watched::Sender::new(0));
        let command = || Command { pid: 7, exit: None, ooms_before: 0, doom: None };
        own.change(&running, |state| drop(state.commands.insert(1, command())));
        assert_eq!(*running.borrow(), 1);
        let mut listener = running.subscribe();
        let woken = Arc::new(Woken { own: Arc::clone(&own), held: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&woken));
        let mut changed = Box::pin(listener.changed());
        assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        own.change(&running, |state| drop(state.commands.remove(&1)));
        assert!(woken.held.load(Ordering::SeqCst), "another change could have been told first");
        drop(changed);
        assert_eq!(*listener.borrow_and_update(), 0);
    }
}
