//! What is sent to the service and how its answers are read, held against recordings of the real thing instead of our
//! own server: e2b's SDKs for the requests, envd 0.6.13 for the answers.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use sandcastle::config::{E2bConfig, SandboxConfig, Secret};
use sandcastle::domain::SandboxId;
use sandcastle::sandbox::e2b::E2bProvider;
use sandcastle::sandbox::provider::*;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ID: &str = "i62mff4ahtrdfdkyn2esc";

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    /// The message of a stream's only frame.
    fn framed(&self) -> Value {
        assert_eq!(self.body[0], 0);
        assert_eq!(u32::from_be_bytes(self.body[1..5].try_into().unwrap()) as usize, self.body.len() - 5);
        serde_json::from_slice(&self.body[5..]).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn frame(flag: u8, json: &str) -> Vec<u8> {
    [&[flag], &u32::try_from(json.len()).unwrap().to_be_bytes()[..], json.as_bytes()].concat()
}

/// The bytes of recorded streams.
fn stream(events: &[&str]) -> Vec<u8> {
    let frames = events.iter().map(|event| frame(0, event)).chain([frame(2, "{}")]);
    frames.collect::<Vec<_>>().concat()
}

fn answer(asked: &Asked) -> (u16, &'static str, Vec<u8>) {
    let json = |status, body: Value| (status, "application/json", body.to_string().into_bytes());
    match (asked.method.as_str(), asked.path.split('?').next().unwrap()) {
        ("GET", "/v2/sandboxes") => json(200, json!([])),
        ("POST", "/v2/sandboxes") => json(
            201,
            json!({
                "sandboxID": ID, "templateID": "rki5dems9wqfm4r03t7g", "clientID": "6532622b", "alias": "base",
                "envdVersion": "0.6.13", "envdAccessToken": "ea_token", "trafficAccessToken": "ta_token", "domain": null,
            }),
        ),
        ("GET", _) => json(
            200,
            json!({
                "sandboxID": ID, "templateID": "rki5dems9wqfm4r03t7g", "clientID": "6532622b", "state": "running",
                "startedAt": "2026-11-22T20:06:53Z", "endAt": "2026-11-22T20:11:53Z", "cpuCount": 2, "memoryMB": 512,
                "diskSizeMB": 1024, "envdVersion": "0.6.13", "lifecycle": {"onTimeout": "pause", "autoResume": false},
            }),
        ),
        ("POST", "/process.Process/Start") => {
            let start = r#"{"event":{"start":{"pid":19728}}}"#;
            let end = r#"{"event":{"end":{"exited":true,"status":"exit status 0"}}}"#;
            let body = match asked.framed()["process"]["args"][1].as_str().unwrap() {
                "app" => stream(&[
                    start,
                    r#"{"event":{"keepalive":{}}}"#,
                    r#"{"event":{"data":{"stdout":"aGkK"}}}"#,
                    r#"{"event":{"data":{"stderr":"ZXJyCg=="}}}"#,
                    r#"{"event":{"end":{"exitCode":3,"exited":true,"status":"exit status 3","error":"exit status 3"}}}"#,
                ]),
                "nowhere" => {
                    frame(2, r#"{"error":{"code":"invalid_argument","message":"cwd '/nope' does not exist"}}"#)
                }
                _ => stream(&[start, end]),
            };
            (200, "application/connect+json", body)
        }
        ("POST", "/files") => {
            let said = br#"[{"name":"y.txt","path":"/home/user/x/y.txt","type":"file"}]"#;
            (200, "text/plain; charset=utf-8", said.to_vec())
        }
        ("POST", path) if path.ends_with("/pause") => (204, "", Vec::new()),
        _ => (404, "text/plain", b"404 page not found\n".to_vec()),
    }
}

/// Status, content type and body, or nothing: the connection ends.
type Answer = Option<(u16, &'static str, Vec<u8>)>;

/// Serves answers, which may depend on how many requests came before, and remembers what was asked.
async fn serve(
    answer: impl Fn(&Asked, &[Asked]) -> Answer + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<Asked>>>) {
    let answer = Arc::new(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let all = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                async move {
                    let (parts, body) = request.into_parts();
                    let path = parts.uri.path_and_query().unwrap().to_string();
                    let body = body.collect().await.unwrap().to_bytes();
                    let asked = Asked { method: parts.method, path, headers: parts.headers, body };
                    let before = all.lock().unwrap().clone();
                    all.lock().unwrap().push(asked.clone());
                    let (status, kind, body) = answer(&asked, &before).ok_or("no answer")?;
                    let answer = Response::builder().status(status).header("content-type", kind);
                    let answer = if body.ends_with(b"passes\"}") { answer.header("retry-after", "1") } else { answer };
                    Ok::<_, &'static str>(answer.body(Full::new(Bytes::from(body))).unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (addr, asked)
}

fn provider(addr: SocketAddr, dir: &Path) -> (E2bProvider, SandboxId) {
    let url = format!("http://{addr}");
    let config = E2bConfig {
        api_key: Secret::new("e2b_key"),
        api_url: url.clone(),
        domain: "e2b.app".to_owned(),
        sandbox_url: Some(url),
        template: "base".to_owned(),
        timeout: Duration::from_secs(300),
    };
    let provider = E2bProvider::new(config, &SandboxConfig::default(), dir).unwrap();
    (provider, SandboxId::parse("i1234567890abcdefghi").unwrap())
}

/// What a service does instead of its work.
enum Mood {
    Fine,
    Busy(u16),
    Full,
    Silent,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_sent_again_only_where_it_cannot_do_something_twice() {
    fn is_create(asked: &Asked) -> bool {
        asked.method == Method::POST && asked.path == "/v2/sandboxes"
    }
    fn is_list(asked: &Asked) -> bool {
        asked.method == Method::GET && asked.path.starts_with("/v2/sandboxes?")
    }
    let refuse = |status: u16, words: &str| {
        let body = json!({"code": status, "message": words}).to_string();
        Some((status, "application/json", body.into_bytes()))
    };
    // What happens at which try, how often a sandbox is asked for then, and whether it starts.
    type Case = (&'static str, fn(&Asked, usize) -> Mood, usize, bool);
    let cases: [Case; 5] = [
        (
            "a limit passes",
            |asked, tried| if is_create(asked) && tried < 1 { Mood::Busy(429) } else { Mood::Fine },
            2,
            true,
        ),
        ("a question", |asked, tried| if is_list(asked) && tried < 2 { Mood::Busy(503) } else { Mood::Fine }, 1, true),
        ("making", |asked, tried| if is_create(asked) && tried < 1 { Mood::Busy(503) } else { Mood::Fine }, 1, false),
        ("a quota", |asked, _| if is_create(asked) { Mood::Full } else { Mood::Fine }, 1, false),
        ("no answer", |asked, _| if is_create(asked) { Mood::Silent } else { Mood::Fine }, 1, false),
    ];
    for (what, mood, creates, starts) in cases {
        let (addr, all) = serve(move |asked, before| {
            let tried = before.iter().filter(|one| one.path == asked.path && one.method == asked.method).count();
            match mood(asked, tried) {
                Mood::Fine => Some(answer(asked)),
                Mood::Silent => None,
                Mood::Busy(status) => refuse(status, "this passes"),
                Mood::Full => refuse(429, "you have reached the maximum number of concurrent E2B sandboxes (20)"),
            }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let (provider, id) = provider(addr, dir.path());
        let spec = SandboxSpec { id, workspace: dir.path().join("p/workspace"), env: Default::default() };
        let started = provider.start(spec).await;
        assert_eq!(started.is_ok(), starts, "{what}: {:?}", started.err());
        assert_eq!(all.lock().unwrap().iter().filter(|asked| is_create(asked)).count(), creates, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_those_of_the_sdks_and_answers_of_the_real_service_are_understood() {
    let (addr, all) = serve(|asked, _| Some(answer(asked))).await;
    let dir = tempfile::tempdir().unwrap();
    let (provider, id) = provider(addr, dir.path());
    let spec = SandboxSpec {
        id,
        workspace: dir.path().join("p/workspace"),
        env: [("TERM".to_owned(), "x".to_owned())].into(),
    };
    let instance = provider.start(spec.clone()).await.unwrap();
    let config = |script: &str| ProcessConfig {
        cmd: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        cwd: "src".to_owned(),
        ..ProcessConfig::default()
    };
    let mut process = instance.spawn(config("app")).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = process.events.recv().await {
        events.push(event);
    }
    let ended = ExitStatus { code: Some(3), ..ExitStatus::default() };
    let said = [
        ProcessEvent::Stdout(Bytes::from_static(b"hi\n")),
        ProcessEvent::Stderr(Bytes::from_static(b"err\n")),
        ProcessEvent::End(ended),
    ];
    assert_eq!((process.pid, events), (19728, said.to_vec()));
    let refused = instance.spawn(config("nowhere")).await.err().unwrap();
    assert_eq!(refused.to_string(), "cwd '/nope' does not exist");
    provider.files(&spec).write("x/y.txt", Bytes::from_static(b"hello"), false).await.unwrap();
    while provider.limits().memory_mib != 512 {
        // What the template is like is learnt beside the work.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    instance.shutdown().await;

    let all = all.lock().unwrap().clone();
    let find = |method: &str, path: &str| {
        all.iter().find(|asked| asked.method == method && asked.path.starts_with(path)).cloned().expect(path)
    };
    let create = find("POST", "/v2/sandboxes");
    assert_eq!(create.header("x-api-key"), "e2b_key");
    let body: Value = serde_json::from_slice(&create.body).unwrap();
    let wanted = json!({
        "templateID": "base", "timeout": 300, "metadata": {"sandcastle": "i1234567890abcdefghi"},
        "autoPause": true, "autoPauseMemory": false,
        "network": {"allowPublicTraffic": false, "maskRequestHost": "localhost:${PORT}"},
    });
    assert_eq!(body, wanted);

    let is_app =
        |asked: &&Asked| asked.path == "/process.Process/Start" && asked.framed()["process"]["args"][1] == "app";
    let start = all.iter().find(is_app).unwrap();
    for (name, value) in [
        ("content-type", "application/connect+json"),
        ("connect-protocol-version", "1"),
        ("e2b-sandbox-id", ID),
        ("e2b-sandbox-port", "49983"),
        ("x-access-token", "ea_token"),
        ("authorization", "Basic dXNlcjo="),
        ("x-api-key", ""),
        ("connect-timeout-ms", ""),
        ("content-encoding", ""),
    ] {
        assert_eq!(start.header(name), value, "{name}");
    }
    let message = start.framed();
    assert_eq!(
        (&message["stdin"], &message["pty"], &message["process"]["cwd"]),
        (&json!(false), &Value::Null, &json!("/home/user/src"))
    );
    assert_eq!(message["process"]["envs"]["TERM"], "x");

    let write = find("POST", "/files");
    assert_eq!(write.path, "/files?path=%2Fhome%2Fuser%2Fx%2Fy%2Etxt&username=user");
    assert!(write.header("content-type").starts_with("multipart/form-data; boundary="));
    let form = String::from_utf8(write.body.to_vec()).unwrap();
    assert!(form.contains("name=\"file\"") && form.contains("\r\n\r\nhello\r\n--"), "{form}");
    let pause = find("POST", &format!("/sandboxes/{ID}/pause"));
    assert_eq!(serde_json::from_slice::<Value>(&pause.body).unwrap(), json!({"memory": false}));
}
