//! Row 29: an init that was taken over and says what it likes. `hostile.c` plays it; nothing runs isolated here.

use super::super::support::*;
use sandcastle::config::SandboxConfig;
use sandcastle::sandbox::SandboxError;
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::{Instance, ProcessConfig, Provider};
use std::sync::Arc;
use std::time::Duration;

struct Hostile {
    provider: LocalProvider,
    folder: tempfile::TempDir,
}

impl Hostile {
    fn new(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let init = folder.path().join(format!("hostile-{mode}"));
        compile(include_str!("hostile.c"), &init);
        let config = SandboxConfig { init: Some(init), ..Default::default() };
        let provider = LocalProvider::new(config, folder.path().to_owned(), Arc::new(Silent::default()));
        Self { provider, folder }
    }

    async fn start(&self) -> Result<Arc<dyn Instance>, SandboxError> {
        self.provider.start(new_spec(self.folder.path())).await
    }
}

fn command() -> ProcessConfig {
    ProcessConfig { cmd: "true".to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_greeting_that_breaks_the_protocol_makes_no_sandbox() {
    for mode in ["long", "fatherless", "socketless"] {
        let error = Hostile::new(mode).start().await.err().unwrap();
        assert!(matches!(error, SandboxError::NotIsolated(_)), "{mode}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_message_ends_the_sandbox() {
    let hostile = Hostile::new("garbage");
    let live = hostile.start().await.unwrap();
    assert!(matches!(live.spawn(command()).await, Err(SandboxError::Dead(_))));
    live.closed().cancelled().await;
    assert_eq!(live.death().as_deref(), Some("its first process ended"));
    live.shutdown().await;
}

#[tokio::test]
async fn descriptors_that_are_no_sockets_are_not_connected() {
    for mode in ["files", "empty"] {
        let hostile = Hostile::new(mode);
        let live = hostile.start().await.unwrap();
        for _ in 0..6 {
            assert!(live.connect(80).await.is_err(), "{mode}");
        }
        live.shutdown().await;
    }
}

#[tokio::test]
async fn a_flood_of_made_up_events_ends_with_its_sender_and_leaves_nothing() {
    let hostile = Hostile::new("flood");
    let (neighbour, live) = (Fixture::new().await, hostile.start().await.unwrap());
    let asked = live.spawn(command());
    let (asked, run) = tokio::join!(asked, neighbour.sh("echo fine"));
    assert!(matches!(asked, Err(SandboxError::Dead(_))));
    assert_eq!(run.stdout, "fine\n");
    live.closed().cancelled().await;
    live.shutdown().await;
    // All of the flood's descriptors were of this file.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let null = open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == "/dev/null")).count();
    assert!(null < 1000, "{null} descriptors are left");
    neighbour.live.shutdown().await;
}

#[tokio::test]
async fn an_init_that_never_answers_is_given_up() {
    let mut hostile = Hostile::new("silent");
    hostile.provider = hostile.provider.with_patience(Duration::from_secs(1));
    let live = hostile.start().await.unwrap();
    let (spawned, usage) = tokio::join!(live.spawn(command()), live.usage());
    assert!(matches!(spawned, Err(SandboxError::Dead(_))));
    assert!(matches!(usage, Err(SandboxError::Dead(_))));
    live.shutdown().await;
}
