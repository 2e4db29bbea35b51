//! What the task engine costs: a run from submit to done, many at once, a page out of very many, and going on after the
//! death of the process.
//!
//! Run by `make bench`; prints one JSON line a figure. The commit of every state of a run is included in each time.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use sandcastle::domain::RunStatus;
use sandcastle::store::{RunRecord, Store};
use sandcastle::workflow::{RunFilter, RunRequest, Task, TaskContext, TaskError, Workflow, WorkflowOptions};
use serde_json::Value;

/// Runs one after another.
const SEQUENTIAL: usize = 1_000;
/// Runs many at once, and how many.
const TOGETHER: usize = 8_000;
const AT_ONCE: usize = 16;
/// Runs in the list of which a page is read.
const LISTED: usize = 100_000;
const PAGES: usize = 50;
/// Names the folder in which the child leaves an open run.
const CHILD: &str = "SANDCASTLE_BENCH_CHILD";

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
        let (_store, workflow) = start(Path::new(&folder)).await?;
        let id = workflow.submit(request(true)).await?;
        workflow.wait(&id).await?;
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (store, workflow) = start(folder.path()).await?;
    one_by_one(&workflow, None).await?;
    let project = store.events().create_project("Bench").await?;
    one_by_one(&workflow, Some(&project)).await?;
    many(&workflow).await?;
    pages(&store, &workflow).await?;
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
    resumed().await
}

async fn start(folder: &Path) -> Outcome<(Store, Workflow)> {
    let store = Store::open(folder).await?;
    let workflow = Workflow::new(&store, WorkflowOptions::default());
    workflow.register(Noop);
    workflow.boot().await?;
    Ok((store, workflow))
}

fn request(hang: bool) -> RunRequest {
    RunRequest { task: "noop".into(), title: "noop".into(), payload: Value::Bool(hang), ..RunRequest::default() }
}

async fn one_by_one(workflow: &Workflow, project: Option<&sandcastle::domain::ProjectId>) -> Outcome<()> {
    let mut taken = Vec::with_capacity(SEQUENTIAL);
    for _ in 0..SEQUENTIAL {
        let begun = Instant::now();
        let id = workflow.submit(RunRequest { project: project.cloned(), ..request(false) }).await?;
        workflow.wait(&id).await?;
        taken.push(begun.elapsed());
    }
    let (what, goal) = match project {
        None => ("no-op run, submit to done", Some(1.0)),
        Some(_) => ("no-op run of a project, with its events", None),
    };
    report(&format!("{what}, p50"), quantile(&mut taken, 50), goal, "three commits");
    report(&format!("{what}, p99"), quantile(&mut taken, 99), None, "");
    Ok(())
}

async fn many(workflow: &Workflow) -> Outcome<()> {
    let begun = Instant::now();
    let workers = (0..AT_ONCE).map(|_| {
        let workflow = workflow.clone();
        tokio::spawn(async move {
            for _ in 0..TOGETHER / AT_ONCE {
                let id = workflow.submit(request(false)).await?;
                workflow.wait(&id).await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })
    });
    for worker in join_all(workers).await {
        worker??;
    }
    let each = begun.elapsed() / u32::try_from(TOGETHER)?;
    let rate = format!("{:.0} runs a second, {AT_ONCE} at once", 1.0 / each.as_secs_f64());
    // 2,000 a second.
    report("no-op run, time for each of many at once", each, Some(0.5), &rate);
    Ok(())
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
async fn resumed() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let mut child = Command::new(std::env::current_exe()?).env(CHILD, folder.path()).stdout(Stdio::piped()).spawn()?;
    let mut said = std::io::BufReader::new(child.stdout.take().ok_or("no output")?);
    std::io::BufRead::read_line(&mut said, &mut String::new())?;
    child.kill()?;
    child.wait()?;
    let begun = Instant::now();
    let (store, workflow) = start(folder.path()).await?;
    let runs = workflow.list(RunFilter::default()).await?;
    let run = runs.first().ok_or("the run is gone")?;
    workflow.wait(&run.id).await?;
    report("run resumed and done after kill -9", begun.elapsed(), Some(1_000.0), "opening the store included");
    store.close().await;
    Ok(())
}

fn quantile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort();
    samples.get(samples.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn report(what: &str, took: Duration, goal_ms: Option<f64>, note: &str) {
    let ms = took.as_secs_f64() * 1000.0;
    println!("{}", serde_json::json!({ "what": what, "ms": ms, "goal_ms": goal_ms, "note": note }));
}
