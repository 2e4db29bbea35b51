//! The fold of a project's events: the only reducer, the same on both sides.
//!
//! `apply` is total: an event that refers to something unknown changes nothing. It reports what it touched, so that
//! the browser redraws just that.

use super::event::{Event, EventBody, SandboxPhase, SandboxView, Usage};
use super::json::FromJson;
use super::views::{
    CommandView, Draft, Message, Part, PortView, PreviewView, ProjectSummary, Role, ToolCall, ToolState, TurnView,
};
use super::{CallId, CommandId, FaultView, MessageId, NetworkView, ProjectId, RunSummary};
use serde::{Deserialize, Serialize};

/// Runs kept in the state; older ones are in the runs list.
const RUNS_KEPT: usize = 200;
/// Ended commands kept in the state.
const COMMANDS_KEPT: usize = 100;

/// A project's present, folded from its log up to `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct ProjectState {
    /// The project.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// Number of the last event folded in; 0 for none.
    pub seq: u64,
    /// When the first event was appended (Unix ms).
    pub created_at: u64,
    /// When the last event was appended (Unix ms).
    pub updated_at: u64,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// The turn that runs now.
    pub turn: Option<TurnView>,
    /// The sandbox, once there was one.
    pub sandbox: Option<SandboxView>,
    /// Commands, oldest first.
    pub commands: Vec<CommandView>,
    /// Open ports, in the order they opened.
    pub ports: Vec<PortView>,
    /// The app to show.
    pub preview: Option<PreviewView>,
    /// Grows whenever files changed: read the tree again.
    pub files_rev: u64,
    /// What the sandbox may reach and what it did reach.
    #[serde(default)]
    pub network: NetworkView,
    /// Files the model is writing right now, before they are in the workspace.
    pub drafts: Vec<Draft>,
    /// Runs, oldest first.
    pub runs: Vec<RunSummary>,
    /// What all turns used, also those that were taken back.
    pub spent: Usage,
    /// What they may cost in all, in millionths of a US dollar.
    pub budget: Option<u64>,
    /// When a file last changed (Unix ms).
    pub files_at: u64,
    /// Faults of the app, by the time they were first seen.
    pub faults: Vec<FaultView>,
    /// Whether faults are fixed without being asked.
    pub auto_fix: bool,
}

/// What an event touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Name or times.
    Project,
    /// A message was added.
    Messages,
    /// A message's parts, state or outcome.
    Message(MessageId),
    /// The running turn began or ended.
    Turn,
    /// The sandbox.
    Sandbox,
    /// The list of commands or one's state.
    Commands,
    /// Ports or preview.
    Preview,
    /// The tree is to be read again.
    Files,
    /// Destinations, or what may be reached.
    Network,
    /// Files being written.
    Drafts,
    /// Runs.
    Runs,
    /// Faults, and whether they are fixed without being asked.
    Faults,
}

impl ProjectState {
    /// The state before the first event.
    pub fn empty(id: ProjectId) -> Self {
        Self {
            id,
            name: String::new(),
            seq: 0,
            created_at: 0,
            updated_at: 0,
            messages: Vec::new(),
            turn: None,
            sandbox: None,
            commands: Vec::new(),
            ports: Vec::new(),
            preview: None,
            files_rev: 0,
            network: NetworkView::default(),
            drafts: Vec::new(),
            runs: Vec::new(),
            spent: Usage::default(),
            budget: None,
            files_at: 0,
            faults: Vec::new(),
            auto_fix: true,
        }
    }

    /// Folds one event in and reports what it touched. Events at or below `seq` were folded before and are ignored.
    pub fn apply(&mut self, event: &Event) -> Vec<Change> {
        if event.seq <= self.seq {
            return Vec::new();
        }
        self.seq = event.seq;
        self.updated_at = event.at;
        if self.created_at == 0 {
            self.created_at = event.at;
        }
        self.fold(event.at, &event.body)
    }

