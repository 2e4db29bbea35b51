//! The preview proxy in front of a real node app, over real sockets.

use crate::service::{World, free_port};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use sandcastle::config::Secret;
use sandcastle::domain::*;
use sandcastle::sandbox::preview::PreviewProxy;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A proxy on a port of its own.
struct Front {
    world: World,
    proxy: PreviewProxy,
    addr: SocketAddr,
    sandbox: SandboxId,
    port: u16,
    server: tokio::task::JoinHandle<()>,
}

impl Front {
    async fn new() -> Self {
        let world = World::new().await;
        let sandbox = world.service.ensure(&world.project).await.unwrap().id;
        let proxy = PreviewProxy::new(world.service.clone(), Some(Secret::new("s3cret")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = proxy.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = serving.clone();
                let service = hyper::service::service_fn(move |request| {
                    let proxy = proxy.clone();
                    async move { Ok::<_, std::convert::Infallible>(proxy.handle(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
            }
        });
        Self { world, proxy, addr, sandbox, port: free_port(), server }
    }

    async fn with_app() -> Self {
        let front = Self::new().await;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/preview_app.mjs");
        front.world.start(&format!("exec node {script} {}", front.port), true).await;
        let (project, token) = (&front.world.project, CancellationToken::new());
        front.world.service.wait_for_url(project, front.port, Duration::from_secs(20), &token).await.unwrap();
        front
    }

    fn host(&self) -> String {
        format!("{}-{}.localhost:3000", self.port, self.sandbox)
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Response<hyper::body::Incoming> {
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", self.host().parse().unwrap());
        }
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, http::HeaderMap, String) {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let response = self.send(request.body(Full::default()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const PAGE: (&str, &str) = ("accept", "text/html,*/*");

#[tokio::test(flavor = "multi_thread")]
async fn a_page_arrives_with_the_script_and_may_be_framed() {
    let front = Front::with_app().await;
    let (status, headers, body) = front.get("/", &[PAGE]).await;
    assert_eq!(status, 200);
    assert!(body.starts_with("<!doctype html><html><head><script data-sandcastle>"), "{body}");
    assert!(body.ends_with("<title>App</title></head><body>hello</body></html>"), "{body}");
    assert!(!headers.contains_key("x-frame-options"));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("script-src 'self' 'sha256-") && !policy.contains("frame-ancestors"), "{policy}");
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/; SameSite=None; Secure"]);
    let (_, _, fetched) = front.get("/", &[("accept", "*/*")]).await;
    assert!(fetched.starts_with("<!doctype html><html><head><title>"), "only navigations get the script");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_sees_localhost_and_nothing_of_the_platform() {
    let front = Front::with_app().await;
    let origin = format!("http://{}", front.host());
    let sent = [
        ("origin", origin.as_str()),
        ("cookie", "sandcastle_token=s3cret; own=1"),
        ("authorization", "Bearer s3cret"),
        ("x-sandcastle-other", "kept"),
    ];
    let (_, _, body) = front.get("/headers?a=%20b", &sent).await;
    let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
    let local = format!("localhost:{}", front.port);
    assert_eq!(seen["host"], local);
    assert_eq!(seen["origin"], format!("http://{local}"));
    assert_eq!(seen["url"], "/headers?a=%20b");
    assert_eq!(seen["cookie"], "own=1");
    assert!(!body.contains("s3cret"), "{body}");
    let (status, headers, _) = front.get("/redirect", &[]).await;
    assert_eq!((status.as_u16(), headers["location"].to_str().unwrap()), (302, &*format!("{origin}/next?x=1")));
    let (status, _, body) = front.get("/api/projects", &[]).await;
    assert_eq!((status.as_u16(), body.as_str()), (404, "the app's own 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_stream_through_without_being_held_back() {
    let front = Front::with_app().await;
    let response = front.send(Request::get("/events").body(Full::default()).unwrap()).await;
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "data: one\n\n", "the first event is here before the app sends more");
    front.get("/release", &[]).await;
    assert_eq!(body.collect().await.unwrap().to_bytes(), "data: two\n\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_arrives_whole() {
    let front = Front::with_app().await;
    let data = Bytes::from(vec![7u8; 8 << 20]);
    let request = Request::post("/upload").body(Full::new(data.clone())).unwrap();
    let answer = front.send(request).await.into_body().collect().await.unwrap().to_bytes();
    use sha2::Digest;
    let hash: String = sha2::Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(answer, format!("{} {hash}", data.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes_both_ways_and_ends_with_the_proxy() {
    let front = Front::with_app().await;
    let mut socket = TcpStream::connect(front.addr).await.unwrap();
    let host = front.host();
    let upgrade = format!(
        "GET /hmr HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    for text in ["ping", "again"] {
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 1, 2, 3, 4];
        frame.extend(text.bytes().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        socket.write_all(&frame).await.unwrap();
        let mut answer = vec![0; 2 + text.len()];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[2..], text.as_bytes());
    }
    front.proxy.shutdown().await;
    assert!(matches!(socket.read_u8().await, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_gives_people_a_waiting_page_that_becomes_the_app() {
    let front = Front::new().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/preview_app.mjs");
    let line = format!("echo '<b>starting</b>'; read x < gate; exec node {script} {}", front.port);
    front.world.run("mkfifo gate").await;
    let command = front.world.start(&line, true).await;
    let mut changed = front.world.service.output_changed(&front.world.project);
    while front.world.output(&command).await.is_empty() {
        changed.changed().await.unwrap();
    }
    let (status, headers, body) = front.get("/some/page", &[PAGE]).await;
    assert_eq!(status, 502);
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(body.contains("Waiting for the app") && body.contains("&lt;b&gt;starting"), "{body}");
    assert_eq!(front.get("/", &[("sec-fetch-dest", "iframe")]).await.0, 200, "no error in the work pane's console");
    let (status, _, body) = front.get("/", &[("accept", "application/json")]).await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status.as_u16(), json["code"].as_u64()), (502, Some(502)));
    assert_eq!(json["message"], "The sandbox is running but port is not open");
    assert_eq!(
        (json["sandboxId"].as_str(), json["port"].as_u64()),
        (Some(front.sandbox.as_str()), Some(front.port.into()))
    );
    let poll = [("x-sandcastle-poll", "1")];
    assert!(front.get("/some/page", &poll).await.2.contains(r#""state":"waiting""#));
    front.world.run("echo go > gate").await;
    front.world.until(|state| state.ports.iter().any(|open| open.port == front.port)).await;
    assert!(front.get("/some/page", &poll).await.2.contains(r#""state":"ready""#));
    assert!(front.get("/", &[PAGE]).await.2.contains("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_is_shown_with_its_last_output() {
    let front = Front::new().await;
    let line = "printf '\\033[31mError: <script>alert(1)</script>\\033[0m\\n'; exit 7";
    let command = front.world.start(line, true).await;
    front.world.service.wait_command(&front.world.project, &command, &CancellationToken::new()).await.unwrap();
    let (_, _, body) = front.get("/", &[PAGE]).await;
    assert!(body.contains("The app is not running") && body.contains("exit code 7"), "{body}");
    assert!(body.contains("Error: &lt;script&gt;alert(1)&lt;/script&gt;") && !body.contains('\u{1b}'), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_wakes_a_sleeping_sandbox_but_hot_reload_of_a_forgotten_tab_does_not() {
    let front = Front::with_app().await;
    front.world.service.sleep(&front.world.project).await.unwrap();
    let asleep = |state: &ProjectState| state.sandbox.as_ref().unwrap().phase == SandboxPhase::Asleep;
    let socket = [("upgrade", "websocket"), ("connection", "upgrade")];
    assert_eq!(front.get("/hmr", &socket).await.0, 502);
    let poll = front.get("/", &[("x-sandcastle-poll", "1")]).await.2;
    assert!(poll.contains(r#""state":"down""#) && asleep(&*front.world.state().await), "{poll}");
    front.get("/", &[PAGE]).await;
    front.world.until(|state| state.ports.iter().any(|open| open.port == front.port)).await;
    assert!(front.get("/", &[PAGE]).await.2.contains("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_died_is_started_by_the_button_only() {
    let front = Front::with_app().await;
    front.world.provider.instances.lock().unwrap()[0].die("out of memory: 512 MiB limit");
    let failed = |state: &ProjectState| state.sandbox.as_ref().unwrap().phase == SandboxPhase::Failed;
    front.world.until(failed).await;
    let (_, _, body) = front.get("/", &[PAGE]).await;
    assert!(body.contains("The sandbox stopped") && body.contains("out of memory: 512 MiB limit"), "{body}");
    let button = Request::post("/").header("x-sandcastle-poll", "1").body(Full::default()).unwrap();
    front.send(button).await;
    front.world.until(|state| state.ports.iter().any(|open| open.port == front.port)).await;
    assert!(front.get("/", &[PAGE]).await.2.contains("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_sandboxes_and_apps_that_hang_up_get_a_clear_answer() {
    let front = Front::with_app().await;
    let unknown = ("host", "3000-izzzzzzzzzzzzzzzzzzz.localhost:3000");
    let (status, _, body) = front.get("/", &[unknown, PAGE]).await;
    assert_eq!(status, 404);
    assert!(body.contains("There is no such preview"));
    let (status, _, body) = front.get("/", &[unknown]).await;
    assert_eq!(status, 502);
    assert!(body.contains("The sandbox was not found"), "{body}");
    let (status, _, body) = front.get("/hang-up", &[PAGE]).await;
    assert_eq!(status, 502);
    assert!(body.contains("The app gave no answer"), "{body}");
}
