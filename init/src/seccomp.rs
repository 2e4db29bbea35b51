//! The system call filter: one program, made of a table.
//!
//! The table says what is refused and the rest up to [`NEWEST`] is allowed. A stricter policy changes [`DEFAULT`] and
//! lists what is allowed: the program below does not care. Constant verdicts cost nothing per call, because the kernel
//! caches them by number.

use crate::sys::check;
use libc::{EAFNOSUPPORT, ENOSYS, EPERM, EPROTONOSUPPORT, sock_filter};
use std::io;

/// What happens to a call.
#[derive(Clone, Copy)]
enum Verdict {
    /// It runs. As a rule's verdict it matters only where [`DEFAULT`] refuses.
    Allow,
    /// It fails with this error.
    Fail(i32),
    /// It fails if an argument (by number) has one of these bits.
    FailIfBits(u32, u32, i32),
    /// It fails if an argument is one of these values; the kernel reads 32 bits of it.
    FailIfOneOf(u32, &'static [u32], i32),
    /// An opening call (flags and mode by number): fails if it makes a file with a set-id bit.
    FailIfMakesSetId(u32, u32),
    /// `socket`: only ordinary families and protocols.
    Socket,
}
use Verdict::{Allow, Fail, FailIfBits, FailIfMakesSetId, FailIfOneOf, Socket};

/// For calls that no rule names.
const DEFAULT: Verdict = Allow;
/// The newest call known here; later ones do not exist for the sandbox.
const NEWEST: u32 = 467;

const NEW_NAMESPACES: u32 = 0x7e02_0000;
const CLONE_NEWTIME: u32 = 0x80;
const SET_ID_BITS: u32 = 0o6000;
/// `O_CREAT` or `O_TMPFILE`: only then does an opening call have a mode.
const CREATES: u32 = 0o100 | 0o20_000_000;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const FAMILIES: [u32; 4] = [libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];
/// Default (and `NETLINK_ROUTE`), ICMP, TCP, UDP, ICMPv6.
const PROTOCOLS: [u32; 5] = [0, 1, 6, 17, 58];

const RULES: &[(libc::c_long, Verdict)] = &[
    // Namespaces and mounts: the way to most kernel bugs, and of no use without rights.
    (libc::SYS_clone, FailIfBits(0, NEW_NAMESPACES, EPERM)),
    (libc::SYS_unshare, FailIfBits(0, NEW_NAMESPACES | CLONE_NEWTIME, EPERM)),
    // Its flags are behind a pointer. Every C library falls back to clone.
    (libc::SYS_clone3, Fail(ENOSYS)),
    (libc::SYS_setns, Fail(EPERM)),
    (libc::SYS_mount, Fail(EPERM)),
    (libc::SYS_umount2, Fail(EPERM)),
    (libc::SYS_pivot_root, Fail(EPERM)),
    (libc::SYS_chroot, Fail(EPERM)),
    (libc::SYS_fsopen, Fail(EPERM)),
    (libc::SYS_fsconfig, Fail(EPERM)),
    (libc::SYS_fsmount, Fail(EPERM)),
    (libc::SYS_fspick, Fail(EPERM)),
    (libc::SYS_open_tree, Fail(EPERM)),
    (libc::SYS_move_mount, Fail(EPERM)),
    (libc::SYS_mount_setattr, Fail(EPERM)),
    // Other processes' insides.
    (libc::SYS_ptrace, Fail(EPERM)),
    (libc::SYS_process_vm_readv, Fail(EPERM)),
    (libc::SYS_process_vm_writev, Fail(EPERM)),
    (libc::SYS_pidfd_getfd, Fail(EPERM)),
    (libc::SYS_kcmp, Fail(EPERM)),
    // Parts of the kernel that no namespace separates, or with a bad record.
    (libc::SYS_keyctl, Fail(EPERM)),
    (libc::SYS_add_key, Fail(EPERM)),
    (libc::SYS_request_key, Fail(EPERM)),
    (libc::SYS_bpf, Fail(EPERM)),
    (libc::SYS_perf_event_open, Fail(EPERM)),
    (libc::SYS_userfaultfd, Fail(EPERM)),
    (libc::SYS_io_uring_setup, Fail(ENOSYS)),
    (libc::SYS_io_uring_enter, Fail(ENOSYS)),
    (libc::SYS_io_uring_register, Fail(ENOSYS)),
    (libc::SYS_fanotify_init, Fail(EPERM)),
    (libc::SYS_name_to_handle_at, Fail(EPERM)),
    (libc::SYS_open_by_handle_at, Fail(EPERM)),
    (libc::SYS_lookup_dcookie, Fail(EPERM)),
    (libc::SYS_quotactl, Fail(EPERM)),
    (libc::SYS_quotactl_fd, Fail(EPERM)),
    (libc::SYS_acct, Fail(EPERM)),
    (libc::SYS_vhangup, Fail(EPERM)),
    // The machine.
    (libc::SYS_init_module, Fail(EPERM)),
    (libc::SYS_finit_module, Fail(EPERM)),
    (libc::SYS_delete_module, Fail(EPERM)),
    (libc::SYS_kexec_load, Fail(EPERM)),
    (libc::SYS_kexec_file_load, Fail(EPERM)),
    (libc::SYS_reboot, Fail(EPERM)),
    (libc::SYS_swapon, Fail(EPERM)),
    (libc::SYS_swapoff, Fail(EPERM)),
    (libc::SYS_settimeofday, Fail(EPERM)),
    (libc::SYS_clock_settime, Fail(EPERM)),
    (libc::SYS_clock_adjtime, Fail(EPERM)),
    (libc::SYS_adjtimex, Fail(EPERM)),
    (libc::SYS_syslog, Fail(EPERM)),
    (libc::SYS_nfsservctl, Fail(ENOSYS)),
    // Sockets that reach past the network namespace, and terminal injection.
    (libc::SYS_socket, Socket),
    (libc::SYS_ioctl, FailIfOneOf(1, &[TIOCSTI, TIOCLINUX], EPERM)),
    // Set-id files, which would work for other users of the host. openat2 has its mode behind a pointer.
    (libc::SYS_openat2, Fail(ENOSYS)),
    (libc::SYS_openat, FailIfMakesSetId(2, 3)),
    (libc::SYS_fchmod, FailIfBits(1, SET_ID_BITS, EPERM)),
    (libc::SYS_fchmodat, FailIfBits(2, SET_ID_BITS, EPERM)),
    (libc::SYS_fchmodat2, FailIfBits(2, SET_ID_BITS, EPERM)),
    (libc::SYS_mknodat, FailIfBits(2, SET_ID_BITS, EPERM)),
    (libc::SYS_mkdirat, FailIfBits(2, SET_ID_BITS, EPERM)),
];

/// Calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
const ARCH_RULES: &[(libc::c_long, Verdict)] = &[
    (libc::SYS_open, FailIfMakesSetId(1, 2)),
    (libc::SYS_creat, FailIfBits(1, SET_ID_BITS, EPERM)),
    (libc::SYS_chmod, FailIfBits(1, SET_ID_BITS, EPERM)),
    (libc::SYS_mknod, FailIfBits(1, SET_ID_BITS, EPERM)),
    (libc::SYS_mkdir, FailIfBits(1, SET_ID_BITS, EPERM)),
    (libc::SYS_iopl, Fail(EPERM)),
    (libc::SYS_ioperm, Fail(EPERM)),
    (libc::SYS_modify_ldt, Fail(EPERM)),
    (libc::SYS_uselib, Fail(ENOSYS)),
    (libc::SYS_ustat, Fail(ENOSYS)),
    (libc::SYS_sysfs, Fail(ENOSYS)),
    (libc::SYS__sysctl, Fail(ENOSYS)),
];
#[cfg(not(target_arch = "x86_64"))]
const ARCH_RULES: &[(libc::c_long, Verdict)] = &[];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Installs the filter for this process and all its children, for ever.
pub fn install() -> io::Result<()> {
    let mut program = program();
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the program is alive and its length given.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) }).map(drop)
}