    /// Folds a batch and reports everything it touched, each once.
    pub fn apply_all<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> Vec<Change> {
        let mut touched: Vec<Change> = Vec::new();
        for change in events.into_iter().flat_map(|event| self.apply(event)) {
            if !touched.contains(&change) {
                touched.push(change);
            }
        }
        touched
    }

    /// The message with this id.
    pub fn message(&self, id: &MessageId) -> Option<&Message> {
        self.messages.iter().rev().find(|m| m.id == *id)
    }

    /// The command with this id.
    pub fn command(&self, id: &CommandId) -> Option<&CommandView> {
        self.commands.iter().rev().find(|c| c.id == *id)
    }

    /// User messages that no turn has answered yet: written while one runs, or before the first.
    pub fn unanswered(&self) -> impl Iterator<Item = &Message> {
        let answered = self.messages.iter().rposition(|m| m.role == Role::Assistant).map_or(0, |at| at + 1);
        self.messages.iter().skip(answered)
    }

    /// What the next turn answers: the first message that waits, and those right behind it with the same choice of model.
    pub fn next_prompts(&self) -> impl Iterator<Item = &Message> {
        let choice = self.unanswered().next().map(|message| &message.for_model);
        self.unanswered().take_while(move |message| choice == Some(&message.for_model))
    }

    /// The model that is to answer them, if they name one.
    pub fn model_asked_for(&self) -> Option<&str> {
        self.unanswered().next()?.for_model.as_deref()
    }

    /// The project as a line of a list.
    pub fn summary(&self) -> ProjectSummary {
        let prompt = self.messages.iter().find(|m| m.role == Role::User).map(Message::text).unwrap_or_default();
        let running = self.sandbox.as_ref().is_some_and(|s| s.phase == SandboxPhase::Running);
        ProjectSummary {
            id: self.id.clone(),
            name: self.name.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            working: self.turn.is_some(),
            sandbox: self.sandbox.as_ref().map(|s| s.phase),
            preview_url: self.preview.as_ref().filter(|_| running).map(|p| p.url.clone()),
            prompt: prompt.chars().take(200).collect(),
        }
    }

