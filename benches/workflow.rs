//! What the task engine costs: a run from submit to done, many at once, a page out of very many, and going on after the
//! death of the process.
//!
//! Run by `make bench`; prints one JSON line a figure. The commit of every state of a run is included in each time. Where
//! there is a Restate server, the same follows with Restate deciding when runs start.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use sandcastle::config::{RestateAddress, RestateConfig};
use sandcastle::domain::RunStatus;
use sandcastle::store::{RunRecord, Store};
use sandcastle::workflow::{
    Clock, RunFilter, RunRequest, SystemClock, Task, TaskContext, TaskError, Workflow, WorkflowOptions,
};
use serde_json::Value;

/// Runs one after another.
const SEQUENTIAL: usize = 1_000;
/// Runs many at once, and how many.
const TOGETHER: usize = 8_000;
const AT_ONCE: usize = 16;
/// The same under Restate, where each takes longer.
const RESTATE_SEQUENTIAL: usize = 300;
const RESTATE_TOGETHER: usize = 2_000;
/// Runs in the list of which a page is read.
const LISTED: usize = 100_000;
const PAGES: usize = 50;
/// Names the folder in which the child leaves an open run.
const CHILD: &str = "SANDCASTLE_BENCH_CHILD";
/// Names the folder of the child's Restate server.
const CHILD_RESTATE: &str = "SANDCASTLE_BENCH_CHILD_RESTATE";
/// Names the program `restate-server`.
const RESTATE_SERVER: &str = "SANDCASTLE_RESTATE_SERVER";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Does nothing, or hangs on an input of `true` unless it was cut off before.
struct Noop;

#[async_trait]
impl Task for Noop {
    const NAME: &'static str = "noop";
    type Input = Value;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: Value) -> Result<Value, TaskError> {
        if input == Value::Bool(true) && ctx.crashes == 0 {
            println!("running");
            std::future::pending::<()>().await;
        }
        Ok(Value::Null)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    if let Some(folder) = std::env::var_os(CHILD) {
        let restate = std::env::var_os(CHILD_RESTATE).map(PathBuf::from);
        let (_store, workflow) = start(Path::new(&folder), restate.as_deref()).await?;
        let id = workflow.submit(request(true)).await?;
        workflow.wait(&id).await?;
        return Ok(());
    }
    embedded().await?;
    match std::env::var_os(RESTATE_SERVER) {
        Some(server) => under_restate(Path::new(&server)).await,
        None => Ok(()),
    }
}

async fn embedded() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let (store, workflow) = start(folder.path(), None).await?;
    let (p50, p99) = one_by_one(&workflow, SEQUENTIAL, None).await?;
    report("no-op run, submit to done, p50", p50, Some(1.0), "three commits");
    report("no-op run, submit to done, p99", p99, None, "");
    let project = store.events().create_project("Bench").await?;
    let (p50, p99) = one_by_one(&workflow, SEQUENTIAL, Some(&project)).await?;
    report("no-op run of a project, with its events, p50", p50, None, "three commits");
    report("no-op run of a project, with its events, p99", p99, None, "");
    let each = many(&workflow, TOGETHER).await?;
    // 2,000 a second.
    report("no-op run, time for each of many at once", each, Some(0.5), &rate(each));
    pages(&store, &workflow).await?;
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
    let folder = tempfile::tempdir()?;
    report(
        "run resumed and done after kill -9",
        resumed(folder.path(), None).await?,
        Some(1_000.0),
        "opening the store included",
    );
    Ok(())
}

async fn under_restate(server: &Path) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let restate = Restate::start(server, &folder.path().join("restate"))?;
    let (data, sockets) = (folder.path().join("data"), Some(restate.sockets.as_path()));
    let (store, workflow) = start(&data, sockets).await?;
    // The first run waits for Restate's start and for this server's registration there.
    one_by_one(&workflow, 1, None).await?;
    let (p50, p99) = one_by_one(&workflow, RESTATE_SEQUENTIAL, None).await?;
    report("no-op run under Restate, p50", p50, None, "three commits here, its journal there");
    report("no-op run under Restate, p99", p99, None, "");
    let each = many(&workflow, RESTATE_TOGETHER).await?;
    report("no-op run under Restate, time for each of many at once", each, None, &rate(each));
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
    // The last of them releases the data folder, which the child below opens.
    drop((store, workflow));
    let resumed = resumed(&data, sockets).await?;
    report("run resumed and done under Restate after kill -9", resumed, Some(1_000.0), "Restate lives on");
    Ok(())
}

/// A Restate server, ended when dropped.
struct Restate {
    child: Child,
    sockets: PathBuf,
}

impl Restate {
    fn start(server: &Path, folder: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(folder)?;
        let config = folder.join("restate.toml");
        let settings = "disable-telemetry = true\nnode-name = \"r\"\nlisten-mode = \"unix\"\n\
                        default-num-partitions = 4\nrocksdb-total-memory-size = \"256 MiB\"\n";
        std::fs::write(&config, settings)?;
        let mut command = Command::new(server);
        command.arg("--no-logo").arg("--config-file").arg(&config).arg("--base-dir").arg(folder);
        command.env("DO_NOT_TRACK", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()?, sockets: folder.join("r") })
    }
}

