//! Programs that take more than their share.

use super::support::*;
use sandcastle::config::SandboxConfig;
use std::time::Instant;

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
    tokio::time::timeout(std::time::Duration::from_secs(60), refused).await.expect("nothing was refused");
    assert!(sandbox.live.usage().await.unwrap().processes <= 60);
    sandbox.live.signal(bomb.pid, sandcastle::sandbox::provider::Signal::Kill).await.unwrap();
    while bomb.events.recv().await.is_some() {}
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
    // Doubles a string in the shell's own memory.
    let run = sandbox.sh("node -e 'const a = []; for (;;) a.push(Buffer.alloc(8 << 20, 1))'; exit $?").await;
    assert_ne!(run.status.code, Some(0));
    let cgroup = sandbox.provider_limits().contains("cgroup");
    if cgroup {
        let reason = run.status.reason.clone().unwrap_or_default();
        assert_eq!(reason, "out of memory: 256 MiB limit", "{run:?}");
    }
    assert_eq!(sandbox.sh("echo usable").await.stdout, "usable\n");
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

#[tokio::test]
async fn the_hosts_free_space_is_not_used_up() {
    let floor = 1 << 40;
    let sandbox = Fixture::with(SandboxConfig { disk_floor_mib: floor, ..Default::default() }).await;
    let started = Instant::now();
    let run = sandbox.sh("sleep 1000").await;
    assert!(run.status.reason.unwrap().starts_with("the host's disk is nearly full"), "{:?}", started.elapsed());
    sandbox.live.shutdown().await;
}
