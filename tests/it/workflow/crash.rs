//! The death of the process by `kill -9`, at every boundary of a run's steps.
//!
//! The test starts itself again as a child that opens the store, runs a task of three steps and kills itself where it
//! is told. Effects are lines in a file, so they outlive it.

use super::support::request;
use async_trait::async_trait;
use sandcastle::domain::{ApiError, ErrorCode, RunStatus};
use sandcastle::store::Store;
use sandcastle::workflow::{
    RetryPolicy, RunFilter, RunRequest, Task, TaskContext, TaskError, Workflow, WorkflowOptions,
};
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

const FOLDER: &str = "SANDCASTLE_TEST_CRASH_FOLDER";
const KILL_AT: &str = "SANDCASTLE_TEST_CRASH_AT";

/// Everywhere the process can die on its way through the run.
const BOUNDARIES: [&str; 9] =
    ["submitted", "before a", "in a", "after a", "in b", "after b", "in c", "after c", "ended"];

struct ThreeSteps {
    folder: PathBuf,
    kill_at: String,
}

impl ThreeSteps {
    fn reach(&self, boundary: &str) {
        if self.kill_at == boundary {
            let me = i32::try_from(std::process::id()).unwrap();
            rustix::process::kill_process(rustix::process::Pid::from_raw(me).unwrap(), rustix::process::Signal::KILL)
                .unwrap();
            // The signal is on its way.
            loop {
                std::thread::park();
            }
        }
    }

    fn effect(&self, line: &str) {
        let path = self.folder.join("effects");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

#[async_trait]
impl Task for ThreeSteps {
    const NAME: &'static str = "probe";
    type Input = Value;
    type Output = Value;

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { min_ms: 1, max_ms: 1, ..RetryPolicy::default() }
    }

    async fn run(&self, ctx: TaskContext, _: Value) -> Result<Value, TaskError> {
        self.reach("before a");
        for name in ["a", "b", "c"] {
            ctx.step(name, async {
                self.effect(name);
                self.reach(&format!("in {name}"));
                // One failure besides the crashes: they must not use up its attempts.
                if name == "b" && ctx.attempt < 2 {
                    return Err(TaskError::Retry(ApiError::new(ErrorCode::Sandbox, "not yet")));
                }
                Ok(name.to_owned())
            })
            .await?;
            self.reach(&format!("after {name}"));
        }
        Ok(json!(ctx.attempt))
    }
}

/// Not a test of its own: what the child does.
#[test]
fn child_of_the_crash_tests() {
    let Ok(folder) = std::env::var(FOLDER).map(PathBuf::from) else { return };
    let task = ThreeSteps { folder: folder.clone(), kill_at: std::env::var(KILL_AT).unwrap_or_default() };
    let kill_at = task.kill_at.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&folder.join("data")).await.unwrap();
        let workflow = Workflow::new(&store, WorkflowOptions::default());
        let killer = ThreeSteps { folder, kill_at };
        workflow.register(task);
        workflow.boot().await.unwrap();
        let keyed = RunRequest { idempotency_key: Some("once".to_owned()), ..request(Value::Null) };
        let id = workflow.submit(keyed).await.unwrap();
        killer.reach("submitted");
        workflow.wait(&id).await.unwrap();
        killer.reach("ended");
        workflow.shutdown(std::time::Duration::from_secs(1)).await;
        store.close().await;
    });
}

fn run_child(folder: &Path, kill_at: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "workflow::crash::child_of_the_crash_tests", "--nocapture"])
        .env(FOLDER, folder)
        .env(KILL_AT, kill_at)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

fn effects(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("effects")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn killed_at_any_boundary_a_run_goes_on_behind_its_last_finished_step() {
    for boundary in BOUNDARIES {
        let folder = tempfile::tempdir().unwrap();
        let killed = run_child(folder.path(), boundary);
        assert_eq!(killed.signal(), Some(9), "{boundary}: {killed}");
        let before = effects(folder.path());
        assert!(run_child(folder.path(), "never").success(), "{boundary}");

        let all = effects(folder.path());
        let times = |name: &str| all.iter().filter(|line| *line == name).count();
        // The step under way is done again; the one recorded never is. `b` fails once by itself.
        assert_eq!(times("a"), 1 + usize::from(boundary == "in a"), "{boundary}: {before:?} then {all:?}");
        assert_eq!(times("b"), 2 + usize::from(boundary == "in b"), "{boundary}: {before:?} then {all:?}");
        assert_eq!(times("c"), 1 + usize::from(boundary == "in c"), "{boundary}: {before:?} then {all:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(&folder.path().join("data")).await.unwrap();
            let runs = store.runs().list(&RunFilter::default()).await.unwrap();
            assert_eq!(runs.len(), 1, "{boundary}");
            assert_eq!((runs[0].status, runs[0].attempt), (RunStatus::Completed, 2), "{boundary}");
        });
    }
}
