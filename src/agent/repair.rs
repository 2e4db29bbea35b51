//! Auto-fix: faults of a running app become turns of the agent, a bounded number for each fault.
//!
//! Owns the waiting (a fault is rarely alone, and the agent may be at work), the recognition of a fault that was seen
//! before, and when to stop. Every fault is recorded when it is seen, whatever is done about it. It runs in one task
//! of its own; a failure here is logged and touches neither turns nor pages.

use super::gate::AgentDeps;
use super::turn::TurnInput;
use crate::domain::{
    ApiError, ErrorCode, EventBody, Fault, FaultState, FaultView, ModelRef, ProjectId, ProjectState, Role, TurnOutcome,
};
use crate::sandbox::SeenFault;
use crate::store::{new_message_id, now_ms};
use crate::workflow::Workflow;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The same fault is not recorded more often than this (ms).
const AGAIN: u64 = 5_000;
/// At the start, faults are taken up in projects in which something happened in this time (ms).
const LATELY: u64 = 60 * 60 * 1000;
/// In so many of them.
const TAKEN_UP: usize = 100;
/// Faults told in one message.
const TOLD: usize = 5;
/// Characters of a fault's detail in the message.
const DETAIL: usize = 1_500;

/// When to act.
#[derive(Clone, Copy, Debug)]
pub struct RepairPolicy {
    /// Faults are waited for so long after the last one.
    pub quiet: Duration,
    /// But not longer than this after the first.
    pub longest: Duration,
    /// A project whose agent is at work is looked at again after this.
    pub recheck: Duration,
    /// Turns that try to fix one fault.
    pub tries: u32,
    /// What these may cost in all, in millionths of a US dollar, where the provider tells prices.
    pub cost: u64,
}

impl Default for RepairPolicy {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(2_500),
            longest: Duration::from_secs(15),
            recheck: Duration::from_secs(1),
            tries: 3,
            cost: 1_000_000,
        }
    }
}

/// Takes faults and starts turns.
pub struct Repairer {
    deps: AgentDeps,
    workflow: Workflow,
    policy: RepairPolicy,
    waiting: HashMap<ProjectId, Waiting>,
    /// Projects whose turn ends: faults may have waited for that.
    ends: broadcast::Receiver<ProjectId>,
}

/// A project with faults to look at.
struct Waiting {
    first: Instant,
    due: Instant,
}

/// What is to be done about a project's faults now.
enum Verdict {
    /// Nothing, by itself.
    Leave,
    /// Send these to the agent, with the model that answered last.
    Fix(Vec<FaultView>, ModelRef),
}

impl Repairer {
    /// A repairer over the agent's parts. Turns that end are noticed from now on.
    pub fn new(deps: AgentDeps, workflow: Workflow, policy: RepairPolicy) -> Self {
        let ends = deps.gate.ends();
        Self { deps, workflow, policy, waiting: HashMap::new(), ends }
    }

