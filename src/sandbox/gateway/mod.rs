//! This server as an e2b: the control plane that e2b's SDKs call, and the services and ports of each sandbox behind it.
//!
//! Owns how e2b words requests and answers. Requests come by path, by header, by host, or by a signature alone; each
//! proves who it is with a key or a token of its own, so the guard of the interface has no say here, and no project is
//! reached. It must not know axum or leptos.

mod access;
mod answer;
mod body;
mod control;
mod files;
mod filesystem;
mod frame;
mod layers;
mod list;
mod ports;
mod process;
mod shapes;
mod templates;
mod upload;

use super::PreviewAddress;
use super::fleet::{Fleet, FleetError, Phase};
use super::preview::{BoxError, ProxyBody};
use super::unread;
use crate::domain::SandboxId;
use crate::store::KeyStore;
use answer::{error, routing_error};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Body;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The port of a sandbox's own services.
pub const SERVICES_PORT: u16 = 49983;
const ID_HEADER: &str = "e2b-sandbox-id";
const PORT_HEADER: &str = "e2b-sandbox-port";
const TOKEN_HEADER: &str = "x-access-token";

/// A request as the parts see it: the body type does not matter any more.
type Incoming = Request<ProxyBody>;
/// An answer.
type Answer = Response<ProxyBody>;

/// Answers e2b's requests. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    fleet: Fleet,
    keys: KeyStore,
    address: PreviewAddress,
    /// Requests to the control plane, connections to ports inside, and the copying of upgraded ones.
    tasks: TaskTracker,
    closing: CancellationToken,
    idempotent: control::Idempotent,
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// The control plane.
    Control,
    /// A port of a sandbox, or why it names none.
    Port(Result<(String, u16), &'static str>),
    /// A sandbox's services, by its token or a signature made with it alone.
    Unnamed,
    /// A browser asks whether it may ask.
    Preflight,
}

impl Gateway {
    /// A gateway to these sandboxes, opened by these keys.
    pub fn new(fleet: Fleet, keys: KeyStore, address: PreviewAddress) -> Self {
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let idempotent = control::Idempotent::default();
        Self { inner: Arc::new(Inner { fleet, keys, address, tasks, closing, idempotent }) }
    }

    /// What a request is for; none if it is not for e2b.
    pub fn claim<B>(&self, request: &Request<B>) -> Option<Claim> {
        let (headers, path) = (request.headers(), request.uri().path());
        let host = text(headers, header::HOST.as_str()).or_else(|| request.uri().authority().map(|a| a.as_str()));
        if let Some((id, port)) = host.and_then(|host| self.inner.address.parse(host)) {
            let ours = port == SERVICES_PORT || self.inner.fleet.find(&id).is_some();
            return ours.then(|| Claim::Port(Ok((id.to_string(), port))));
        }
        if request.method() == Method::OPTIONS
            && (path == "/files"
                || text(headers, "access-control-request-headers").is_some_and(|asked| asked.contains(ID_HEADER)))
        {
            return Some(Claim::Preflight);
        }
        // The Python SDK of 2025 sends a sandbox's headers to the control plane as well.
        let (control, port) = (control::is_route(path), text(headers, PORT_HEADER));
        if control && port.is_none_or(|port| port == "49983") {
            return Some(Claim::Control);
        }
        if port.is_some() || headers.contains_key(ID_HEADER) {
            return Some(Claim::Port(by_headers(headers)));
        }
        // The JavaScript SDK of 2025 names no sandbox on plain routes.
        (path == "/files" || headers.contains_key(TOKEN_HEADER)).then_some(Claim::Unnamed)
    }

