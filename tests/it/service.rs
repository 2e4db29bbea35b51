//! The sandbox service over the host provider: life cycle, commands, output, files, ports.

use crate::host_provider::HostProvider;
use sandcastle::config::SandboxConfig;
use sandcastle::domain::*;
use sandcastle::sandbox::*;
use sandcastle::store::Store;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A service over a temporary data folder.
pub struct World {
    pub service: Service,
    pub store: Store,
    pub provider: Arc<HostProvider>,
    pub project: ProjectId,
    pub dir: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(SandboxConfig::default()).await
    }

    pub async fn with(config: SandboxConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let provider = Arc::new(HostProvider::default());
        let service = Service::new(config, address(3000), provider.clone(), store.clone(), dir.path().to_owned());
        service.boot().await.unwrap();
        let project = store.events().create_project("test").await.unwrap();
        Self { service, store, provider, project, dir }
    }

    /// A second server over the same data, as after a crash of the first.
    pub async fn after_a_crash(&self, port: u16) -> Service {
        let service = Service::new(
            SandboxConfig::default(),
            address(port),
            self.provider.clone(),
            self.store.clone(),
            self.dir.path().to_owned(),
        );
        service.boot().await.unwrap();
        service
    }

    pub async fn start(&self, line: &str, background: bool) -> CommandId {
        let spec = CommandSpec { line: line.to_owned(), background, ..CommandSpec::default() };
        self.service.start_command(&self.project, spec).await.unwrap()
    }

    pub async fn run(&self, line: &str) -> (CommandExit, String) {
        let command = self.start(line, false).await;
        let exit = self.service.wait_command(&self.project, &command, &CancellationToken::new()).await.unwrap();
        (exit, self.output(&command).await)
    }

    pub async fn output(&self, command: &CommandId) -> String {
        self.service.read_log(&self.project, command, LogFrom::Offset(0), 1 << 20).await.unwrap().text
    }

    pub async fn state(&self) -> Arc<ProjectState> {
        self.store.events().state(&self.project).await.unwrap()
    }

    /// Waits until the project's state satisfies the condition.
    pub async fn until(&self, what: impl Fn(&ProjectState) -> bool) -> Arc<ProjectState> {
        let mut watch = self.store.events().watch(&self.project).await.unwrap();
        let wait = async {
            loop {
                let state = self.state().await;
                if what(&state) {
                    return state;
                }
                watch.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the state came")
    }
}

fn address(port: u16) -> PreviewAddress {
    PreviewAddress { scheme: "http".to_owned(), domain: "localhost".to_owned(), port }
}

fn phase(state: &ProjectState) -> Option<SandboxPhase> {
    state.sandbox.as_ref().map(|sandbox| sandbox.phase)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_one_start_and_the_id_stays() {
    let world = World::new().await;
    let starts = (0..8).map(|_| world.service.ensure(&world.project));
    let views: Vec<_> = futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(world.provider.starts.load(Ordering::SeqCst), 1);
    assert!(views.iter().all(|view| view.id == views[0].id && view.phase == SandboxPhase::Running));
    assert_eq!(world.service.find(&views[0].id), Some(world.project.clone()));
    world.service.sleep(&world.project).await.unwrap();
    assert_eq!(phase(&*world.state().await), Some(SandboxPhase::Asleep));
    assert_eq!(world.service.ensure(&world.project).await.unwrap().id, views[0].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_keeps_its_output_and_exit() {
    let world = World::new().await;
    let (exit, output) = world.run("echo out; echo err >&2; exit 3").await;
    assert_eq!((exit.code, exit.success()), (Some(3), false));
    assert!(output.contains("out\n") && output.contains("err\n"));
    let state = world.state().await;
    assert_eq!(state.commands[0].exit, Some(exit));
    assert_eq!(state.commands[0].bytes, 8);
    let again = world.service.wait_command(&world.project, &state.commands[0].id, &CancellationToken::new()).await;
    assert_eq!(again.unwrap().code, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_ends_the_command_with_all_it_started() {
    let world = World::new().await;
    let spec = CommandSpec {
        line: "sleep 1000 & echo $!; wait".to_owned(),
        timeout: Some(Duration::from_millis(300)),
        ..CommandSpec::default()
    };
    let command = world.service.start_command(&world.project, spec).await.unwrap();
    let exit = world.service.wait_command(&world.project, &command, &CancellationToken::new()).await.unwrap();
    assert_eq!(exit.describe(), "killed by KILL (time limit of 300 ms)");
    let child: i32 = world.output(&command).await.trim().parse().unwrap();
    // Killed with it, but perhaps not collected yet.
    let gone = async {
        while alive(child) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the child outlived its command");
}

/// Whether a process runs; a zombie does not.
fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_the_wait_ends_the_command() {
    let world = World::new().await;
    let command = world.start("echo begun; sleep 1000", false).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = world.service.wait_command(&world.project, &command, &cancel).await;
    assert!(matches!(result, Err(SandboxError::Cancelled)));
    let exit = world.state().await.commands[0].exit.clone().unwrap();
    assert_eq!((exit.signal.as_deref(), exit.reason.as_deref()), (Some("KILL"), Some("stopped")));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_asks_first_and_kills_what_will_not_listen() {
    let world = World::new().await;
    let polite = world.start("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", true).await;
    let stubborn = world.start("trap '' TERM; echo up; while :; do sleep 0.05; done", true).await;
    for command in [&polite, &stubborn] {
        let mut changed = world.service.output_changed(&world.project);
        while !world.output(command).await.contains("up") {
            changed.changed().await.unwrap();
        }
    }
    assert_eq!(world.service.stop_command(&world.project, &polite).await.unwrap().code, Some(0));
    let exit = world.service.stop_command(&world.project, &stubborn).await.unwrap();
    assert_eq!(exit.signal.as_deref(), Some("KILL"));
    let output = world.output(&polite).await;
    assert!(output.contains("bye\n"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_ends_and_leaves_a_bounded_log() {
    let world = World::new().await;
    let (exit, head) = world.run("echo first; yes 0123456789abcdef | head -c 100000000; echo; echo last").await;
    assert!(exit.success());
    assert!(head.starts_with("first\n"));
    let command = world.state().await.commands[0].clone();
    assert!(command.bytes >= 100_000_000);
    let tail = world.service.read_log(&world.project, &command.id, LogFrom::Tail(100), 100).await.unwrap();
    assert!(tail.text.ends_with("last\n"));
    let logs = world.dir.path().join(format!("projects/{}/logs/{}.log", world.project, command.id));
    let kept: u64 = std::fs::read_dir(logs).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!((56 << 20..70 << 20).contains(&kept), "{kept} bytes kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn background_commands_start_again_when_the_sandbox_wakes() {
    let world = World::new().await;
    let first = world.start("echo $GREETING; sleep 1000", true).await;
    let done = world.start("true", true).await;
    world.service.wait_command(&world.project, &done, &CancellationToken::new()).await.unwrap();
    world.service.sleep(&world.project).await.unwrap();
    let state = world.state().await;
    assert_eq!(state.command(&first).unwrap().exit.as_ref().unwrap().reason.as_deref(), Some("put to sleep"));
    world.service.ensure(&world.project).await.unwrap();
    let state = world.state().await;
    let running: Vec<_> = state.commands.iter().filter(|c| c.exit.is_none()).collect();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].line, "echo $GREETING; sleep 1000");
    assert_ne!(running[0].id, first);
    world.service.shutdown().await;
    assert!(world.state().await.commands.iter().all(|c| c.exit.is_some()));
    assert!(matches!(world.service.ensure(&world.project).await, Err(SandboxError::Dead(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_command_that_cannot_be_started_again_is_tried_at_the_next_waking() {
    let world = World::new().await;
    let app = world.dir.path().join("projects").join(world.project.as_str()).join("workspace/app");
    world.run("mkdir app").await;
    let spec = CommandSpec {
        line: "sleep 1000".to_owned(),
        cwd: "app".to_owned(),
        background: true,
        ..CommandSpec::default()
    };
    world.service.start_command(&world.project, spec).await.unwrap();
    for (there, running) in [(false, 0), (true, 1), (true, 1)] {
        world.service.sleep(&world.project).await.unwrap();
        let moved = if there { std::fs::create_dir_all(&app) } else { std::fs::remove_dir(&app) };
        moved.unwrap();
        world.service.ensure(&world.project).await.unwrap();
        let state = world.state().await;
        assert_eq!(state.commands.iter().filter(|command| command.exit.is_none()).count(), running, "there: {there}");
    }
    world.service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_repeated_after_a_crash_finds_its_background_command_running() {
    let world = World::new().await;
    let spec = CommandSpec {
        line: "sleep 1000".to_owned(),
        background: true,
        call: Some(CallId::parse("call_1").unwrap()),
        ..CommandSpec::default()
    };
    let first = world.service.start_command(&world.project, spec.clone()).await.unwrap();
    assert_eq!(world.service.start_command(&world.project, spec.clone()).await.unwrap(), first);
    let second = world.after_a_crash(3000).await;
    let again = second.start_command(&world.project, spec).await.unwrap();
    assert_ne!(again, first);
    let running: Vec<_> = world.state().await.commands.iter().filter(|c| c.exit.is_none()).cloned().collect();
    assert_eq!((running.len(), &running[0].id), (1, &again));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_of_the_server_commands_are_interrupted_and_logs_are_readable() {
    let world = World::new().await;
    let command = world.start("echo before; sleep 1000", true).await;
    let mut changed = world.service.output_changed(&world.project);
    while !world.output(&command).await.contains("before") {
        changed.changed().await.unwrap();
    }
    let port = free_port();
    let second = world.after_a_crash(port).await;
    let state = world.state().await;
    assert_eq!(phase(&state), Some(SandboxPhase::Asleep));
    let exit = state.commands[0].exit.clone().unwrap();
    assert_eq!(exit.reason.as_deref(), Some("interrupted by a restart of the server"));
    assert_eq!(state.commands[0].bytes, 7);
    let log = second.read_log(&world.project, &command, LogFrom::Tail(100), 100).await.unwrap();
    assert_eq!(log.text, "before\n");
    second.ensure(&world.project).await.unwrap();
    assert_eq!(world.state().await.commands.iter().filter(|c| c.exit.is_none()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_reported_and_the_url_is_ready_when_the_app_answers() {
    let world = World::new().await;
    let port = free_port();
    let command = world.start(&format!("exec python3 -m http.server {port} --bind 127.0.0.1"), true).await;
    let token = CancellationToken::new();
    let probe = world.service.wait_for_url(&world.project, port, Duration::from_secs(20), &token).await.unwrap();
    assert_eq!(probe.status, 200);
    let state = world.until(|state| !state.ports.is_empty()).await;
    assert_eq!(state.ports[0].port, port);
    assert_eq!(state.preview.as_ref().unwrap().url, probe.url);
    assert_eq!(probe.url, format!("http://{port}-{}.localhost:3000/", state.sandbox.as_ref().unwrap().id));
    world.service.stop_command(&world.project, &command).await.unwrap();
    world.until(|state| state.ports.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_server_that_crashed_ends_early_with_its_output() {
    let world = World::new().await;
    let port = free_port();
    world.start("echo 'Error: no module named flask'; exit 1", true).await;
    let token = CancellationToken::new();
    let error = world.service.wait_for_url(&world.project, port, Duration::from_secs(60), &token).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no module named flask") && text.contains("exit code 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_dies_is_reported_and_can_be_started_again() {
    let world = World::new().await;
    let command = world.start("sleep 1000", true).await;
    world.provider.instances.lock().unwrap()[0].die("out of memory: 512 MiB limit");
    let state = world.until(|state| phase(state) == Some(SandboxPhase::Failed)).await;
    let exit = state.command(&command).unwrap().exit.clone().unwrap();
    assert_eq!(exit.reason.as_deref(), Some("out of memory: 512 MiB limit"));
    let id = state.sandbox.as_ref().unwrap().id.clone();
    assert!(matches!(world.service.connect(&id, 3000).await, Err(SandboxError::Dead(_))));
    world.service.ensure(&world.project).await.unwrap();
    assert_eq!(phase(&*world.state().await), Some(SandboxPhase::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_right_after_a_death_is_not_undone_by_its_record() {
    let world = World::new().await;
    for round in 1..=20 {
        world.service.ensure(&world.project).await.unwrap();
        world.provider.instances.lock().unwrap().last().unwrap().die("crashed");
        world.service.ensure(&world.project).await.unwrap();
        assert_eq!(phase(&*world.state().await), Some(SandboxPhase::Running), "round {round}");
        let id = world.state().await.sandbox.as_ref().unwrap().id.clone();
        let refused = world.service.connect_awake(&id, free_port()).await;
        assert!(matches!(refused, Err(SandboxError::PortClosed(_))), "it is alive and nothing listens");
    }
    let events = world.store.events().after(&world.project, 0, 1000).await.unwrap();
    let failed = |event: &&Event| matches!(&event.body, EventBody::SandboxChanged { sandbox } if sandbox.phase == SandboxPhase::Failed);
    assert_eq!(events.iter().filter(failed).count(), 20, "each death is recorded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_is_recorded_with_its_reason() {
    let world = World::new().await;
    *world.provider.fail.lock().unwrap() = Some(SandboxError::NotIsolated("no user namespaces".to_owned()));
    assert!(world.service.ensure(&world.project).await.is_err());
    let state = world.state().await;
    assert_eq!(phase(&state), Some(SandboxPhase::Failed));
    assert!(state.sandbox.as_ref().unwrap().detail.as_ref().unwrap().contains("no user namespaces"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_sandbox_goes_to_sleep_and_a_viewer_keeps_it_awake() {
    let config = SandboxConfig { idle_timeout: Duration::from_millis(400), ..SandboxConfig::default() };
    let world = World::with(config).await;
    let mut viewer = world.service.output_changed(&world.project);
    world.start("while :; do echo tick; sleep 0.05; done", true).await;
    for _ in 0..20 {
        viewer.changed().await.unwrap();
    }
    assert_eq!(phase(&*world.state().await), Some(SandboxPhase::Running));
    drop(viewer);
    let state = world.until(|state| phase(state) == Some(SandboxPhase::Asleep)).await;
    assert!(state.sandbox.as_ref().unwrap().detail.as_ref().unwrap().starts_with("idle for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_read_edited_and_listed_without_a_sandbox() {
    let world = World::new().await;
    let (service, project) = (&world.service, &world.project);
    let file = |path: &str, content: &str| FileWrite { path: path.to_owned(), content: content.to_owned() };
    let files = vec![file("src/app.js", "let a = 1;\nlet b = 2;\n"), file("run.sh", "#!/bin/sh\necho hi\n")];
    let written = service.write_files(project, None, files).await.unwrap();
    assert_eq!(written[0], WrittenFile { path: "src/app.js".to_owned(), bytes: 22 });
    let edits = vec![Edit { search: "let b = 2;".to_owned(), replace: "let b = 3;".to_owned() }];
    service.edit_file(project, None, "./src/app.js", edits).await.unwrap();
    let content = service.read_file(project, "/home/user/src/app.js").await.unwrap();
    assert_eq!(content.text.as_deref(), Some("let a = 1;\nlet b = 3;\n"));
    let tree = service.list_files(project).await.unwrap();
    assert_eq!(tree[0].children[0].path, "src/app.js");
    assert_eq!(world.run("./run.sh").await.1, "hi\n");
    assert!(world.state().await.files_rev >= 3);
    let outside = service.write_files(project, None, vec![file("ok", ""), file("../x", "")]).await;
    assert!(matches!(outside, Err(SandboxError::Path(_))));
    assert!(matches!(service.read_file(project, "ok").await, Err(SandboxError::NotFound(_))));
    assert!(matches!(service.read_file(project, "src").await, Err(SandboxError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_changes_files_says_so() {
    let world = World::new().await;
    world.run("echo 1 > a.txt").await;
    let rev = world.until(|state| state.files_rev > 0).await.files_rev;
    world.start("echo 2 > b.txt; echo done; sleep 1000", true).await;
    world.until(|state| state.files_rev > rev).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_holds_the_files_without_packages_and_keeps_links_as_links() {
    let world = World::new().await;
    world
        .run("mkdir -p src node_modules/x; echo hi > src/a.txt; echo x > node_modules/x/i.js; ln -s /etc/passwd l")
        .await;
    let mut bytes = std::io::Cursor::new(Vec::new());
    world.service.archive(&world.project, &mut bytes).await.unwrap();
    let mut zip = zip::ZipArchive::new(bytes).unwrap();
    let mut names: Vec<_> = zip.file_names().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["l", "src/", "src/a.txt"]);
    assert!(zip.by_name("l").unwrap().is_symlink());
    assert_eq!(std::io::read_to_string(zip.by_name("src/a.txt").unwrap()).unwrap(), "hi\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_removes_processes_files_and_logs() {
    let world = World::new().await;
    let command = world.start("mkdir -p a/b; touch a/b/c; chmod 500 a/b; echo $$; exec sleep 1000", true).await;
    let mut changed = world.service.output_changed(&world.project);
    while world.output(&command).await.is_empty() {
        changed.changed().await.unwrap();
    }
    let pid: i32 = world.output(&command).await.trim().parse().unwrap();
    world.service.delete(&world.project).await.unwrap();
    assert!(!alive(pid));
    assert!(!world.dir.path().join("projects").join(world.project.as_str()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_things_are_not_found() {
    let world = World::new().await;
    let nobody = ProjectId::parse("prj_nobody").unwrap();
    assert!(matches!(world.service.ensure(&nobody).await, Err(SandboxError::NotFound(_))));
    assert!(matches!(world.service.list_files(&nobody).await, Err(SandboxError::NotFound(_))));
    let command = CommandId::parse("cmd_nothing").unwrap();
    let wait = world.service.wait_command(&world.project, &command, &CancellationToken::new()).await;
    assert!(matches!(wait, Err(SandboxError::NotFound(_))));
    let log = world.service.read_log(&world.project, &command, LogFrom::Offset(0), 10).await;
    assert!(matches!(log, Err(SandboxError::NotFound(_))));
    let empty = CommandSpec { line: "  ".to_owned(), ..CommandSpec::default() };
    assert!(matches!(world.service.start_command(&world.project, empty).await, Err(SandboxError::Invalid(_))));
}