    /// Runs until it is told to stop or nobody can report any more.
    pub async fn run(mut self, mut faults: mpsc::Receiver<SeenFault>, stop: CancellationToken) {
        if let Err(error) = self.take_up().await {
            tracing::warn!(%error, "faults from before the start were not looked for");
        }
        loop {
            let next = self.waiting.values().map(|w| w.due).min();
            tokio::select! {
                () = stop.cancelled() => return,
                fault = faults.recv() => match fault {
                    Some(fault) => self.seen(fault).await,
                    None => return,
                },
                ended = self.ends.recv() => match ended {
                    Ok(project) => self.wait(project),
                    // Faults that are seen again are taken up then.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = until(next) => self.look().await,
            }
        }
    }

    /// Takes up what was open when the server ended, in projects in which something has happened lately.
    async fn take_up(&mut self) -> Result<(), ApiError> {
        let events = self.deps.store.events().clone();
        let projects = events.projects().await?.into_iter();
        let lately = projects.filter(|p| p.updated_at + LATELY > now_ms()).take(TAKEN_UP);
        for project in lately.map(|p| p.id) {
            if events.state(&project).await?.faults.iter().any(|f| f.state == FaultState::Open) {
                self.wait(project);
            }
        }
        Ok(())
    }

    async fn seen(&mut self, seen: SeenFault) {
        let project = seen.project.clone();
        if let Err(error) = self.record(seen).await {
            tracing::warn!(%project, %error, "a fault was not recorded");
            return;
        }
        self.wait(project);
    }

    fn wait(&mut self, project: ProjectId) {
        let now = Instant::now();
        let waiting = self.waiting.entry(project).or_insert(Waiting { first: now, due: now });
        waiting.due = (now + self.policy.quiet).min(waiting.first + self.policy.longest);
    }

    async fn record(&self, seen: SeenFault) -> Result<(), ApiError> {
        let SeenFault { project, kind, title, detail, page_at } = seen;
        let id = fingerprint(&format!("{kind:?}"), &title);
        let events = self.deps.store.events();
        let state = events.state(&project).await?;
        // One that was seen before the last change is news if it is still there after it.
        let just_seen = |f: &FaultView| {
            matches!(f.state, FaultState::Open | FaultState::Trying)
                && f.last_at + AGAIN > now_ms()
                && f.last_at >= state.files_at
        };
        // A page from before the last change shows what that change may have mended.
        let outdated = |_: &FaultView| page_at.is_some_and(|at| at < state.files_at);
        if state.fault(&id).is_some_and(|f| just_seen(f) || outdated(f)) {
            return Ok(());
        }
        events.append(&project, vec![EventBody::FaultSeen { fault: Fault { id, kind, title, detail } }]).await?;
        Ok(())
    }

    /// Decides about the projects whose time has come.
    async fn look(&mut self) {
        let now = Instant::now();
        let due: Vec<ProjectId> =
            self.waiting.iter().filter(|(_, w)| w.due <= now).map(|(project, _)| project.clone()).collect();
        for project in due {
            match self.act(&project).await {
                Ok(true) => {
                    self.waiting.remove(&project);
                }
                Ok(false) => {
                    if let Some(waiting) = self.waiting.get_mut(&project) {
                        waiting.due = now + self.policy.recheck;
                    }
                }
                Err(error) => {
                    // A project that was deleted has no faults.
                    if error.code != ErrorCode::NotFound {
                        tracing::warn!(%project, %error, "faults could not be looked at; they stay on the list");
                    }
                    self.waiting.remove(&project);
                }
            }
        }
    }

    /// Does what is to be done; whether that is all for now.
    async fn act(&self, project: &ProjectId) -> Result<bool, ApiError> {
        let guard = self.deps.gate.lock(project).await;
        let events = self.deps.store.events();
        let state = events.state(project).await?;
        if let Some(turn) = &state.turn
            && self.deps.end_without_task(&guard, &self.workflow, project, &turn.run).await?
        {
            return Ok(false);
        }
        let state = events.state(project).await?;
        let (overtaken, exhausted) = self.sort_out(&state);
        let mut bodies: Vec<EventBody> = exhausted.into_iter().map(|fault| EventBody::FixGivenUp { fault }).collect();
        if !overtaken.is_empty() {
            bodies.push(EventBody::FaultsGone { faults: overtaken });
        }
        if !bodies.is_empty() {
            events.append(project, bodies).await?;
        }
        let state = events.state(project).await?;
        match self.verdict(&state) {
            Verdict::Leave => Ok(true),
            Verdict::Fix(faults, model) => {
                let message = new_message_id();
                let ids = faults.iter().map(|f| f.fault.id.clone()).collect();
                let text = words(&faults, self.policy.tries);
                // The turn counts for each of them, so it may cost what is left for the dearest.
                let money = faults.iter().map(|f| self.policy.cost.saturating_sub(f.cost)).min();
                events.append(project, vec![EventBody::FixStarted { message, text, faults: ids }]).await?;
                let id = model.id.clone();
                let answering = self.deps.name_model(Some(&id)).await.unwrap_or(model);
                let input = TurnInput { model: Some(id), answering, money };
                self.deps.start(&guard, &self.workflow, project, input).await?;
                Ok(true)
            }
        }
    }

    /// Open faults that a later change of the files overtook while the agent worked, and those with no try left.
    fn sort_out(&self, state: &ProjectState) -> (Vec<String>, Vec<String>) {
        let open = || state.faults.iter().filter(|f| f.state == FaultState::Open);
        let began = state.messages.iter().rev().find(|m| m.role == Role::Assistant).map_or(0, |m| m.at);
        let overtaken = |f: &&FaultView| f.last_at >= began && f.last_at < state.files_at;
        let exhausted = |f: &&FaultView| !self.may_try(f) && !overtaken(f);
        let ids = |faults: Vec<&FaultView>| faults.into_iter().map(|f| f.fault.id.clone()).collect();
        (ids(open().filter(overtaken).collect()), ids(open().filter(exhausted).collect()))
    }

    /// Whether one more turn may be spent on a fault.
    fn may_try(&self, fault: &FaultView) -> bool {
        fault.tries < self.policy.tries && fault.cost < self.policy.cost
    }

    fn verdict(&self, state: &ProjectState) -> Verdict {
        // Messages that still wait were left there by a stop or a failure: the person decides.
        if state.unanswered().next().is_some() {
            return Verdict::Leave;
        }
        let last = state.messages.iter().rev().find(|m| m.role == Role::Assistant);
        let Some((model, outcome)) = last.and_then(|m| Some((m.model.clone()?, m.outcome.clone()?))) else {
            return Verdict::Leave;
        };
        // After a stop the person decides; after a failure of the model another turn would fail as well. The demo
        // can only play what was recorded.
        let may = matches!(outcome, TurnOutcome::Completed | TurnOutcome::StepLimit { .. }) && !model.demo;
        if !may || !state.auto_fix {
            return Verdict::Leave;
        }
        let open = state.faults.iter().filter(|f| f.state == FaultState::Open && self.may_try(f));
        let open: Vec<FaultView> = open.take(TOLD).cloned().collect();
        if open.is_empty() { Verdict::Leave } else { Verdict::Fix(open, model) }
    }
}

/// What the agent is told.
pub(super) fn words(faults: &[FaultView], tries: u32) -> String {
    let mut text =
        "These errors showed in the running app. Find the cause of each and fix it; change nothing else. If \
                    it is not the app's fault, say so.\n"
            .to_owned();
    for (at, fault) in faults.iter().enumerate() {
        let Fault { kind, title, detail, .. } = &fault.fault;
        let again = match fault.tries {
            0 => String::new(),
            n => format!(" (try {} of {tries}: the last change did not help, so look for another cause)", n + 1),
        };
        text.push_str(&format!("\n{}. [{}] {title}{again}\n", at + 1, kind.label()));
        if !detail.is_empty() && detail != title {
            let shown: String = detail.chars().take(DETAIL).collect();
            text.push_str(&format!("```\n{}\n```\n", shown.trim_end()));
        }
    }
    text
}

/// The same for the same fault: without numbers, addresses and hosts, which change from time to time.
fn fingerprint(kind: &str, title: &str) -> String {
    let mut plain = String::with_capacity(title.len());
    for word in title.split_whitespace() {
        let word = word.split_once("://").map_or(word, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        let hex = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
        if !hex {
            plain.extend(word.chars().filter(|c| !c.is_ascii_digit()));
        }
        plain.push(' ');
    }
    let digest = Sha256::digest(format!("{kind} {plain}").as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_time_to_time_is_not_part_of_the_fingerprint() {
        let one = fingerprint("Browser", "TypeError at http://3000-abc.localhost:3000/app.js:12:5 deadbeef01");
        let two = fingerprint("Browser", "TypeError at http://3001-xyz.localhost:4000/app.js:40:1 cafebabe99");
        assert_eq!(one, two);
        assert_ne!(one, fingerprint("Browser", "ReferenceError at /app.js"));
        assert_ne!(one, fingerprint("Output", "TypeError at /app.js"));
        assert_eq!(one.len(), 12);
    }
}
