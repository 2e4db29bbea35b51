//! PID 1 of a Sandcastle sandbox.
//!
//! The server starts this program with one end of a packet socket as standard input and sends a `Setup`. Stage 1 makes
//! the namespaces and ends; stage 2, the first process inside, builds the root, locks itself down for good and then
//! serves requests until the socket closes, which ends the sandbox. It must not know projects, HTTP or policy: what is
//! mounted and what is limited comes from the server.

mod lockdown;
mod net;
mod rootfs;
mod seccomp;
mod shim;
mod sockets;
mod supervise;
mod sys;
mod usage;
mod wire;

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use wire::{Event, Setup, Wire};

/// An operating system error and the step that met it.
pub struct Refusal {
    step: String,
    error: io::Error,
}

/// Names the step of an error.
pub trait Step<T> {
    /// `name` says what was tried.
    fn step(self, name: impl Into<String>) -> Result<T, Refusal>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, name: impl Into<String>) -> Result<T, Refusal> {
        self.map_err(|error| Refusal { step: name.into(), error })
    }
}

fn main() -> ExitCode {
    // Standard input is moved away from 0..2, which commands get their own of, and must not reach them.
    // SAFETY: a number in, a descriptor or an error out.
    let Ok(control) = sys::owned(unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) }.into()) else {
        return usage_error();
    };
    match run(control.as_fd()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            let errno = refusal.error.raw_os_error().unwrap_or(libc::EPROTO);
            let event = Event::Refused { step: refusal.step.as_str().into(), errno };
            match sys::send(control.as_fd(), &event.encode(), &[]) {
                Ok(()) => ExitCode::FAILURE,
                Err(_) => usage_error(),
            }
        }
    }
}

fn usage_error() -> ExitCode {
    // Nothing can be done if even standard error is closed.
    let _ = writeln!(io::stderr(), "sandcastle-init is started by the Sandcastle server, not by hand");
    ExitCode::from(2)
}

fn run(control: BorrowedFd<'_>) -> Result<(), Refusal> {
    let mut buffer = vec![0; wire::MAX_MESSAGE];
    let mut fds = Vec::new();
    let packet = sys::receive(control, &mut buffer, &mut fds).step("read the setup")?;
    let Some(setup) = packet.and_then(|packet| Setup::decode(packet).ok()) else {
        return Err(io::Error::from_raw_os_error(libc::EPROTO)).step("understand the setup");
    };
    if setup.version != wire::VERSION {
        return Err(io::Error::from_raw_os_error(libc::EPROTO)).step("speak the server's protocol version");
    }
    // Set here because /proc/self belongs to root once we are not dumpable. Everything inside inherits it.
    std::fs::write("/proc/self/oom_score_adj", "1000").step("offer itself to the out-of-memory killer")?;
    let (go_reader, go_writer) = sys::pipe().step("make a pipe")?;
    let mut pidfd: libc::c_int = -1;
    let pid = clone_into_namespaces(&mut pidfd).step("create namespaces")?;
    if pid == 0 {
        drop(go_writer);
        return inside(control, &setup, &go_reader);
    }
    drop(go_reader);
    let pidfd = sys::owned(pidfd.into()).step("open the sandbox's pidfd")?;
    let pid = u32::try_from(pid).unwrap_or(0);
    let result = introduce(control, &setup, pid, &pidfd, go_writer);
    if result.is_err() {
        // SAFETY: a live pidfd and a signal number.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, 0, 0) };
    }
    result
}

/// `fork` with everything new. Safe to go on in Rust in the child because this process has one thread.
fn clone_into_namespaces(pidfd: &mut libc::c_int) -> io::Result<libc::c_long> {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_PIDFD
        | libc::SIGCHLD;
    // SAFETY: no stack is given, so the child goes on with a copy of ours; `pidfd` is alive.
    sys::check(unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, &raw mut *pidfd, 0, 0) })
}

/// Stage 1's end: maps the one user, tells the server who was born, and lets the child go on.
fn introduce(control: BorrowedFd<'_>, setup: &Setup, pid: u32, pidfd: &OwnedFd, go: OwnedFd) -> Result<(), Refusal> {
    if !setup.privileged {
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny").step("deny setgroups")?;
    }
    for (file, id) in [("uid_map", setup.host_uid), ("gid_map", setup.host_gid)] {
        std::fs::write(format!("/proc/{pid}/{file}"), format!("{} {id} 1", wire::INSIDE_ID))
            .step(format!("write {file}"))?;
    }
    sys::send(control, &Event::Born { pid }.encode(), &[pidfd.as_raw_fd()]).step("tell the server")?;
    std::fs::File::from(go).write_all(&[1]).step("let the sandbox go on")
}

/// Stage 2: PID 1.
fn inside(control: BorrowedFd<'_>, setup: &Setup, go: &OwnedFd) -> Result<(), Refusal> {
    let mut byte = [0u8];
    // SAFETY: one byte of room.
    let got = unsafe { libc::read(go.as_raw_fd(), byte.as_mut_ptr().cast(), 1) };
    if got != 1 {
        return Err(io::Error::from_raw_os_error(libc::ECANCELED)).step("wait for the user mapping");
    }
    // SAFETY: plain numbers.
    unsafe {
        libc::setsid();
        libc::umask(0o022);
    }
    if setup.privileged {
        // SAFETY: an empty list.
        sys::check(unsafe { libc::setgroups(0, std::ptr::null()) }.into()).step("drop the host's groups")?;
    }
    // The host's trees are opened while we still are the server's user towards the host, who may enter 0700 homes.
    let trees = rootfs::open_trees(setup)?;
    become_inside_user().step("become the sandbox's user")?;
    net::bring_up().step("bring up the network")?;
    let egress = net::egress_sockets().step("open the egress listeners")?;
    rootfs::build(setup, trees)?;
    let landlock = lockdown::apply(setup)?;
    let fds = [egress[0].as_raw_fd(), egress[1].as_raw_fd(), egress[2].as_raw_fd()];
    sys::send(control, &Event::Ready { landlock }.encode(), &fds).step("tell the server")?;
    drop(egress);
    supervise::serve(control).step("serve the server")
}

fn become_inside_user() -> io::Result<()> {
    let id = wire::INSIDE_ID;
    // SAFETY: plain numbers. Capabilities stay, because no id involved is the namespace's root.
    unsafe {
        sys::check(libc::setresgid(id, id, id).into())?;
        sys::check(libc::setresuid(id, id, id).into())?;
    }
    Ok(())
}
