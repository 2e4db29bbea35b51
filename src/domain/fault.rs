//! Faults of the running app, and the checks made before the agent says it is done.

use super::AttachmentId;
use super::json::FromJson;
use serde::{Deserialize, Serialize};

/// Where a fault showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A background command ended although it should run.
    Exit,
    /// A background command wrote an error.
    Output,
    /// The app answered a page with 500 or above.
    Http,
    /// A script in the page failed.
    Browser,
    /// The page stayed empty.
    Blank,
}

impl FaultKind {
    /// In a word or two.
    pub fn label(self) -> &'static str {
        match self {
            Self::Exit => "process ended",
            Self::Output => "server log",
            Self::Http => "HTTP error",
            Self::Browser => "browser",
            Self::Blank => "blank page",
        }
    }
}

/// Something that went wrong in the app. The same fault seen again has the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Fault {
    /// Its fingerprint.
    pub id: String,
    /// Where it showed.
    pub kind: FaultKind,
    /// One line.
    pub title: String,
    /// What was seen, cut to 4 KiB.
    pub detail: String,
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum FaultState {
    /// It was seen.
    Open,
    /// A turn works on it.
    Trying,
    /// It was not seen again.
    Gone,
    /// It came back after the last try that is allowed.
    GivenUp,
}

/// A fault and its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct FaultView {
    /// The fault, as last seen.
    pub fault: Fault,
    /// What became of it.
    pub state: FaultState,
    /// How often it was seen.
    pub seen: u32,
    /// How often a turn tried to fix it.
    pub tries: u32,
    /// What the tries cost, in millionths of a US dollar, as far as known.
    pub cost: u64,
    /// Tokens the tries used.
    pub tokens: u64,
    /// When it was first seen (Unix ms).
    pub first_at: u64,
    /// When it was last seen (Unix ms).
    pub last_at: u64,
}

/// One thing that was checked before the agent said it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Checked {
    /// What, for instance `The app answers`.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// The evidence.
    pub detail: String,
    /// Whether it could not be checked here; then `ok` says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// A picture of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<AttachmentId>,
}
