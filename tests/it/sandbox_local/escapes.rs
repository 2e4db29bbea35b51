//! Ways out that must be closed. `probe.c` tries the kernel's; the rest is tried with ordinary programs.

use super::support::*;
use sandcastle::sandbox::provider::ProcessConfig;
use std::collections::BTreeMap;
use std::io::Write;

/// Calls that must fail, with the error each must fail with. A crash counts as `killed`.
const MUST_FAIL: [(&str, &str); 30] = [
    ("mount", "EPERM"),
    ("umount", "EPERM"),
    ("chroot", "EPERM"),
    ("unshare_user", "EPERM"),
    ("clone_user", "EPERM"),
    ("clone3", "ENOSYS"),
    ("setns", "EPERM"),
    ("ptrace_init", "EPERM"),
    ("vm_readv_init", "EPERM"),
    ("keyctl", "EPERM"),
    ("add_key", "EPERM"),
    ("bpf", "EPERM"),
    ("perf", "EPERM"),
    ("userfaultfd", "EPERM"),
    ("io_uring", "ENOSYS"),
    ("open_by_handle", "EPERM"),
    ("fanotify", "EPERM"),
    ("socket_packet", "EAFNOSUPPORT"),
    ("socket_vsock", "EAFNOSUPPORT"),
    ("socket_alg", "EAFNOSUPPORT"),
    ("socket_raw", "EPERM"),
    ("tiocsti", "EPERM"),
    ("tiocsti_high_bits", "EPERM"),
    ("chmod_setuid", "EPERM"),
    ("creat_setuid", "EPERM"),
    ("openat2", "ENOSYS"),
    ("mknod_disk", "EPERM"),
    ("settime", "EPERM"),
    ("reboot", "EPERM"),
    ("unknown_call", "ENOSYS"),
];

#[tokio::test]
async fn the_kernels_dangerous_calls_are_refused() {
    let sandbox = Fixture::new().await;
    sandbox.write("probe.c", include_str!("probe.c")).await;
    let workspace = &sandbox.spec.workspace;
    let built = std::process::Command::new("cc")
        .args(["-O1", "-w", "-static", "-o"])
        .args([workspace.join("probe"), workspace.join("probe.c")])
        .status()
        .expect("a C compiler is needed for this test");
    assert!(built.success());
    let run = sandbox.sh("./probe").await;
    let found: BTreeMap<&str, &str> = run.stdout.lines().filter_map(|line| line.split_once(' ')).collect();
    for (name, error) in MUST_FAIL {
        assert_eq!(found.get(name), Some(&error), "{name}: {run:?}");
    }
    for name in ["x32", "int80"] {
        assert!(matches!(found.get(name), Some(&"killed" | &"absent")), "{name}: {run:?}");
    }
    for name in ["fork", "thread", "socket_tcp", "socket_unix", "chmod", "unshare_files"] {
        assert_eq!(found.get(name), Some(&"ok"), "an ordinary call is refused: {name}: {run:?}");
    }
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn nothing_of_the_host_but_its_tools_is_there() {
    let canary = std::env::temp_dir().join(format!("canary-{}", std::process::id()));
    std::fs::File::create(&canary).unwrap().write_all(b"canary").unwrap();
    let sandbox = Fixture::new().await;
    let line = format!(
        "for path in {} /etc/shadow /root/.ssh /root/.cargo /root/.bashrc /home/*/.ssh /sys /boot /var/log /var/lib \
         /run/dbus /proc/1/environ /proc/1/root /proc/1/mem /proc/1/exe /proc/kcore /dev/kvm /dev/vda /dev/mem; do \
         (head -c 1 $path || ls $path/) >/dev/null 2>&1 && echo \"$path\"; done; \
         for path in / /etc /dev /usr /bin /proc/sys/kernel /proc/1; do \
         touch $path/x 2>/dev/null && echo \"wrote $path\"; done; echo 1 2>/dev/null > /proc/sysrq-trigger && echo sysrq",
        canary.display()
    );
    let run = sandbox.sh(&line).await;
    std::fs::remove_file(&canary).unwrap();
    assert_eq!(run.stdout, "", "{run:?}");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn the_hosts_processes_and_services_are_out_of_reach() {
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let sandbox = Fixture::new().await;
    let addresses = "127.0.0.1 0.0.0.0 localhost 10.0.2.2 169.254.169.254 192.0.2.2 8.8.8.8 0x7f000001";
    let script = format!(
        "const net = require('net'); for (const host of '{addresses}'.split(' ')) net.connect({port}, host)\
         .on('connect', () => console.log('reached', host)).on('error', () => {{}})"
    );
    sandbox.write("reach.js", &script).await;
    let run = sandbox.sh("node reach.js").await;
    assert_eq!((run.stdout.as_str(), run.status.code), ("", Some(0)), "{run:?}");
    service.set_nonblocking(true).unwrap();
    assert!(service.accept().is_err(), "something connected");
    let line = format!("kill -0 {} 2>/dev/null && echo host; kill -9 1; echo alive", std::process::id());
    assert_eq!(sandbox.sh(&line).await.stdout, "alive\n");
    let config = ProcessConfig {
        cmd: "sh".to_owned(),
        args: vec!["-c".to_owned(), "sleep 1000 & read go; kill -9 -1; sleep 1001".to_owned()],
        stdin: true,
        ..Default::default()
    };
    let process = sandbox.live.spawn(config).await.unwrap();
    process.stdin.as_ref().unwrap().send("go\n".into()).await.unwrap();
    let run = finish(process).await;
    assert_eq!(run.status.signal, Some(9), "{run:?}");
    assert_eq!(sandbox.sh("echo usable").await.stdout, "usable\n", "init survives a kill of everything");
    let line =
        "while cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q 'sleep 1[0]0'; do :; done; echo gone";
    assert_eq!(sandbox.sh(line).await.stdout, "gone\n", "what lost its supervisor goes on");
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
    let fds = sandbox.sh("ls /proc/self/fd").await.stdout;
    assert_eq!(
        fds.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "a descriptor leaks in (3 is ls's own)"
    );
    let run = sandbox.sh("cat /proc/self/uid_map").await;
    assert_eq!(run.stdout.split_whitespace().next(), Some("1000"));
    assert_ne!(run.stdout.split_whitespace().nth(1), Some("0"), "the sandbox is root on the host");
    sandbox.live.shutdown().await;
}
