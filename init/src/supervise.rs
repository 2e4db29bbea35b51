//! Init's main loop: requests of the server, ends of shims. Ends when the server closes the socket.

use crate::shim::{self, Command};
use crate::sys::{self, check};
use crate::wire::{Event, MAX_FDS, MAX_MESSAGE, Request, Wire};
use crate::{sockets, usage};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Passes over a subtree that forks while it is being killed. Its process limit makes few enough.
const KILL_ROUNDS: usize = 64;

/// Opens the other side of a terminal without going through a path. Not in every C library's headers.
const TIOCGPTPEER: libc::c_ulong = 0x5441;

/// Serves until the server is gone. Returning ends PID 1 and with it every process of the sandbox.
pub fn serve(control: BorrowedFd<'_>) -> io::Result<()> {
    let children = child_signals()?;
    let mut shims: HashMap<u32, libc::pid_t> = HashMap::new();
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let mut ready = [readable(control.as_raw_fd()), readable(children.as_raw_fd())];
        // SAFETY: two live entries.
        match check(unsafe { libc::poll(ready.as_mut_ptr(), 2, -1) }.into()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if ready[1].revents != 0 {
            drain(&children);
            reap(control, &mut shims)?;
        }
        if ready[0].revents != 0 {
            let mut fds = Vec::new();
            let Some(packet) = sys::receive(control, &mut buffer, &mut fds)? else { return Ok(()) };
            let request = Request::decode(packet).map_err(|_| io::Error::from_raw_os_error(libc::EPROTO))?;
            answer(control, request, fds, &mut shims)?;
        }
    }
}

fn answer(
    control: BorrowedFd<'_>,
    request: Request,
    fds: Vec<OwnedFd>,
    shims: &mut HashMap<u32, libc::pid_t>,
) -> io::Result<()> {
    match request {
        Request::Exec { id, argv, env, cwd, terminal } => {
            let started =
                Command::new(id, &argv, &env, &cwd, terminal, fds).and_then(|command| shim::start(control, command));
            match started {
                Ok(pid) => drop(shims.insert(id, pid)),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                    send(control, &Event::Failed { id, errno, step: "start a process".into() }, &[])?;
                    send(control, &Event::Gone { id }, &[])?;
                }
            }
        }
        Request::Signal { id, signal } => {
            if let Some(shim) = shims.get(&id) {
                signal_subtree(*shim, signal);
            }
        }
        Request::KillAll {} => {
            // SAFETY: plain numbers. This is everything but init itself, in one step that no fork escapes.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        Request::Sockets { id, v4, v6 } => {
            let sockets = make_sockets(v4, v6)?;
            let fds: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
            send(control, &Event::Sockets { id }, &fds)?;
        }
        Request::Terminal { id, columns, rows } => {
            // A sandbox that has used up its terminals gets an answer without one.
            let sides = make_terminal(columns, rows).unwrap_or_default();
            let fds: Vec<RawFd> = sides.iter().map(AsRawFd::as_raw_fd).collect();
            send(control, &Event::Terminal { id }, &fds)?;
        }
        Request::Root { id } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
            // SAFETY: a static C string.
            let root = sys::owned(unsafe { libc::open(c"/".as_ptr(), flags) }.into())?;
            send(control, &Event::Root { id }, &[root.as_raw_fd()])?;
        }
        Request::Freeze { frozen } => {
            // SAFETY: plain numbers. This is everything but init itself, in one step that no fork escapes.
            unsafe { libc::kill(-1, if frozen { libc::SIGSTOP } else { libc::SIGCONT }) };
        }
        Request::Usage { id } => {
            let now = usage::measure();
            let (memory, processes, cpu_ms) = (now.memory, now.processes, now.cpu_ms);
            let largest = now.largest.as_slice().into();
            send(control, &Event::Usage { id, memory, processes, cpu_ms, largest }, &[])?;
        }
        Request::Owner { id, local, remote } => {
            let program = sockets::owner(local, remote).unwrap_or_default();
            send(control, &Event::Owner { id, program: program.as_slice().into() }, &[])?;
        }
    }
    Ok(())
}

fn make_sockets(v4: u8, v6: u8) -> io::Result<Vec<OwnedFd>> {
    let families = std::iter::repeat_n(libc::AF_INET, v4.into()).chain(std::iter::repeat_n(libc::AF_INET6, v6.into()));
    families.take(MAX_FDS).map(|family| sys::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)).collect()
}

/// Both sides of a terminal in the sandbox's own `/dev/pts`.
fn make_terminal(columns: u16, rows: u16) -> io::Result<Vec<OwnedFd>> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a static C string.
    let ours = sys::owned(unsafe { libc::open(c"/dev/pts/ptmx".as_ptr(), flags) }.into())?;
    let unlocked: libc::c_int = 0;
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a live descriptor; each request reads the live value it is given, the last one takes flags.
    let theirs = unsafe {
        check(libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlocked).into())?;
        check(libc::ioctl(ours.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size).into())?;
        sys::owned(libc::ioctl(ours.as_raw_fd(), TIOCGPTPEER as _, flags).into())?
    };
    Ok(vec![ours, theirs])
}

/// Signals all a command started. A kill stops everything first, so that nothing forks away meanwhile.
fn signal_subtree(shim: libc::pid_t, signal: i32) {
    let mut stopped: HashSet<i32> = HashSet::new();
    if signal == libc::SIGKILL {
        for _ in 0..KILL_ROUNDS {
            let found = usage::descendants(shim);
            let new = found.difference(&stopped).count();
            kill_each(&found, libc::SIGSTOP);
            stopped.extend(found);
            if new == 0 {
                break;
            }
        }
    }
    kill_each(&usage::descendants(shim), signal);
}

fn kill_each(pids: &HashSet<i32>, signal: i32) {
    for pid in pids {
        // SAFETY: plain numbers. A process that has ended meanwhile is no error.
        unsafe { libc::kill(*pid, signal) };
    }
}

/// Reaps shims, and whatever outlived a shim that something inside killed.
fn reap(control: BorrowedFd<'_>, shims: &mut HashMap<u32, libc::pid_t>) -> io::Result<()> {
    loop {
        // SAFETY: no status is asked for.
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        if pid <= 0 {
            return Ok(());
        }
        let gone = shims.iter().find(|(_, shim)| **shim == pid).map(|(id, _)| *id);
        if let Some(id) = gone {
            shims.remove(&id);
            kill_strays(shims);
            send(control, &Event::Gone { id }, &[])?;
        }
    }
}

/// A shim ends after all its command started, unless something inside killed it. What it left behind is init's child
/// now and could be reached by no signal request, so it ends too.
fn kill_strays(shims: &HashMap<u32, libc::pid_t>) {
    let known: HashSet<i32> = shims.values().copied().collect();
    for stray in usage::children(1).difference(&known) {
        let stray = HashSet::from([*stray]);
        // Stopped first, or it could start one more child behind the back of the kill below it.
        kill_each(&stray, libc::SIGSTOP);
        stray.iter().for_each(|root| signal_subtree(*root, libc::SIGKILL));
        kill_each(&stray, libc::SIGKILL);
    }
}

/// A descriptor that becomes readable when a child ends.
fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        sys::owned(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())
    }
}

fn drain(signals: &OwnedFd) {
    let mut buffer = [0u8; 512];
    // SAFETY: room as given. It does not block, and what it says is found out by waitpid.
    while unsafe { libc::read(signals.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

fn send(control: BorrowedFd<'_>, event: &Event, fds: &[RawFd]) -> io::Result<()> {
    sys::send(control, &event.encode(), fds)
}
