//! The demo model's HTTP server: loopback only, an ephemeral port, a random key.

use super::DEMO_MODEL;
use super::runs::{Recording, load};
use super::script::{Reply, reply};
use crate::config::Secret;
use crate::llm::Endpoint;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A conversation is at most this long; the agent keeps far below.
const MAX_REQUEST: usize = 32 * 1024 * 1024;
/// Pause between two words, and between two pieces of arguments: about as fast as a quick model, and never dull.
const WORD_PAUSE: Duration = Duration::from_millis(14);
const ARGUMENT_PAUSE: Duration = Duration::from_millis(18);
/// Characters of arguments in one piece.
const ARGUMENT_PIECE: usize = 900;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The running demo server. It answers until [`DemoServer::shutdown`].
pub struct DemoServer {
    addr: SocketAddr,
    key: Secret,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    key: Secret,
    recordings: Vec<Recording>,
}

impl DemoServer {
    /// Binds and starts to answer.
    pub async fn start() -> io::Result<Self> {
        let recordings = load().map_err(io::Error::other)?;
        let key = Secret::new(random_key()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared { key: key.clone(), recordings });
        let server = Self { addr, key, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        server.tasks.spawn(accept(listener, shared, server.tasks.clone(), server.stop.clone()));
        Ok(server)
    }

    /// Where it answers and with which key.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { base_url: format!("http://{}/v1", self.addr), api_key: Some(self.key.clone()) }
    }

    /// Breaks off what is being streamed and waits until every connection is gone.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for DemoServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            // Out of file descriptors: wait for some to be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            // An error here is a client that went away, which is how a stopped turn looks.
            let _ = stop.run_until_cancelled(connection).await;
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if given.strip_prefix("Bearer ") != Some(shared.key.expose()) {
        return Ok(problem(StatusCode::UNAUTHORIZED, "wrong key"));
    }
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/models") => {
            json_response(StatusCode::OK, &json!({"object": "list", "data": [{"id": DEMO_MODEL, "object": "model"}]}))
        }
        (&Method::POST, "/v1/chat/completions") => match read_messages(request).await {
            Ok(messages) => stream_response(&reply(&shared.recordings, &messages), messages.len()),
            Err(message) => problem(StatusCode::BAD_REQUEST, &message),
        },
        _ => problem(StatusCode::NOT_FOUND, "no such route"),
    })
}

async fn read_messages(request: Request<Incoming>) -> Result<Vec<Value>, String> {
    let body = Limited::new(request.into_body(), MAX_REQUEST).collect().await.map_err(|e| e.to_string())?.to_bytes();
    let mut json: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
    match json.get_mut("messages").map(Value::take) {
        Some(Value::Array(messages)) => Ok(messages),
        _ => Err("messages is missing".to_owned()),
    }
}

fn stream_response(reply: &Reply, seed: usize) -> Response<Body> {
    let chunks = chunks(reply, seed);
    let paced: BoxStream<'static, _> = stream::iter(chunks)
        .then(|(pause, data)| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(format!("data: {data}\n\n"))))
        })
        .boxed();
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(paced)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}

/// The answer as chunks with the pause before each.
fn chunks(reply: &Reply, seed: usize) -> Vec<(Duration, String)> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({"id": format!("demo-{seed}"), "object": "chat.completion.chunk", "model": DEMO_MODEL,
               "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        .to_string()
    };
    let mut out = vec![(Duration::from_millis(20), chunk(json!({"role": "assistant", "content": ""}), None))];
    for word in reply.text.split_inclusive(' ') {
        out.push((WORD_PAUSE, chunk(json!({"content": word}), None)));
    }
    for (index, (name, arguments)) in reply.calls.iter().enumerate() {
        let head = json!({"index": index, "id": format!("demo{seed}x{index}"), "type": "function",
                          "function": {"name": name, "arguments": ""}});
        out.push((ARGUMENT_PAUSE, chunk(json!({"tool_calls": [head]}), None)));
        let characters: Vec<char> = arguments.chars().collect();
        for piece in characters.chunks(ARGUMENT_PIECE) {
            let text: String = piece.iter().collect();
            let delta = json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]});
            out.push((ARGUMENT_PAUSE, chunk(delta, None)));
        }
    }
    let finish = if reply.calls.is_empty() { "stop" } else { "tool_calls" };
    out.push((Duration::ZERO, chunk(json!({}), Some(finish))));
    out.push((Duration::ZERO, "[DONE]".to_owned()));
    out
}

fn problem(status: StatusCode, message: &str) -> Response<Body> {
    json_response(status, &json!({"error": {"message": message}}))
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(BodyExt::boxed_unsync(Full::new(Bytes::from(value.to_string()))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn random_key() -> io::Result<String> {
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
