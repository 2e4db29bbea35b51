//! Programs that take more than their share.

use super::support::*;
use sandcastle::config::SandboxConfig;
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::{ListOptions, ProcessConfig, Provider};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_fork_bomb_stops_at_the_process_limit_and_can_be_killed() {
    let sandbox = Fixture::with(SandboxConfig { processes: 60, ..Default::default() }).await;
    let mut bomb = sandbox.start("b() { sleep 1000 & b & b; }; echo go; b; sleep 1000").await;
    bomb.events.recv().await.unwrap();
    // Refused forks are told on stderr: the limit holds.
    let refused = async {
        while let Some(event) = bomb.events.recv().await {
            if format!("{event:?}").contains("fork") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("nothing was refused");
    assert!(sandbox.live.usage().await.unwrap().processes <= 60);
    sandbox.live.signal(bomb.pid, sandcastle::sandbox::provider::Signal::Kill).await.unwrap();
    while bomb.events.recv().await.is_some() {}
    // The end is told at the bomb's own exit; the last of what it started are reaped a moment later.
    let reaped = async {
        while sandbox.live.usage().await.unwrap().processes > 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reaped).await.expect("the bomb was not killed whole");
    assert_eq!(sandbox.sh("echo usable").await.stdout, "usable\n");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn two_sandboxes_have_a_process_limit_each() {
    let config = SandboxConfig { processes: 40, ..Default::default() };
    let (one, two) = (Fixture::with(config.clone()).await, Fixture::with(config).await);
    let mut full = one.start("i=0; while [ $i -lt 30 ]; do sleep 1000 & i=$((i+1)); done; echo full; wait").await;
    full.events.recv().await.unwrap();
    let run = two.sh("i=0; while [ $i -lt 30 ]; do sleep 0.01 & i=$((i+1)); done; wait; echo ok").await;
    assert_eq!(run.stdout, "ok\n", "{run:?}");
    one.live.shutdown().await;
    two.live.shutdown().await;
}

#[tokio::test]
async fn a_memory_hog_ends_with_its_reason_and_the_sandbox_lives_on() {
    let sandbox = Fixture::with(SandboxConfig { memory_mib: 256, ..Default::default() }).await;
    let run = sandbox.sh("node -e 'const a = []; for (;;) a.push(Buffer.alloc(8 << 20, 1))'; exit $?").await;
    assert_ne!(run.status.code, Some(0));
    if sandbox.has_groups() {
        let reason = run.status.reason.clone().unwrap_or_default();
        assert_eq!(reason, "out of memory: 256 MiB limit, largest process node", "{run:?}");
    }
    assert_eq!(sandbox.sh("echo usable").await.stdout, "usable\n");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn memory_that_belongs_to_no_process_counts() {
    let sandbox = Fixture::with(SandboxConfig { memory_mib: 256, ..Default::default() }).await;
    let program = "import mmap, time\n\
                   maps = [mmap.mmap(-1, 32 << 20) for _ in range(12)]\n\
                   for part in maps:\n\
                   \x20   for page in range(0, len(part), 4096): part[page] = 1\n\
                   print('all of it', flush=True); time.sleep(1000)";
    sandbox.write("shared.py", program).await;
    let run = sandbox.sh("exec python3 shared.py").await;
    let reason = run.status.reason.clone().unwrap_or_default();
    assert!(reason.starts_with("out of memory: 256 MiB limit, largest process python"), "{run:?}");
    let program = "import os\n\
                   files = [os.memfd_create('x') for _ in range(12)]\n\
                   for file in files: os.write(file, bytes(32 << 20))";
    sandbox.write("files.py", program).await;
    let run = sandbox.sh("exec python3 files.py").await;
    let kept_out = run.stderr.contains("Function not implemented") || run.stderr.contains("no attribute");
    assert!(if sandbox.has_groups() { run.status.signal == Some(9) } else { kept_out }, "{run:?}");
    assert_eq!(sandbox.sh("echo usable").await.stdout, "usable\n");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_cpu_hog_gets_its_share_and_no_more() {
    let sandbox = Fixture::with(SandboxConfig { cpu_percent: 25, ..Default::default() }).await;
    let nice = sandbox.sh("ps -o ni= -p $$ 2>/dev/null || cut -d' ' -f19 /proc/self/stat").await.stdout;
    assert!(nice.trim().parse::<i32>().unwrap() >= 5, "{nice}");
    if sandbox.provider.limits().cpu_percent == 25 {
        let started = Instant::now();
        let hogs = [sandbox.start("while :; do :; done").await, sandbox.start("while :; do :; done").await];
        let used = async || sandbox.live.usage().await.unwrap().cpu_ms;
        let before = used().await;
        while used().await < before + 500 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // At a quarter of a core 500 ms take two seconds; a busy machine only makes it longer.
        assert!(started.elapsed() > Duration::from_millis(1700), "the quota does not hold: {:?}", started.elapsed());
        drop(hogs);
    }
    sandbox.live.shutdown().await;
}

/// Waits until the sandbox says so.
async fn told(sandbox: &Fixture, wanted: &str) {
    let mut notice = sandbox.live.notice();
    let told = notice.wait_for(|notice| notice.as_ref().is_some_and(|notice| notice.starts_with(wanted)));
    let told = tokio::time::timeout(Duration::from_secs(60), told).await;
    assert!(told.is_ok(), "\"{wanted}\" was not told, but {:?}", *sandbox.live.notice().borrow());
}

#[tokio::test]
async fn a_limit_that_is_near_or_was_hit_is_told_while_the_rest_goes_on() {
    let config = SandboxConfig { memory_mib: 256, disk_mib: 40, processes: 60, ..Default::default() };
    let sandbox = Fixture::with(config).await;
    let crowd = sandbox.start("i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done; wait").await;
    told(&sandbox, "at the limit of 60 processes").await;
    sandbox.live.signal(crowd.pid, sandcastle::sandbox::provider::Signal::Kill).await.unwrap();
    finish(crowd).await;
    while sandbox.live.usage().await.unwrap().processes > 5 {}
    let disk = sandbox.start("head -c 35000000 /dev/zero > f; sleep 1000").await;
    told(&sandbox, "disk nearly full: 33 of 40 MiB").await;
    if sandbox.has_groups() {
        let hog = sandbox.start("node -e 'const a = []; for (;;) a.push(Buffer.alloc(8 << 20, 1))'; sleep 1000").await;
        told(&sandbox, "out of memory: 256 MiB limit, largest process node").await;
        drop(hog);
    }
    assert!(sandbox.live.death().is_none());
    drop(disk);
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn too_many_files_are_stopped_with_their_reason() {
    let sandbox = Fixture::with(SandboxConfig { files: 1000, ..Default::default() }).await;
    let run = sandbox.sh("i=0; while :; do : > f$i; i=$((i+1)); done").await;
    assert_eq!(run.status.reason.as_deref(), Some("too many files: 1000 is the limit of the workspace"), "{run:?}");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn open_files_are_limited() {
    let sandbox = Fixture::with(SandboxConfig { open_files: 100, ..Default::default() }).await;
    let run = sandbox.sh("python3 -c 'files = [open(\"/dev/null\") for _ in range(200)]'").await;
    assert!(run.stderr.contains("Too many open files"), "{run:?}");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_disk_hog_is_killed_with_its_reason() {
    let sandbox = Fixture::with(SandboxConfig { disk_mib: 40, ..Default::default() }).await;
    let line = "i=0; while :; do head -c 4000000 /dev/zero > f$i || exit 9; i=$((i+1)); sleep 0.05; done";
    let run = sandbox.sh(line).await;
    assert_eq!(run.status.reason.as_deref(), Some("out of disk: 40 MiB limit of the workspace"), "{run:?}");
    let one = sandbox.sh("head -c 60000000 /dev/zero > big").await;
    assert!(one.status.code != Some(0), "a file over the limit was written: {one:?}");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn private_file_systems_are_bounded_too() {
    let sandbox = Fixture::new().await;
    let run = sandbox
        .sh("head -c 600000000 /dev/zero > /tmp/x; head -c 100000000 /dev/zero > /dev/shm/x; du -m /tmp/x /dev/shm/x")
        .await;
    assert!(run.stderr.contains("No space left"), "{run:?}");
    let sizes: Vec<u64> = run.stdout.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    assert!(matches!(sizes[..], [tmp, shm] if tmp <= 256 && shm <= 64), "{run:?}");
    sandbox.live.shutdown().await;
}

/// Without root the server is the user inside, and a folder closed to that user is closed to the server.
#[tokio::test]
async fn a_closed_folder_counts_like_any_other() {
    let config = SandboxConfig { disk_mib: 40, files: 1000, ..Default::default() };
    let fill = "i=0; while [ $i -lt 60 ]; do head -c 4000000 /dev/zero > f$i; i=$((i+1)); sleep 0.05; done; sleep 1000";
    let crowd = "i=0; while [ $i -lt 5000 ]; do : > f$i; i=$((i+1)); done; sleep 1000";
    for (close, then, why) in [
        ("mkdir h && cd h && chmod 300 .", fill, "out of disk: 40 MiB limit of the workspace"),
        ("chmod 300 ~", fill, "out of disk: 40 MiB limit of the workspace"),
        ("mkdir -p h/deep && cd h/deep && chmod 200 ..", fill, "out of disk: 40 MiB limit of the workspace"),
        ("mkdir h && chmod 300 ~ h && cd h", crowd, "too many files: 1000 is the limit of the workspace"),
    ] {
        let sandbox = Fixture::with(config.clone()).await;
        let run = sandbox.sh(&format!("{close}; {then}")).await;
        assert_eq!(run.status.reason.as_deref(), Some(why), "{close}: {run:?}");
        sandbox.live.shutdown().await;
    }
}

#[tokio::test]
async fn a_sandbox_that_closed_its_home_is_measured_shown_and_started_again() {
    let sandbox = Fixture::new().await;
    sandbox.sh("echo kept > kept; chmod 300 ~").await;
    let listed = sandbox.files.list("", ListOptions { depth: 1, max_entries: 10, skip: Vec::new() }).await.unwrap();
    assert_eq!(listed.entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["kept"]);
    sandbox.sh("chmod 300 ~").await;
    assert!(sandbox.live.tree().await.unwrap().room().await.unwrap() > 0);
    sandbox.sh("chmod 300 ~").await;
    sandbox.live.shutdown().await;
    let again = sandbox.provider.start(sandbox.spec.clone()).await.unwrap();
    again.shutdown().await;
}

#[tokio::test]
async fn the_hosts_free_space_is_kept_from_who_uses_it_up_and_the_others_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = SandboxConfig { disk_floor_mib: 1 << 40, ..Default::default() };
    let provider = LocalProvider::new(config, folder.path().to_owned(), Arc::new(Silent::default()));
    let start = async |line: &str| {
        let instance = provider.start(new_spec(folder.path())).await.unwrap();
        let args = vec!["-c".to_owned(), line.to_owned()];
        let config = ProcessConfig { cmd: "/bin/sh".to_owned(), args, ..Default::default() };
        let process = instance.spawn(config).await.unwrap();
        (instance, process)
    };
    let (quiet, mut sleeping) = start("sleep 1000").await;
    let (greedy, growing) = start("while :; do head -c 2000000 /dev/zero >> f; sleep 0.1; done").await;
    let reason = finish(growing).await.status.reason.unwrap_or_default();
    assert!(reason.starts_with("the host's disk is nearly full") && reason.ends_with("still growing"), "{reason}");
    let mut notice = quiet.notice();
    let told = notice.wait_for(|told| told.as_ref().is_some_and(|told| told.starts_with("the host's disk is nearly")));
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("the other is told").unwrap();
    assert!(sleeping.events.try_recv().is_err() && quiet.death().is_none(), "the other one was taken down too");
    quiet.shutdown().await;
    greedy.shutdown().await;
}
