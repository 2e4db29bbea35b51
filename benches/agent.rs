//! What the platform adds to a model's time: per step, per page, and in tokens for a small change.
//!
//! Run by `make bench`; prints one JSON line a figure. The model answers at once and the tools do nothing, so what is
//! left is ours: store, workflow, stream, conversation.

#[path = "../tests/it/fake_model.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "shared with the tests")]
mod fake_model;

use async_trait::async_trait;
use fake_model::{FakeModel, calls, says};
use sandcastle::agent::{Agent, AgentDeps, turn_task};
use sandcastle::config::{AgentConfig, ModelConfig};
use sandcastle::domain::{EventBody, MessageId, ModelRef, ProjectId, RunId, TurnOutcome};
use sandcastle::llm::{Catalog, StreamLimits};
use sandcastle::store::Store;
use sandcastle::tools::RunCommandLimits;
use sandcastle::ui::{Assets, Layout, PageData, ProjectPage, ShellOptions, Theme, shell};
use sandcastle::workflow::{Task, TaskContext, TaskError, Workflow, WorkflowOptions};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const STEPS: usize = 200;
const MESSAGES: usize = 1_000;
const EVENTS: usize = 5_000;
const FILES: usize = 40;
/// Bytes of each file of the project in which one line is changed.
const FILE_BYTES: usize = 2_000;
/// Its main page, as models write them: some 250 lines.
const PAGE_BYTES: usize = 10_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A task that does nothing, under a name, with an answer.
macro_rules! nothing {
    ($task:ident, $name:literal, $answer:expr) => {
        struct $task;

        #[async_trait]
        impl Task for $task {
            const NAME: &'static str = $name;
            type Input = Value;
            type Output = Value;

            async fn run(&self, _: TaskContext, _: Value) -> Result<Value, TaskError> {
                Ok($answer)
            }
        }
    };
}

nothing!(CreateSandbox, "createSandbox", json!({}));
nothing!(WriteFiles, "writeFiles", json!({}));
nothing!(EditFile, "editFile", json!({}));
nothing!(SearchFiles, "searchFiles", {
    let text = "  const total = items.reduce((sum, item) => sum + item.price, 0);";
    json!({"lines": [{"path": "src/file7.js", "number": 12, "text": text}], "files": FILES})
});

#[tokio::main]
async fn main() -> Outcome<()> {
    steps().await?;
    opening().await?;
    tokens().await?;
    Ok(())
}

/// Time between two requests of the model in a turn of many steps.
async fn steps() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let fake = FakeModel::respond(|request| {
        let done = request["messages"].as_array().map_or(0, |m| m.iter().filter(|m| m["role"] == "assistant").count());
        Some(if done < STEPS { calls(&[("create_sandbox", "{}")]) } else { says("done") })
    })
    .await;
    let (store, agent) = agent(folder.path(), &fake).await?;
    let project = store.events().create_project("bench").await?;
    agent.send(&project, "go", None).await?;
    let mut watch = store.events().watch(&project).await?;
    let mut finished: Vec<Instant> = Vec::new();
    let mut seq = 0;
    loop {
        for event in store.events().after(&project, seq, 1000).await? {
            seq = event.seq;
            match event.body {
                EventBody::ToolCallFinished { .. } => finished.push(Instant::now()),
                EventBody::TurnFinished { outcome: TurnOutcome::Completed, .. } => {
                    let mut gaps: Vec<Duration> =
                        finished.windows(2).filter_map(|w| Some(*w.last()? - *w.first()?)).collect();
                    report(
                        "overhead of a step, p50",
                        quantile(&mut gaps, 50),
                        Some(20.0),
                        &format!("{} steps, model and tools take no time", gaps.len()),
                    );
                    report("overhead of a step, p95", quantile(&mut gaps, 95), None, "");
                    return Ok(());
                }
                EventBody::TurnFinished { outcome, .. } => {
                    return Err(format!("the turn ended with {outcome:?}").into());
                }
                _ => {}
            }
        }
        watch.changed().await?;
    }
}

async fn agent(folder: &Path, fake: &FakeModel) -> Outcome<(Store, Agent)> {
    let store = Store::open(folder).await?;
    let config = ModelConfig {
        base_url: fake.endpoint.base_url.clone(),
        api_key: fake.endpoint.api_key.clone(),
        default_model: Some("test-model".to_owned()),
        configured: true,
    };
    let catalog = Catalog::new(config, fake.endpoint.clone(), StreamLimits::default(), false);
    let limits = RunCommandLimits { default: Duration::from_secs(1) };
    let deps =
        AgentDeps::new(store.clone(), catalog, AgentConfig { max_steps: 1_000 }, limits, std::sync::Arc::new(Vec::new));
    let workflow = Workflow::new(&store, WorkflowOptions::default());
    workflow.register(turn_task(deps.clone()));
    workflow.register(CreateSandbox);
    workflow.register(WriteFiles);
    workflow.register(EditFile);
    workflow.register(SearchFiles);
    workflow.boot().await?;
    Ok((store, Agent::new(deps, workflow)))
}

/// A long project: read from disk, and its page rendered.
async fn opening() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path()).await?;
    let project = store.events().create_project("long").await?;
    let mut bodies = Vec::new();
    for turn in 0..MESSAGES / 2 {
        bodies.extend(conversation(turn)?);
    }
    bodies.truncate(EVENTS - 1);
    for chunk in bodies.chunks(500) {
        store.events().append(&project, chunk.to_vec()).await?;
    }
    store.close().await;
    drop(store);

    let store = Store::open(folder.path()).await?;
    let began = Instant::now();
    let state = store.events().state(&project).await?;
    report(
        "long project read from disk",
        began.elapsed(),
        None,
        &format!("{} messages, {} events", state.messages.len(), state.seq),
    );
    let assets = Assets { css: "/a.css".into(), js: "/a.js".into(), wasm: "/a.wasm".into() };
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..20 {
        let began = Instant::now();
        let html = page(&store, &project, &assets).await?;
        times.push(began.elapsed());
        bytes = html.len();
    }
    report(
        "long project rendered on the server, p50",
        quantile(&mut times, 50),
        Some(50.0),
        &format!("{} KB of HTML", bytes / 1024),
    );
    store.close().await;
    Ok(())
}

