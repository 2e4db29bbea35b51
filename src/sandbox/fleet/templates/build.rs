//! One build: its state and log, and its run in a sandbox of its own.
//!
//! Everything a recipe says happens inside, with the rights that a sandbox's user has. What it leaves in the writable
//! folders is the image.

use super::super::hub::Hub;
use super::super::record::{Image, ImageKind};
use super::super::{Fleet, FleetError, lock, now_ms};
use super::recipe::{Base, Recipe, Step};
use super::steps::Builder;
use crate::domain::SandboxId;
use crate::sandbox::fleet::Level;
use crate::sandbox::provider::Instance;
use crate::store::new_sandbox_id;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest a build may take.
const TIME_MAX: Duration = Duration::from_secs(3600);
/// Memory for the lines of a build's log, in bytes. As many logs are kept as builds are remembered.
const BYTES_MAX: usize = 1 << 20;
/// For lines about the build itself after a log that is too long.
const BYTES_SPARE: usize = 16 << 10;
/// What e2b calls the steps before the first and after the last.
const FIRST: &str = "base";
const LAST: &str = "finalize";

/// A build of a template.
pub struct Build {
    /// Its id, a UUID.
    pub id: String,
    /// Its template.
    pub template: SandboxId,
    /// The template's name.
    pub name: String,
    /// Tags it gets.
    pub tags: Vec<String>,
    /// When it was asked for (Unix ms).
    pub created_at: u64,
    pub(super) owner: String,
    /// Whoever knows it may send files for the build.
    pub upload_token: String,
    pub(super) cancel: CancellationToken,
    state: Mutex<State>,
}

struct State {
    status: Status,
    log: Vec<Entry>,
    /// What the log takes in memory.
    bytes: usize,
    /// Whether lines are missing.
    cut: bool,
    reason: Option<Reason>,
}

impl State {
    /// Adds a line if it fits.
    fn add(&mut self, entry: Entry, spare: usize) -> bool {
        let bytes = size_of::<Entry>() + entry.message.len() + entry.step.len();
        let fits = self.bytes + bytes <= BYTES_MAX + spare;
        if fits {
            self.bytes += bytes;
            self.log.push(entry);
        }
        fits
    }
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Asked for; files may come.
    Waiting,
    /// Under way.
    Building,
    /// Done.
    Ready,
    /// Failed.
    Error,
}

/// A line of a build's log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When (Unix ms).
    pub at: u64,
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub message: String,
    /// The step it belongs to.
    pub step: String,
}

/// Why a build failed.
#[derive(Clone, Debug)]
pub struct Reason {
    /// In words.
    pub message: String,
    /// The step: its number from 1, or `base` or `finalize`.
    pub step: String,
}

impl Build {
    pub(super) fn new(owner: &str, template: SandboxId, name: String, tags: Vec<String>) -> Result<Self, FleetError> {
        let state = Mutex::new(State { status: Status::Waiting, log: Vec::new(), bytes: 0, cut: false, reason: None });
        let digits = super::super::life::secret()?;
        let id = [
            &digits[..8],
            &digits[8..12],
            &format!("4{}", &digits[13..16]),
            &format!("8{}", &digits[17..20]),
            &digits[20..32],
        ];
        Ok(Self {
            id: id.join("-"),
            template,
            name,
            tags,
            created_at: now_ms(),
            owner: owner.to_owned(),
            upload_token: super::super::life::secret()?,
            cancel: CancellationToken::new(),
            state,
        })
    }

    /// How far it is, and why it failed if it did.
    pub fn status(&self) -> (Status, Option<Reason>) {
        let state = lock(&self.state);
        (state.status, state.reason.clone())
    }

    /// Lines of its log from the given one on.
    pub fn log(&self, from: usize, limit: usize) -> Vec<Entry> {
        lock(&self.state).log.iter().skip(from).take(limit).cloned().collect()
    }

    /// Whether it was given up.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    pub(super) fn waits(&self) -> bool {
        lock(&self.state).status == Status::Waiting
    }

    pub(super) fn ended(&self) -> bool {
        matches!(lock(&self.state).status, Status::Ready | Status::Error)
    }

    /// Whether it was waiting and is under way now.
    pub(super) fn begin(&self) -> bool {
        let mut state = lock(&self.state);
        let waited = state.status == Status::Waiting;
        if waited {
            state.status = Status::Building;
        }
        waited
    }

    pub(super) fn say(&self, level: Level, step: &str, message: impl Into<String>) {
        let entry = |level, message| Entry { at: now_ms(), level, message, step: step.to_owned() };
        let mut state = lock(&self.state);
        if state.cut || !state.add(entry(level, message.into()), 0) {
            let before = std::mem::replace(&mut state.cut, true);
            if !before {
                let message = "the log is too long; the lines that follow are not kept".to_owned();
                state.add(entry(Level::Warn, message), BYTES_SPARE);
            }
        }
    }

    /// Says what became of the build, also after a log that was too long.
    fn conclude(&self, level: Level, step: &str, message: String) {
        let message = message.chars().take(BYTES_SPARE / 8).collect();
        let entry = Entry { at: now_ms(), level, message, step: step.to_owned() };
        let mut state = lock(&self.state);
        state.add(entry, BYTES_SPARE);
    }

    fn end(&self, result: Result<(), Reason>) {
        let mut state = lock(&self.state);
        match result {
            Ok(()) => state.status = Status::Ready,
            Err(reason) => {
                state.status = Status::Error;
                state.reason = Some(reason);
            }
        }
    }
}

