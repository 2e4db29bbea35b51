//! Why a model did not answer. Messages carry the provider's own words, and say what to do.

use crate::domain::{ApiError, ErrorCode};
use std::time::Duration;

/// The longest stretch of a provider's answer shown to a person.
const SHOWN: usize = 600;

/// Why a model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The key is missing, wrong, expired or lacks a right (401, 403).
    #[error("The model provider refused the key: {message}. Check AI_GATEWAY_API_KEY.")]
    Auth {
        /// The provider's words.
        message: String,
    },
    /// Too many requests, and the provider asks to wait longer than we do.
    #[error("The model provider limits requests{}: {message}", wait_text(.retry_after))]
    RateLimited {
        /// The provider's words.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The conversation is longer than the model reads.
    #[error(
        "The conversation is too long for this model: {message}. Start a new project or choose a model with a larger context."
    )]
    ContextOverflow {
        /// The provider's words.
        message: String,
    },
    /// The model cannot call tools, so it cannot build anything.
    #[error("This model cannot call tools, which building needs: {message}. Choose another model.")]
    NoTools {
        /// The provider's words.
        message: String,
    },
    /// Any other refusal or failure the server answered.
    #[error("The model provider answered {status}: {message}")]
    Provider {
        /// HTTP status.
        status: u16,
        /// The provider's words.
        message: String,
    },
    /// An error object arrived in the middle of the stream.
    #[error("The model provider broke off: {message}")]
    MidStream {
        /// The provider's words.
        message: String,
    },
    /// No connection.
    #[error("Cannot reach the model at {url}: {message}. Check AI_GATEWAY_BASE_URL and the network.")]
    Unreachable {
        /// Base URL, without credentials.
        url: String,
        /// What went wrong.
        message: String,
    },
    /// The answer is not a chat completion: a web page, or a stream of something else.
    #[error(
        "{url} does not answer like an OpenAI-compatible server ({message}). Check AI_GATEWAY_BASE_URL; it usually ends in /v1."
    )]
    NotAModel {
        /// Base URL, without credentials.
        url: String,
        /// What came instead.
        message: String,
    },
    /// The stream ended before the answer did.
    #[error("The connection to the model was lost in the middle of its answer: {message}")]
    Interrupted {
        /// What went wrong.
        message: String,
    },
    /// Nothing came for too long.
    #[error("The model sent nothing for {} s", .after.as_secs())]
    Stalled {
        /// How long we waited.
        after: Duration,
    },
    /// There is no such model in the list.
    #[error("There is no model \"{0}\"; choose one from the list")]
    Unknown(String),
    /// The token was cancelled.
    #[error("Stopped")]
    Cancelled,
}

fn wait_text(retry_after: &Option<Duration>) -> String {
    retry_after.map(|d| format!(" for the next {} s", d.as_secs().max(1))).unwrap_or_default()
}

impl ModelError {
    /// The error for an answer with a status other than success.
    pub(super) fn from_status(status: u16, body: &str, retry_after: Option<Duration>, url: &str) -> Self {
        let message = provider_words(body).unwrap_or_else(|| format!("HTTP {status} without a reason"));
        let lower = message.to_lowercase();
        let has = |needles: &[&str]| needles.iter().any(|n| lower.contains(n));
        match status {
            401 | 403 => Self::Auth { message: trim_stop(message) },
            429 => Self::RateLimited { message, retry_after },
            413 => Self::ContextOverflow { message: trim_stop(message) },
            400 | 422
                if has(&[
                    "context length",
                    "context_length",
                    "context window",
                    "maximum context",
                    "too many tokens",
                    "prompt is too long",
                ]) =>
            {
                Self::ContextOverflow { message: trim_stop(message) }
            }
            400 | 404 | 422 if has(&["does not support tool", "tool use", "tool calling", "support function"]) => {
                Self::NoTools { message: trim_stop(message) }
            }
            404 | 405 if looks_like_html(body) => {
                Self::NotAModel { url: url.to_owned(), message: format!("HTTP {status}") }
            }
            _ => Self::Provider { status, message },
        }
    }

    /// Whether sending the same request again may help, as long as nothing of the answer was seen.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unreachable { .. } => true,
            Self::Provider { status, .. } => *status >= 500 || *status == 408 || *status == 409,
            _ => false,
        }
    }
}

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        let code = match &error {
            ModelError::Cancelled => ErrorCode::Cancelled,
            ModelError::Unknown(_) => ErrorCode::InvalidInput,
            ModelError::Stalled { .. } => ErrorCode::Timeout,
            _ => ErrorCode::Model,
        };
        Self::new(code, error.to_string())
    }
}

/// The human part of an error body: `error.message`, `error`, `message`, `detail`, or the beginning of plain text.
pub(super) fn provider_words(body: &str) -> Option<String> {
    let body = body.trim();
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(body) {
        return words_of(&json);
    }
    if body.is_empty() || looks_like_html(body) { None } else { Some(shorten(body)) }
}

/// The human part of a parsed error value.
pub(super) fn words_of(json: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match json {
        Value::String(text) if !text.trim().is_empty() => Some(shorten(text.trim())),
        Value::Array(items) => items.iter().find_map(words_of),
        Value::Object(map) => {
            let upstream =
                map.get("metadata").and_then(|m| m.get("raw")).and_then(Value::as_str).and_then(provider_words);
            let own = ["error", "message", "detail", "msg", "errors", "error_message"]
                .iter()
                .find_map(|key| map.get(*key).and_then(words_of));
            match (own, upstream) {
                // OpenRouter wraps the vendor's error; the wrapper alone ("Provider returned error") helps nobody.
                (Some(own), Some(upstream)) if own != upstream => Some(format!("{own}: {upstream}")),
                (own, upstream) => own.or(upstream),
            }
        }
        _ => None,
    }
}

/// Whether a body is a web page.
pub(super) fn looks_like_html(body: &str) -> bool {
    let start: String = body.trim_start().chars().take(15).collect::<String>().to_lowercase();
    start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<head")
}

/// Cuts text to what is shown, at a character boundary, and says so.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(SHOWN).collect();
    cut.push('…');
    cut
}

fn trim_stop(message: String) -> String {
    message.trim_end_matches(['.', ' ']).to_owned()
}
