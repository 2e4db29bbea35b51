//! The event log's vocabulary. An event is stored once, numbered without gaps from 1 in its project, and never changed.
//!
//! Adding a variant is compatible; changing the meaning of one is not (old logs are folded by new code).

use super::json::{self, FromJson, Unread};
use super::wire;
use super::{
    ApiError, Attachment, CallId, Checked, CommandId, Fault, MessageId, NetworkLine, NetworkPolicy, PlanStep,
    ProjectId, RunId, RunSummary, SandboxId,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// One numbered fact about a project. On the wire it is flat: `{"seq": 7, "at": …, "type": "text_delta", …}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Position in the project's log, from 1, without gaps. It is also the SSE `id`.
    pub seq: u64,
    /// When it was appended (Unix ms, the server's clock).
    pub at: u64,
    /// What happened.
    pub body: EventBody,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = wire::flatten(&self.body, "type").map_err(serde::ser::Error::custom)?;
        fields.insert("seq".to_owned(), self.seq.into());
        fields.insert("at".to_owned(), self.at.into());
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::<String, Value>::deserialize(deserializer)?;
        let mut number = |name: &str| {
            let number = fields.remove(name).and_then(|value| value.as_u64());
            number.ok_or_else(|| D::Error::custom(format!("missing field `{name}`")))
        };
        let (seq, at) = (number("seq")?, number("at")?);
        let body = wire::nest(fields, "type").map_err(D::Error::custom)?;
        Ok(Self { seq, at, body: serde_json::from_value(body).map_err(D::Error::custom)? })
    }
}

