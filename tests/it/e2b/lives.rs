//! The fleet below its API: how many live, and what becomes of a change that cannot be recorded.

use super::eventually;
use sandcastle::config::SandboxConfig;
use sandcastle::domain::SandboxId;
use sandcastle::sandbox::egress::Egress;
use sandcastle::sandbox::fleet::*;
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::ProcessConfig;
use sandcastle::store::{KeyKind, Store};
use std::path::PathBuf;
use std::sync::Arc;

/// A fleet over a temporary data folder.
struct World {
    fleet: Fleet,
    store: Store,
    owner: String,
    dir: tempfile::TempDir,
}

impl World {
    async fn new(live_max: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let owner = store.keys().create(KeyKind::E2b, "test").await.unwrap().0.id;
        let egress = Arc::new(Egress::of_this_host());
        let provider = Arc::new(LocalProvider::new(SandboxConfig::default(), dir.path().to_owned(), egress));
        let fleet = Fleet::new(provider, store.clone(), dir.path().to_owned()).with_live_max(live_max);
        fleet.boot().await.unwrap();
        Self { fleet, store, owner, dir }
    }

    async fn create(&self) -> Result<Arc<Sandbox>, FleetError> {
        let new = NewSandbox {
            owner: self.owner.clone(),
            template: "base".to_owned(),
            timeout: 600_000,
            metadata: Default::default(),
            envs: Default::default(),
            on_timeout: OnTimeout::Kill,
            keep_memory: true,
            auto_resume: false,
            network: Network::default(),
        };
        let record = self.fleet.create(new).await?;
        self.fleet.owned(&self.owner, record.id.as_str())
    }

    /// Starts what counts in a file; returns the file.
    async fn count(&self, sandbox: &Sandbox) -> PathBuf {
        let (_, live) = self.fleet.enter(sandbox.id()).await.unwrap();
        let args = vec!["-c".to_owned(), "while :; do echo x >> ticks; sleep 0.02; done".to_owned()];
        let config = ProcessConfig { cmd: "/bin/sh".to_owned(), args, ..Default::default() };
        live.hub.start(config, None).await.unwrap();
        let file = self.workspace(sandbox.id()).join("ticks");
        eventually("it counts", || async { length(&file) > 0 }).await;
        file
    }

    fn workspace(&self, id: &SandboxId) -> PathBuf {
        self.dir.path().join("fleet").join(id.as_str()).join("workspace")
    }

    async fn end(self) {
        self.fleet.shutdown().await;
        self.store.close().await;
    }
}

fn length(file: &std::path::Path) -> u64 {
    std::fs::metadata(file).map_or(0, |data| data.len())
}

