//! Talking to language models: one trait, one client for every OpenAI-compatible server, and the recorded demo model.
//!
//! Owns the wire format and its quirks, the list of models and the demo's HTTP server. It must not know projects,
//! events, tools or sandboxes: a request is messages and tool descriptions, an answer is a stream of [`ModelEvent`].

mod aptitude;
mod assemble;
mod catalog;
mod demo;
mod endpoint;
mod error;
mod offered;
mod openai;
mod prose;
mod reading;
mod request;
mod route;
mod sse;

pub use aptitude::{Aptitude, probe};
pub use catalog::{Apart, Catalog, ModelInfo, ModelSource, NamedEndpoint, Resolved};
pub use demo::{DEMO_MODEL, DemoServer, SamplePrompt, samples};
pub use endpoint::{Endpoint, StreamLimits};
pub use error::ModelError;
pub use offered::{OfferedModel, Price};
pub use openai::OpenAiClient;
pub use request::{Dialect, Dialects};

use crate::domain::Usage;
use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A server that continues a conversation.
#[async_trait]
pub trait ModelClient: Send + Sync {
    /// Streams the answer. Waiting, retries and errors come through the stream; cancelling the token ends it with
    /// [`ModelError::Cancelled`] and closes the connection.
    async fn stream(
        &self,
        request: ModelRequest,
        cancel: &CancellationToken,
    ) -> Result<BoxStream<'static, Result<ModelEvent, ModelError>>, ModelError>;
}

/// What the model is asked.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The id as the server knows it.
    pub model: String,
    /// The conversation, as the chat completions API spells messages.
    pub messages: Vec<Value>,
    /// The tools it may call.
    pub tools: Vec<ToolSpec>,
    /// How much it shall think (`low`, `medium`, `high`), for models that can be told.
    pub effort: Option<String>,
}

/// A tool as the model sees it.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    /// Its name.
    pub name: &'static str,
    /// What it does and when to use it.
    pub description: &'static str,
    /// JSON schema of its arguments.
    pub parameters: Value,
}

/// A piece of an answer. Calls are numbered by the client from 0 in the order in which they begin.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    /// Words for the person.
    Text(String),
    /// Reasoning the model shows.
    Reasoning(String),
    /// A tool call begins.
    CallStarted {
        /// Its number in this answer.
        call: usize,
        /// Tool name.
        name: String,
    },
    /// More of a call's arguments (JSON text, cut anywhere).
    CallArguments {
        /// Its number in this answer.
        call: usize,
        /// What to append.
        text: String,
    },
    /// The request has to wait before it is sent again.
    Waiting {
        /// How long.
        delay: Duration,
        /// Why, in words for people.
        reason: String,
    },
    /// The answer is complete. Always the last event of a stream that did not fail.
    Done(Answer),
}

/// What is known once an answer is complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why the model stopped.
    pub finish: Finish,
    /// Tokens, where the server tells them.
    pub usage: Option<Usage>,
    /// The calls with their complete arguments, in order.
    pub calls: Vec<AnswerCall>,
}

/// A complete tool call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerCall {
    /// The server's own id for it, if it gave one; it must be sent back with the result.
    pub id: Option<String>,
    /// Tool name.
    pub name: String,
    /// Arguments as JSON text; may be malformed.
    pub arguments: String,
    /// Vendor data that must be sent back unchanged (Gemini's thought signatures).
    pub extra: Option<Value>,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// It is done, or it wants its calls executed.
    #[default]
    Stop,
    /// It ran out of output tokens; the last call may be cut.
    Length,
    /// The provider withheld the rest.
    Filtered,
}
