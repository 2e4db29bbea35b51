//! Which ports something inside listens on, and byte streams to them.
//!
//! A port of a remote sandbox is reached over HTTP only. So what is handed out is one end of a pipe in memory; at its
//! other end requests are read and sent on over pooled connections, upgrades included.

use super::envd::{Envd, User};
use super::error::E2bError;
use super::shell::SHORT;
use crate::sandbox::SandboxError;
use crate::sandbox::entry::lock;
use crate::sandbox::hop::{remove_hop_by_hop, requested_upgrade, switch_protocols};
use crate::sandbox::provider::Connection;
use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt as _, Empty, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// What was seen is believed for so long.
const FRESH: Duration = Duration::from_millis(900);
/// Somebody who waits for a port to open does not wait so long.
const EAGER: Duration = Duration::from_millis(250);
const PIPE: usize = 64 * 1024;
/// The services' own port.
const SERVICES: u16 = 49983;
type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// The ports of one sandbox.
pub struct Ports {
    envd: Envd,
    /// Open since the sandbox was made: the template's, not the project's.
    own: BTreeSet<u16>,
    seen: Mutex<(Option<Instant>, BTreeSet<u16>)>,
    one: tokio::sync::Mutex<()>,
}

impl Ports {
    /// The ports of a sandbox in which these were open from the start.
    pub fn new(envd: Envd, own: BTreeSet<u16>) -> Self {
        Self { envd, own, seen: Mutex::default(), one: tokio::sync::Mutex::default() }
    }

    /// Ports something listens on, as seen a moment ago.
    pub async fn open(&self) -> Result<BTreeSet<u16>, E2bError> {
        self.looked(FRESH).await
    }

    async fn looked(&self, age: Duration) -> Result<BTreeSet<u16>, E2bError> {
        let recent = |seen: &(Option<Instant>, BTreeSet<u16>)| {
            seen.0.is_some_and(|at| at.elapsed() < age).then(|| seen.1.clone())
        };
        if let Some(ports) = recent(&lock(&self.seen)) {
            return Ok(ports);
        }
        // Several who ask at once share one look.
        let _one = self.one.lock().await;
        if let Some(ports) = recent(&lock(&self.seen)) {
            return Ok(ports);
        }
        let open = listening(&self.envd).await?;
        let ports: BTreeSet<u16> = open.difference(&self.own).copied().filter(|port| *port != SERVICES).collect();
        *lock(&self.seen) = (Some(Instant::now()), ports.clone());
        Ok(ports)
    }

    /// A stream to a port that is open.
    pub async fn connect(&self, port: u16, tasks: &TaskTracker) -> Result<Box<dyn Connection>, SandboxError> {
        let known = lock(&self.seen).1.contains(&port);
        if !known && !self.looked(EAGER).await?.contains(&port) {
            return Err(SandboxError::PortClosed(port));
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let (envd, copies, closed) = (self.envd.clone(), tasks.clone(), self.envd.life().closed().clone());
        let service = service_fn(move |request| {
            let (envd, copies) = (envd.clone(), copies.clone());
            async move { forward(&envd, port, request, &copies).await }
        });
        tasks.spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(theirs), service)
                .with_upgrades();
            tokio::select! {
                () = closed.cancelled() => {}
                // A caller that hung up, or an answer that could not be had: the stream ends, which is what it shows.
                _ = served => {}
            }
        });
        Ok(Box::new(ours))
    }
}

/// All ports something listens on now.
pub async fn listening(envd: &Envd) -> Result<BTreeSet<u16>, E2bError> {
    let script = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; exit 0";
    let output = envd.shell(script, &[], User::Normal, SHORT, 4 << 20).await?;
    Ok(parse(&String::from_utf8_lossy(&output.successful()?)))
}

/// The listening sockets of the kernel's table.
fn parse(table: &str) -> BTreeSet<u16> {
    const LISTEN: &str = "0A";
    let port = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, _remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        let port = local.rsplit_once(':')?.1;
        (state == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().filter_map(port).collect()
}

/// Sends one request to the port and brings the answer back. An error ends the connection.
async fn forward(
    envd: &Envd,
    port: u16,
    mut request: Request<Incoming>,
    copies: &TaskTracker,
) -> io::Result<Response<AnswerBody>> {
    let upgrade = requested_upgrade(request.headers());
    let caller = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (origin, route) = envd.port(port);
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    remove_hop_by_hop(&mut headers);
    // The service routes by it and shows the program inside its own name.
    headers.remove(header::HOST);
    headers.extend(route);
    switch_protocols(&mut headers, upgrade);
    let mut outgoing = envd.control().client().request(parts.method, format!("{origin}{path}")).headers(headers);
    if !body.is_end_stream() {
        outgoing = outgoing.body(reqwest::Body::wrap_stream(BodyDataStream::new(body)));
    }
    let mut response = outgoing.send().await.map_err(io::Error::other)?;
    if response.status() == StatusCode::BAD_GATEWAY && is_json(response.headers()) {
        let (status, length) = (response.status(), response.content_length());
        // The proxy's own words are short and name the sandbox; an app's answer passes.
        if length.is_some_and(|length| length < 4096) {
            let body = response.bytes().await.map_err(io::Error::other)?;
            return match E2bError::read(status, &body) {
                error @ (E2bError::NotRunning | E2bError::PortClosed) => Err(io::Error::other(error)),
                _ => Ok(whole(status, body)),
            };
        }
    }
    let status = response.status();
    let mut headers = std::mem::take(response.headers_mut());
    let answered_upgrade = headers.get(header::UPGRADE).cloned();
    remove_hop_by_hop(&mut headers);
    let body = match (status, caller) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(caller)) => {
            switch_protocols(&mut headers, answered_upgrade);
            let closed = envd.life().closed().clone();
            copies.spawn(async move {
                tokio::select! {
                    () = closed.cancelled() => {}
                    // A closed tab and a restarted app look alike, and concern nobody else.
                    _ = copy(caller, response) => {}
                }
            });
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        }
        _ => StreamBody::new(response.bytes_stream().map_ok(Frame::data).map_err(io::Error::other)).boxed_unsync(),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

async fn copy(caller: hyper::upgrade::OnUpgrade, response: reqwest::Response) -> io::Result<()> {
    let caller = caller.await.map_err(io::Error::other)?;
    let mut inside = response.upgrade().await.map_err(io::Error::other)?;
    tokio::io::copy_bidirectional(&mut TokioIo::new(caller), &mut inside).await.map(drop)
}

fn whole(status: StatusCode, body: Bytes) -> Response<AnswerBody> {
    let mut answer = Response::new(http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_of_both_families_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0\n\
             1: 0100007F:0BB9 0100007F:1234 01 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0\n\
               sl  local_address                         remote_address                        st tx_queue\n\
             0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000\n";
        assert_eq!(parse(table), BTreeSet::from([3000, 8080]));
        assert!(parse("nonsense\n 0: :: 0A\n").is_empty());
    }
}