    fn fold(&mut self, at: u64, body: &EventBody) -> Vec<Change> {
        match body {
            EventBody::ProjectCreated { name, .. } | EventBody::ProjectRenamed { name } => {
                self.name.clone_from(name);
                vec![Change::Project]
            }
            EventBody::UserMessage { message, text, attachments, model } => {
                let mut sent = Message::user(message.clone(), at, text.clone());
                sent.attachments.clone_from(attachments);
                sent.for_model.clone_from(model);
                self.messages.push(sent);
                vec![Change::Messages]
            }
            EventBody::TurnStarted { turn, message, model, waiting } => {
                let left = self.unanswered().count().min(*waiting as usize);
                let answer = Message::assistant(message.clone(), at, turn.clone(), model.clone());
                self.messages.insert(self.messages.len() - left, answer);
                self.turn = Some(TurnView { run: turn.clone(), message: message.clone(), started_at: at });
                vec![Change::Messages, Change::Turn]
            }
            EventBody::TurnRewound { message, parts } => {
                let keep = *parts as usize;
                let Some(target) = self.message_mut(message) else { return Vec::new() };
                let dropped: Vec<CallId> = target
                    .parts
                    .iter()
                    .skip(keep)
                    .filter_map(|part| match part {
                        Part::Tool(call) => Some(call.call.clone()),
                        _ => None,
                    })
                    .collect();
                target.parts.truncate(keep);
                self.drafts.retain(|draft| !dropped.contains(&draft.call));
                vec![Change::Message(message.clone()), Change::Drafts]
            }
            EventBody::TextDelta { message, part, text } => {
                self.with_message(message, |m| match m.parts.get_mut(*part as usize) {
                    Some(Part::Text { text: have, .. }) => have.push_str(text),
                    _ => m.parts.push(Part::Text { text: text.clone(), html: None }),
                })
            }
            EventBody::ReasoningDelta { message, part, text } => {
                self.with_message(message, |m| match m.parts.get_mut(*part as usize) {
                    Some(Part::Reasoning { text: have }) => have.push_str(text),
                    _ => m.parts.push(Part::Reasoning { text: text.clone() }),
                })
            }
            EventBody::PartRendered { message, part, html } => self.with_message(message, |m| {
                if let Some(Part::Text { html: have, .. }) = m.parts.get_mut(*part as usize) {
                    *have = Some(html.clone());
                }
            }),
            EventBody::ToolCallStarted { message, call, tool, .. } => self.with_message(message, |m| {
                m.parts.push(Part::Tool(ToolCall::new(call.clone(), tool.clone(), at)));
            }),
            EventBody::FileDelta { call, path, text } => self.fold_draft(call, path, text),
            EventBody::ToolCallSubmitted { call, run, title } => self.with_call(call, |c| {
                c.state = ToolState::Running;
                c.run.clone_from(run);
                c.title.clone_from(title);
            }),
            EventBody::ToolCallFinished { call, ok, summary, output, duration_ms } => {
                self.drafts.retain(|draft| draft.call != *call);
                let mut touched = self.with_call(call, |c| {
                    c.state = if *ok { ToolState::Done } else { ToolState::Failed };
                    c.summary.clone_from(summary);
                    c.output.clone_from(output);
                    c.duration_ms = Some(*duration_ms);
                });
                touched.push(Change::Drafts);
                touched
            }
            EventBody::PlanChanged { call, steps } => self.fold_plan(call, steps),
            EventBody::FileWritten { path, call, .. } => {
                self.files_rev += 1;
                self.files_at = at;
                let mut touched = vec![Change::Files];
                if let Some(call) = call {
                    self.drafts.retain(|draft| draft.call != *call || draft.path != *path);
                    touched.push(Change::Drafts);
                    touched.extend(self.with_call(call, |c| c.mark_file(path, true)));
                }
                touched
            }
            EventBody::FilesChanged => {
                self.files_rev += 1;
                self.files_at = at;
                vec![Change::Files]
            }
            EventBody::SandboxChanged { sandbox } => {
                let alive = sandbox.phase == SandboxPhase::Running;
                self.sandbox = Some(sandbox.clone());
                if !alive {
                    self.ports.clear();
                }
                vec![Change::Sandbox, Change::Preview]
            }
            EventBody::NetworkPolicyChanged { policy } => {
                self.network.policy = policy.clone();
                vec![Change::Network]
            }
            EventBody::NetworkUsed { lines } => {
                self.network.take(lines);
                vec![Change::Network]
            }
            EventBody::CommandStarted { command, line, cwd, background, call, run } => {
                self.commands.push(CommandView {
                    id: command.clone(),
                    line: line.clone(),
                    cwd: cwd.clone(),
                    background: *background,
                    call: call.clone(),
                    run: run.clone(),
                    started_at: at,
                    exit: None,
                    duration_ms: None,
                    bytes: 0,
                });
                self.forget_old_commands();
                let mut touched = vec![Change::Commands];
                if let Some(call) = call {
                    touched.extend(self.with_call(call, |c| c.command = Some(command.clone())));
                }
                touched
            }
            EventBody::CommandExited { command, exit, duration_ms, bytes } => {
                if let Some(target) = self.commands.iter_mut().rev().find(|c| c.id == *command) {
                    target.exit = Some(exit.clone());
                    target.duration_ms = Some(*duration_ms);
                    target.bytes = *bytes;
                }
                vec![Change::Commands]
            }
            EventBody::PortOpened { port, url } => {
                self.ports.retain(|p| p.port != *port);
                self.ports.push(PortView { port: *port, url: url.clone() });
                vec![Change::Preview]
            }
            EventBody::PortClosed { port } => {
                self.ports.retain(|p| p.port != *port);
                vec![Change::Preview]
            }
            EventBody::PreviewReady { port, url, status } => {
                let rev = self.preview.as_ref().map_or(0, |p| p.rev) + 1;
                self.preview = Some(PreviewView { port: *port, url: url.clone(), status: *status, rev });
                vec![Change::Preview]
            }
            EventBody::RunChanged { run } => {
                match self.runs.iter_mut().rev().find(|r| r.id == run.id) {
                    Some(have) => have.clone_from(run),
                    None => self.runs.push((**run).clone()),
                }
                let excess = self.runs.len().saturating_sub(RUNS_KEPT);
                self.runs.drain(..excess);
                vec![Change::Runs]
            }
            EventBody::CheckpointMade { turn, checkpoint } => {
                let Some(message) = self.messages.iter_mut().rev().find(|m| m.turn.as_ref() == Some(turn)) else {
                    return Vec::new();
                };
                message.checkpoint = Some(checkpoint.clone());
                vec![Change::Message(message.id.clone())]
            }
            EventBody::WentBack { message } => self.fold_went_back(message.as_ref()),
            EventBody::FaultSeen { .. }
            | EventBody::FaultsGone { .. }
            | EventBody::FixStarted { .. }
            | EventBody::FixGivenUp { .. }
            | EventBody::FixAllowed { .. }
            | EventBody::AutoFixSet { .. }
            | EventBody::TurnChecked { .. } => self.fold_fault(at, body),
            EventBody::MessageWithdrawn { message } => {
                let Some(at) = self.waiting_at(message) else { return Vec::new() };
                self.messages.remove(at);
                vec![Change::Messages]
            }
            EventBody::MessageMovedUp { message } => {
                let Some(at) = self.waiting_at(message) else { return Vec::new() };
                if at > 0 && self.messages.get(at - 1).is_some_and(|m| m.role == Role::User) {
                    self.messages.swap(at - 1, at);
                }
                vec![Change::Messages]
            }
            EventBody::BudgetSet { limit } => {
                self.budget = *limit;
                vec![Change::Project]
            }
            EventBody::TurnFinished { turn, outcome, usage } => self.fold_turn_finished(at, turn, outcome, *usage),
        }
    }