impl FromJson for Event {
    fn from_json(value: Value) -> Result<Self, Unread> {
        let mut fields = json::fields(value)?;
        let (seq, at) = (json::field(&mut fields, "seq")?, json::field(&mut fields, "at")?);
        let body = wire::nest(fields, "type").map_err(|_| Unread("an event"))?;
        Ok(Self { seq, at, body: EventBody::from_json(body)? })
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// The first event of every log.
    ProjectCreated {
        /// The project itself.
        project: ProjectId,
        /// Its first name, taken from the prompt.
        name: String,
    },
    /// A new name.
    ProjectRenamed {
        /// The name.
        name: String,
    },
    /// A person (or program) wrote a message. While a turn runs it waits for the next one.
    UserMessage {
        /// Its id.
        message: MessageId,
        /// The text, as typed.
        text: String,
        /// The files that came with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
        /// Id of the model that is to answer, if one was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// The agent began to answer; the message is empty until parts arrive.
    TurnStarted {
        /// The run of the `agentTurn` task.
        turn: RunId,
        /// The assistant's message that will hold the answer.
        message: MessageId,
        /// Which model answers.
        model: ModelRef,
        /// How many of the messages that wait it leaves to the next turn. The answer stands before them.
        #[serde(default)]
        waiting: u32,
    },
    /// After a crash the step that was being streamed is streamed again: parts from this index on are dropped.
    TurnRewound {
        /// The assistant's message.
        message: MessageId,
        /// How many parts stay.
        parts: u32,
    },
    /// Text of the answer. `part` is the index in the message; it grows by one when the kind of part changes.
    TextDelta {
        /// The assistant's message.
        message: MessageId,
        /// Index of the part.
        part: u32,
        /// What to append.
        text: String,
    },
    /// Reasoning the model shows.
    ReasoningDelta {
        /// The assistant's message.
        message: MessageId,
        /// Index of the part.
        part: u32,
        /// What to append.
        text: String,
    },
    /// A text part is complete; this is its sanitized HTML, rendered on the server.
    PartRendered {
        /// The assistant's message.
        message: MessageId,
        /// Index of the part.
        part: u32,
        /// Sanitized HTML.
        html: String,
    },
    /// The model began to write a tool call.
    ToolCallStarted {
        /// The assistant's message.
        message: MessageId,
        /// Index of the part.
        part: u32,
        /// The call.
        call: CallId,
        /// Tool name, for instance `generate_files`. May be one that does not exist.
        tool: String,
    },
    /// Content of a file the model is writing, before the tool runs. Also sent with empty text when a file begins.
    FileDelta {
        /// The call that writes it.
        call: CallId,
        /// Path relative to the workspace.
        path: String,
        /// What to append.
        text: String,
    },
    /// The arguments are complete and valid: a run executes them.
    ToolCallSubmitted {
        /// The call.
        call: CallId,
        /// The run that executes it; none for tools that touch no sandbox.
        run: Option<RunId>,
        /// What it does in a few words, for instance `npm install` or `4 files`.
        title: String,
    },
    /// The tool returned, and this is what the model is told.
    ToolCallFinished {
        /// The call.
        call: CallId,
        /// Whether it did what was asked. A command that exits with 1 has run: that is `true` with its exit in `summary`.
        ok: bool,
        /// One line for the card, for instance `added 312 packages` or `exit code 1`.
        summary: String,
        /// What the model reads, cut to 4 KiB.
        output: String,
        /// Duration in milliseconds.
        duration_ms: u64,
    },
    /// The model made a plan, or is further in it.
    PlanChanged {
        /// The call that said so.
        call: CallId,
        /// All of it.
        steps: Vec<PlanStep>,
    },
    /// A file is in the workspace, completely.
    FileWritten {
        /// Path relative to the workspace.
        path: String,
        /// Size in bytes.
        bytes: u64,
        /// The call that wrote it.
        call: Option<CallId>,
    },
    /// Files changed in another way (a command, an upload): the tree is to be read again.
    FilesChanged,
    /// The sandbox is in another state.
    SandboxChanged {
        /// Its new state, whole.
        sandbox: SandboxView,
    },
    /// A command starts. This comes before its process does, so that none is forgotten when the server dies.
    CommandStarted {
        /// The command.
        command: CommandId,
        /// The command line as a person would type it.
        line: String,
        /// Working directory relative to the workspace, empty for its root.
        cwd: String,
        /// Whether nobody waits for its end (a dev server).
        background: bool,
        /// The tool call that asked for it.
        call: Option<CallId>,
        /// The run that started it.
        run: Option<RunId>,
    },
    /// A command ended.
    CommandExited {
        /// The command.
        command: CommandId,
        /// How.
        exit: CommandExit,
        /// Duration in milliseconds.
        duration_ms: u64,
        /// Bytes of output in all, also those no longer kept.
        bytes: u64,
    },
    /// Something inside listens on a TCP port.
    PortOpened {
        /// The port.
        port: u16,
        /// Where a browser on this server's machine reaches it.
        url: String,
    },
    /// Nothing listens there any more.
    PortClosed {
        /// The port.
        port: u16,
    },
    /// The app answered HTTP on this port: show it.
    PreviewReady {
        /// The port.
        port: u16,
        /// Where the browser reaches it.
        url: String,
        /// Status of the answer.
        status: u16,
    },
    /// The sandbox may reach something else than before.
    NetworkPolicyChanged {
        /// What it may reach now.
        policy: NetworkPolicy,
    },
    /// Destinations the sandbox connected to or was refused. Sent when one is new and when its counts have doubled.
    NetworkUsed {
        /// The destinations with their counts so far.
        lines: Vec<NetworkLine>,
    },
    /// A run of this project changed.
    RunChanged {
        /// Its new state, whole.
        run: Box<RunSummary>,
    },
    /// What the project's turns may cost in all was set.
    BudgetSet {
        /// Millionths of a US dollar; none for no limit.
        limit: Option<u64>,
    },
    /// The workspace was stored at the end of a turn.
    CheckpointMade {
        /// The turn.
        turn: RunId,
        /// What was stored.
        checkpoint: Checkpoint,
    },
    /// Conversation and files went back: messages behind this one are gone from both.
    WentBack {
        /// The last message that stays; none if all are gone.
        message: Option<MessageId>,
    },
    /// A message that waited was withdrawn.
    MessageWithdrawn {
        /// Which.
        message: MessageId,
    },
    /// A message that waits is to be answered before the one it stood behind.
    MessageMovedUp {
        /// Which.
        message: MessageId,
    },
    /// Something went wrong in the running app.
    FaultSeen {
        /// What.
        fault: Fault,
    },
    /// Faults are no more, or were overtaken by a change of the files.
    FaultsGone {
        /// Their ids.
        faults: Vec<String>,
    },
    /// The agent sends itself these faults to fix.
    FixStarted {
        /// The message that says so.
        message: MessageId,
        /// What it says.
        text: String,
        /// The faults.
        faults: Vec<String>,
    },
    /// A fault came back after the last try that is allowed.
    FixGivenUp {
        /// Its id.
        fault: String,
    },
    /// A person wants a fault that was given up to be tried again.
    FixAllowed {
        /// Its id.
        fault: String,
    },
    /// Fixing by itself was switched.
    AutoFixSet {
        /// Whether it is on.
        on: bool,
    },
    /// What was checked before the agent said it is done.
    TurnChecked {
        /// The turn.
        turn: RunId,
        /// The checks.
        checks: Vec<Checked>,
    },
    /// The turn ended.
    TurnFinished {
        /// The turn.
        turn: RunId,
        /// How.
        outcome: TurnOutcome,
        /// What it cost, where the provider says so.
        usage: Option<Usage>,
    },
}

/// A model, as the UI names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct ModelRef {
    /// The id sent to the provider, for instance `anthropic/claude-sonnet-4.6`.
    pub id: String,
    /// A name for people.
    pub label: String,
    /// Whether it is the recorded demo.
    pub demo: bool,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum TurnOutcome {
    /// The model said it is done.
    Completed,
    /// A person stopped it.
    Stopped,
    /// The step limit was reached; it can be continued.
    StepLimit {
        /// The limit.
        steps: u32,
    },
    /// It failed; it can be retried.
    Failed {
        /// The real reason, with the provider's own words where it is theirs.
        error: ApiError,
    },
}

/// Tokens of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Usage {
    /// Tokens sent, over all steps.
    pub input_tokens: u64,
    /// Tokens received, over all steps.
    pub output_tokens: u64,
    /// Of those sent, how many the provider read from its cache.
    pub cached_tokens: u64,
    /// What they cost in millionths of a US dollar, where provider or price list tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
}

impl Usage {
    /// Dollars as [`Usage::cost`] counts them; none for what is no amount.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    pub fn micro_usd(dollars: f64) -> Option<u64> {
        let micro = (dollars * 1e6).round();
        (micro.is_finite() && (0.0..1e15).contains(&micro)).then_some(micro as u64)
    }