impl Fleet {
    /// Sees a build through to its end.
    pub(super) async fn run_build(&self, build: &Arc<Build>, recipe: Recipe) {
        let image = new_sandbox_id();
        let made = match self.ground(build, &recipe.base, &image).await {
            Ok((base, instance)) => {
                let made = tokio::select! {
                    result = self.make(build, &recipe, base, &instance) => result,
                    () = build.cancel.cancelled() => Err(failed(LAST, "the build was cancelled")),
                    () = self.inner.closing.cancelled() => Err(failed(LAST, "the server is shutting down")),
                    () = tokio::time::sleep(TIME_MAX) => Err(failed(LAST, "the build took longer than an hour")),
                };
                instance.shutdown().await;
                made
            }
            Err(error) => Err(failed(FIRST, error.to_string())),
        };
        let kept = match made {
            Ok(made) => self.keep_build(made).await.map_err(|error| failed(LAST, error.to_string())),
            Err(reason) => Err(reason),
        };
        match &kept {
            Ok(()) => {
                let layers = recipe.steps.iter().filter_map(|step| match step {
                    Step::Copy { layer, .. } => Some(layer.clone()),
                    _ => None,
                });
                self.forget_layers(&build.template, layers.collect()).await;
                build.conclude(Level::Info, LAST, "Build finished".to_owned());
            }
            Err(reason) => {
                build.conclude(Level::Error, &reason.step, format!("Build failed: {}", reason.message));
                self.inner.remove_files(&image).await;
                let others = |other: &Build| other.template == build.template && other.id != build.id;
                let wanted = self.under_way(others).is_some();
                if !wanted && self.template(&build.owner, build.template.as_str()).is_err() {
                    self.inner.remove_files(&build.template).await;
                }
            }
        }
        build.end(kept);
    }

    /// The sandbox to build in, over the base's files.
    async fn ground(
        &self,
        build: &Build,
        base: &Base,
        id: &SandboxId,
    ) -> Result<(Option<Image>, Arc<dyn Instance>), FleetError> {
        let base = self.base(build, base)?;
        if let Some(base) = &base {
            self.copy(&base.id, id).await?;
        }
        Ok((base, self.inner.provider.start(self.inner.spec(id, BTreeMap::new())).await?))
    }

    async fn make(
        &self,
        build: &Build,
        recipe: &Recipe,
        base: Option<Image>,
        instance: &Arc<dyn Instance>,
    ) -> Result<Image, Reason> {
        let (mut envs, mut workdir) = (BTreeMap::new(), None);
        let (mut start, mut ready) = (recipe.start.clone(), recipe.ready.clone());
        if let Some(base) = base {
            (envs, workdir) = (base.envs, base.workdir);
            // A template with a start command of its own decides itself when that is ready.
            if start.is_none() {
                ready = ready.or(base.ready_command);
            }
            start = start.or(base.start_command);
        }
        let commands = Arc::new(self.inner.commands());
        let hub = Arc::new(Hub::new(Arc::clone(instance), commands, self.inner.tasks.clone()));
        let mut builder = Builder { build, hub, envs, workdir };
        let count = recipe.steps.len();
        for (at, step) in recipe.steps.iter().enumerate() {
            let number = (at + 1).to_string();
            build.say(Level::Info, &number, format!("[builder {number}/{count}] {}", step.line()));
            let layer = match step {
                Step::Copy { layer, .. } => {
                    Some(self.layer(&build.template, layer).map_err(|error| failed(&number, error.to_string()))?)
                }
                _ => None,
            };
            builder.step(&number, step, layer.as_deref()).await.map_err(|message| failed(&number, message))?;
        }
        builder
            .finish(instance.as_ref(), start.as_deref(), ready.as_deref())
            .await
            .map_err(|message| failed(LAST, message))?;
        Ok(Image {
            id: instance.id().clone(),
            owner: build.owner.clone(),
            kind: ImageKind::Template { template: build.template.clone(), build: build.id.clone() },
            names: vec![build.name.clone()],
            tags: build.tags.clone(),
            created_at: now_ms(),
            envs: builder.envs,
            workdir: builder.workdir,
            start_command: start,
            ready_command: ready,
        })
    }

    /// The image to begin with; none for an empty one.
    fn base(&self, build: &Build, base: &Base) -> Result<Option<Image>, FleetError> {
        match base {
            Base::Image(name) => {
                build.say(Level::Info, FIRST, format!("FROM {name}"));
                let tools = self.inner.provider.tools();
                let tools: Vec<String> = tools.iter().map(|tool| format!("{} {}", tool.name, tool.version)).collect();
                let message = format!(
                    "images are not pulled: {name} is a name only, the tools are this server's: {}",
                    tools.join(", ")
                );
                build.say(Level::Warn, FIRST, message);
                Ok(None)
            }
            Base::Template(name) => {
                build.say(Level::Info, FIRST, format!("FROM template {name}"));
                self.image_for(&build.owner, name)
            }
        }
    }
}

fn failed(step: &str, message: impl Into<String>) -> Reason {
    Reason { message: message.into(), step: step.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_end_takes_bounded_memory_and_says_that_it_was_cut_and_how_it_ended() {
        for length in [1, 4096] {
            let build = Build::new("me", new_sandbox_id(), "a".to_owned(), Vec::new()).unwrap();
            for _ in 0..40_000 {
                build.say(Level::Info, "1", "x".repeat(length));
            }
            build.conclude(Level::Error, "1", "Build failed: 1".to_owned());
            let log = build.log(0, usize::MAX);
            let bytes: usize = log.iter().map(|line| size_of::<Entry>() + line.message.len()).sum();
            assert!(bytes < 2 << 20, "{bytes}");
            let last: Vec<&str> = log.iter().rev().take(2).map(|line| line.message.as_str()).collect();
            assert_eq!(last, ["Build failed: 1", "the log is too long; the lines that follow are not kept"]);
        }
    }
}
