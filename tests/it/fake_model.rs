//! A model server that misbehaves on demand: raw bytes over a real socket, in the order a test scripts them.

use sandcastle::config::Secret;
use sandcastle::llm::Endpoint;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One thing the server does to a connection.
pub enum Act {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits until the test says so.
    Wait(Arc<Notify>),
    /// Tells the test that it got here.
    Tell(Arc<Notify>),
    /// Waits for this long, as a model does that thinks.
    Pause(std::time::Duration),
    /// Never closes the connection.
    Hang,
}

/// What answers a request.
type Answerer = Arc<dyn Fn(&Value) -> Option<Vec<Act>> + Send + Sync>;

/// The server and what it was asked.
pub struct FakeModel {
    pub endpoint: Endpoint,
    requests: Arc<Mutex<Vec<Value>>>,
    server: JoinHandle<()>,
}

impl FakeModel {
    /// Answers each chat request with the next script.
    pub async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let scripts = Mutex::new(VecDeque::from(scripts));
        Self::respond(move |_| scripts.lock().unwrap().pop_front()).await
    }

    /// Answers each chat request with what the function makes of its body.
    pub async fn respond(answer: impl Fn(&Value) -> Option<Vec<Act>> + Send + Sync + 'static) -> Self {
        Self::respond_as(json!([{"id": "test-model"}, {"id": "other"}]), answer).await
    }

    /// The same, and lists these models.
    pub async fn respond_as(
        models: Value,
        answer: impl Fn(&Value) -> Option<Vec<Act>> + Send + Sync + 'static,
    ) -> Self {
        let list: Arc<str> = json!({"data": models}).to_string().into();
        let answer: Answerer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, Arc::clone(&asked), Arc::clone(&answer), Arc::clone(&list)));
            }
        });
        let api_key = Some(Secret::new("sk-test-secret"));
        Self { endpoint: Endpoint { base_url, api_key }, requests, server }
    }

    /// The bodies of the chat requests so far. Each is checked: every call has its result right behind it.
    pub fn requests(&self) -> Vec<Value> {
        let requests = self.requests.lock().unwrap().clone();
        requests.iter().for_each(check_protocol);
        requests
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What providers refuse: a call without a result, a result without a call, a message that follows no rule.
fn check_protocol(request: &Value) {
    let mut open: Vec<&str> = Vec::new();
    for message in request["messages"].as_array().unwrap() {
        match message["role"].as_str().unwrap() {
            "tool" => {
                let id = message["tool_call_id"].as_str().unwrap();
                let at = open.iter().position(|have| *have == id).expect("a result without its call");
                open.remove(at);
            }
            _ => {
                assert!(open.is_empty(), "calls without results: {open:?}");
                let calls = message["tool_calls"].as_array().into_iter().flatten();
                open = calls.map(|c| c["id"].as_str().unwrap()).collect();
            }
        }
    }
    assert!(open.is_empty(), "calls without results: {open:?}");
}

async fn serve(mut socket: TcpStream, requests: Arc<Mutex<Vec<Value>>>, answer: Answerer, list: Arc<str>) {
    let Some((head, body)) = read_request(&mut socket).await else { return };
    if head.starts_with("GET") {
        let _ = socket.write_all(&http("200 OK", "application/json", "", &list)).await;
        return;
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    requests.lock().unwrap().push(body.clone());
    let script = answer(&body);
    for act in
        script.unwrap_or_else(|| vec![Act::Send(http("500 Internal Server Error", "text/plain", "", "no script left"))])
    {
        match act {
            Act::Send(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
                let _ = socket.flush().await;
            }
            Act::Wait(notify) => notify.notified().await,
            Act::Tell(notify) => notify.notify_one(),
            Act::Pause(time) => tokio::time::sleep(time).await,
            Act::Hang => std::future::pending().await,
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0u8; 8192];
        let count = socket.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_string();
        let length = head
            .lines()
            .find_map(|l| l.to_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>().unwrap()));
        let wanted = end + 4 + length.unwrap_or(0);
        while bytes.len() < wanted {
            let count = socket.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
            bytes.extend_from_slice(&buffer[..count]);
        }
        return Some((head, bytes[end + 4..wanted].to_vec()));
    }
}

/// A whole HTTP answer.
pub fn http(status: &str, kind: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head of a stream; its end is the end of the connection.
pub fn stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec()
}

/// One chunk of a stream.
pub fn chunk(delta: Value, finish: Option<&str>) -> Vec<u8> {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})).into_bytes()
}

/// A whole answer of words.
pub fn says(text: &str) -> Vec<Act> {
    let mut bytes = stream_head();
    bytes.extend(chunk(json!({"role": "assistant", "content": text}), None));
    bytes.extend(chunk(json!({}), Some("stop")));
    bytes.extend(b"data: [DONE]\n\n");
    vec![Act::Send(bytes)]
}

/// A whole answer of calls: name and arguments.
pub fn calls(list: &[(&str, &str)]) -> Vec<Act> {
    let mut bytes = stream_head();
    for (index, (name, arguments)) in list.iter().enumerate() {
        let half = (0..=arguments.len() / 2).rev().find(|at| arguments.is_char_boundary(*at)).unwrap();
        let (first, second) = arguments.split_at(half);
        let call =
            json!({"index": index, "id": format!("vendor{index}"), "function": {"name": name, "arguments": first}});
        bytes.extend(chunk(json!({"tool_calls": [call]}), None));
        bytes.extend(chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": second}}]}), None));
    }
    bytes.extend(chunk(json!({}), Some("tool_calls")));
    bytes.extend(b"data: [DONE]\n\n");
    vec![Act::Send(bytes)]
}