    /// Adds what a further step used.
    pub fn add(&mut self, more: &Self) {
        self.input_tokens += more.input_tokens;
        self.output_tokens += more.output_tokens;
        self.cached_tokens += more.cached_tokens;
        if let Some(cost) = more.cost {
            *self.cost.get_or_insert(0) += cost;
        }
    }
}

/// The workspace as it was at the end of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Checkpoint {
    /// The commit in the project's repository.
    pub commit: String,
    /// Files that changed since the checkpoint before.
    pub files: u32,
    /// Lines that are new.
    pub added: u32,
    /// Lines that are gone.
    pub removed: u32,
    /// Some of the files that it does not hold, if there are any: too large, unreadable or oddly named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum SandboxPhase {
    /// Being built.
    Creating,
    /// Alive.
    Running,
    /// Put to sleep after being idle, or by a restart of the server; the workspace is kept and it wakes on demand.
    Asleep,
    /// Could not be built, or died; the workspace is kept.
    Failed,
}

/// A sandbox as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct SandboxView {
    /// Its id; it stays the same for the project's life.
    pub id: SandboxId,
    /// What it is doing.
    pub phase: SandboxPhase,
    /// Why, where that needs words: an error, "idle for 15 minutes".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `local` or `e2b`.
    pub provider: String,
    /// What it may use.
    pub limits: Limits,
}

/// What a sandbox may use, and by which mechanism each is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Limits {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Workspace size in MiB.
    pub disk_mib: u64,
    /// CPU time in percent of one core; 0 for a fair share of what there is.
    #[serde(default)]
    pub cpu_percent: u64,
    /// Files and folders of the workspace.
    #[serde(default)]
    pub files: u64,
    /// Files one process may have open.
    #[serde(default)]
    pub open_files: u64,
    /// Output kept of one command in MiB; of a flood its beginning and its end.
    #[serde(default)]
    pub output_mib: u64,
    /// How they are held, for instance `memory, processes and CPU by cgroup v1, disk by a watcher`.
    pub mechanism: String,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct CommandExit {
    /// Exit code, if it exited by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Signal name without `SIG`, if one killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why, where the platform knows: `stopped`, `time limit of 300 s`, `out of memory: 512 MiB limit`,
    /// `interrupted by a restart of the server`, `not started: ` and the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CommandExit {
    /// How a reason begins that says there never was a process.
    const NOT_STARTED: &str = "not started: ";

    /// The end of a command whose process could not be started.
    pub fn not_started(why: &impl std::fmt::Display) -> Self {
        Self { reason: Some(format!("{}{why}", Self::NOT_STARTED)), ..Self::default() }
    }

    /// Whether there certainly never was a process, so that starting it is no repetition.
    pub fn never_started(&self) -> bool {
        self.reason.as_deref().is_some_and(|reason| reason.starts_with(Self::NOT_STARTED))
    }

    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// In a few words: `exit code 1`, `killed by TERM (stopped)`.
    pub fn describe(&self) -> String {
        let how = match (self.code, &self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by {signal}"),
            (None, None) => "ended".to_owned(),
        };
        match &self.reason {
            Some(reason) if self.never_started() => reason.clone(),
            Some(reason) => format!("{how} ({reason})"),
            None => how,
        }
    }
}
