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
    let mut running = sandbox.start("echo $PPID; sleep 1000").await;
    running.events.recv().await.unwrap();
    let init = children_of_this_process().into_iter().find(|(_, name)| name == "sandcastle-init");
    // Other tests of this process have sandboxes too, so only kill when this one is alone.
    if let (Some((pid, _)), true) = (init, std::env::var_os("SANDCASTLE_TEST_ALONE").is_some()) {
        rustix_kill(pid);
        sandbox.live.closed().cancelled().await;
        assert_eq!(sandbox.live.death().as_deref(), Some("its first process ended"));
        assert_eq!(finish(running).await.status.signal, Some(9));
    }
    sandbox.live.shutdown().await;
}

fn rustix_kill(pid: u32) {
    std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
}

fn children_of_this_process() -> Vec<(u32, String)> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        (rest.split_whitespace().nth(1)? == own).then(|| (pid, name.to_owned()))
    });
    stats.collect()
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

/// Runs all tests of this folder once more as `nobody`. Without root there is nothing to do: they run so anyway.
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
    let run = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&exe)
        .args(["sandbox_local::", "--test-threads=2"])
        .current_dir("/")
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary)
        .output()
        .expect("setpriv (util-linux) is needed to run these tests as root");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
}

fn init_binary() -> std::path::PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    let built = format!("{target}/{}-unknown-linux-musl/init/sandcastle-init", std::env::consts::ARCH);
    let beside = std::env::current_exe().unwrap().with_file_name("sandcastle-init");
    [beside, built.into()].into_iter().find(|path| path.is_file()).expect("build sandcastle-init first")
}
