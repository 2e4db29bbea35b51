//! The client for every OpenAI-compatible server: one streamed chat completion, with waiting, retries and time limits.
//!
//! Address, headers and tool types are async-openai's; the answer is read by our own decoder, because that crate drops
//! `Retry-After`, gives up on chunks outside OpenAI's own schema and cannot show what a server that is none answered.

use super::assemble::Assembler;
use super::endpoint::{Endpoint, StreamLimits, http_client, root_cause, shown_url};
use super::error::{looks_like_html, shorten};
use super::sse::SseDecoder;
use super::{ModelClient, ModelError, ModelEvent, ModelRequest};
use async_openai::config::{Config, OpenAIConfig};
use async_openai::types::chat::{ChatCompletionTool, ChatCompletionTools, FunctionObject};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Bytes of an answer in one piece that are read at most.
const WHOLE_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a stream's beginning that are kept, to show what came when it is none.
const START_KEPT: usize = 2048;

/// A [`ModelClient`] over HTTP. Cheap to clone: connections are shared.
#[derive(Clone)]
pub struct OpenAiClient {
    http: reqwest::Client,
    config: OpenAIConfig,
    keyless: bool,
    limits: StreamLimits,
}

impl OpenAiClient {
    /// A client of this endpoint. The key must be printable ASCII, which every real one is.
    pub fn new(endpoint: &Endpoint, limits: StreamLimits) -> Result<Self, ModelError> {
        let url = shown_url(&endpoint.base_url);
        let refused = |message: String| ModelError::Unreachable { url: url.clone(), message };
        let http = http_client(limits.connect).map_err(|e| refused(root_cause(&e)))?;
        let key = endpoint.api_key.as_ref().map(|k| k.expose().trim().to_owned()).unwrap_or_default();
        if !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ModelError::Auth {
                message: "the key contains spaces or other characters no key has".to_owned(),
            });
        }
        reqwest::Url::parse(&endpoint.base_url).map_err(|e| refused(format!("not a URL ({e})")))?;
        let config = OpenAIConfig::new()
            .with_api_base(endpoint.base_url.trim_end_matches('/'))
            .with_api_key(key.clone())
            .with_org_id("")
            .with_project_id("");
        Ok(Self { http, config, keyless: key.is_empty(), limits })
    }

    /// The ids of the models this server offers.
    pub async fn models(&self, timeout: Duration) -> Result<Vec<String>, ModelError> {
        let request = self.http.get(self.config.url("/models")).headers(self.headers()).timeout(timeout);
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(|e| self.unreachable(&e))?;
        if status != 200 {
            return Err(ModelError::from_status(status, &body, None, &self.url()));
        }
        let json: Value = serde_json::from_str(&body)
            .map_err(|_| ModelError::NotAModel { url: self.url(), message: what_came(&body) })?;
        let list =
            json.get("data").or_else(|| json.get("models")).unwrap_or(&json).as_array().cloned().unwrap_or_default();
        Ok(list.iter().filter_map(|m| m.get("id").or_else(|| m.get("name"))?.as_str().map(str::to_owned)).collect())
    }

    fn headers(&self) -> reqwest::header::HeaderMap {
        let mut headers = self.config.headers();
        if self.keyless {
            headers.remove(reqwest::header::AUTHORIZATION);
        }
        headers
    }

    fn url(&self) -> String {
        shown_url(self.config.api_base())
    }

    fn unreachable(&self, error: &reqwest::Error) -> ModelError {
        ModelError::Unreachable { url: self.url(), message: root_cause(error) }
    }
}

#[async_trait]
impl ModelClient for OpenAiClient {
    async fn stream(
        &self,
        request: ModelRequest,
        cancel: &CancellationToken,
    ) -> Result<BoxStream<'static, Result<ModelEvent, ModelError>>, ModelError> {
        let body = serde_json::to_vec(&WireRequest::new(&request))
            .map_err(|e| ModelError::Provider { status: 0, message: format!("the request cannot be encoded: {e}") })?;
        let exchange = Exchange {
            client: self.clone(),
            body: Bytes::from(body),
            cancel: cancel.clone(),
            attempt: 0,
            waited: Duration::ZERO,
            seen: false,
            phase: Phase::Send,
            ready: VecDeque::new(),
        };
        Ok(stream::unfold(exchange, |mut exchange| async move { Some((exchange.next().await?, exchange)) }).boxed())
    }
}

