//! How sandboxes begin and end, and that every promise holds for a server without root.

use super::support::*;
use sandcastle::config::SandboxConfig;
use sandcastle::sandbox::SandboxError;
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::*;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

#[tokio::test]
async fn the_workspace_outlives_the_sandbox_and_everything_else_does_not() {
    let sandbox = Fixture::new().await;
    let daemon = sandbox.sh("echo kept > kept; echo lost > /tmp/lost; (setsid sleep 1000 &); echo done").await;
    assert_eq!(daemon.stdout, "done\n");
    sandbox.live.shutdown().await;
    assert!(sandbox.live.closed().is_cancelled() && sandbox.live.death().is_none());
    assert!(matches!(sandbox.live.spawn(ProcessConfig::default()).await, Err(SandboxError::Dead(_))));
    let again = sandbox.provider.start(sandbox.spec.clone()).await.unwrap();
    let config = ProcessConfig {
        cmd: "sh".to_owned(),
        args: vec!["-c".to_owned(), "cat kept; echo more >> kept; ls /tmp; ls /proc | grep -c '^[0-9]'".to_owned()],
        ..Default::default()
    };
    let run = finish(again.spawn(config).await.unwrap()).await;
    // Init, the shim, the shell, ls and grep.
    assert_eq!(run.stdout, "kept\n5\n", "{run:?}");
    again.shutdown().await;
}

#[tokio::test]
async fn a_sandbox_whose_first_process_dies_says_so_and_leaves_no_zombie() {
    let sandbox = Fixture::new().await;
    let marker = format!("98765.{}", std::process::id());
    let mut running = sandbox.start(&format!("echo up; sleep {marker}; true")).await;
    running.events.recv().await.unwrap();
    let init = init_above(find_sleep(&marker));
    std::process::Command::new("kill").args(["-9", &init.to_string()]).status().unwrap();
    sandbox.live.closed().cancelled().await;
    assert_eq!(sandbox.live.death().as_deref(), Some("its first process ended"));
    let end = finish(running).await.status;
    assert_eq!((end.signal, end.reason.as_deref()), (Some(9), Some("its first process ended")));
    assert!(!std::path::Path::new(&format!("/proc/{init}")).exists(), "the first process is a zombie");
    assert!(matches!(sandbox.live.connect(80).await, Err(SandboxError::Dead(_))));
    sandbox.live.shutdown().await;
}

/// The test below runs this one in a process of its own, and kills it.
#[tokio::test]
async fn a_server_holds_a_sandbox_until_it_is_killed() {
    let Ok(marker) = std::env::var(HOLD) else { return };
    let sandbox = Fixture::new().await;
    let mut daemon = sandbox.start(&format!("setsid sleep {marker} & echo up; wait")).await;
    daemon.events.recv().await.unwrap();
    find_sleep(&marker);
    println!("holding");
    std::future::pending::<()>().await;
}

const HOLD: &str = "SANDCASTLE_TEST_HOLD";

#[test]
fn nothing_runs_on_after_the_server_was_killed() {
    use std::io::BufRead;
    let marker = format!("87654.{}", std::process::id());
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["sandbox_local::life::a_server_holds_a_sandbox_until_it_is_killed", "--exact", "--nocapture"])
        .env(HOLD, &marker)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("holding")));
    let sleep = find_sleep(&marker);
    server.kill().unwrap();
    server.wait().unwrap();
    // Its last end of the socket closes with it; the kernel then needs a moment to take the namespace down.
    let gone = || command_line(sleep).is_none_or(|line| !line.contains(&marker));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !gone() {
        assert!(std::time::Instant::now() < deadline, "a daemon outlives the server");
        std::thread::yield_now();
    }
}

/// The host's pid of a `sleep` with this argument, which is about to start.
fn find_sleep(marker: &str) -> u32 {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::time::Instant::now() < deadline {
        let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        let wanted = format!("sleep\0{marker}\0");
        if let Some(pid) = pids.into_iter().find(|pid| command_line(*pid).is_some_and(|line| line == wanted)) {
            return pid;
        }
        std::thread::yield_now();
    }
    panic!("no sleep {marker}");
}

fn command_line(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()
}

/// The outermost init above a process: the last one before this process.
fn init_above(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    if parent == std::process::id() { pid } else { init_above(parent) }
}

#[tokio::test]
async fn many_sandboxes_live_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let provider = LocalProvider::new(SandboxConfig::default(), folder.path().to_owned(), Arc::new(Silent::default()));
    let mut live = Vec::new();
    for _ in 0..20 {
        live.push(provider.start(new_spec(folder.path())).await.unwrap());
    }
    for instance in &live {
        let config = ProcessConfig { cmd: "hostname".to_owned(), ..Default::default() };
        assert_eq!(finish(instance.spawn(config).await.unwrap()).await.stdout.trim(), instance.id().as_str());
    }
    for instance in live {
        instance.shutdown().await;
    }
}

/// Runs a test in a process that is less important than a sandbox would be by itself.
#[test]
fn a_server_of_low_priority_makes_sandboxes_too() {
    let test = "sandbox_local::life::many_sandboxes_live_beside_each_other";
    let exe = std::env::current_exe().unwrap();
    expect_success(std::process::Command::new("nice").args(["-n", "15"]).arg(exe).args([test, "--exact"]));
}

#[tokio::test]
async fn without_the_init_binary_nothing_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = SandboxConfig { init: Some(folder.path().join("missing")), ..Default::default() };
    let provider = LocalProvider::new(config, folder.path().to_owned(), Arc::new(Silent::default()));
    let error = provider.start(new_spec(folder.path())).await.err().unwrap();
    assert!(matches!(error, SandboxError::NotIsolated(_)), "{error}");
    let checks = provider.doctor().await;
    assert_eq!(checks[0].state, CheckState::Failed);
}

#[tokio::test]
async fn the_doctor_builds_a_sandbox_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let provider = LocalProvider::new(SandboxConfig::default(), folder.path().to_owned(), Arc::new(Silent::default()));
    let checks = provider.doctor().await;
    assert_eq!(checks[0].state, CheckState::Ok, "{checks:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Runs all tests of the sandbox, its service, its way out and the e2b API once more as `nobody`. Without root there is nothing
/// to do: they run so anyway. The SDKs are installed for the one who tests, so they stay with that one.
#[test]
fn everything_holds_without_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(folder.path());
    let exe = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let init = folder.path().join("sandcastle-init");
    std::fs::copy(init_binary(), &init).unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    std::os::unix::fs::chown(&temporary, Some(65534), Some(65534)).unwrap();
    open(&exe);
    open(&init);
    let mut run = in_own_network();
    run.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&exe)
        .args(["sandbox_local::", "service::", "egress::", "e2b::", "--skip", "e2b::sdk::", "--test-threads=2"])
        .current_dir("/")
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary);
    expect_success(&mut run);
}

fn init_binary() -> std::path::PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    let built = format!("{target}/{}-unknown-linux-musl/init/sandcastle-init", std::env::consts::ARCH);
    let beside = std::env::current_exe().unwrap().with_file_name("sandcastle-init");
    [beside, built.into()].into_iter().find(|path| path.is_file()).expect("build sandcastle-init first")
}
