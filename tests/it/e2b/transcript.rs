//! The recorded answers of a real envd 0.6.13 beside ours.
//!
//! `envd-0.6.13.json` has what the original answered, with the recording machine's own facts taken out, and requests
//! that lead to it. Times, pids and how output is cut into pieces are compared by their shape. Every other difference is
//! in the table below with its reason; one that is not, and a line that is not needed any more, fail.

use super::{Made, Server, frame, frames};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const RECORDING: &str = include_str!("envd-0.6.13.json");

/// Headers that are compared nowhere, and why.
const HEADERS_ASIDE: [(&str, &str); 7] = [
    ("vary", "sent to pages of other sites only, where it matters"),
    ("cache-control", "an answer without an age is not kept by any of the SDKs"),
    ("x-content-type-options", "set on files, where a browser could be misled"),
    ("accept-encoding", "requests are not unpacked, so nothing is offered"),
    ("connect-accept-encoding", "likewise"),
    ("accept-post", "names the JSON forms only: binary messages are not spoken here"),
    ("x-envd-version", "told by the control plane"),
];

/// What figures about the machine begin with.
const MACHINE: [&str; 4] = ["ts", "cpu_", "mem_", "disk_"];

/// What differs, and why.
const DIFFERENCES: [(&str, &str, &str); 12] = [
    ("envs", "body", "the recording ran outside of a sandbox; here the owner's variables are told too"),
    ("start bad cmd", "frames", "the words are the shell's; the original starts everything below `nice`"),
    ("unknown json field", "body", "a sandbox has one user, to whom /tmp belongs"),
    ("stat ok", "body", "the file is made for the sandbox and by its one user"),
    ("bad json", "body", "the words are another reader's"),
    ("files nopath", "body", "root is at home where user is, because they are the same"),
    ("files put octet", "header content-type", "what is sent is JSON, and says so"),
    ("multipart 2", "header content-type", "likewise"),
    ("files gzip", "header content-encoding", "files are sent as they are: the way is short"),
    ("files 406", "body", "so plain is what is offered"),
    ("init", "status", "the cloud's proxy answers 404 too; a sandbox is set up when it is made"),
    ("init", "body", "likewise"),
];

/// Sends a recorded request.
async fn replay(server: &Server, sandbox: &Made, asked: &Value) -> reqwest::Response {
    let method: Method = asked["method"].as_str().unwrap().parse().unwrap();
    let path = asked["path"].as_str().unwrap();
    let expiration = path.split("signature_expiration=").nth(1).and_then(|rest| rest.split('&').next());
    let signed = format!("x/y.txt:read::{}{}", sandbox.1, expiration.map(|at| format!(":{at}")).unwrap_or_default());
    let signature = format!("v1_{}", STANDARD_NO_PAD.encode(Sha256::digest(signed)));
    let path = path.replace("{signature}", &signature.replace('+', "%2B"));
    let request =
        server.request(method, &path).header("e2b-sandbox-id", &sandbox.0).header("e2b-sandbox-port", "49983");
    let mut request = match asked["token"].as_str() {
        None => request.header("x-access-token", &sandbox.1),
        Some("none") => request,
        Some(wrong) => request.header("x-access-token", wrong),
    };
    for (name, value) in asked["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap());
    }
    request = match (asked.get("stream"), asked.get("json"), asked["body"].as_str()) {
        (Some(message), ..) => request.header("content-type", "application/connect+json").body(frame(message)),
        (_, Some(message), _) => request.json(message),
        (_, _, Some(text)) => request.body(text.to_owned()),
        _ => request,
    };
    request.send().await.unwrap()
}