/// The request's body: async-openai's shape, with the messages as they were recorded.
#[derive(Serialize)]
struct WireRequest<'a> {
    model: &'a str,
    messages: &'a [Value],
    stream: bool,
    stream_options: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ChatCompletionTools>,
}

impl<'a> WireRequest<'a> {
    fn new(request: &'a ModelRequest) -> Self {
        let tools = request.tools.iter().map(|tool| {
            ChatCompletionTools::Function(ChatCompletionTool {
                function: FunctionObject {
                    name: tool.name.to_owned(),
                    description: Some(tool.description.to_owned()),
                    parameters: Some(tool.parameters.clone()),
                    strict: None,
                },
            })
        });
        Self {
            model: &request.model,
            messages: &request.messages,
            stream: true,
            stream_options: serde_json::json!({"include_usage": true}),
            tools: tools.collect(),
        }
    }
}

/// One answer in progress: a state machine that is asked for the next event.
struct Exchange {
    client: OpenAiClient,
    body: Bytes,
    cancel: CancellationToken,
    attempt: u32,
    waited: Duration,
    /// Whether anything of the answer was handed out: from then on nothing is sent again.
    seen: bool,
    phase: Phase,
    ready: VecDeque<Result<ModelEvent, ModelError>>,
}

enum Phase {
    Send,
    Wait(Duration),
    Read(Box<Reading>),
    Over,
}

struct Reading {
    bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    decoder: SseDecoder,
    assembler: Assembler,
    /// The beginning of the answer, to show what came when it is no stream of events.
    start: Vec<u8>,
    /// A body in one piece: the server ignored `stream`.
    whole: bool,
    /// Whether `[DONE]` came.
    done: bool,
}

impl Exchange {
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.seen |= !matches!(event, Ok(ModelEvent::Waiting { .. }) | Err(_));
                if event.is_err() {
                    self.phase = Phase::Over;
                    self.ready.clear();
                }
                return Some(event);
            }
            if matches!(self.phase, Phase::Over) {
                return None;
            }
            let cancel = self.cancel.clone();
            let step = cancel.run_until_cancelled(self.step()).await.unwrap_or(Err(ModelError::Cancelled));
            if let Err(error) = step {
                self.failed(error);
            }
        }
    }

    async fn step(&mut self) -> Result<(), ModelError> {
        match &mut self.phase {
            Phase::Send => self.send().await,
            Phase::Wait(delay) => {
                tokio::time::sleep(*delay).await;
                self.phase = Phase::Send;
                Ok(())
            }
            Phase::Read(reading) => {
                let stall = self.client.limits.stall;
                let chunk = tokio::time::timeout(stall, reading.bytes.next())
                    .await
                    .map_err(|_| ModelError::Stalled { after: stall })?;
                match chunk {
                    Some(Ok(bytes)) => {
                        let url = self.client.url();
                        let events = reading.take(&bytes, &url)?;
                        let done = reading.done;
                        self.ready.extend(events.into_iter().map(Ok));
                        if done { self.complete() } else { Ok(()) }
                    }
                    // Some servers close without a proper end; an answer that had finished is still whole.
                    Some(Err(_)) if reading.assembler.has_finished() => self.complete(),
                    Some(Err(error)) => Err(ModelError::Interrupted { message: root_cause(&error) }),
                    None => self.complete(),
                }
            }
            Phase::Over => Ok(()),
        }
    }

    async fn send(&mut self) -> Result<(), ModelError> {
        self.attempt += 1;
        let client = &self.client;
        let request = client
            .http
            .post(client.config.url("/chat/completions"))
            .headers(client.headers())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header(reqwest::header::ACCEPT, "text/event-stream")
            .body(self.body.clone());
        let stall = client.limits.stall;
        let sent =
            tokio::time::timeout(stall, request.send()).await.map_err(|_| ModelError::Stalled { after: stall })?;
        let response = sent.map_err(|e| client.unreachable(&e))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        if status != 200 {
            let retry_after =
                header("retry-after").and_then(|v| v.trim().parse::<f64>().ok()).filter(|s| s.is_finite());
            let retry_after = retry_after.map(|s| Duration::from_secs_f64(s.clamp(0.0, 86_400.0)));
            let body = response.text().await.unwrap_or_default();
            return Err(ModelError::from_status(status, &body, retry_after, &client.url()));
        }
        let whole = header("content-type").is_some_and(|t| t.contains("application/json"));
        self.phase = Phase::Read(Box::new(Reading {
            bytes: response.bytes_stream().boxed(),
            decoder: SseDecoder::default(),
            assembler: Assembler::default(),
            start: Vec::new(),
            whole,
            done: false,
        }));
        Ok(())
    }

    /// The answer ended: hands out what is left and the whole.
    fn complete(&mut self) -> Result<(), ModelError> {
        let Phase::Read(mut reading) = std::mem::replace(&mut self.phase, Phase::Over) else { return Ok(()) };
        let url = self.client.url();
        let events = reading.finish(&url)?;
        self.ready.extend(events.into_iter().map(Ok));
        if !reading.done && !reading.whole && !reading.assembler.has_finished() {
            // Neither a finish reason nor [DONE]: the answer was cut, and acting on half of it would be wrong.
            return Err(ModelError::Interrupted { message: "the stream ended early".to_owned() });
        }
        self.ready.push_back(Ok(ModelEvent::Done(reading.assembler.into_answer())));
        Ok(())
    }

    /// Tries again where that is safe and within the limits, else hands the error out.
    fn failed(&mut self, error: ModelError) {
        let limits = self.client.limits;
        let asked = match &error {
            ModelError::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        };
        let delay = asked.unwrap_or_else(|| limits.backoff * 2u32.saturating_pow(self.attempt.saturating_sub(1)));
        let untouched = !self.seen && self.ready.is_empty();
        let within = self.attempt < limits.attempts && self.waited + delay <= limits.waiting;
        if !(untouched && within && error.is_transient()) {
            self.phase = Phase::Over;
            self.ready.push_back(Err(error));
            return;
        }
        self.waited += delay;
        self.phase = Phase::Wait(delay);
        self.ready.push_back(Ok(ModelEvent::Waiting { delay, reason: error.to_string() }));
    }
}

