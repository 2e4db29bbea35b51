//! Gives up every right init does not need any more. What is done here holds for all that runs in the sandbox.

use crate::sys::check;
use crate::wire::Setup;
use crate::{Refusal, Step, seccomp};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where commands may write, as far as the mounts let them.
const WRITABLE: [&str; 5] = ["/tmp", "/dev", "/proc", "/home/user", "/var/user"];
/// One step below interactive programs of the host.
const NICE: i32 = 5;

/// What commands get; init keeps its own limit, which also bounds the descriptors it may have on their way.
static OPEN_FILES: AtomicU64 = AtomicU64::new(u64::MAX);

/// Limits the open files of this process, which is about to become a command.
pub fn limit_open_files() -> io::Result<()> {
    limit(libc::RLIMIT_NOFILE, OPEN_FILES.load(Ordering::Relaxed))
}

/// Locks this process and all its future children down. Returns whether Landlock is fully in force.
pub fn apply(setup: &Setup) -> Result<bool, Refusal> {
    control(libc::PR_SET_NO_NEW_PRIVS, 1).step("forbid new privileges")?;
    limits(setup).step("set limits")?;
    let landlock = restrict_files();
    drop_capabilities().step("drop capabilities")?;
    control(libc::PR_SET_DUMPABLE, 0).step("become unreadable for others")?;
    seccomp::install(setup.data_bytes == 0).step("install the system call filter")?;
    Ok(landlock)
}

fn control(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into()).map(drop)
}

fn limits(setup: &Setup) -> io::Result<()> {
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_NPROC, setup.processes)?;
    OPEN_FILES.store(setup.open_files, Ordering::Relaxed);
    limit(libc::RLIMIT_FSIZE, setup.file_bytes)?;
    if setup.data_bytes > 0 {
        limit(libc::RLIMIT_DATA, setup.data_bytes)?;
    }
    // A server that was itself put back further passes that on; nobody may move forward again.
    // SAFETY: plain numbers.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }.max(NICE);
    // SAFETY: plain numbers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }.into()).map(drop)
}

/// Sets both limits, never above the hard one we have. The C libraries disagree on the resource's type.
fn limit(resource: impl Into<libc::c_long>, value: u64) -> io::Result<()> {
    let resource = resource.into();
    let mut now = [0u64; 2];
    let prlimit = |new: *const u64, old: *mut u64| {
        // SAFETY: each pointer is null or has room for both limits; 0 is this process.
        check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, old) })
    };
    prlimit(std::ptr::null(), now.as_mut_ptr())?;
    let [_, hard] = now;
    let wanted = [value.min(hard); 2];
    prlimit(wanted.as_ptr(), std::ptr::null_mut()).map(drop)
}

/// Best effort: an old kernel has less of it or none, and the mounts hold without it. What it adds: a descriptor of a
/// host directory that leaked in opens nothing, and no mount is possible.
fn restrict_files() -> bool {
    let abi = ABI::V6;
    let restrict = || {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rule(PathBeneath::new(PathFd::new("/")?, AccessFs::from_read(abi)))?;
        for path in WRITABLE {
            // A setup without a state folder has no /var/user.
            if let Ok(fd) = PathFd::new(path) {
                rules = rules.add_rule(PathBeneath::new(fd, AccessFs::from_all(abi)))?;
            }
        }
        Ok::<_, Box<dyn std::error::Error>>(rules.restrict_self()?.ruleset == RulesetStatus::FullyEnforced)
    };
    restrict().unwrap_or(false)
}

fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    const NONE: [u32; 6] = [0; 6];
    // The kernel refuses the first number it does not know, which ends the list.
    for capability in 0..64 {
        match control(libc::PR_CAPBSET_DROP, capability) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result?,
        }
    }
    control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    let header = [VERSION_3, 0];
    // SAFETY: header and two sets of three words each are what version 3 wants.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), NONE.as_ptr()) }).map(drop)
}