    /// Where a message stands that no turn has answered.
    fn waiting_at(&self, id: &MessageId) -> Option<usize> {
        self.unanswered().any(|m| m.id == *id).then(|| self.messages.iter().position(|m| m.id == *id)).flatten()
    }

    fn fold_draft(&mut self, call: &CallId, path: &str, text: &str) -> Vec<Change> {
        match self.drafts.iter_mut().find(|d| d.call == *call && d.path == path) {
            Some(draft) => {
                draft.text.push_str(text);
                vec![Change::Drafts]
            }
            None => {
                self.drafts.push(Draft { call: call.clone(), path: path.to_owned(), text: text.to_owned() });
                let mut touched = self.with_call(call, |c| c.mark_file(path, false));
                touched.push(Change::Drafts);
                touched
            }
        }
    }

    fn forget_old_commands(&mut self) {
        let excess = self.commands.len().saturating_sub(COMMANDS_KEPT);
        let mut dropped = 0;
        self.commands.retain(|c| {
            let drop = dropped < excess && c.exit.is_some();
            dropped += usize::from(drop);
            !drop
        });
    }

    pub(super) fn message_mut(&mut self, id: &MessageId) -> Option<&mut Message> {
        self.messages.iter_mut().rev().find(|m| m.id == *id)
    }

    fn with_message(&mut self, id: &MessageId, change: impl FnOnce(&mut Message)) -> Vec<Change> {
        match self.message_mut(id) {
            Some(message) => {
                change(message);
                vec![Change::Message(id.clone())]
            }
            None => Vec::new(),
        }
    }

    fn with_call(&mut self, id: &CallId, change: impl FnOnce(&mut ToolCall)) -> Vec<Change> {
        for message in self.messages.iter_mut().rev() {
            for part in message.parts.iter_mut().rev() {
                if let Part::Tool(call) = part
                    && call.call == *id
                {
                    change(call);
                    return vec![Change::Message(message.id.clone())];
                }
            }
        }
        Vec::new()
    }
}
