//! `sandcastle run "PROMPT"`: one turn through the same path as the browser's, told on the terminal.

use super::{Failed, interrupted};
use crate::boot::App;
use crate::config::Config;
use crate::domain::{Event, EventBody, ProjectId, TurnOutcome};
use crate::services::Services;
use clap::Args;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Events read from the log at once.
const BATCH: usize = 256;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// What to build
    prompt: String,
    /// The model that answers
    #[arg(long)]
    model: Option<String>,
    /// Copy the finished workspace here; the folder must not exist or be empty
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print every event as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs one turn. Exit status 0 means that the model finished, 1 that it did not, 130 that it was interrupted.
pub(super) async fn run(mut config: Config, args: RunArgs) -> Result<ExitCode, Failed> {
    crate::telemetry::init("warn");
    if let Some(out) = &args.out {
        require_empty(out)?;
    }
    // The configured address may be a running server's; any port does for the preview of a headless run.
    config.server.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let app = App::start(config).await?;
    let outcome = turn(app.services(), &args).await;
    app.stop().await;
    outcome
}

async fn turn(services: &Services, args: &RunArgs) -> Result<ExitCode, Failed> {
    let (project, _) = services.create_project(None, Some(&args.prompt), &[], args.model.as_deref()).await?;
    let followed = tokio::select! {
        outcome = follow(services, &project, args.json) => Some(outcome?),
        () = interrupted() => None,
    };
    let Some(outcome) = followed else {
        services.agent.stop(&project).await?;
        return Ok(ExitCode::from(130));
    };
    if let Some(out) = &args.out {
        services.sandbox.sync_files(&project).await.map_err(|error| Failed(error.to_string()))?;
        let workspace = services.config.server.data_dir.join("projects").join(project.as_str()).join("workspace");
        let (from, to) = (workspace, out.clone());
        tokio::task::spawn_blocking(move || copy_tree(&from, &to))
            .await
            .map_err(|error| Failed(error.to_string()))?
            .map_err(|error| Failed(format!("cannot copy the workspace to {}: {error}", out.display())))?;
    }
    match outcome {
        TurnOutcome::Completed => Ok(ExitCode::SUCCESS),
        TurnOutcome::Failed { error } => Err(error.into()),
        TurnOutcome::Stopped => Err(Failed("the turn was stopped".to_owned())),
        TurnOutcome::StepLimit { steps } => Err(Failed(format!("not finished after {steps} steps"))),
    }
}

/// Prints events until the turn has ended.
async fn follow(services: &Services, project: &ProjectId, json: bool) -> Result<TurnOutcome, Failed> {
    let log = services.store.events();
    let told = |error: crate::store::StoreError| Failed(error.to_string());
    let mut woken = log.watch(project).await.map_err(told)?;
    let mut printer = Printer { json, in_text: false };
    let mut seq = 0;
    loop {
        woken.borrow_and_update();
        let events = log.after(project, seq, BATCH).await.map_err(told)?;
        if events.is_empty() && woken.changed().await.is_err() {
            return Err(Failed("the project was deleted".to_owned()));
        }
        for event in events {
            seq = event.seq;
            printer.print(&event);
            if let EventBody::TurnFinished { outcome, .. } = event.body {
                return Ok(outcome);
            }
        }
    }
}

/// Tells events to a person or a program.
struct Printer {
    json: bool,
    /// Whether the last line is the model's text and still open.
    in_text: bool,
}

impl Printer {
    fn print(&mut self, event: &Event) {
        let mut out = std::io::stdout().lock();
        // A closed pipe ends the printing, not the turn.
        let _closed = if self.json {
            serde_json::to_writer(&mut out, event).map_err(std::io::Error::from).and_then(|()| writeln!(out))
        } else {
            self.tell(&mut out, &event.body)
        };
        let _closed = out.flush();
    }

    fn tell(&mut self, out: &mut impl std::io::Write, body: &EventBody) -> std::io::Result<()> {
        if let EventBody::TextDelta { text, .. } = body {
            self.in_text = true;
            return write!(out, "{text}");
        }
        let Some(line) = line(body) else { return Ok(()) };
        if std::mem::take(&mut self.in_text) {
            writeln!(out)?;
        }
        writeln!(out, "{line}")
    }
}

fn line(body: &EventBody) -> Option<String> {
    Some(match body {
        EventBody::TurnStarted { model, .. } => format!("> {} answers", model.label),
        EventBody::ToolCallSubmitted { title, .. } => format!("* {title}"),
        EventBody::ToolCallFinished { ok, summary, duration_ms, .. } => {
            format!("  {} {summary} ({duration_ms} ms)", if *ok { "ok:" } else { "failed:" })
        }
        EventBody::FileWritten { path, bytes, .. } => format!("  wrote {path} ({bytes} bytes)"),
        EventBody::CommandExited { exit, .. } if !exit.success() => format!("  {}", exit.describe()),
        EventBody::PreviewReady { url, .. } => format!("  the app answers at {url}"),
        EventBody::TurnFinished { outcome: TurnOutcome::Completed, .. } => "> done".to_owned(),
        _ => return None,
    })
}

fn require_empty(out: &Path) -> Result<(), Failed> {
    match std::fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failed(format!("{} is not empty; name a new folder for --out", out.display()))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failed(format!("cannot use {} for --out: {error}", out.display()))),
    }
}

/// Copies directories and regular files. Links are left out: where they point is the sandbox's word.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        // No file was written.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
