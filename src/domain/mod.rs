//! What the server and the browser agree on: ids, events and the one reducer that folds them.
//!
//! Owns the event log's vocabulary and every small type that crosses the wire. Pure data and pure functions:
//! it must not know I/O, time, randomness, leptos, axum or SQL, and it compiles for both sides.

mod ansi;
mod attachment;
mod error;
mod event;
mod fault;
mod files;
pub mod html;
mod ids;
pub mod json;
mod logs;
mod network;
mod plan;
mod run;
mod state;
#[cfg(test)]
mod state_tests;
mod time;
mod turns;
mod views;
mod wire;

pub use ansi::{AnsiColor, AnsiStyle, Span, spans};
pub use attachment::{
    ATTACHMENTS_MAX, Attached, Attachment, FILE_MAX, IMAGE_MAX, check_count, check_size, image_type, workspace_path,
};
pub use error::{ApiError, ErrorCode};
pub use event::{
    Checkpoint, CommandExit, Event, EventBody, Limits, ModelRef, SandboxPhase, SandboxView, TurnOutcome, Usage,
};
pub use fault::{Checked, Fault, FaultKind, FaultState, FaultView};
pub use files::{FileKind, FileNode, PathError, TREE_MAX, build_tree, clean_path};
pub use ids::{AttachmentId, CallId, CommandId, IdError, MessageId, ProjectId, RunId, SandboxId};
pub use json::{FromJson, Unread};
pub use logs::{LogSlice, OutputChunk, OutputWindow};
pub use network::{NetworkLine, NetworkMode, NetworkPolicy, NetworkView};
pub use plan::{CheckError, CheckKind, PlanState, PlanStep, StepCheck};
pub use run::{Attempt, LogLevel, RunDetail, RunLog, RunStatus, RunSummary, Step};
pub use state::{Change, ProjectState};
pub use time::{civil, parse_rfc3339, rfc3339, rfc3339_nanos};
pub use views::{
    CommandView, Draft, Message, Part, PortView, PreviewView, ProjectSummary, Role, ToolCall, ToolState, TurnView,
};
