//! `sandcastle bench [PROMPTS] --models a,b`: prompts answered headless by each model, checked, and told as a table.
//!
//! Everything goes the same way as in the browser: server parts, sandbox, checks. It must not judge looks; what a
//! person or another model would have to judge is counted as such.

mod checks;
mod prompts;

use super::{Failed, interrupted, say};
use crate::boot::App;
use crate::config::Config;
use crate::domain::{EventBody, Message, ProjectId, TurnOutcome};
use clap::Args;
use prompts::Prompt;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Events read from the log at once.
const BATCH: usize = 256;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Prompts: a TOML file as `src/cli/bench/prompts.toml`, or WebGen-Bench's JSON lines [default: the built-in ones]
    prompts: Option<PathBuf>,
    /// Models to compare, separated by commas [default: the default model]
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// Only this many prompts, from the beginning
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Minutes one prompt may take
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Restart the server so often in the middle of each turn
    #[arg(long, default_value_t = 0, value_name = "N")]
    restarts: u32,
    /// Print one line of JSON for each prompt in place of the table
    #[arg(long)]
    json: bool,
}

/// What came of one prompt.
#[derive(Debug, Serialize)]
struct Score {
    model: String,
    prompt: String,
    /// How the turn ended.
    outcome: String,
    /// Checks that passed, and all.
    passed: usize,
    checks: usize,
    /// What was wrong.
    failures: Vec<String>,
    /// Cases that need a judge and were not judged.
    unjudged: usize,
    /// Millionths of a dollar, if known.
    cost: Option<u64>,
    tokens: u64,
    seconds: u64,
    /// Restarts in the middle of the turn.
    restarts: u32,
}

impl Score {
    fn passes(&self) -> bool {
        self.outcome == "completed" && self.passed == self.checks
    }
}

