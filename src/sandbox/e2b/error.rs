//! What the service says when it does not do something, read from its answers, and what a sandbox caller can do then.

use crate::sandbox::SandboxError;
use http::StatusCode;
use serde::Deserialize;

/// Characters of the service's own words that are passed on.
const WORDS: usize = 300;

/// Why the service did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum E2bError {
    /// No connection, or it broke.
    #[error("cannot reach e2b at {url}: {reason}")]
    Unreachable {
        /// Scheme and host.
        url: String,
        /// The innermost cause.
        reason: String,
        /// Whether the request cannot have been carried out.
        unsent: bool,
    },
    /// It refused or failed; the words are its own.
    #[error("e2b answered {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// A call of a sandbox's own services failed.
    #[error("{message}")]
    Rpc {
        /// Connect's code, such as `not_found`.
        code: String,
        /// Its words.
        message: String,
    },
    /// The proxy before sandboxes knows none of this id that runs.
    #[error("e2b does not have the sandbox any more")]
    NotRunning,
    /// Nothing listens on a port inside.
    #[error("nothing listens on the port")]
    PortClosed,
    /// An answer that the protocol does not allow.
    #[error("e2b's answer cannot be read: {0}")]
    Protocol(String),
}

/// Both forms of error: a number as the code, or Connect's name.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: String,
}

impl E2bError {
    /// Reads an answer with an error status.
    pub fn read(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let parsed: Option<ErrorBody> = serde_json::from_slice(body).ok();
        let message = parsed.as_ref().map_or(text.as_ref(), |body| body.message.as_str());
        let message = short(if message.trim().is_empty() { "no words" } else { message });
        if status == StatusCode::BAD_GATEWAY && message.contains("was not found") {
            return Self::NotRunning;
        }
        if status == StatusCode::BAD_GATEWAY && message.contains("port is not open") {
            return Self::PortClosed;
        }
        match parsed.and_then(|body| body.code.as_str().map(str::to_owned)) {
            Some(code) => Self::Rpc { code, message },
            None => Self::Refused { status: status.as_u16(), message },
        }
    }

    /// A failure of the HTTP client. The URL is shortened to its host: the rest may hold a signature.
    pub fn transport(error: &reqwest::Error) -> Self {
        let url = error.url().map_or_else(|| "its address".to_owned(), |url| url.origin().ascii_serialization());
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let reason = if error.is_timeout() { "it did not answer in time".to_owned() } else { cause.to_string() };
        Self::Unreachable { url, reason, unsent: error.is_connect() }
    }

    /// Whether there is no such thing.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status == 404,
            Self::Rpc { code, .. } => code == "not_found",
            _ => false,
        }
    }

    /// Whether the thing is already so, or on its way.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
            || matches!(self, Self::Rpc { code, .. } if code == "already_exists")
    }
}

impl From<E2bError> for SandboxError {
    fn from(error: E2bError) -> Self {
        let words = error.to_string();
        match error {
            E2bError::Unreachable { .. } => {
                Self::Io(format!("{words}. Check the network, E2B_API_URL and E2B_SANDBOX_URL."))
            }
            E2bError::Refused { status: 401 | 403, message } => {
                Self::Refused(format!("e2b refuses the key: {message}. Check E2B_API_KEY."))
            }
            E2bError::Refused { status: 429, message } => Self::Refused(format!(
                "e2b's limit is reached: {message}. End sandboxes there, or have the limit raised."
            )),
            E2bError::Refused { status: 507, message } => Self::Limit(format!("the sandbox's disk is full: {message}")),
            E2bError::Refused { status: 404, message } => Self::NotFound(message),
            E2bError::Refused { status: 500.., .. } | E2bError::Protocol(_) => Self::Io(words),
            E2bError::Refused { .. } => Self::Refused(words),
            E2bError::Rpc { code, message } => match code.as_str() {
                "not_found" => Self::NotFound(message),
                "invalid_argument" | "failed_precondition" | "already_exists" | "unimplemented" => {
                    Self::Invalid(message)
                }
                "unauthenticated" | "permission_denied" => Self::Refused(message),
                "resource_exhausted" => Self::Limit(message),
                "canceled" => Self::Cancelled,
                _ => Self::Io(format!("the sandbox failed: {message}")),
            },
            E2bError::NotRunning => Self::Dead(words),
            E2bError::PortClosed => Self::Io(words),
        }
    }
}

fn short(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control() || *c == '\n').take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> E2bError {
        E2bError::read(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn answers_of_a_real_service_are_understood() {
        let missing =
            read(404, r#"{"code":404,"message":"Sandbox \"x\" doesn't exist or you don't have access to it"}"#);
        assert!(missing.is_missing());
        let stat =
            read(404, r#"{"code":"not_found","message":"file not found: lstat /nope: no such file or directory"}"#);
        assert!(stat.is_missing() && matches!(SandboxError::from(stat), SandboxError::NotFound(_)));
        let exists = read(409, r#"{"code":"already_exists","message":"directory already exists: /home/user/a"}"#);
        assert!(exists.is_conflict());
        let gone = read(502, r#"{"sandboxId":"x","message":"The sandbox was not found","code":502}"#);
        assert_eq!(gone, E2bError::NotRunning);
        let port =
            r#"{"sandboxId":"x","message":"The sandbox is running but port is not open","port":3000,"code":502}"#;
        assert_eq!(read(502, port), E2bError::PortClosed);
        let html = read(502, "<html>bad gateway</html>");
        assert!(matches!(SandboxError::from(html), SandboxError::Io(_)), "an edge that fails may pass");
    }

    #[test]
    fn a_wrong_key_and_a_used_up_quota_are_told_apart_and_not_tried_again() {
        for (status, words, what) in [
            (401, "Invalid API key", "E2B_API_KEY"),
            (429, "you have reached the maximum number of concurrent E2B sandboxes (20)", "maximum number"),
        ] {
            let error = SandboxError::from(read(status, &format!(r#"{{"code":{status},"message":"{words}"}}"#)));
            assert!(!error.is_retryable() && error.to_string().contains(what), "{error}");
        }
    }
}
