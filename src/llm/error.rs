//! Why a model did not answer. Messages carry the provider's own words, and say what to do.

use crate::domain::{ApiError, ErrorCode};
use std::time::{Duration, SystemTime};

/// The longest stretch of a provider's answer shown to a person.
const SHOWN: usize = 600;

/// Why a model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The key is missing, wrong, expired or lacks a right (401, 403).
    #[error("The model provider refused the key: {message}. Check it in the settings, or AI_GATEWAY_API_KEY.")]
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
    /// The provider has no capacity at the moment (503, 529).
    #[error("The model provider is overloaded{}: {message}", wait_text(.retry_after))]
    Overloaded {
        /// The provider's words.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The account behind the key has nothing left (402, or 429 for that reason).
    #[error("The model provider says the account has no credit left: {message}")]
    Credit {
        /// The provider's words.
        message: String,
    },
    /// The server has no such model.
    #[error("The server has no such model: {message}. Choose another one from the list.")]
    NoModel {
        /// The provider's words.
        message: String,
    },
    /// The provider does not answer this conversation.
    #[error("The model provider declined to answer (content filter): {message}")]
    Declined {
        /// The provider's words.
        message: String,
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
    /// The model reads no images, and the conversation has one.
    #[error(
        "This model cannot see images: {message}. Choose a model that can; or retry, and this one gets the files without \
         seeing them."
    )]
    NoImages {
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
        let message = provider_words(body).or_else(|| page_title(body).map(|title| format!("{title} (a web page)")));
        let message = message.unwrap_or_else(|| format!("HTTP {status} without a reason"));
        let lower = format!("{message} {}", shorten(body)).to_lowercase();
        let has = |needles: &[&str]| needles.iter().any(|n| lower.contains(n));
        let refused = matches!(status, 400 | 404 | 422 | 500);
        match status {
            401 | 403 => Self::Auth { message: trim_stop(message) },
            402 => Self::Credit { message },
            429 if retry_after.is_none() && has(CREDIT) => Self::Credit { message },
            429 => Self::RateLimited { message, retry_after },
            503 | 529 => Self::Overloaded { message, retry_after },
            413 => Self::ContextOverflow { message: trim_stop(message) },
            _ if refused && has(OVERFLOW) => Self::ContextOverflow { message: trim_stop(message) },
            415 if has(NO_IMAGES) => Self::NoImages { message: trim_stop(message) },
            _ if refused && has(NO_IMAGES) => Self::NoImages { message: trim_stop(message) },
            _ if refused && has(NO_TOOLS) => Self::NoTools { message: trim_stop(message) },
            400 if has(FILTER) => Self::Declined { message },
            404 if lower.contains("model")
                && has(&["not found", "does not exist", "not exist"])
                && !looks_like_html(body) =>
            {
                Self::NoModel { message: trim_stop(message) }
            }
            400 | 404 | 422 if has(NO_MODEL) => Self::NoModel { message: trim_stop(message) },
            404 | 405 if looks_like_html(body) => {
                Self::NotAModel { url: url.to_owned(), message: format!("HTTP {status}") }
            }
            _ => Self::Provider { status, message },
        }
    }

    /// Whether sending the same request again may help, as long as nothing of the answer was seen.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Overloaded { .. } | Self::Unreachable { .. } => true,
            Self::Provider { status, .. } => *status >= 500 || matches!(*status, 408 | 409 | 425),
            _ => false,
        }
    }

    /// Whether the answer broke off although the request was fine, so that asking once more may give a whole one.
    pub fn is_broken_off(&self) -> bool {
        matches!(self, Self::Interrupted { .. } | Self::Stalled { .. } | Self::MidStream { .. })
    }
}

/// How providers and servers say that the conversation is too long.
const OVERFLOW: &[&str] = &[
    "context length",
    "context_length",
    "context window",
    "context size",
    "maximum context",
    "maximum number of tokens",
    "too many tokens",
    "prompt is too long",
    "input is too long",
    "too large for model",
    "request too large",
    "exceeds the limit of",
];
/// That the model, or the server as it was started, takes no tools.
const NO_TOOLS: &[&str] = &[
    "does not support tool",
    "not support tool",
    "support tool use",
    "tool use is not",
    "tool calling",
    "support function",
    "function calling is not",
    "tools is not supported",
    "tools are not supported",
    "tool choice requires",
    "tools param requires",
];
/// That the model, or the server as it was started, takes no images.
const NO_IMAGES: &[&str] = &[
    "image input",
    "image_url",
    "not support image",
    "images are not supported",
    "image is not supported",
    "not support vision",
    "vision is not",
    "not a vision model",
    "not a multimodal model",
    "mmproj",
    "at most 0 image",
];
/// That the account is empty.
const CREDIT: &[&str] =
    &["insufficient_quota", "insufficient credit", "insufficient balance", "exceeded your current quota"];
/// That the conversation was filtered.
const FILTER: &[&str] = &["content_filter", "content management policy", "content policy", "safety system"];
/// That there is no such model.
const NO_MODEL: &[&str] = &[
    "model_not_found",
    "try pulling it",
    "not a valid model",
    "invalid model",
    "no such model",
    "unknown model",
    "model does not exist",
];

/// How long the server asks to wait: in seconds, in milliseconds or until a date.
pub(super) fn retry_after(headers: &http::HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let number = |name: &str| text(name).and_then(|t| t.parse::<f64>().ok()).filter(|n| n.is_finite());
    let seconds = |n: f64| Duration::from_secs_f64(n.clamp(0.0, 86_400.0));
    let date = || {
        let until = httpdate::parse_http_date(text("retry-after")?).ok()?;
        Some(until.duration_since(now).unwrap_or_default().min(Duration::from_secs(86_400)))
    };
    number("retry-after-ms").map(|ms| seconds(ms / 1000.0)).or_else(|| number("retry-after").map(seconds)).or_else(date)
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

/// The title of a web page, which is where proxies say what is wrong.
pub(super) fn page_title(body: &str) -> Option<String> {
    let lower = body.to_ascii_lowercase();
    let from = lower.find("<title")?;
    let from = from + lower.get(from..)?.find('>')? + 1;
    let to = from + lower.get(from..)?.find('<')?;
    let title = body.get(from..to)?.split_whitespace().collect::<Vec<_>>().join(" ");
    (looks_like_html(body) && !title.is_empty()).then(|| shorten(&title))
}

/// Whether a body is a web page.
pub(super) fn looks_like_html(body: &str) -> bool {
    let start: String = body.trim_start().chars().take(15).collect::<String>().to_lowercase();
    ["<!doctype", "<html", "<head", "<body", "<title"].iter().any(|tag| start.starts_with(tag))
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