/// Without what changes from one run to the next.
fn steady(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(steady).collect(),
        Value::Object(fields) => {
            let steadied = fields.iter().map(|(name, value)| match (name.as_str(), value) {
                ("pid", Value::Number(_)) => (name.clone(), json!("a pid")),
                // What a machine has and uses.
                (name, Value::Number(_)) if MACHINE.iter().any(|start| name.starts_with(start)) => {
                    (name.to_owned(), json!(1))
                }
                ("modifiedTime", Value::String(_)) => (name.clone(), json!("a time")),
                // Of a folder it is the file system's own affair.
                ("size", Value::String(_)) if fields.get("type") == Some(&json!("FILE_TYPE_DIRECTORY")) => {
                    (name.clone(), json!("a size"))
                }
                _ => (name.clone(), steady(value)),
            });
            Value::Object(steadied.collect())
        }
        other => other.clone(),
    }
}

/// Frames with neighbouring output joined: its pieces have no size of their own, and two streams no order. How many
/// signs of life come in a row is a matter of how fast the machine is.
fn joined(frames: Vec<(u8, Value)>) -> Vec<Value> {
    let mut joined: Vec<Value> = Vec::new();
    let mut output: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (flag, message) in frames {
        if let Some(data) = message["event"]["data"].as_object() {
            for (kind, text) in data {
                output.entry(kind.clone()).or_default().extend(STANDARD.decode(text.as_str().unwrap()).unwrap());
            }
            continue;
        }
        joined.extend(
            std::mem::take(&mut output).into_iter().map(|(kind, bytes)| json!({ kind: STANDARD.encode(bytes) })),
        );
        let next = json!([flag, steady(&message)]);
        if message["event"]["keepalive"].is_null() || joined.last() != Some(&next) {
            joined.push(next);
        }
    }
    joined
}

/// Fields that differ between the recorded answer and ours, each with both.
async fn compare(recorded: &Value, ours: reqwest::Response) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut differ = |field: String, recorded: &Value, ours: Value| {
        if *recorded != ours {
            found.push((field, format!("recorded {recorded}, ours {ours}")));
        }
    };
    differ("status".to_owned(), &recorded["status"], ours.status().as_u16().into());
    for (name, value) in recorded["headers"].as_object().unwrap() {
        if !HEADERS_ASIDE.iter().any(|(aside, _)| aside == name) {
            let own = ours.headers().get(name).map_or(Value::Null, |own| own.to_str().unwrap().into());
            differ(format!("header {name}"), value, own);
        }
    }
    let streamed = ours.headers().get("content-type").is_some_and(|kind| kind == "application/connect+json");
    let bytes = ours.bytes().await.unwrap();
    if let Some(recorded) = recorded["frames"].as_array() {
        let pair = |frame: &Value| (u8::try_from(frame[0].as_u64().unwrap()).unwrap(), frame[1].clone());
        let own = if streamed { joined(frames(&bytes)) } else { Vec::new() };
        differ("frames".to_owned(), &joined(recorded.iter().map(pair).collect()).into(), own.into());
    } else if let Some(recorded) = recorded.get("json") {
        let own = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        differ("body".to_owned(), &steady(recorded), steady(&own));
    } else {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        differ("body".to_owned(), &recorded["text"], text.into());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_envd_is_answered_alike_but_for_what_is_listed() {
    let server = Server::start().await;
    let sandbox = server.sandbox_of(&json!({"templateID": "base", "envVars": {"X": "1"}})).await;
    let recording: Vec<Value> = serde_json::from_str(RECORDING).unwrap();
    let listed = DIFFERENCES.iter().map(|(name, field, _)| ((*name).to_owned(), (*field).to_owned()));
    let mut expected: BTreeSet<(String, String)> = listed.collect();
    let mut unexplained = Vec::new();
    for exchange in &recording {
        let name = exchange["name"].as_str().unwrap();
        let ours = replay(&server, &sandbox, exchange).await;
        for (field, what) in compare(&exchange["answer"], ours).await {
            let difference = (name.to_owned(), field);
            if !expected.remove(&difference) {
                unexplained.push(format!("{name}: {}: {what}", difference.1));
            }
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    assert!(expected.is_empty(), "these do not differ any more: {expected:?}");
    server.app.stop().await;
}
