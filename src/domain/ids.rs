//! Typed ids. Every id is checked when it enters (URL, JSON, database), so the rest of the code may trust it.

use super::json::{FromJson, Unread};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// An id that does not have the shape its kind requires.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" is not a valid {kind} id")]
pub struct IdError {
    /// What the id should have named.
    pub kind: &'static str,
    /// The text that was refused, cut to 80 characters.
    pub value: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text and wraps it.
            pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    Ok(Self(text))
                } else {
                    Err(IdError { kind: $kind, value: text.chars().take(80).collect() })
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromJson for $name {
            fn from_json(value: Value) -> Result<Self, Unread> {
                Self::parse(String::from_json(value)?).map_err(|_| Unread($kind))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

fn prefixed(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

id!(
    /// A project: one conversation, one workspace, at most one live sandbox. `prj_` and a lower-case ULID.
    ProjectId, "project", |t| prefixed(t, "prj_"));
id!(
    /// One message of a conversation. `msg_` and a lower-case ULID.
    MessageId, "message", |t| prefixed(t, "msg_"));
id!(
    /// One run of a task. `run_` and a lower-case ULID.
    RunId, "run", |t| prefixed(t, "run_"));
id!(
    /// One command started in a sandbox. `cmd_` and a lower-case ULID.
    CommandId, "command", |t| prefixed(t, "cmd_"));
id!(
    /// A sandbox, in e2b's form: `i` and 19 characters of `[a-z0-9]`, so that it is a valid DNS label.
    SandboxId, "sandbox", |t| t.len() == 20
        && t.starts_with('i')
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
id!(
    /// A tool call inside a turn. Made by the server (`call_` ...): models repeat or omit theirs.
    CallId, "tool call", |t| prefixed(t, "call_"));
id!(
    /// A file that came with a message: the SHA-256 of its bytes in lower-case hex, so equal files are one.
    AttachmentId, "attachment", |t| t.len() == 64
        && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_wrong_shape_are_refused_with_their_kind() {
        let error = ProjectId::parse("../../etc").unwrap_err();
        assert_eq!(error.to_string(), "\"../../etc\" is not a valid project id");
        assert!(SandboxId::parse("i123").is_err());
        assert!(SandboxId::parse("I1234567890123456789").is_err());
        assert!(SandboxId::parse("i1234567890abcdefghi").is_ok());
        assert!(serde_json::from_str::<RunId>("\"cmd_1\"").is_err());
    }
}