impl Reading {
    /// Takes bytes and returns what they add to the answer.
    fn take(&mut self, bytes: &[u8], url: &str) -> Result<Vec<ModelEvent>, ModelError> {
        let keep = if self.whole { WHOLE_MAX } else { START_KEPT };
        let room = keep.saturating_sub(self.start.len());
        self.start.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let mut out = Vec::new();
        if !self.whole {
            let endless = |_| ModelError::NotAModel { url: url.to_owned(), message: "an endless event".to_owned() };
            for data in self.decoder.push(bytes).map_err(endless)? {
                self.event(&data, url, &mut out)?;
            }
        }
        Ok(out)
    }

    /// What is left when the body has ended.
    fn finish(&mut self, url: &str) -> Result<Vec<ModelEvent>, ModelError> {
        let mut out = Vec::new();
        let rest =
            if self.whole { Some(String::from_utf8_lossy(&self.start).into_owned()) } else { self.decoder.finish() };
        if let Some(data) = rest {
            self.event(&data, url, &mut out)?;
        }
        if self.assembler.is_empty() {
            let start = String::from_utf8_lossy(&self.start).into_owned();
            return Err(ModelError::NotAModel { url: url.to_owned(), message: what_came(&start) });
        }
        Ok(out)
    }

    fn event(&mut self, data: &str, url: &str, out: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let data = data.trim();
        if data == "[DONE]" {
            self.done = true;
        }
        if self.done || data.is_empty() {
            return Ok(());
        }
        match serde_json::from_str::<Value>(data) {
            Ok(chunk) => out.extend(self.assembler.chunk(&chunk)?),
            // Once an answer is under way, a stray line of text is noise; before that it is the wrong server.
            Err(_) if !self.assembler.is_empty() => {}
            Err(_) => return Err(ModelError::NotAModel { url: url.to_owned(), message: what_came(data) }),
        }
        Ok(())
    }
}

fn what_came(body: &str) -> String {
    let body = body.trim();
    if body.is_empty() {
        "an empty answer".to_owned()
    } else if looks_like_html(body) {
        "a web page".to_owned()
    } else {
        format!("it sent \"{}\"", shorten(&body.chars().take(120).collect::<String>()))
    }
}
