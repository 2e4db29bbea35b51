//! What a folded project is made of: messages and their parts, commands, ports, drafts.
//!
//! Data, and how each begins. How events change them is the fold's (`state`, `turns`).

use super::event::{Checkpoint, CommandExit, ModelRef, SandboxPhase, TurnOutcome, Usage};
use super::json::FromJson;
use super::{Attachment, CallId, Checked, CommandId, MessageId, PlanStep, ProjectId, RunId};
use serde::{Deserialize, Serialize};

/// A project in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct ProjectSummary {
    /// The project.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// When it was created (Unix ms).
    pub created_at: u64,
    /// When something last happened (Unix ms).
    pub updated_at: u64,
    /// Whether the agent is at work.
    pub working: bool,
    /// What its sandbox does.
    pub sandbox: Option<SandboxPhase>,
    /// The app, if it answers.
    pub preview_url: Option<String>,
    /// The first prompt, cut to 200 characters.
    pub prompt: String,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A person or a program.
    User,
    /// The agent.
    Assistant,
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Who wrote it.
    pub role: Role,
    /// When it began (Unix ms).
    pub at: u64,
    /// Which model, for the agent's.
    pub model: Option<ModelRef>,
    /// The turn that wrote it, for the agent's.
    pub turn: Option<RunId>,
    /// Its parts, in order. A user's message has one text part.
    pub parts: Vec<Part>,
    /// The files that came with it, for a user's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Id of the model that is to answer it, for a user's that names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_model: Option<String>,
    /// What the agent set out to do, and how far it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<PlanStep>,
    /// How the turn ended, for the agent's.
    pub outcome: Option<TurnOutcome>,
    /// Tokens, once ended.
    pub usage: Option<Usage>,
    /// When the turn ended (Unix ms).
    pub finished_at: Option<u64>,
    /// The workspace at the turn's end.
    pub checkpoint: Option<Checkpoint>,
    /// What was checked before the agent said it is done.
    pub checks: Vec<Checked>,
    /// The faults the agent was sent with this message, if it sent it to itself.
    pub fixes: Vec<String>,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Words.
    Text {
        /// As the model wrote them (markdown).
        text: String,
        /// Sanitized HTML, once the part is complete.
        html: Option<String>,
    },
    /// Reasoning.
    Reasoning {
        /// As the model wrote it.
        text: String,
    },
    /// A tool call.
    Tool(ToolCall),
}

/// A tool call in the chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct ToolCall {
    /// Its id.
    pub call: CallId,
    /// Tool name.
    pub tool: String,
    /// What it does, once the arguments are complete.
    pub title: String,
    /// Where it is.
    pub state: ToolState,
    /// The run that executes it.
    pub run: Option<RunId>,
    /// Files it writes: path and whether the file is in the workspace.
    pub files: Vec<(String, bool)>,
    /// The command it started.
    pub command: Option<CommandId>,
    /// One line about the result.
    pub summary: String,
    /// What the model was told, cut.
    pub output: String,
    /// When the model began to write it (Unix ms).
    pub started_at: u64,
    /// Duration in milliseconds, once ended.
    pub duration_ms: Option<u64>,
}

/// Where a tool call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// The model writes the arguments.
    Writing,
    /// It runs.
    Running,
    /// It did what was asked.
    Done,
    /// It did not.
    Failed,
}

/// The running turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct TurnView {
    /// Its run.
    pub run: RunId,
    /// The message it writes.
    pub message: MessageId,
    /// When it began (Unix ms).
    pub started_at: u64,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct CommandView {
    /// Its id.
    pub id: CommandId,
    /// As a person would type it.
    pub line: String,
    /// Working directory relative to the workspace.
    pub cwd: String,
    /// Whether nobody waits for its end.
    pub background: bool,
    /// The tool call that asked for it.
    pub call: Option<CallId>,
    /// The run that started it.
    pub run: Option<RunId>,
    /// When it started (Unix ms).
    pub started_at: u64,
    /// How it ended; none while it runs.
    pub exit: Option<CommandExit>,
    /// Duration in milliseconds, once ended.
    pub duration_ms: Option<u64>,
    /// Bytes of output, once ended.
    pub bytes: u64,
}

/// An open port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct PortView {
    /// The port.
    pub port: u16,
    /// Where the browser reaches it.
    pub url: String,
}

/// The app to show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct PreviewView {
    /// The port.
    pub port: u16,
    /// Where the browser reaches it.
    pub url: String,
    /// Status of its first answer.
    pub status: u16,
    /// Grows with each `PreviewReady`: a new value means "load it again".
    pub rev: u64,
}

/// A file while the model writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct Draft {
    /// The call that writes it.
    pub call: CallId,
    /// Path relative to the workspace.
    pub path: String,
    /// Content so far.
    pub text: String,
}

impl Message {
    pub(super) fn user(id: MessageId, at: u64, text: String) -> Self {
        Self {
            id,
            role: Role::User,
            at,
            model: None,
            turn: None,
            parts: vec![Part::Text { text, html: None }],
            attachments: Vec::new(),
            for_model: None,
            plan: Vec::new(),
            outcome: None,
            usage: None,
            finished_at: None,
            checkpoint: None,
            checks: Vec::new(),
            fixes: Vec::new(),
        }
    }

    pub(super) fn assistant(id: MessageId, at: u64, turn: RunId, model: ModelRef) -> Self {
        Self {
            id,
            role: Role::Assistant,
            at,
            model: Some(model),
            turn: Some(turn),
            parts: Vec::new(),
            attachments: Vec::new(),
            for_model: None,
            plan: Vec::new(),
            outcome: None,
            usage: None,
            finished_at: None,
            checkpoint: None,
            checks: Vec::new(),
            fixes: Vec::new(),
        }
    }

    /// Its words, without reasoning and tool calls.
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Text { text, .. } => Some(text.trim_end()),
                Part::Reasoning { .. } | Part::Tool(_) => None,
            })
            .collect::<Vec<_>>()
            .join("\n\n")
    }
}

impl ToolCall {
    pub(super) fn new(call: CallId, tool: String, at: u64) -> Self {
        Self {
            call,
            tool,
            title: String::new(),
            state: ToolState::Writing,
            run: None,
            files: Vec::new(),
            command: None,
            summary: String::new(),
            output: String::new(),
            started_at: at,
            duration_ms: None,
        }
    }

    pub(super) fn mark_file(&mut self, path: &str, written: bool) {
        match self.files.iter_mut().find(|(have, _)| have == path) {
            Some((_, state)) => *state |= written,
            None => self.files.push((path.to_owned(), written)),
        }
    }
}
