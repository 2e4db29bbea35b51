//! What a sandbox may reach over the network, and what it did reach.

use super::json::FromJson;
use serde::{Deserialize, Serialize};

/// Destinations kept in a project's state; those not used for longest go first.
const LINES_KEPT: usize = 100;

/// What is reached where no rule says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Everything of the internet. Never the host, private networks and cloud metadata: that no rule can change.
    #[default]
    Internet,
    /// Nothing but what the rules allow.
    Allowlist,
    /// Nothing.
    Off,
}

/// What a sandbox may reach.
///
/// A rule is a name (`example.com`), all names below one (`*.example.com`), an address or a network (`203.0.113.0/24`);
/// a name or address may have a port (`db.example.com:5432`), which opens that port besides 80 and 443.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct NetworkPolicy {
    /// Where no rule matches.
    pub mode: NetworkMode,
    /// Rules that allow; they win over those that deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Rules that deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// A destination: connections made to it, or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct NetworkLine {
    /// Name, or address where no name was looked up.
    pub target: String,
    /// The port.
    pub port: u16,
    /// Whether connections were made.
    pub allowed: bool,
    /// Why not, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The program that connected last, where it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// Connections, or attempts.
    pub connections: u64,
    /// Bytes the sandbox sent.
    pub sent: u64,
    /// Bytes it received.
    pub received: u64,
    /// When it last connected (Unix ms).
    pub last_at: u64,
}

/// The network as people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct NetworkView {
    /// What may be reached.
    pub policy: NetworkPolicy,
    /// What was, the latest first.
    pub lines: Vec<NetworkLine>,
}

impl NetworkLine {
    /// Why a destination was refused that a rule could allow: no rule allows it.
    pub const UNLISTED: &str = "not on the allowlist";
    /// The same: a rule denies it.
    pub const DENIED: &str = "on the list of what is denied";
    /// The same: only the host's proxy could look the name up, and it may lead into a private network.
    pub const UNCHECKED: &str = "the server cannot look this name up, and its proxy gets only names that a rule allows";

    /// Whether it was refused by the project's own policy, and not for good.
    pub fn can_be_allowed(&self) -> bool {
        !self.allowed && [Self::UNLISTED, Self::DENIED, Self::UNCHECKED].contains(&self.why.as_str())
    }

    /// The rule that would allow it.
    pub fn rule(&self) -> String {
        match self.port {
            80 | 443 => self.target.clone(),
            port => format!("{}:{port}", self.target),
        }
    }
}

impl NetworkView {
    /// Takes in newer counts of some destinations.
    pub(super) fn take(&mut self, lines: &[NetworkLine]) {
        let same = |a: &NetworkLine, b: &NetworkLine| (a.port, a.allowed, &a.target) == (b.port, b.allowed, &b.target);
        self.lines.retain(|known| !lines.iter().any(|line| same(line, known)));
        self.lines.extend_from_slice(lines);
        self.lines.sort_by(|a, b| b.last_at.cmp(&a.last_at).then_with(|| a.target.cmp(&b.target)));
        self.lines.truncate(LINES_KEPT);
    }
}

impl NetworkPolicy {
    /// The same with one more destination allowed.
    pub fn allowing(mut self, target: &str) -> Self {
        self.deny.retain(|rule| rule != target);
        if !self.allow.iter().any(|rule| rule == target) {
            self.allow.push(target.to_owned());
        }
        self
    }

    /// The same with one rule less, of whichever kind.
    pub fn without(mut self, rule: &str) -> Self {
        for rules in [&mut self.allow, &mut self.deny] {
            rules.retain(|known| known != rule);
        }
        self
    }
}