async fn page(store: &Store, project: &ProjectId, assets: &Assets) -> Outcome<String> {
    let state = store.events().state(project).await?;
    let page = ProjectPage {
        state: (*state).clone(),
        files: Vec::new(),
        outputs: Vec::new(),
        models: Vec::new(),
        model: String::new(),
        effort: String::new(),
        layout: Layout::default(),
        open_file: None,
    };
    let options = ShellOptions { nonce: "n0", assets, theme: Theme::System, reload_script: None };
    Ok(shell(PageData::Project(Box::new(page)), &options))
}

fn conversation(turn: usize) -> Outcome<Vec<EventBody>> {
    let message = MessageId::parse(format!("msg_a{turn}"))?;
    let run = RunId::parse(format!("run_{turn}"))?;
    let mut bodies = vec![
        EventBody::UserMessage {
            message: MessageId::parse(format!("msg_u{turn}"))?,
            text: format!("wish {turn}"),
            attachments: Vec::new(),
            model: None,
        },
        EventBody::TurnStarted {
            turn: run.clone(),
            message: message.clone(),
            model: ModelRef { id: "m".to_owned(), label: "Model".to_owned(), demo: false },
            waiting: 0,
        },
    ];
    for piece in 0..6 {
        bodies.push(EventBody::TextDelta {
            message: message.clone(),
            part: 0,
            text: format!("Some words of answer {piece}. "),
        });
    }
    bodies.push(EventBody::PartRendered {
        message,
        part: 0,
        html: "<p>Some <strong>words</strong> of an answer.</p>".to_owned(),
    });
    bodies.push(EventBody::TurnFinished { turn: run, outcome: TurnOutcome::Completed, usage: None });
    Ok(bodies)
}

/// Tokens a turn adds to the conversation for a change of one line in a project of many files: by searching and editing,
/// and by writing files again. What was there before is the same for all and in the provider's cache. A token is taken
/// as four bytes.
async fn tokens() -> Outcome<()> {
    let line = "  const total = items.reduce((sum, item) => sum + item.price, 0);";
    let edits = json!([{"search": line, "replace": line.replace("item.price", "item.price * item.count")}]);
    let edit = json!({"path": "src/file7.js", "edits": edits}).to_string();
    let files: Vec<Value> =
        (0..FILES).map(|n| json!({"path": format!("src/file{n}.js"), "content": "x".repeat(FILE_BYTES)})).collect();
    let all = json!({ "files": files }).to_string();
    let one = |bytes: usize| json!({"files": [{"path": "src/file7.js", "content": "x".repeat(bytes)}]}).to_string();
    let search = json!({"pattern": "items.reduce"}).to_string();
    let by_edit = added(vec![("search_files", search), ("edit_file", edit)]).await?;
    let by_file = added(vec![("generate_files", one(FILE_BYTES))]).await?;
    let by_page = added(vec![("generate_files", one(PAGE_BYTES))]).await?;
    let by_project = added(vec![("generate_files", all)]).await?;
    let times = |more: usize| format!("{:.1} times", more as f64 / by_edit as f64);
    let figures = [
        ("tokens of a one-line change by an edit", by_edit, Some(by_page / 10), "search, edit, answer".to_owned()),
        ("the same by writing a page again", by_page, None, format!("{PAGE_BYTES} bytes: {}", times(by_page))),
        ("the same by writing a small file again", by_file, None, format!("{FILE_BYTES} bytes: {}", times(by_file))),
        ("the same by writing the project again", by_project, None, format!("{FILES} files: {}", times(by_project))),
    ];
    for (what, count, goal, note) in figures {
        println!("{}", json!({"what": what, "count": count, "goal_count": goal, "note": note}));
    }
    Ok(())
}

/// Tokens that a turn with these calls adds to the conversation.
async fn added(turn: Vec<(&'static str, String)>) -> Outcome<usize> {
    let folder = tempfile::tempdir()?;
    let fake = FakeModel::respond(move |request| {
        let done = request["messages"].as_array().map_or(0, |m| m.iter().filter(|m| m["role"] == "assistant").count());
        Some(
            turn.get(done)
                .map_or_else(|| says("Each item counts now."), |(name, text)| calls(&[(name, text.as_str())])),
        )
    })
    .await;
    let (store, agent) = agent(folder.path(), &fake).await?;
    let project = store.events().create_project("bench").await?;
    agent.send(&project, "Count each item as often as it is in the cart", None).await?;
    let mut watch = store.events().watch(&project).await?;
    while store.events().state(&project).await?.messages.iter().all(|m| m.outcome.is_none()) {
        watch.changed().await?;
    }
    let requests = fake.requests();
    let last = requests.last().and_then(|request| request["messages"].as_array()).ok_or("nothing was asked")?;
    // Without the system prompt.
    Ok(last.iter().skip(1).map(|message| message.to_string().len()).sum::<usize>().div_ceil(4))
}

fn quantile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort();
    samples.get(samples.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn report(what: &str, took: Duration, goal_ms: Option<f64>, note: &str) {
    let ms = took.as_secs_f64() * 1000.0;
    println!("{}", json!({ "what": what, "ms": ms, "goal_ms": goal_ms, "note": note }));
}