impl Drop for Restate {
    fn drop(&mut self) {
        // It has nothing to keep.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

async fn start(folder: &Path, restate: Option<&Path>) -> Outcome<(Store, Workflow)> {
    let (store, options) = (Store::open(folder).await?, WorkflowOptions::default());
    let workflow = match restate {
        None => Workflow::new(&store, options),
        Some(sockets) => {
            let socket = |name: &str| RestateAddress::Unix(sockets.join(name));
            let config = RestateConfig { ingress: socket("ingress.sock"), admin: socket("admin.sock") };
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let engine = sandcastle::restate::engine(&config, &store, &options, Arc::clone(&clock)).await?;
            Workflow::with_engine(&store, options, clock, engine)
        }
    };
    workflow.register(Noop);
    workflow.boot().await?;
    Ok((store, workflow))
}

fn request(hang: bool) -> RunRequest {
    RunRequest { task: "noop".into(), title: "noop".into(), payload: Value::Bool(hang), ..RunRequest::default() }
}

/// Runs one after another: p50 and p99 of submit to done.
async fn one_by_one(
    workflow: &Workflow,
    count: usize,
    project: Option<&sandcastle::domain::ProjectId>,
) -> Outcome<(Duration, Duration)> {
    let mut taken = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        let id = workflow.submit(RunRequest { project: project.cloned(), ..request(false) }).await?;
        workflow.wait(&id).await?;
        taken.push(begun.elapsed());
    }
    Ok((quantile(&mut taken, 50), quantile(&mut taken, 99)))
}

/// The time for each of so many runs, [`AT_ONCE`] at once.
async fn many(workflow: &Workflow, count: usize) -> Outcome<Duration> {
    let begun = Instant::now();
    let workers = (0..AT_ONCE).map(|_| {
        let workflow = workflow.clone();
        tokio::spawn(async move {
            for _ in 0..count / AT_ONCE {
                let id = workflow.submit(request(false)).await?;
                workflow.wait(&id).await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })
    });
    for worker in join_all(workers).await {
        worker??;
    }
    Ok(begun.elapsed() / u32::try_from(count)?)
}

fn rate(each: Duration) -> String {
    format!("{:.0} runs a second, {AT_ONCE} at once", 1.0 / each.as_secs_f64())
}

/// Fills the list through the store's own writes and reads pages of it.
async fn pages(store: &Store, workflow: &Workflow) -> Outcome<()> {
    let template = workflow.record_of(&workflow.submit(request(false)).await?).await?;
    let have = SEQUENTIAL * 2 + TOGETHER + 1;
    for chunk in 0..(LISTED - have).div_ceil(1_000) {
        let writes = (0..1_000).map(|n| {
            let mut run: RunRecord = template.clone();
            run.summary.id = sandcastle::store::new_run_id();
            run.summary.status = if (chunk + n) % 50 == 0 { RunStatus::Failed } else { RunStatus::Completed };
            run.summary.title = format!("noop number {chunk}-{n}");
            async move { store.runs().insert(run).await }
        });
        for written in join_all(writes).await {
            written?;
        }
    }
    let plain = RunFilter::default();
    let failures = RunFilter { statuses: vec![RunStatus::Failed, RunStatus::Crashed], ..RunFilter::default() };
    let of_task = RunFilter { tasks: vec!["noop".into()], ..RunFilter::default() };
    let words = RunFilter { text: Some("no such words".into()), ..RunFilter::default() };
    for (what, filter, goal) in [
        ("page of 100,000 runs, p50", plain, Some(20.0)),
        ("page of its failures, p50", failures, Some(20.0)),
        ("page of one task, p50", of_task, Some(20.0)),
        ("search that finds nothing in it, p50", words, None),
    ] {
        let mut taken = Vec::with_capacity(PAGES);
        for _ in 0..PAGES {
            let begun = Instant::now();
            store.runs().list(&filter).await?;
            store.runs().counts().await?;
            taken.push(begun.elapsed());
        }
        report(what, quantile(&mut taken, 50), goal, "50 runs and the counts");
    }
    Ok(())
}

/// From the start of a process after `kill -9` to the end of the run that was cut off.
async fn resumed(folder: &Path, restate: Option<&Path>) -> Outcome<Duration> {
    let mut child = Command::new(std::env::current_exe()?);
    child.env(CHILD, folder).envs(restate.map(|sockets| (CHILD_RESTATE, sockets)));
    let mut child = child.stdout(Stdio::piped()).spawn()?;
    let mut said = std::io::BufReader::new(child.stdout.take().ok_or("no output")?);
    std::io::BufRead::read_line(&mut said, &mut String::new())?;
    child.kill()?;
    child.wait()?;
    let begun = Instant::now();
    let (store, workflow) = start(folder, restate).await?;
    let runs = workflow.list(RunFilter::default()).await?;
    let run = runs.first().ok_or("the run is gone")?;
    workflow.wait(&run.id).await?;
    let took = begun.elapsed();
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
    Ok(took)
}

fn quantile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort();
    samples.get(samples.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn report(what: &str, took: Duration, goal_ms: Option<f64>, note: &str) {
    let ms = took.as_secs_f64() * 1000.0;
    println!("{}", serde_json::json!({ "what": what, "ms": ms, "goal_ms": goal_ms, "note": note }));
}