    /// Answers a request that was claimed.
    pub async fn handle<B>(&self, claim: Claim, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        use http_body_util::BodyExt as _;
        let (parts, body) = request.into_parts();
        let (body, rest) = unread::lend(body.map_err(Into::into).boxed_unsync());
        let request = Request::from_parts(parts, body);
        // Boxed, because the future of everything below is large.
        let (gateway, control) = (self.clone(), claim == Claim::Control);
        let answering: BoxFuture<'static, Answer> = Box::pin(async move {
            let answer = gateway.answer(claim, request).await;
            rest.take().await;
            answer
        });
        if !control {
            return answering.await;
        }
        // A connection that is closed takes its request with it. Of what the control plane does nothing may stay half done:
        // a sandbox that stands still for a copy, one that runs and is known to nobody.
        let answered = self.inner.tasks.spawn(answering).await;
        answered.unwrap_or_else(|failed| {
            tracing::error!(error = %failed, "e2b API");
            error(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; its log says why")
        })
    }

    async fn answer(&self, claim: Claim, request: Incoming) -> Answer {
        let (cors, origin) = (claim != Claim::Control, request.headers().contains_key(header::ORIGIN));
        let preflight = request.method() == Method::OPTIONS && text(request.headers(), ASK_METHOD).is_some();
        let mut response = match claim {
            Claim::Control => control::handle(&self.inner, request).await,
            _ if preflight => answer::preflight(request.headers()),
            Claim::Preflight => error(StatusCode::BAD_REQUEST, "this is not a preflight request"),
            Claim::Port(Err(why)) => error(StatusCode::BAD_REQUEST, why),
            Claim::Port(Ok((id, port))) => self.port(&id, port, request).await,
            Claim::Unnamed => self.unnamed(request).await,
        };
        if cors && origin {
            answer::allow_any_origin(response.headers_mut());
        }
        response
    }

    /// Ends every connection to ports and joins every task.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    async fn port(&self, id: &str, port: u16, request: Incoming) -> Answer {
        let Ok(id) = SandboxId::parse(id.split('-').next().unwrap_or(id)) else {
            return match id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) && !id.is_empty() {
                true => routing_error(id, "The sandbox was not found", None),
                false => error(StatusCode::BAD_REQUEST, "Invalid sandbox ID"),
            };
        };
        // Who asks is looked at first: entering wakes a paused sandbox and gives it time.
        let Some(sandbox) = self.inner.fleet.find(&id) else {
            return routing_error(id.as_str(), "The sandbox was not found", None);
        };
        let token = sandbox.token();
        let allowed = match port {
            SERVICES_PORT if request.uri().path() == "/health" && access::check(&token, &request).is_err() => {
                return match sandbox.record().phase {
                    Phase::Running => answer::empty(StatusCode::NO_CONTENT),
                    Phase::Paused => routing_error(id.as_str(), "The sandbox was not found", None),
                };
            }
            SERVICES_PORT => access::check(&token, &request),
            _ => ports::check(&sandbox, &request),
        };
        if let Err(refused) = allowed {
            return refused;
        }
        let (sandbox, live) = match self.inner.fleet.enter(&id).await {
            Ok(entered) => entered,
            Err(FleetError::NoSandbox(_) | FleetError::Paused) => {
                return routing_error(id.as_str(), "The sandbox was not found", None);
            }
            Err(failed) => return answer::fleet_error(&failed),
        };
        if port == SERVICES_PORT {
            services(&self.inner, &sandbox, &live, request).await
        } else {
            ports::forward(&self.inner, &sandbox, &live, port, request).await
        }
    }

    /// Finds the sandbox by its token, or by the token that signed the request.
    async fn unnamed(&self, request: Incoming) -> Answer {
        let token = text(request.headers(), TOKEN_HEADER).map(str::to_owned);
        let signature = access::Signature::of(&request);
        let found = match (&token, &signature) {
            (Some(token), _) => self.inner.fleet.find_by(|known| access::equal(known, token)),
            (None, Some(signature)) => self.inner.fleet.find_by(|known| signature.fits(known)),
            (None, None) => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "name the sandbox by the headers E2b-Sandbox-Id and E2b-Sandbox-Port, by the host, or by a signature",
                );
            }
        };
        let Some(sandbox) = found else {
            return match token {
                Some(_) => routing_error("", "The sandbox was not found", None),
                None => error(StatusCode::UNAUTHORIZED, "invalid signature"),
            };
        };
        self.port(sandbox.id().as_str(), SERVICES_PORT, request).await
    }
}

const ASK_METHOD: &str = "access-control-request-method";

/// A sandbox's own services: what e2b's envd does. The request has shown its token.
async fn services(
    gateway: &Arc<Inner>,
    sandbox: &Arc<super::fleet::Sandbox>,
    live: &super::fleet::Live,
    request: Incoming,
) -> Answer {
    let path = request.uri().path().to_owned();
    if path == "/health" {
        return answer::empty(StatusCode::NO_CONTENT);
    }
    match path.as_str() {
        "/files" => files::handle(live, request).await,
        "/files/compose" => files::compose(live, request).await,
        "/metrics" => files::metrics(gateway, sandbox, live).await,
        "/envs" => files::envs(sandbox),
        _ => match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some(("process.Process", method)) => process::handle(sandbox, live, method, request).await,
            Some(("filesystem.Filesystem", method)) => filesystem::handle(live, method, request).await,
            _ => answer::plain(StatusCode::NOT_FOUND, "404 page not found\n"),
        },
    }
}

fn by_headers(headers: &HeaderMap) -> Result<(String, u16), &'static str> {
    let id = text(headers, ID_HEADER).ok_or("the header E2b-Sandbox-Id is missing")?;
    let port = text(headers, PORT_HEADER).ok_or("the header E2b-Sandbox-Port is missing")?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or("E2b-Sandbox-Port is not a port")?;
    Ok((id.to_owned(), port))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