/// Runs the bench. Exit status 0 means that everything passed.
pub(super) async fn bench(mut config: Config, args: BenchArgs) -> Result<ExitCode, Failed> {
    crate::telemetry::init("warn");
    let mut prompts = prompts::load(args.prompts.as_deref()).map_err(Failed)?;
    prompts.truncate(args.count.unwrap_or(usize::MAX));
    config.server.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut models: Vec<Option<String>> = args.models.iter().cloned().map(Some).collect();
    if models.is_empty() {
        models.push(None);
    }
    let mut scores = Vec::new();
    let work = async {
        for model in &models {
            for prompt in &prompts {
                let score = play(&config, &args, model.as_deref(), prompt).await?;
                if args.json {
                    say(&serde_json::to_string(&score).map_err(|error| Failed(error.to_string()))?);
                } else {
                    say(&line(&score));
                }
                scores.push(score);
            }
        }
        Ok::<_, Failed>(())
    };
    tokio::select! {
        done = work => done?,
        () = interrupted() => return Ok(ExitCode::from(130)),
    }
    if !args.json {
        say(&table(&scores));
    }
    Ok(if scores.iter().all(Score::passes) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One prompt in a project of its own.
async fn play(config: &Config, args: &BenchArgs, model: Option<&str>, prompt: &Prompt) -> Result<Score, Failed> {
    let began = Instant::now();
    let mut app = App::start(config.clone()).await?;
    let (project, _) = app.services().create_project(Some(&prompt.name), Some(&prompt.text), &[], model).await?;
    let (mut restarts, mut since) = (0, 0);
    let limit = Duration::from_secs(args.minutes * 60);
    let outcome = loop {
        let left = limit.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, follow(&app, &project, since, restarts < args.restarts)).await {
            Ok(Ok(Some(outcome))) => break word(&outcome),
            Ok(Ok(None)) => {
                app.stop().await;
                app = App::start(config.clone()).await?;
                since = app.services().store.events().state(&project).await?.seq;
                restarts += 1;
            }
            Ok(Err(error)) => break error.0,
            Err(_) => {
                app.services().agent.stop(&project).await?;
                break format!("not done after {} minutes", args.minutes);
            }
        }
    };
    let results = checks::run(app.services(), &project, &prompt.checks).await;
    let state = app.services().store.events().state(&project).await.map_err(|e| Failed(e.to_string()))?;
    let answered = state.messages.iter().find_map(|m: &Message| m.model.as_ref()).map(|m| m.id.clone());
    app.stop().await;
    let failures: Vec<String> = results.iter().filter_map(|result| result.clone().err()).collect();
    Ok(Score {
        model: model.map(str::to_owned).or(answered).unwrap_or_default(),
        prompt: prompt.name.clone(),
        outcome,
        passed: results.len() - failures.len(),
        checks: results.len(),
        failures,
        unjudged: prompt.unjudged,
        cost: state.spent.cost,
        tokens: state.spent.input_tokens + state.spent.output_tokens,
        seconds: began.elapsed().as_secs(),
        restarts,
    })
}

/// Waits for the end of the turn; none after the first call that finished behind event `since`, if a restart is due.
async fn follow(app: &App, project: &ProjectId, since: u64, restart: bool) -> Result<Option<TurnOutcome>, Failed> {
    let log = app.services().store.events();
    let told = |error: crate::store::StoreError| Failed(error.to_string());
    let mut woken = log.watch(project).await.map_err(told)?;
    // What happened before a restart is done with, unless it ended the turn.
    let mut seq = 0;
    loop {
        woken.borrow_and_update();
        let events = log.after(project, seq, BATCH).await.map_err(told)?;
        if events.is_empty() && woken.changed().await.is_err() {
            return Err(Failed("the project was deleted".to_owned()));
        }
        for event in events {
            seq = event.seq;
            match event.body {
                EventBody::TurnFinished { outcome, .. } => return Ok(Some(outcome)),
                EventBody::ToolCallFinished { .. } if restart && seq > since => return Ok(None),
                _ => {}
            }
        }
    }
}

fn word(outcome: &TurnOutcome) -> String {
    match outcome {
        TurnOutcome::Completed => "completed".to_owned(),
        TurnOutcome::Stopped => "stopped".to_owned(),
        TurnOutcome::StepLimit { steps } => format!("not finished after {steps} steps"),
        TurnOutcome::Failed { error } => error.message.clone(),
    }
}

fn line(score: &Score) -> String {
    let mark = if score.passes() { "pass" } else { "FAIL" };
    let mut text = format!(
        "{mark}  {}  {}  {}/{} checks, {} s",
        score.model, score.prompt, score.passed, score.checks, score.seconds
    );
    if score.outcome != "completed" {
        text.push_str(&format!("\n      {}", score.outcome));
    }
    for failure in &score.failures {
        text.push_str(&format!("\n      {failure}"));
    }
    text
}

/// One line a model.
fn table(scores: &[Score]) -> String {
    let mut models: Vec<&str> = scores.iter().map(|s| s.model.as_str()).collect();
    models.dedup();
    let mut text = String::from("\nmodel | passed | money | tokens | minutes | restarts survived\n");
    for model in models {
        let of: Vec<&Score> = scores.iter().filter(|s| s.model == model).collect();
        let passed = of.iter().filter(|s| s.passes()).count();
        let cost: Option<u64> = of.iter().map(|s| s.cost).sum();
        let cost = cost.map_or_else(|| "unknown".to_owned(), |micro| format!("${:.4}", micro as f64 / 1e6));
        let tokens: u64 = of.iter().map(|s| s.tokens).sum();
        let minutes = of.iter().map(|s| s.seconds).sum::<u64>() as f64 / 60.0;
        let restarts: u32 = of.iter().map(|s| s.restarts).sum();
        let survived: u32 = of.iter().filter(|s| s.outcome == "completed").map(|s| s.restarts).sum();
        text.push_str(&format!(
            "{model} | {passed} of {} ({} %) | {cost} | {tokens} | {minutes:.1} | {survived} of {restarts}\n",
            of.len(),
            passed * 100 / of.len().max(1)
        ));
    }
    text
}
