//! A live sandbox's own services: calls and streams of Connect, files, and where its ports are.
//!
//! Owns how a sandbox is addressed, and finding out that it is gone. It must not know what the calls are for.

use super::control::{Control, Opened};
use super::error::E2bError;
use super::frame::{Decoder, Frame, encode};
use super::http::{self, Repeat};
use crate::sandbox::base64;
use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The port of the services.
const SERVICES: u16 = 49983;
/// A call may take so long.
const CALL: Duration = Duration::from_secs(30);
/// A file may take so long.
const TRANSFER: Duration = Duration::from_secs(120);
const ANSWER_MAX: usize = 8 << 20;
/// A stream says something at least so often.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// One that says nothing for so long is broken.
const SILENCE: Duration = Duration::from_secs(50);
/// Domains whose sandboxes are reached by one host and headers, as e2b's own SDKs know them.
const SHARED_HOSTS: [&str; 4] = ["e2b.app", "e2b.dev", "e2b.pro", "e2b-staging.dev"];

/// A user inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Who runs commands; `/home/user` is theirs.
    Normal,
    /// Who may see and end every process.
    Root,
}

impl User {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "user",
            Self::Root => "root",
        }
    }
}

/// Whether a sandbox lives, and what ended it.
#[derive(Default)]
pub struct Life {
    closed: CancellationToken,
    death: OnceLock<String>,
}

impl Life {
    /// Cancelled once it is dead or was put to sleep.
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Why it died, if it did by itself.
    pub fn death(&self) -> Option<String> {
        self.death.get().cloned()
    }

    /// It was put to sleep.
    pub fn end(&self) {
        self.closed.cancel();
    }

    /// It died; the first reason counts.
    pub fn die(&self, why: &str) {
        if !self.closed.is_cancelled() {
            self.death.get_or_init(|| why.to_owned());
            self.closed.cancel();
        }
    }
}

/// The services of one sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Envd {
    inner: Arc<Inner>,
}

struct Inner {
    control: Arc<Control>,
    opened: Opened,
    life: Arc<Life>,
    /// A file inside that does not survive a restart of the machine.
    boot_mark: OnceLock<String>,
}

impl Envd {
    /// The services of a sandbox that was just opened.
    pub fn new(control: Arc<Control>, opened: Opened) -> Self {
        let (life, boot_mark) = (Arc::default(), OnceLock::new());
        Self { inner: Arc::new(Inner { control, opened, life, boot_mark }) }
    }

    /// Its id at the service.
    pub fn id(&self) -> &str {
        &self.inner.opened.id
    }

    /// Whether it lives.
    pub fn life(&self) -> &Arc<Life> {
        &self.inner.life
    }

    /// See [`Envd::mark_boot`]; set once.
    pub fn boot_mark(&self) -> &OnceLock<String> {
        &self.inner.boot_mark
    }

    /// The control plane it was opened by.
    pub fn control(&self) -> &Control {
        &self.inner.control
    }

