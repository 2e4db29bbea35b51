//! The host around the sandbox: canaries in its files, its environment and its processes, which must not be seen.

use super::super::support::*;
use sandcastle::sandbox::provider::{ProcessConfig, Signal};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const CANARY: &str = "canary-5d0e0c51";

/// A file that is removed again.
struct Planted(PathBuf);

impl Planted {
    fn new(folder: impl Into<PathBuf>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.into().join(format!("sandcastle-{CANARY}-{}-{number}", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(CANARY.as_bytes()).unwrap();
        Self(path)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// Rows 18, 19: files.
#[tokio::test]
async fn nothing_of_the_host_but_its_tools_is_there() {
    let sandbox = Fixture::new().await;
    let data = sandbox.spec.workspace.parent().unwrap().parent().unwrap();
    let home = std::env::var_os("HOME").unwrap();
    let planted = [Planted::new(home), Planted::new(std::env::temp_dir()), Planted::new(data)];
    let paths: Vec<String> = planted.iter().map(|file| file.0.display().to_string()).collect();
    let line = format!(
        "for path in {} {} /etc/shadow /root/.ssh /root/.cargo /root/.bashrc /home/*/.ssh /sys /boot /var/log /var/lib \
         /run/dbus /proc/kcore /proc/kmsg /dev/kmsg /dev/kvm /dev/vda /dev/sda /dev/mem /dev/fuse /dev/net/tun; do \
         (head -c 1 $path || ls $path/) >/dev/null 2>&1 && echo \"$path\"; done; \
         find / -name 'sandcastle-canary*' -not -path '/proc/*' 2>/dev/null",
        paths.join(" "),
        data.display(),
    );
    let run = sandbox.sh(&line).await;
    assert_eq!(run.stdout, "", "{run:?}");
    let line = "for path in / /etc /dev /usr /bin /proc/sys/kernel /proc/1; do touch $path/x 2>/dev/null && echo $path; \
                done; for file in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/net/ipv4/ip_forward \
                /proc/self/uid_map /proc/1/oom_score_adj /dev/urandom; do \
                (echo 1 > $file) 2>/dev/null && echo $file; done; \
                (echo -1000 > /proc/self/oom_score_adj) 2>/dev/null && echo oom_score_adj";
    // Writing to the device that gives random numbers is what anyone may do.
    assert_eq!(sandbox.sh(line).await.stdout, "/dev/urandom\n", "the host was written to");
    sandbox.live.shutdown().await;
}

/// Row 20. The variable is set in a process of its own, because this one has threads.
#[tokio::test]
async fn the_servers_environment_is_not_seen() {
    const VARIABLE: &str = "SANDCASTLE_CANARY_KEY";
    if std::env::var_os(VARIABLE).is_none() {
        return run_again("attacks::host::the_servers_environment_is_not_seen", &[(VARIABLE, CANARY)]);
    }
    let sandbox = Fixture::new().await;
    let run = sandbox.sh("env; cat /proc/[0-9]*/environ | tr '\\0' '\\n'").await;
    assert!(run.stdout.contains("HOME=/home/user"), "{run:?}");
    assert!(!run.stdout.contains(CANARY), "{run:?}");
    assert!(run.stderr.contains("/proc/1/environ"), "init's environment was read: {run:?}");
    sandbox.live.shutdown().await;
}

/// Row 10.
#[tokio::test]
async fn inits_own_program_memory_and_descriptors_are_closed() {
    let sandbox = Fixture::new().await;
    let line = "for file in environ mem maps exe; do head -c 1 /proc/1/$file 2>/dev/null && echo $file; done; \
                readlink /proc/1/exe /proc/1/cwd /proc/1/root /proc/1/fd/*; ls /proc/1/root/ /proc/1/fd/ 2>/dev/null; \
                (echo x > /proc/1/mem) 2>/dev/null && echo wrote; (echo x > /proc/1/exe) 2>/dev/null && echo wrote; \
                find / -name 'sandcastle-init*' -not -path '/proc/*' 2>/dev/null; echo end";
    assert_eq!(sandbox.sh(line).await.stdout, "end\n");
    sandbox.live.shutdown().await;
}

/// Row 12.
#[tokio::test]
async fn the_hosts_processes_are_out_of_reach() {
    let sandbox = Fixture::new().await;
    let line = format!("kill -0 {} 2>/dev/null && echo host; kill -9 1; echo alive", std::process::id());
    assert_eq!(sandbox.sh(&line).await.stdout, "alive\n");
    sandbox.live.shutdown().await;
}

/// Row 22: what kills its own supervisor ends too.
#[tokio::test]
async fn killing_everything_ends_only_the_sandboxs_own() {
    let sandbox = Fixture::new().await;
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

/// Row 9: commands have no descriptor of the server's.
#[tokio::test]
async fn no_descriptor_leaks_into_a_command() {
    let _open = std::fs::File::open("/").unwrap();
    let sandbox = Fixture::new().await;
    let fds = sandbox.sh("ls /proc/self/fd").await.stdout;
    assert_eq!(fds.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "3 is ls's own");
    sandbox.live.shutdown().await;
}

/// Row 9, the second line: a descriptor of the host's root that did get inside opens nothing.
#[tokio::test]
async fn a_leaked_directory_descriptor_opens_nothing() {
    let sandbox = Fixture::new().await;
    let planted = Planted::new(std::env::temp_dir());
    let listener = std::os::unix::net::UnixListener::bind(sandbox.spec.workspace.join("leak")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(sandbox.spec.workspace.join("leak"), open).unwrap();
    let program = format!(
        "import os, socket\n\
         s = socket.socket(socket.AF_UNIX); s.connect('leak')\n\
         _, fds, _, _ = socket.recv_fds(s, 1, 1)\n\
         print(os.stat('.', dir_fd=fds[0]).st_ino == os.stat('/').st_ino)\n\
         for path in ['{}', 'etc/passwd', '.', 'etc']:\n\
         \x20   try: os.open(path, os.O_RDONLY, dir_fd=fds[0]); print('opened', path)\n\
         \x20   except OSError as error: print(error.errno)\n",
        planted.0.display().to_string().trim_start_matches('/')
    );
    sandbox.write("leak.py", &program).await;
    let process = sandbox.start("exec python3 leak.py").await;
    let (stream, _) = tokio::task::spawn_blocking(move || listener.accept()).await.unwrap().unwrap();
    send_descriptor(&stream, &std::fs::File::open("/").unwrap());
    let run = finish(process).await;
    // 13 is "permission denied". The host's root is really there: it is another directory than the sandbox's.
    assert_eq!(run.stdout, "False\n13\n13\n13\n13\n", "{run:?}");
    sandbox.live.shutdown().await;
}

fn send_descriptor(stream: &std::os::unix::net::UnixStream, file: &std::fs::File) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;
    assert!(file.as_raw_fd() > 2);
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [file.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(stream, &[std::io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
}

/// Rows 1, 2 and 25 in one: a sandbox that takes all it can does not hold up its neighbour.
#[tokio::test]
async fn a_greedy_neighbour_changes_nothing() {
    let config = sandcastle::config::SandboxConfig { memory_mib: 256, processes: 60, ..Default::default() };
    let (greedy, quiet) = (Fixture::with(config).await, Fixture::new().await);
    let hogs = [
        "node -e 'const a = []; for (;;) a.push(Buffer.alloc(8 << 20, 1))'",
        "cat /dev/zero",
        "i=0; while :; do head -c 3000000 /dev/zero > /tmp/$i; i=$((i+1)); done",
        // The last one, because nothing can be started after it.
        "b() { sleep 1000 & b & b; }; b",
    ];
    let mut running = Vec::new();
    for hog in hogs {
        running.push(greedy.start(hog).await);
    }
    for _ in 0..5 {
        assert_eq!(quiet.sh("head -c 1000000 /dev/zero | wc -c").await.stdout, "1000000\n");
    }
    for hog in running {
        greedy.live.signal(hog.pid, Signal::Kill).await.unwrap();
    }
    greedy.live.shutdown().await;
    quiet.live.shutdown().await;
}
