//! The client for every OpenAI-compatible server: one streamed chat completion, with waiting, retries and time limits.
//!
//! Address, headers and tool types are async-openai's; the answer is read by our own decoder, because that crate drops
//! `Retry-After`, gives up on chunks outside OpenAI's own schema and cannot show what a server that is none answered.

use super::endpoint::{Endpoint, StreamLimits, http_client, root_cause, shown_url};
use super::error::retry_after;
use super::offered::OfferedModel;
use super::reading::{Reading, what_came};
use super::request::{self, Dialect, Dialects};
use super::{ModelClient, ModelError, ModelEvent, ModelRequest};
use async_openai::config::{Config, OpenAIConfig};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A [`ModelClient`] over HTTP. Cheap to clone: connections are shared.
#[derive(Clone)]
pub struct OpenAiClient {
    http: reqwest::Client,
    config: OpenAIConfig,
    keyless: bool,
    limits: StreamLimits,
    dialects: Dialects,
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
        Ok(Self { http, config, keyless: key.is_empty(), limits, dialects: Dialects::default() })
    }

    /// The same client with a memory of what servers do not understand, shared with other clients.
    pub fn with_dialects(self, dialects: Dialects) -> Self {
        Self { dialects, ..self }
    }

    /// The models this server offers.
    pub async fn models(&self, timeout: Duration) -> Result<Vec<OfferedModel>, ModelError> {
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
        Ok(list.iter().filter_map(OfferedModel::read).collect())
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
        let exchange = Exchange {
            client: self.clone(),
            request,
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

/// One answer in progress: a state machine that is asked for the next event.
struct Exchange {
    client: OpenAiClient,
    request: ModelRequest,
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
    Read(Box<Open>),
    Over,
}

struct Open {
    bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    reading: Reading,
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
            Phase::Read(open) => {
                let stall = self.client.limits.stall;
                let chunk = tokio::time::timeout(stall, open.bytes.next())
                    .await
                    .map_err(|_| ModelError::Stalled { after: stall })?;
                match chunk {
                    Some(Ok(bytes)) => {
                        let url = self.client.url();
                        let events = open.reading.take(&bytes, &url)?;
                        let done = open.reading.is_done();
                        self.ready.extend(events.into_iter().map(Ok));
                        if done { self.complete() } else { Ok(()) }
                    }
                    // Some servers close without a proper end; an answer that had finished is still whole.
                    Some(Err(_)) if open.reading.has_finished() => self.complete(),
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
        let dialect = client.dialects.of(client.config.api_base(), &self.request.model);
        let body = request::body(&self.request, dialect)?;
        let request = client
            .http
            .post(client.config.url("/chat/completions"))
            .headers(client.headers())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header(reqwest::header::ACCEPT, "text/event-stream")
            .body(body);
        let stall = client.limits.stall;
        let sent =
            tokio::time::timeout(stall, request.send()).await.map_err(|_| ModelError::Stalled { after: stall })?;
        let response = sent.map_err(|e| client.unreachable(&e))?;
        let status = response.status().as_u16();
        if status != 200 {
            let wait = retry_after(response.headers(), std::time::SystemTime::now());
            let body = response.text().await.unwrap_or_default();
            return Err(ModelError::from_status(status, &body, wait, &client.url()));
        }
        let tools = self.request.tools.iter().map(|tool| tool.name.to_owned()).collect();
        let reading = Reading::new(tools, client.limits.answer);
        self.phase = Phase::Read(Box::new(Open { bytes: response.bytes_stream().boxed(), reading }));
        Ok(())
    }

    /// The answer ended: hands out what is left and the whole.
    fn complete(&mut self) -> Result<(), ModelError> {
        let Phase::Read(open) = std::mem::replace(&mut self.phase, Phase::Over) else { return Ok(()) };
        let (events, answer) = open.reading.finish(&self.client.url())?;
        self.ready.extend(events.into_iter().map(Ok));
        self.ready.push_back(Ok(ModelEvent::Done(answer)));
        Ok(())
    }

    /// Tries again where that is safe and within the limits, else hands the error out.
    fn failed(&mut self, error: ModelError) {
        let limits = self.client.limits;
        let untouched = !self.seen && self.ready.is_empty();
        if untouched && self.respell(&error) {
            return;
        }
        if matches!(error, ModelError::NoImages { .. }) {
            self.learn_blindness();
        }
        let asked = match &error {
            ModelError::RateLimited { retry_after, .. } | ModelError::Overloaded { retry_after, .. } => *retry_after,
            _ => None,
        };
        let delay = asked.unwrap_or_else(|| limits.backoff * 2u32.saturating_pow(self.attempt.saturating_sub(1)));
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

    /// Remembers that this model takes no images. The person is told, because the answer would be another without them;
    /// whoever asks again leaves them out.
    fn learn_blindness(&self) {
        let (url, model) = (self.client.config.api_base(), &self.request.model);
        let dialect = self.client.dialects.of(url, model);
        self.client.dialects.learn(url, model, Dialect { no_images: true, ..dialect });
    }

    /// Spells the request differently if that is what the server wants; it is sent again at once.
    fn respell(&mut self, error: &ModelError) -> bool {
        let client = &self.client;
        let (url, model) = (client.config.api_base(), &self.request.model);
        let Some(next) = client.dialects.of(url, model).after(error, !self.request.tools.is_empty()) else {
            return false;
        };
        client.dialects.learn(url, model, next);
        self.attempt = self.attempt.saturating_sub(1);
        self.phase = Phase::Send;
        let reason = format!("{error}. Asking in another way");
        self.ready.push_back(Ok(ModelEvent::Waiting { delay: Duration::ZERO, reason }));
        true
    }
}