    /// One call, answered with one message.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, body: &Value, repeat: Repeat) -> Result<T, E2bError> {
        let asked = http::send(repeat, || {
            let request = self.post(method).timeout(CALL).header("connect-protocol-version", "1");
            request.json(body)
        });
        let answer = http::limited(self.noticed(asked.await).await?, ANSWER_MAX).await?;
        serde_json::from_slice(&answer).map_err(|error| E2bError::Protocol(error.to_string()))
    }

    /// A call answered by a stream. Never sent twice, unless it cannot have arrived.
    pub async fn stream(
        &self,
        method: &str,
        body: &Value,
        user: User,
        deadline: Option<Duration>,
    ) -> Result<Frames, E2bError> {
        let frame = encode(body);
        let asked = http::send(Repeat::Unsafe, || {
            let mut request = self
                .post(method)
                .header("content-type", "application/connect+json")
                .header("connect-protocol-version", "1")
                .header("keepalive-ping-interval", KEEPALIVE.as_secs())
                .header("authorization", format!("Basic {}", base64::encode(format!("{}:", user.name()).as_bytes())));
            if let Some(deadline) = deadline {
                request = request.header("connect-timeout-ms", deadline.as_millis().to_string());
            }
            request.body(frame.clone())
        });
        // The answer's head comes at once; its body lasts as long as the process.
        let response = tokio::time::timeout(CALL, asked).await.map_err(|_| self.silent())?;
        let response = self.noticed(response).await?;
        let pieces = response.bytes_stream().boxed();
        Ok(Frames { envd: self.clone(), pieces, decoder: Decoder::default() })
    }

    /// Some bytes of a file, by its absolute path.
    pub async fn read(&self, path: &str, offset: u64, max: u64) -> Result<Bytes, E2bError> {
        if max == 0 {
            return Ok(Bytes::new());
        }
        let last = offset.saturating_add(max) - 1;
        let asked = http::send(Repeat::Safe, || {
            let request = self.request(reqwest::Method::GET, &file_path(path)).timeout(TRANSFER);
            request.header("range", format!("bytes={offset}-{last}"))
        });
        let response = match self.noticed(asked.await).await {
            // Nothing follows the offset.
            Err(E2bError::Refused { status: 416, .. }) => return Ok(Bytes::new()),
            result => result?,
        };
        let whole = response.status() == reqwest::StatusCode::OK;
        let skip = if whole { usize::try_from(offset).unwrap_or(usize::MAX) } else { 0 };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let body = Bytes::from(http::limited(response, skip.saturating_add(max)).await?);
        Ok(body.slice(skip.min(body.len())..))
    }

    /// Writes a whole file, by its absolute path; makes its parents.
    pub async fn write(&self, path: &str, content: Bytes) -> Result<(), E2bError> {
        // The form is understood by every version of the service; the raw body only by the later ones.
        let boundary = "sandcastle-7d4c1f0e9b";
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let body: Bytes = [head.as_bytes(), &content, format!("\r\n--{boundary}--\r\n").as_bytes()].concat().into();
        let asked = http::send(Repeat::Safe, || {
            let request = self.request(reqwest::Method::POST, &file_path(path)).timeout(TRANSFER);
            request.header("content-type", format!("multipart/form-data; boundary={boundary}")).body(body.clone())
        });
        self.noticed(asked.await).await.map(drop)
    }

    /// What the machine uses.
    pub async fn metrics<T: DeserializeOwned>(&self) -> Result<T, E2bError> {
        let asked = http::send(Repeat::Safe, || self.request(reqwest::Method::GET, "/metrics").timeout(CALL));
        let answer = http::limited(self.noticed(asked.await).await?, ANSWER_MAX).await?;
        serde_json::from_slice(&answer).map_err(|error| E2bError::Protocol(error.to_string()))
    }

    /// Where a port is, and the headers a request to it needs.
    pub fn port(&self, port: u16) -> (String, HeaderMap) {
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(token) = &self.inner.opened.traffic_access_token {
            add("e2b-traffic-access-token", token);
        }
        if let Some(shared) = &self.control().config().sandbox_url {
            add("e2b-sandbox-id", self.id());
            add("e2b-sandbox-port", &port.to_string());
            return (shared.clone(), headers);
        }
        (format!("https://{port}-{}.{}", self.id(), self.domain()), headers)
    }

    fn post(&self, method: &str) -> RequestBuilder {
        self.request(reqwest::Method::POST, &format!("/{method}"))
    }

    fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self.control().client().request(method, format!("{}{path}", self.base()));
        let request = request.header("e2b-sandbox-id", self.id()).header("e2b-sandbox-port", SERVICES);
        match &self.inner.opened.envd_access_token {
            Some(token) => request.header("x-access-token", token),
            None => request,
        }
    }

    fn domain(&self) -> &str {
        let own = self.inner.opened.domain.as_deref().filter(|domain| !domain.is_empty());
        own.unwrap_or(&self.control().config().domain)
    }

    fn base(&self) -> String {
        match &self.control().config().sandbox_url {
            Some(shared) => shared.clone(),
            None if SHARED_HOSTS.contains(&self.domain()) => format!("https://sandbox.{}", self.domain()),
            None => format!("https://{SERVICES}-{}.{}", self.id(), self.domain()),
        }
    }

    fn silent(&self) -> E2bError {
        E2bError::Unreachable { url: self.base(), reason: "it did not answer in time".to_owned(), unsent: false }
    }

    /// An answer that the sandbox does not run is believed only if the control plane says so too: an edge that was
    /// restarted says the same.
    async fn noticed<T>(&self, result: Result<T, E2bError>) -> Result<T, E2bError> {
        if !matches!(result, Err(E2bError::NotRunning)) {
            return result;
        }
        match self.control().detail(self.id()).await {
            Ok(None) => self.life().die("e2b ended it: its time was up, or somebody deleted it"),
            Ok(Some(detail)) if detail.state == "paused" => self.life().die("e2b paused it"),
            _ => {}
        }
        result
    }
}

/// The frames of one answer, as they come.
pub struct Frames {
    envd: Envd,
    pieces: BoxStream<'static, reqwest::Result<Bytes>>,
    decoder: Decoder,
}

impl Frames {
    /// The next message; none at an orderly end. Everything else is an error, silence too.
    pub async fn next(&mut self) -> Result<Option<Bytes>, E2bError> {
        loop {
            match self.decoder.next()? {
                Some(Frame::Message(message)) => return Ok(Some(message)),
                Some(Frame::End(end)) => return end.map(|()| None),
                None => {}
            }
            match tokio::time::timeout(SILENCE, self.pieces.next()).await {
                Ok(Some(Ok(piece))) => self.decoder.push(&piece),
                Ok(Some(Err(error))) => return Err(E2bError::transport(&error)),
                Ok(None) => {
                    let reason = "the connection ended in the middle".to_owned();
                    return Err(E2bError::Unreachable { url: self.envd.base(), reason, unsent: false });
                }
                Err(_) => return Err(self.envd.silent()),
            }
        }
    }
}

fn file_path(path: &str) -> String {
    format!("/files?path={}&username=user", utf8_percent_encode(path, NON_ALPHANUMERIC))
}
