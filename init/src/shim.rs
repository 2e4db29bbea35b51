//! One command: the process that starts it, and that adopts and reaps everything it leaves behind.
//!
//! A shim per command makes "all that this command started" a plain subtree of processes, daemons included.

use crate::lockdown;
use crate::sys::{self, c_string, check};
use crate::wire::{Event, Text, Wire};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// What to start, checked and ready, so that the child allocates nothing.
pub struct Command {
    id: u32,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    stdio: [OwnedFd; 3],
    terminal: bool,
}

impl Command {
    /// Checks a request. The program is looked up in the `PATH` of the command's own environment.
    pub fn new(
        id: u32,
        argv: &[Text],
        env: &[Text],
        cwd: &Text,
        terminal: bool,
        fds: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let strings = |texts: &[Text]| texts.iter().map(|text| c_string(&text.0)).collect::<io::Result<Vec<_>>>();
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let stdio = <[OwnedFd; 3]>::try_from(fds).map_err(|_| invalid())?;
        let program = argv.first().filter(|program| !program.0.is_empty()).ok_or_else(invalid)?;
        Ok(Self {
            id,
            candidates: candidates(&program.0, env)?,
            argv: strings(argv)?,
            env: strings(env)?,
            cwd: c_string(&cwd.0)?,
            stdio,
            terminal,
        })
    }
}

fn candidates(program: &[u8], env: &[Text]) -> io::Result<Vec<CString>> {
    if program.contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    let path = env.iter().find_map(|entry| entry.0.strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin:/bin");
    path.split(|byte| *byte == b':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| c_string(&[folder, b"/", program].concat()))
        .collect()
}

/// The highest number of a signal.
const LAST_SIGNAL: i32 = 64;
/// The kernel's `struct sigaction`: `SIG_DFL`, and neither flags nor a mask.
static DEFAULT_ACTION: [u64; 4] = [0; 4];

/// Forks the shim. Returns its pid in init; in the shim it does not return.
pub fn start(control: BorrowedFd<'_>, command: Command) -> io::Result<libc::pid_t> {
    // SAFETY: init has one thread.
    let pid = check(unsafe { libc::fork() }.into())?;
    if pid == 0 {
        let code = match supervise(control, command) {
            Ok(()) => 0,
            Err(_) => 1,
        };
        // SAFETY: ends the shim without running what belongs to init.
        unsafe { libc::_exit(code) }
    }
    libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))
}

/// The shim's life. Errors only end it early; init then reports the command as gone.
fn supervise(control: BorrowedFd<'_>, command: Command) -> io::Result<()> {
    // SAFETY: plain numbers. The own session keeps the command's terminal and group signals away from the shim.
    unsafe {
        libc::setsid();
        check(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).into())?;
    }
    block_signals(true)?;
    let id = command.id;
    let (report_reader, report_writer) = sys::pipe()?;
    // SAFETY: the shim has one thread.
    let pid = match check(unsafe { libc::fork() }.into()) {
        Ok(0) => {
            let (step, errno) = execute(&command);
            let mut report = [0u8; 5];
            report[0] = step;
            report[1..].copy_from_slice(&errno.to_le_bytes());
            // SAFETY: five live bytes; then the child ends without running what belongs to its parent.
            unsafe {
                libc::write(report_writer.as_raw_fd(), report.as_ptr().cast(), report.len());
                libc::_exit(127)
            }
        }
        Ok(pid) => pid as libc::pid_t,
        Err(error) => {
            return failed(control, id, "start a process", error.raw_os_error().unwrap_or(libc::EAGAIN));
        }
    };
    drop(report_writer);
    drop(command);
    match read_report(&report_reader) {
        None => send(control, &Event::Started { id, pid: pid.unsigned_abs() })?,
        Some((step, errno)) => {
            let step = match step {
                b'd' => "enter the working directory",
                b's' => "set up the standard streams",
                _ => "run the program",
            };
            failed(control, id, step, errno)?;
        }
    }
    drop(report_reader);
    reap(control, id, pid)
}

/// Reaps until nothing is left; the end of the command itself is told at once.
fn reap(control: BorrowedFd<'_>, id: u32, command: libc::pid_t) -> io::Result<()> {
    loop {
        let mut status = 0;
        // SAFETY: a live number for the answer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        match check(pid.into()) {
            Ok(_) if pid == command => {
                let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
                let signal = if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 };
                send(control, &Event::Exited { id, code, signal })?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(()),
        }
    }
}

/// In the child: becomes the program, or says which step failed and why.
fn execute(command: &Command) -> (u8, i32) {
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    let pointers = |strings: &[CString]| {
        strings.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect::<Vec<_>>()
    };
    let (argv, env) = (pointers(&command.argv), pointers(&command.env));
    // SAFETY: descriptors and strings are alive; the lists end with a null pointer.
    unsafe {
        libc::setsid();
        for (target, fd) in (0..).zip(&command.stdio) {
            if libc::dup2(fd.as_raw_fd(), target) < 0 {
                return (b's', errno());
            }
        }
        // The session just begun has no terminal yet, so the first one it is given becomes its own.
        if command.terminal && libc::ioctl(0, libc::TIOCSCTTY as _, 0) < 0 {
            return (b's', errno());
        }
        if sys::close_from(3, true).is_err() || block_signals(false).is_err() || lockdown::limit_open_files().is_err() {
            return (b's', errno());
        }
        // Rust ignores SIGPIPE in every program, and a server started in the background ignores SIGINT; commands expect to
        // die of them. The kernel is asked, because the C library keeps some signals to itself; two cannot be set by
        // anybody, and need not.
        for signal in 1..=LAST_SIGNAL {
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const DEFAULT_ACTION, std::ptr::null::<u8>(), 8usize);
        }
        if libc::chdir(command.cwd.as_ptr()) < 0 {
            return (b'd', errno());
        }
        let mut worst = libc::ENOENT;
        for candidate in &command.candidates {
            libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr());
            match errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                other => worst = other,
            }
        }
        (b'e', worst)
    }
}

/// Blocks every signal, or none.
fn block_signals(block: bool) -> io::Result<()> {
    // SAFETY: the set is initialised before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if block {
            libc::sigfillset(&raw mut set);
        } else {
            libc::sigemptyset(&raw mut set);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()).into()).map(drop)
    }
}

/// `None` once the program runs: the pipe closed with exec.
fn read_report(pipe: &OwnedFd) -> Option<(u8, i32)> {
    let mut report = [0u8; 5];
    loop {
        // SAFETY: five bytes of room.
        let got = unsafe { libc::read(pipe.as_raw_fd(), report.as_mut_ptr().cast(), report.len()) };
        match got {
            5 => {
                let [step, errno @ ..] = report;
                return Some((step, i32::from_le_bytes(errno)));
            }
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
}

fn failed(control: BorrowedFd<'_>, id: u32, step: &str, errno: i32) -> io::Result<()> {
    send(control, &Event::Failed { id, errno, step: step.into() })
}

fn send(control: BorrowedFd<'_>, event: &Event) -> io::Result<()> {
    sys::send(control, &event.encode(), &[])
}
