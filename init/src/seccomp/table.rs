//! What a sandbox may ask of the kernel: the list of calls that run, the few that run only with harmless arguments, and
//! those that fail as they would for a user without rights. Whatever is not named here does not exist.
//!
//! The list is the one containers are commonly given, for a process without capabilities, minus what ordinary programs
//! do without and attackers do not: io_uring, tracing of processes, file handles, local descriptor tables.

use libc::*;

/// What happens to a call.
#[derive(Clone, Copy)]
pub enum Verdict {
    /// It fails with this error.
    Fail(i32),
    /// It fails if an argument (by number) has one of these bits.
    FailIfBits(u32, u32, i32),
    /// It fails if an argument is one of these values; the kernel reads 32 bits of it.
    FailIfOneOf(u32, &'static [u32], i32),
    /// It fails unless an argument is one of these values.
    FailUnlessOneOf(u32, &'static [u32], i32),
    /// An opening call (flags and mode by number): fails if it makes a file with a set-id bit.
    FailIfMakesSetId(u32, u32),
    /// `socket`: only ordinary families and protocols.
    Socket,
}
use Verdict::{Fail, FailIfBits, FailIfMakesSetId, FailIfOneOf, FailUnlessOneOf, Socket};

/// For calls that nothing below names. Programs take it for an old kernel and fall back to an older call.
pub const DEFAULT: i32 = ENOSYS;

const NEW_NAMESPACES: u32 = 0x7e02_0000;
const CLONE_NEWTIME: u32 = 0x80;
/// The bits of a mode that let a file run as its owner or group.
pub const SET_ID_BITS: u32 = 0o6000;
/// The system, Linux on 32 bits, System V on 64, and the question which it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];
const TERMINAL_INJECTION: [u32; 2] = [0x5412, 0x541c];
#[cfg(target_arch = "x86_64")]
const IO_PGETEVENTS: c_long = 333;
#[cfg(not(target_arch = "x86_64"))]
const IO_PGETEVENTS: c_long = 292;
/// The families of `socket` that stay inside the network namespace.
pub const FAMILIES: [u32; 4] = [AF_UNIX as u32, AF_INET as u32, AF_INET6 as u32, NETLINK];
/// Default, ICMP, TCP, UDP, ICMPv6.
pub const PROTOCOLS: [u32; 5] = [0, 1, 6, 17, 58];
/// The one family whose protocols are others: 6 is the kernel's IPsec. Programs ask it for addresses and routes, by 0.
pub const NETLINK: u32 = AF_NETLINK as u32;

/// Calls that are looked at before the list of those that run.
pub const RULES: &[(c_long, Verdict)] = &[
    // Calls that every program makes, and that are harmless but for some arguments.
    (SYS_openat, FailIfMakesSetId(2, 3)),
    (SYS_ioctl, FailIfOneOf(1, &TERMINAL_INJECTION, EPERM)),
    (SYS_clone, FailIfBits(0, NEW_NAMESPACES, EPERM)),
    (SYS_socket, Socket),
    (SYS_unshare, FailIfBits(0, NEW_NAMESPACES | CLONE_NEWTIME, EPERM)),
    (SYS_personality, FailUnlessOneOf(0, &PERSONALITIES, EPERM)),
    // Set-id files would work for other users of the host.
    (SYS_fchmod, FailIfBits(1, SET_ID_BITS, EPERM)),
    (SYS_fchmodat, FailIfBits(2, SET_ID_BITS, EPERM)),
    (SYS_fchmodat2, FailIfBits(2, SET_ID_BITS, EPERM)),
    (SYS_mknodat, FailIfBits(2, SET_ID_BITS, EPERM)),
    (SYS_mkdirat, FailIfBits(2, SET_ID_BITS, EPERM)),
    // Their flags are behind a pointer, which a filter cannot read. Every C library falls back.
    (SYS_clone3, Fail(ENOSYS)),
    (SYS_openat2, Fail(ENOSYS)),
    // Programs know these as calls that need rights, and report that better than a call that is missing.
    (SYS_setns, Fail(EPERM)),
    (SYS_mount, Fail(EPERM)),
    (SYS_umount2, Fail(EPERM)),
    (SYS_pivot_root, Fail(EPERM)),
    (SYS_chroot, Fail(EPERM)),
    (SYS_fsopen, Fail(EPERM)),
    (SYS_open_tree, Fail(EPERM)),
    (SYS_move_mount, Fail(EPERM)),
    (SYS_mount_setattr, Fail(EPERM)),
    (SYS_ptrace, Fail(EPERM)),
    (SYS_process_vm_readv, Fail(EPERM)),
    (SYS_process_vm_writev, Fail(EPERM)),
    (SYS_pidfd_getfd, Fail(EPERM)),
    (SYS_kcmp, Fail(EPERM)),
    (SYS_keyctl, Fail(EPERM)),
    (SYS_add_key, Fail(EPERM)),
    (SYS_request_key, Fail(EPERM)),
    (SYS_bpf, Fail(EPERM)),
    (SYS_perf_event_open, Fail(EPERM)),
    (SYS_userfaultfd, Fail(EPERM)),
    (SYS_fanotify_init, Fail(EPERM)),
    (SYS_name_to_handle_at, Fail(EPERM)),
    (SYS_open_by_handle_at, Fail(EPERM)),
    (SYS_quotactl, Fail(EPERM)),
    (SYS_acct, Fail(EPERM)),
    (SYS_vhangup, Fail(EPERM)),
    (SYS_init_module, Fail(EPERM)),
    (SYS_finit_module, Fail(EPERM)),
    (SYS_delete_module, Fail(EPERM)),
    (SYS_kexec_load, Fail(EPERM)),
    (SYS_reboot, Fail(EPERM)),
    (SYS_swapon, Fail(EPERM)),
    (SYS_swapoff, Fail(EPERM)),
    (SYS_sethostname, Fail(EPERM)),
    (SYS_setdomainname, Fail(EPERM)),
    (SYS_settimeofday, Fail(EPERM)),
    (SYS_clock_settime, Fail(EPERM)),
    (SYS_clock_adjtime, Fail(EPERM)),
    (SYS_adjtimex, Fail(EPERM)),
    (SYS_syslog, Fail(EPERM)),
];

/// The same for calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
pub const ARCH_RULES: &[(c_long, Verdict)] = &[
    (SYS_open, FailIfMakesSetId(1, 2)),
    (SYS_creat, FailIfBits(1, SET_ID_BITS, EPERM)),
    (SYS_chmod, FailIfBits(1, SET_ID_BITS, EPERM)),
    (SYS_mknod, FailIfBits(1, SET_ID_BITS, EPERM)),
    (SYS_mkdir, FailIfBits(1, SET_ID_BITS, EPERM)),
    (SYS_iopl, Fail(EPERM)),
    (SYS_ioperm, Fail(EPERM)),
];
#[cfg(not(target_arch = "x86_64"))]
pub const ARCH_RULES: &[(c_long, Verdict)] = &[];

/// Memory that belongs to no process and no mount: files without a name, and what System V keeps as shared memory,
/// messages and semaphores. It runs only where a control group counts it.
pub const UNCOUNTED_MEMORY: &[c_long] = &[SYS_memfd_create, SYS_shmget, SYS_msgget, SYS_semget];

/// Calls that run, whatever their arguments.
#[rustfmt::skip]
pub const ALLOWED: &[c_long] = &[
    SYS_accept, SYS_accept4, SYS_bind, SYS_brk, SYS_capget, SYS_capset, SYS_chdir, SYS_clock_getres,
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_close_range, SYS_connect, SYS_copy_file_range, SYS_dup,
    SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_execve,
    SYS_execveat, SYS_exit, SYS_exit_group, SYS_faccessat, SYS_faccessat2, SYS_fadvise64, SYS_fallocate, SYS_fchdir,
    SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync, SYS_fgetxattr, SYS_flistxattr, SYS_flock, SYS_fremovexattr,
    SYS_fsetxattr, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_futex_waitv,
    SYS_get_robust_list, SYS_getcpu, SYS_getcwd, SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getgid,
    SYS_getgroups, SYS_getitimer, SYS_getpeername, SYS_getpgid, SYS_getpid, SYS_getppid, SYS_getpriority,
    SYS_getrandom, SYS_getresgid, SYS_getresuid, SYS_getrlimit, SYS_getrusage, SYS_getsid, SYS_getsockname,
    SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid, SYS_getxattr, SYS_inotify_add_watch,
    SYS_inotify_init1, SYS_inotify_rm_watch, SYS_io_cancel, SYS_io_destroy, SYS_io_getevents,
    SYS_io_setup, SYS_io_submit, SYS_ioprio_get, SYS_ioprio_set, SYS_kill, SYS_landlock_add_rule,
    SYS_landlock_create_ruleset, SYS_landlock_restrict_self, SYS_lgetxattr, SYS_linkat, SYS_listen, SYS_listxattr,
    SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr, SYS_madvise, SYS_membarrier, SYS_mincore, SYS_mlock,
    SYS_mlock2, SYS_mlockall, SYS_mmap, SYS_mprotect, SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open,
    SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink, SYS_mremap, SYS_mseal, SYS_msgctl, SYS_msgrcv,
    SYS_msgsnd, SYS_msync, SYS_munlock, SYS_munlockall, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_pidfd_open,
    SYS_pidfd_send_signal, SYS_pipe2, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_ppoll, SYS_prctl,
    SYS_pread64, SYS_preadv, SYS_preadv2, SYS_prlimit64, SYS_process_mrelease, SYS_pselect6, SYS_pwrite64,
    SYS_pwritev, SYS_pwritev2, SYS_read, SYS_readahead, SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmmsg,
    SYS_recvmsg, SYS_remap_file_pages, SYS_removexattr, SYS_renameat, SYS_renameat2, SYS_restart_syscall, SYS_rseq,
    SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn,
    SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo, SYS_sched_get_priority_max,
    SYS_sched_get_priority_min, SYS_sched_getaffinity, SYS_sched_getattr, SYS_sched_getparam,
    SYS_sched_getscheduler, SYS_sched_rr_get_interval, SYS_sched_setaffinity, SYS_sched_setattr, SYS_sched_setparam,
    SYS_sched_setscheduler, SYS_sched_yield, SYS_seccomp, SYS_semctl, SYS_semop, SYS_semtimedop,
    SYS_sendfile, SYS_sendmmsg, SYS_sendmsg, SYS_sendto, SYS_set_robust_list, SYS_set_tid_address, SYS_setfsgid,
    SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setitimer, SYS_setpgid, SYS_setpriority, SYS_setregid,
    SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_setrlimit, SYS_setsid, SYS_setsockopt, SYS_setuid, SYS_setxattr,
    SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shutdown, SYS_sigaltstack, SYS_signalfd4, SYS_socketpair, SYS_splice,
    SYS_statfs, SYS_statx, SYS_symlinkat, SYS_sync, SYS_sync_file_range, SYS_syncfs, SYS_sysinfo, SYS_tee,
    SYS_tgkill, SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime,
    SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_times, SYS_tkill, SYS_truncate, SYS_umask,
    SYS_uname, SYS_unlinkat, SYS_utimensat, SYS_vmsplice, SYS_wait4, SYS_waitid, SYS_write, SYS_writev,
    // Not in every C library's headers: io_pgetevents, cachestat, and futex in three parts.
    IO_PGETEVENTS, 451, 454, 455, 456,
];

/// The same for calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub const ARCH_ALLOWED: &[c_long] = &[
    SYS_access, SYS_alarm, SYS_arch_prctl, SYS_chown, SYS_dup2, SYS_epoll_create, SYS_epoll_wait, SYS_eventfd,
    SYS_fork, SYS_futimesat, SYS_getdents, SYS_getpgrp, SYS_inotify_init, SYS_lchown, SYS_link, SYS_lstat,
    SYS_pause, SYS_pipe, SYS_poll, SYS_readlink, SYS_rename, SYS_rmdir, SYS_select, SYS_signalfd, SYS_stat,
    SYS_symlink, SYS_time, SYS_unlink, SYS_utime, SYS_utimes, SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
pub const ARCH_ALLOWED: &[c_long] = &[];