async fn grows(file: &std::path::Path) {
    let before = length(file);
    eventually("it goes on counting", || async { length(file) > before }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_paused_longest_makes_room_and_keeps_its_files() {
    let world = World::new(2).await;
    let (first, second) = (world.create().await.unwrap(), world.create().await.unwrap());
    let (lost, kept) = (world.count(&first).await, world.count(&second).await);
    assert!(matches!(world.create().await, Err(FleetError::Full(2))), "both are at work");
    world.fleet.pause(&first, true).await.unwrap();
    // The order of two pauses within a millisecond would be anyone's.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    world.fleet.pause(&second, true).await.unwrap();
    let third = world.create().await.unwrap();
    let told =
        |sandbox: &Sandbox| sandbox.journal.lines().iter().any(|line| line.message.contains("its processes ended"));
    assert!(told(&first) && !told(&second));
    world.fleet.resume(&second, 600_000, false).await.unwrap();
    grows(&kept).await;
    assert!(matches!(world.fleet.resume(&first, 600_000, false).await, Err(FleetError::Full(2))));
    world.fleet.kill(&third).await.unwrap();
    world.fleet.resume(&first, 600_000, false).await.unwrap();
    let (_, live) = world.fleet.enter(first.id()).await.unwrap();
    assert!(live.hub.running().is_empty() && length(&lost) > 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_wrote_and_how_they_ended_outlives_their_processes() {
    let world = World::new(2).await;
    let sandbox = world.create().await.unwrap();
    let start = async |line: &str, tag: &str| {
        let (_, live) = world.fleet.enter(sandbox.id()).await.unwrap();
        let args = vec!["-c".to_owned(), line.to_owned()];
        let config = ProcessConfig { cmd: "/bin/sh".to_owned(), args, ..Default::default() };
        live.hub.start(config, Some(tag.to_owned())).await.unwrap().1
    };
    let mut ended = start("echo over; exit 5", "ended").await;
    while !matches!(ended.next().await, Seen::End(_)) {}
    let mut lost = start("echo begun; exec sleep 1000", "lost").await;
    assert!(matches!(lost.next().await, Seen::Output(..)));
    world.fleet.pause(&sandbox, false).await.unwrap();
    world.fleet.resume(&sandbox, 600_000, false).await.unwrap();
    let mut new = start("echo new", "new").await;
    assert_eq!(new.next().await, Seen::Output(Source::Stdout, "new\n".into()));
    let (_, live) = world.fleet.enter(sandbox.id()).await.unwrap();
    for (tag, text, code) in [("ended", "over\n", Some(5)), ("lost", "begun\n", None)] {
        let command = live.hub.find(&Selector::Tag(tag.to_owned())).unwrap();
        let mut viewer = command.view(0);
        assert_eq!(viewer.next().await, Seen::Output(Source::Stdout, text.to_owned().into()));
        let Seen::End(status) = viewer.next().await else { panic!("{tag} has not ended") };
        assert_eq!(status.code, code, "{tag}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_recorded_has_not_happened() {
    let world = World::new(10).await;
    let sandbox = world.create().await.unwrap();
    let ticks = world.count(&sandbox).await;
    let database = format!("sqlite://{}", world.dir.path().join("db.sqlite").display());
    let database = sqlx::SqlitePool::connect(&database).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON fleet_sandboxes BEGIN SELECT RAISE(FAIL, 'full'); END";
    sqlx::query(full).execute(&database).await.unwrap();
    let before = format!("{:?}", sandbox.record());
    let fleet = &world.fleet;
    let network = Network { deny: vec!["198.51.100.0/24".to_owned()], ..Network::default() };
    assert!(fleet.pause(&sandbox, true).await.is_err());
    assert!(fleet.set_timeout(&sandbox, 900_000).await.is_err());
    assert!(fleet.extend(&sandbox, 900_000).await.is_err());
    assert!(fleet.resume(&sandbox, 900_000, false).await.is_err());
    assert!(fleet.set_network(&sandbox, network).await.is_err());
    assert_eq!(format!("{:?}", sandbox.record()), before);
    grows(&ticks).await;
    sqlx::query("DROP TRIGGER full").execute(&database).await.unwrap();
    fleet.pause(&sandbox, true).await.unwrap();
    sqlx::query(full).execute(&database).await.unwrap();
    let before = format!("{:?}", sandbox.record());
    assert!(fleet.resume(&sandbox, 900_000, false).await.is_err());
    assert_eq!(format!("{:?}", sandbox.record()), before);
    assert!(matches!(fleet.enter(sandbox.id()).await, Err(FleetError::Paused)));
    assert!(fleet.sample(&sandbox).await.is_none(), "it was left awake");
    sqlx::query("DROP TRIGGER full").execute(&database).await.unwrap();
    assert!(fleet.resume(&sandbox, 900_000, false).await.unwrap());
    grows(&ticks).await;
    database.close().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_cannot_be_deleted_is_still_there_and_can_be_deleted_later() {
    let world = World::new(10).await;
    let sandbox = world.create().await.unwrap();
    let ticks = world.count(&sandbox).await;
    let database = format!("sqlite://{}", world.dir.path().join("db.sqlite").display());
    let database = sqlx::SqlitePool::connect(&database).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE DELETE ON fleet_sandboxes BEGIN SELECT RAISE(FAIL, 'full'); END";
    sqlx::query(full).execute(&database).await.unwrap();
    assert!(matches!(world.fleet.kill(&sandbox).await, Err(FleetError::Store(_))));
    assert_eq!(world.fleet.records(&world.owner).len(), 1);
    let sandbox = world.fleet.owned(&world.owner, sandbox.id().as_str()).unwrap();
    assert!(sandbox.journal.lines().iter().any(|line| line.message.contains("could not be deleted")));
    world.fleet.extend(&sandbox, 900_000).await.unwrap();
    let (_, live) = world.fleet.enter(sandbox.id()).await.unwrap();
    assert!(live.hub.running().is_empty() && length(&ticks) > 0);
    sqlx::query("DROP TRIGGER full").execute(&database).await.unwrap();
    world.fleet.kill(&sandbox).await.unwrap();
    assert!(world.fleet.records(&world.owner).is_empty());
    eventually("its files go", || async { !world.workspace(sandbox.id()).exists() }).await;
    database.close().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_so_many_snapshots_and_room_again_when_one_is_deleted() {
    let world = World::new(10).await;
    let sandbox = world.create().await.unwrap();
    let more = (0..SNAPSHOTS_MAX + 3).map(|_| world.fleet.snapshot(&sandbox, None));
    let (made, refused): (Vec<_>, Vec<_>) = futures::future::join_all(more).await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (SNAPSHOTS_MAX, 3));
    for refusal in refused {
        let said = refusal.unwrap_err().to_string();
        assert_eq!(said, "this key has 100 snapshots, as many as it may have; delete one of them first");
    }
    let one = made[0].as_ref().unwrap();
    world.fleet.delete_image(&world.owner, one.id.as_str()).await.unwrap();
    world.fleet.snapshot(&sandbox, None).await.unwrap();
    world.end().await;
}
