//! The preview proxy: a browser's way to an app inside a sandbox, on an origin of its own.
//!
//! A request whose host is `{port}-{sandbox}.{domain}` is the app's and nobody else's: no route of the platform is
//! served here, no cookie or token of the platform goes in, and what comes out cannot name the platform's origin. It
//! must not know axum, pages of the interface or the agent; it speaks `http` and `hyper` types only.

mod csp;
mod forward;
mod headers;
mod inject;
mod pages;
mod report;
mod story;

pub(in crate::sandbox) use headers::{is_platform_cookie, own_cookies};

use super::{PreviewAddress, SandboxError, Service};
use crate::config::Secret;
use crate::domain::{ProjectId, SandboxId};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use std::sync::Arc;
use story::Story;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub type ProxyBody = UnsyncBoxBody<Bytes, BoxError>;

/// The header with which the platform's own waiting page asks how things are; it never reaches an app.
const POLL: &str = "x-sandcastle-poll";

/// Brings requests to apps. Cheap to clone.
#[derive(Clone)]
pub struct PreviewProxy {
    inner: Arc<Inner>,
}

struct Inner {
    service: Service,
    address: PreviewAddress,
    token: Option<Secret>,
    /// Connections to apps and the copying of upgraded ones.
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// What is asked for, once the host is understood.
struct Target {
    project: ProjectId,
    sandbox: SandboxId,
    port: u16,
}

impl PreviewProxy {
    /// A proxy in front of the service's sandboxes. `token` is the platform's access token, which apps must not see.
    pub fn new(service: Service, token: Option<Secret>) -> Self {
        let address = service.preview_address().clone();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        Self { inner: Arc::new(Inner { service, address, token, tasks, closing }) }
    }

    /// The sandbox and port a `Host` names; none if the request is not for a preview.
    pub fn parse_host(&self, host: &str) -> Option<(SandboxId, u16)> {
        self.inner.address.parse(host)
    }

    /// Answers a request whose host is a preview's: from the app, or with a page that says why not.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ProxyBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let html = wants_html(request.headers());
        let framed = request.headers().get("sec-fetch-dest").is_some_and(|destination| destination == "iframe");
        let host = host_of(&request).unwrap_or_default();
        let Some((sandbox, port)) = self.parse_host(&host) else { return pages::unknown(None, html) };
        let Some(project) = self.inner.service.find(&sandbox) else { return pages::unknown(Some(&sandbox), html) };
        let target = Target { project, sandbox, port };
        if request.method() == Method::POST && request.uri().path() == report::PATH {
            return report::take(&self.inner.service, &target.project, request).await;
        }
        if request.headers().contains_key(POLL) {
            return self.poll(request.method() == Method::POST, &target).await;
        }
        let connected = if may_wake(request.headers()) {
            self.inner.service.connect(&target.sandbox, port).await
        } else {
            self.inner.service.connect_awake(&target.sandbox, port).await
        };
        match connected {
            Ok(connection) => forward::forward(&self.inner, &target, connection, request).await,
            Err(SandboxError::NotFound(_)) => pages::unknown(Some(&target.sandbox), html),
            Err(error) if !html => pages::unavailable(&target, &error),
            Err(_) => pages::waiting(&self.story(&target).await, &target, framed),
        }
    }

    /// Ends every connection and joins every task.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Answers the waiting page's question; `start` is its button: start the sandbox again.
    async fn poll(&self, start: bool, target: &Target) -> Response<ProxyBody> {
        if start {
            // What went wrong, if anything, is in the state that is told next.
            if let Err(error) = self.inner.service.ensure(&target.project).await {
                tracing::info!(project = %target.project, %error, "a sandbox was not started again");
            }
        }
        let story = match self.inner.service.connect_awake(&target.sandbox, target.port).await {
            Ok(_) => Story::ready(),
            Err(_) => self.story(target).await,
        };
        pages::poll(&story)
    }

    async fn story(&self, target: &Target) -> Story {
        story::tell(&self.inner.service, &self.inner.address, target).await
    }
}

/// The host a request is for. HTTP/2 has it in the URI.
fn host_of<B>(request: &Request<B>) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(|authority| authority.as_str())).map(str::to_owned)
}

/// Whether a person will look at the answer: a navigation, also of a frame.
fn wants_html(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    match text(header::HeaderName::from_static("sec-fetch-dest")) {
        Some(destination) => matches!(destination, "document" | "iframe" | "frame"),
        None => text(header::ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Whether a request may wake a sleeping sandbox. The hot-reload client of a forgotten tab tries to reconnect for
/// ever; it must not keep the sandbox awake.
fn may_wake(headers: &HeaderMap) -> bool {
    let ping = headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/x-vite-ping");
    !ping && !headers.contains_key(header::UPGRADE)
}
