//! What is known of a sandbox or an image and outlives the server.

use crate::domain::{NetworkMode, NetworkPolicy, SandboxId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A sandbox made over the e2b API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: SandboxId,
    /// The key that made it, and the only one that sees it.
    pub owner: String,
    /// The id of what it was made from.
    pub template: String,
    /// Opens its commands and files.
    pub token: String,
    /// Opens its ports, where they are not public.
    pub traffic_token: Option<String>,
    /// The caller's own words about it.
    pub metadata: BTreeMap<String, String>,
    /// Environment of its commands.
    pub envs: BTreeMap<String, String>,
    /// When it was made (Unix ms); it orders lists.
    pub created_at: u64,
    /// When it was last made or resumed.
    pub started_at: u64,
    /// When its time is up.
    pub ends_at: u64,
    /// The time it was last given, in milliseconds; what it gets again when traffic wakes it.
    pub timeout: u64,
    /// Whether it is in use.
    pub phase: Phase,
    /// What happens when its time is up.
    pub on_timeout: OnTimeout,
    /// Whether processes are kept when that pauses it.
    pub keep_memory: bool,
    /// Whether traffic wakes it.
    pub auto_resume: bool,
    /// Its way out.
    pub network: Network,
    /// Started in a new sandbox and after each loss of its processes, if its template has one.
    pub start_command: Option<String>,
    /// Succeeds once that is ready.
    #[serde(default)]
    pub ready_command: Option<String>,
    /// Where commands and relative paths begin, if not at home.
    #[serde(default)]
    pub workdir: Option<String>,
    /// A name of what it was made from, if that has one.
    #[serde(default)]
    pub alias: Option<String>,
}

/// Whether a sandbox is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It answers, or starts at the first word to it.
    Running,
    /// It waits to be resumed.
    Paused,
}

/// What happens to a sandbox whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// It is deleted.
    Kill,
    /// It is paused.
    Pause,
}

/// A sandbox's network as its owner set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Whether it reaches the internet, if that was said.
    pub internet: Option<bool>,
    /// Names, addresses and networks it may reach, whatever is denied.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Addresses and networks it may not reach.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Whether its ports are closed to whoever has no token for them.
    pub private_ports: bool,
    /// The `Host` its ports see instead of the one asked for.
    pub mask_host: Option<String>,
}

impl Network {
    /// What is to be held.
    pub fn policy(&self) -> NetworkPolicy {
        let everything = |rule: &String| rule == "0.0.0.0/0" || rule == "::/0";
        let closed = self.internet == Some(false) || self.deny.iter().any(everything);
        let open_again = self.allow.iter().any(everything);
        let rules = |list: &[String]| list.iter().filter(|rule| !everything(rule)).cloned().collect();
        let mode = if closed && !open_again { NetworkMode::Allowlist } else { NetworkMode::Internet };
        NetworkPolicy { mode, allow: rules(&self.allow), deny: rules(&self.deny) }
    }
}

/// Files to make sandboxes from: a snapshot or a template.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: SandboxId,
    /// The key that made it.
    pub owner: String,
    /// What kind.
    pub kind: ImageKind,
    /// Names it answers to, besides its id.
    pub names: Vec<String>,
    /// Tags it bears; no other build of its template bears them.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: u64,
    /// Environment it brings.
    pub envs: BTreeMap<String, String>,
    /// What to start in a sandbox made from it.
    pub start_command: Option<String>,
    /// Succeeds once that is ready.
    #[serde(default)]
    pub ready_command: Option<String>,
    /// Where commands and relative paths begin, if not at home.
    #[serde(default)]
    pub workdir: Option<String>,
}

impl Image {
    /// The id that callers know: of a build it is the template's.
    pub fn public_id(&self) -> &SandboxId {
        match &self.kind {
            ImageKind::Snapshot { .. } => &self.id,
            ImageKind::Template { template, .. } => template,
        }
    }
}

/// What kind of image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ImageKind {
    /// Taken from a sandbox.
    Snapshot {
        /// Which.
        of: SandboxId,
    },
    /// Built from steps.
    Template {
        /// The template that this build is of.
        template: SandboxId,
        /// The build's id, a UUID.
        build: String,
    },
}
