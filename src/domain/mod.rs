//! What the server and the browser agree on: ids, events and the one reducer that folds them.
//!
//! Owns the event log's vocabulary and every small type that crosses the wire. Pure data and pure functions:
//! it must not know I/O, time, randomness, leptos, axum or SQL, and it compiles for both sides.

mod ansi;
mod error;
mod event;
mod files;
mod ids;
pub mod json;
mod logs;
mod network;
mod run;
mod state;
#[cfg(test)]
mod state_tests;
mod time;
mod wire;

pub use ansi::{AnsiColor, AnsiStyle, Span, spans};
pub use error::{ApiError, ErrorCode};
pub use event::{CommandExit, Event, EventBody, Limits, ModelRef, SandboxPhase, SandboxView, TurnOutcome, Usage};
pub use files::{FileKind, FileNode, PathError, build_tree, clean_path};
pub use ids::{CallId, CommandId, IdError, MessageId, ProjectId, RunId, SandboxId};
pub use json::{FromJson, Unread};
pub use logs::{LogSlice, OutputChunk, OutputWindow};
pub use network::{NetworkLine, NetworkMode, NetworkPolicy, NetworkView};
pub use run::{Attempt, LogLevel, RunDetail, RunLog, RunStatus, RunSummary, Step};
pub use state::{
    Change, CommandView, Draft, Message, Part, PortView, PreviewView, ProjectState, ProjectSummary, Role, ToolCall,
    ToolState, TurnView,
};
pub use time::{parse_rfc3339, rfc3339, rfc3339_nanos};
