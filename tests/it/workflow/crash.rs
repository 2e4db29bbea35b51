//! The death of the process by `kill -9`, at every boundary of a run's steps and between its attempts, under every
//! engine.
//!
//! The test starts itself again as a child that opens the store, runs a task of three steps and kills itself where it
//! is told. Effects are lines in a file, so they outlive it.

use super::engines::{Rig, open, over_every_engine};
use super::support::request;
use async_trait::async_trait;
use sandcastle::domain::{ApiError, ErrorCode, RunStatus};
use sandcastle::store::Store;
use sandcastle::workflow::{RetryPolicy, RunFilter, RunRequest, Task, TaskContext, TaskError, WorkflowOptions};
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

const FOLDER: &str = "SANDCASTLE_TEST_CRASH_FOLDER";
const RESTATE: &str = "SANDCASTLE_TEST_CRASH_RESTATE";
const KEY: &str = "SANDCASTLE_TEST_CRASH_KEY";
const KILL_AT: &str = "SANDCASTLE_TEST_CRASH_AT";

/// Everywhere the process can die on its way through the run.
const BOUNDARIES: [&str; 9] =
    ["submitted", "before a", "in a", "after a", "in b", "after b", "in c", "after c", "ended"];
/// The run's time between its first attempt, which fails, and its second.
const BACKOFF_MS: u64 = 400;

struct ThreeSteps {
    /// Where effects are noted.
    effects: PathBuf,
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
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.effects).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

#[async_trait]
impl Task for ThreeSteps {
    const NAME: &'static str = "probe";
    type Input = Value;
    type Output = Value;

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { min_ms: BACKOFF_MS, factor: 1.0, jitter: false, ..RetryPolicy::default() }
    }

    async fn run(&self, ctx: TaskContext, _: Value) -> Result<Value, TaskError> {
        if self.kill_at == "submitted" {
            // Else it may be anywhere by then.
            std::future::pending::<()>().await;
        }
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
    let var = |name| std::env::var(name).ok();
    let (Some(folder), Some(key), Some(kill_at)) = (var(FOLDER).map(PathBuf::from), var(KEY), var(KILL_AT)) else {
        return;
    };
    let steps = || ThreeSteps { effects: folder.join(&key), kill_at: kill_at.clone() };
    let restate = var(RESTATE).map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, workflow) = open(&folder.join("data"), restate.as_deref(), WorkflowOptions::default()).await;
        workflow.register(steps());
        workflow.boot().await.unwrap();
        let keyed = RunRequest { idempotency_key: Some(key.clone()), title: key.clone(), ..request(Value::Null) };
        let id = workflow.submit(keyed).await.unwrap();
        steps().reach("submitted");
        if kill_at == "between attempts" {
            super::conformance::until(&workflow, &id, RunStatus::Delayed).await;
            steps().reach("between attempts");
        }
        workflow.wait(&id).await.unwrap();
        steps().reach("ended");
        workflow.shutdown(Duration::from_secs(1)).await;
        store.close().await;
    });
}

fn run_child(rig: &Rig, key: &str, kill_at: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "workflow::crash::child_of_the_crash_tests", "--nocapture"])
        .env(FOLDER, rig.folder())
        .env(KEY, key)
        .env(KILL_AT, kill_at)
        .stdout(std::process::Stdio::null());
    if let Some(restate) = rig.restate_folder() {
        child.env(RESTATE, restate);
    }
    child.status().unwrap()
}

fn effects(rig: &Rig, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(rig.folder().join(key)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// One run of each way to die, each in the folder of those before it.
async fn killed_at_any_boundary_a_run_goes_on_behind_its_last_finished_step(rig: &Rig) {
    for boundary in BOUNDARIES {
        let key = boundary.replace(' ', "-");
        let killed = run_child(rig, &key, boundary);
        assert_eq!(killed.signal(), Some(9), "{boundary}: {killed}");
        let before = effects(rig, &key);
        assert!(run_child(rig, &key, "never").success(), "{boundary}");

        let all = effects(rig, &key);
        let times = |name: &str| all.iter().filter(|line| *line == name).count();
        // The step under way is done again; the one recorded never is. `b` fails once by itself.
        assert_eq!(times("a"), 1 + usize::from(boundary == "in a"), "{boundary}: {before:?} then {all:?}");
        assert_eq!(times("b"), 2 + usize::from(boundary == "in b"), "{boundary}: {before:?} then {all:?}");
        assert_eq!(times("c"), 1 + usize::from(boundary == "in c"), "{boundary}: {before:?} then {all:?}");
        let store = Store::open(&rig.data()).await.unwrap();
        let text = Some(key.clone());
        let runs = store.runs().list(&RunFilter { text, ..RunFilter::default() }).await.unwrap();
        assert_eq!(runs.len(), 1, "{boundary}");
        assert_eq!((runs[0].status, runs[0].attempt), (RunStatus::Completed, 2), "{boundary}");
        store.close().await;
    }
}

async fn downtime_longer_than_the_backoff_costs_no_attempt(rig: &Rig) {
    let killed = run_child(rig, "down", "between attempts");
    assert_eq!(killed.signal(), Some(9), "{killed}");
    assert_eq!(effects(rig, "down"), ["a", "b"]);
    tokio::time::sleep(Duration::from_millis(3 * BACKOFF_MS)).await;
    assert!(run_child(rig, "down", "never").success());
    assert_eq!(effects(rig, "down"), ["a", "b", "b", "c"]);
}

over_every_engine! {
    killed_at_any_boundary_a_run_goes_on_behind_its_last_finished_step
    downtime_longer_than_the_backoff_costs_no_attempt
}