const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Where an argument's low 32 bits are in `seccomp_data`.
const fn low_half(argument: u32) -> u32 {
    16 + 8 * argument
}

fn program() -> Vec<sock_filter> {
    let mut code = vec![
        load(ARCH),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        kill(),
        load(NUMBER),
        // x32 calls have bit 30 set and would pass by rules that compare numbers.
        jump(libc::BPF_JSET, 0x4000_0000, 0, 1),
        kill(),
        jump(libc::BPF_JGT, NEWEST, 0, 1),
        fail(ENOSYS),
    ];
    for (number, verdict) in RULES.iter().chain(ARCH_RULES) {
        let Ok(number) = u32::try_from(*number) else { continue };
        let block = block(*verdict);
        // Every block ends the program, so the call's number is still loaded where it is skipped.
        code.push(jump(libc::BPF_JEQ, number, 0, u8::try_from(block.len()).unwrap_or(u8::MAX)));
        code.extend(block);
    }
    code.extend(block(DEFAULT));
    code
}

fn block(verdict: Verdict) -> Vec<sock_filter> {
    match verdict {
        Allow => vec![allow()],
        Fail(errno) => vec![fail(errno)],
        FailIfBits(argument, bits, errno) => {
            vec![load(low_half(argument)), jump(libc::BPF_JSET, bits, 0, 1), fail(errno), allow()]
        }
        FailIfOneOf(argument, values, errno) => {
            let mut code = vec![load(low_half(argument))];
            for value in values {
                code.extend([jump(libc::BPF_JEQ, *value, 0, 1), fail(errno)]);
            }
            code.push(allow());
            code
        }
        FailIfMakesSetId(flags, mode) => vec![
            load(low_half(flags)),
            jump(libc::BPF_JSET, CREATES, 0, 2),
            load(low_half(mode)),
            jump(libc::BPF_JSET, SET_ID_BITS, 1, 0),
            allow(),
            fail(EPERM),
        ],
        Socket => socket_block(),
    }
}

fn socket_block() -> Vec<sock_filter> {
    let mut code = one_of(0, &FAMILIES, EAFNOSUPPORT);
    code.extend(one_of(2, &PROTOCOLS, EPROTONOSUPPORT));
    code.push(allow());
    code
}

/// Goes on behind itself if an argument is one of these values, else fails.
fn one_of(argument: u32, values: &[u32], errno: i32) -> Vec<sock_filter> {
    let mut code = vec![load(low_half(argument))];
    for (index, value) in values.iter().enumerate() {
        let to_end = u8::try_from(values.len() - index).unwrap_or(u8::MAX);
        code.push(jump(libc::BPF_JEQ, *value, to_end, 0));
    }
    code.push(fail(errno));
    code
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn allow() -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}

fn kill() -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS)
}

fn fail(errno: i32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs())
}

fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

fn jump(condition: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | condition | libc::BPF_K) as u16, jt: if_true, jf: if_false, k: value }
}
