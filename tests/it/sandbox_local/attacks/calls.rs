//! System calls, tried by `probe.c` inside a sandbox: each with the attack it belongs to and the answer it must get.

use super::super::support::*;
use std::collections::BTreeMap;

/// Row of the attack list, probe, answer. A crash counts as `killed`.
const MUST_FAIL: [(&str, &str, &str); 75] = [
    ("6", "mount_tmpfs", "EPERM"),
    ("6", "umount_tmp", "EPERM"),
    ("6", "pivot", "EPERM"),
    ("6", "change_root", "EPERM"),
    ("6", "fs_open", "EPERM"),
    ("6", "tree_open", "EPERM"),
    ("6", "mount_move", "EPERM"),
    ("6", "mount_attributes", "EPERM"),
    ("7", "unshare_user", "EPERM"),
    ("7", "unshare_net", "EPERM"),
    ("7", "unshare_time", "EPERM"),
    ("7", "clone_user", "EPERM"),
    ("7", "clone3_user", "ENOSYS"),
    ("7", "set_ns", "EPERM"),
    ("8", "unknown_call", "ENOSYS"),
    ("8", "x32", "killed"),
    ("8", "int80", "killed"),
    ("11", "ptrace_init", "EPERM"),
    ("11", "read_init", "EPERM"),
    ("11", "write_init", "EPERM"),
    ("11", "descriptor_of_init", "EPERM"),
    ("11", "compare_init", "EPERM"),
    ("13", "key_control", "EPERM"),
    ("13", "key_add", "EPERM"),
    ("13", "key_request", "EPERM"),
    ("14", "bpf_map", "EPERM"),
    ("14", "perf", "EPERM"),
    ("14", "user_faults", "EPERM"),
    ("14", "uring_setup", "ENOSYS"),
    ("14", "uring_enter", "ENOSYS"),
    ("14", "uring_register", "ENOSYS"),
    ("14", "handle_name", "EPERM"),
    ("14", "handle_open", "EPERM"),
    ("14", "fanotify", "EPERM"),
    ("14", "module", "EPERM"),
    ("14", "module_file", "EPERM"),
    ("14", "kexec", "EPERM"),
    ("14", "restart", "EPERM"),
    ("14", "swap", "EPERM"),
    ("14", "accounting", "EPERM"),
    ("14", "quota", "EPERM"),
    ("14", "kernel_log", "EPERM"),
    ("14", "set_time", "EPERM"),
    ("14", "set_clock", "EPERM"),
    ("14", "adjust_clock", "EPERM"),
    ("14", "io_privilege", "EPERM"),
    ("14", "io_ports", "EPERM"),
    ("14", "local_descriptors", "ENOSYS"),
    ("15", "socket_packet", "EAFNOSUPPORT"),
    ("15", "socket_vsock", "EAFNOSUPPORT"),
    ("15", "socket_vsock_high_bits", "EAFNOSUPPORT"),
    ("15", "socket_alg", "EAFNOSUPPORT"),
    ("15", "socket_xdp", "EAFNOSUPPORT"),
    ("15", "socket_bluetooth", "EAFNOSUPPORT"),
    ("15", "socket_key", "EAFNOSUPPORT"),
    ("15", "socket_raw", "EPERM"),
    ("15", "socket_raw6", "EPERM"),
    ("15", "netlink_netfilter", "EPROTONOSUPPORT"),
    ("15", "netlink_audit", "EPROTONOSUPPORT"),
    ("15", "netlink_xfrm", "EPROTONOSUPPORT"),
    ("16", "tiocsti", "EPERM"),
    ("16", "tiocsti_high_bits", "EPERM"),
    ("16", "tioclinux", "EPERM"),
    ("17", "chmod_setid", "EPERM"),
    ("17", "fchmod_setid", "EPERM"),
    ("17", "fchmodat_setid", "EPERM"),
    ("17", "fchmodat2_setid", "EPERM"),
    ("17", "open_setid", "EPERM"),
    ("17", "creat_setid", "EPERM"),
    ("17", "tmpfile_setid", "EPERM"),
    ("17", "openat2_setid", "ENOSYS"),
    ("17", "mknod_setid", "EPERM"),
    ("17", "mkdir_setid", "EPERM"),
    ("18", "mknod_disk", "EPERM"),
    ("18", "mknod_mem", "EPERM"),
];

/// Calls next to the refused ones, without which ordinary programs do not run.
const MUST_WORK: [&str; 8] =
    ["fork_child", "thread", "socket_tcp", "socket_unix", "netlink_route", "chmod_plain", "unshare_files", "pty"];

#[tokio::test]
async fn the_kernels_dangerous_calls_are_refused() {
    let sandbox = Fixture::new().await;
    sandbox.compile(include_str!("probe.c"), "probe");
    let run = sandbox.sh("./probe").await;
    let found: BTreeMap<&str, &str> = run.stdout.lines().filter_map(|line| line.split_once(' ')).collect();
    let wrong = |(row, probe, answer): &(&str, &str, &str)| match found.get(probe) {
        Some(got) if got == answer => None,
        got => Some(format!("row {row}: {probe} must give {answer} and gave {got:?}")),
    };
    let wrong: Vec<String> = MUST_FAIL.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}\n{run:?}", wrong.join("\n"));
    for probe in MUST_WORK {
        assert_eq!(found.get(probe), Some(&"ok"), "an ordinary call is refused: {probe}: {run:?}");
    }
    assert_eq!(found.len(), MUST_FAIL.len() + MUST_WORK.len(), "a probe's answer is not looked at");
    let found = sandbox.sh("find . -perm /6000").await;
    assert_eq!(found.stdout, "", "a set-id file was made: {found:?}");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_command_has_no_rights_and_cannot_get_any() {
    let sandbox = Fixture::new().await;
    let status = sandbox.sh("cat /proc/self/status").await.stdout;
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!((value("NoNewPrivs").as_str(), value("Seccomp").as_str()), ("1", "2"));
    assert_eq!(value("Seccomp_filters"), "1", "one program, not several in a row");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn every_sandbox_is_another_user_of_the_host_and_never_root() {
    let (one, two) = (Fixture::new().await, Fixture::new().await);
    let mut users = Vec::new();
    for sandbox in [&one, &two] {
        for map in ["uid_map", "gid_map"] {
            let run = sandbox.sh(&format!("cat /proc/self/{map}")).await;
            let ids: Vec<u32> = run.stdout.split_whitespace().map(|id| id.parse().unwrap()).collect();
            // One id, seen from the outermost place a reader inside can see: the host's id is the second number.
            assert!(matches!(ids[..], [1000, host, 1] if host != 0), "{run:?}");
        }
        users.push(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&sandbox.spec.workspace).unwrap()));
        let line = "touch made; for id in 0 1 65534; do chown $id made 2>/dev/null && echo $id; done; echo";
        assert_eq!(sandbox.sh(line).await.stdout, "\n", "a file was given to another user");
    }
    assert!(!users.contains(&0));
    if rustix::process::geteuid().is_root() {
        assert_ne!(users[0], users[1]);
    }
    one.live.shutdown().await;
    two.live.shutdown().await;
}
