//! Tasks inside a real sandbox: beginning from what is there, reading what is on the web, looking at the app.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::support::{TestApp, answer};
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use sandcastle::config::SandboxConfig;
use sandcastle::domain::{ApiError, AttachmentId, CommandView, EventBody, ProjectId, image_type};
use sandcastle::sandbox::egress::{Egress, Resolver, UpstreamProxy};
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::{CommandSpec, LogFrom, PreviewAddress, Service};
use sandcastle::store::Store;
use sandcastle::workflow::{RunRequest, Workflow, WorkflowOptions, tasks};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// One public name.
struct Names;

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        match name {
            "code.example.com" => Ok(vec!["203.0.113.80".parse().unwrap()]),
            _ => Err(std::io::Error::other("no such name")),
        }
    }
}

/// The internet: takes `CONNECT` and serves the files of a folder, whatever the name.
async fn internet(root: PathBuf) -> UpstreamProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = UpstreamProxy::parse(&listener.local_addr().unwrap().to_string(), "").unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, root.clone()));
        }
    });
    proxy
}

async fn serve(mut stream: TcpStream, root: PathBuf) -> Option<()> {
    head(&mut stream).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    loop {
        let asked = head(&mut stream).await?;
        let path = asked.split(' ').nth(1)?.split('?').next()?.trim_start_matches('/').to_owned();
        let (status, body) = match std::fs::read(root.join(&path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", b"nothing".to_vec()),
        };
        let kind = if path.ends_with(".html") { "text/html" } else { "application/octet-stream" };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
    }
}

async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A real sandbox with tasks, and a small internet.
struct Inside {
    dir: tempfile::TempDir,
    store: Store,
    service: Service,
    egress: Egress,
    workflow: Workflow,
    project: ProjectId,
}

impl Inside {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let web = dir.path().join("web");
        std::fs::create_dir(&web).unwrap();
        let data = dir.path().join("data");
        let store = Store::open(&data).await.unwrap();
        let egress = Egress::new(Arc::new(Names), Some(internet(web).await));
        let provider = Arc::new(LocalProvider::new(SandboxConfig::default(), data.clone(), Arc::new(egress.clone())));
        let address = PreviewAddress { scheme: "http".to_owned(), domain: "localhost".to_owned(), port: 3000 };
        let service = Service::new(SandboxConfig::default(), address, provider, store.clone(), data);
        let workflow = Workflow::new(&store, WorkflowOptions::default());
        tasks::register(&workflow, &service, &store);
        workflow.boot().await.unwrap();
        let project = store.events().create_project("import").await.unwrap();
        Self { dir, store, service, egress, workflow, project }
    }

    fn web(&self) -> PathBuf {
        self.dir.path().join("web")
    }

    async fn run(&self, task: &str, url: &str) -> Result<Value, ApiError> {
        self.run_with(task, json!({"project": self.project, "url": url})).await
    }

    async fn run_with(&self, task: &str, payload: Value) -> Result<Value, ApiError> {
        self.run_until(task, payload, &CancellationToken::new()).await
    }

    async fn run_until(&self, task: &str, payload: Value, cancel: &CancellationToken) -> Result<Value, ApiError> {
        let request = RunRequest {
            task: task.to_owned(),
            title: task.to_owned(),
            payload,
            project: Some(self.project.clone()),
            ..RunRequest::default()
        };
        self.workflow.call(request, cancel).await
    }

    /// Starts what serves the app.
    async fn serve(&self, files: &[(&str, &str)], line: &str) {
        let put =
            files.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec(), false)).collect();
        self.service.put_files(&self.project, put).await.unwrap();
        let serve = CommandSpec { line: line.to_owned(), background: true, ..CommandSpec::default() };
        self.service.start_command(&self.project, serve).await.unwrap();
    }

    async fn check(&self) -> Vec<Value> {
        let checked = self.run_with("selfCheck", json!({"project": self.project, "port": 3000})).await.unwrap();
        checked["checks"].as_array().unwrap().clone()
    }

    /// The browser that looks or looked.
    async fn browser(&self) -> Option<CommandView> {
        let state = self.store.events().state(&self.project).await.unwrap();
        state.commands.iter().find(|command| command.line.contains("in a browser")).cloned()
    }

    async fn end(self) {
        self.service.shutdown().await;
        self.egress.shutdown().await;
        self.store.close().await;
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"];
    let ran = Command::new("git").args(identity).args(arguments).current_dir(folder).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A bare repository of one commit, as any web server can offer it.
fn repository(web: &Path) {
    let work = web.join("work");
    std::fs::create_dir_all(work.join("src")).unwrap();
    std::fs::write(work.join("index.html"), "<h1>Shop</h1>").unwrap();
    std::fs::write(work.join("src/run.sh"), "#!/bin/sh\n").unwrap();
    git(&work, &["init", "--quiet"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "first"]);
    git(web, &["clone", "--quiet", "--bare", "work", "shop.git"]);
    git(&web.join("shop.git"), &["update-server-info"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_cloned_inside_the_sandbox_and_becomes_a_checkpoint() {
    let inside = Inside::new().await;
    repository(&inside.web());
    let made = inside.run("importGit", "http://code.example.com/shop.git").await.unwrap();
    assert!(made["commit"].as_str().is_some_and(|commit| commit.len() == 40), "{made}");
    let file = inside.service.read_file(&inside.project, "index.html").await.unwrap();
    assert_eq!(file.text.as_deref(), Some("<h1>Shop</h1>"));
    assert!(inside.service.read_file(&inside.project, "src/run.sh").await.is_ok());
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_or_not_public_is_refused_in_gits_words() {
    let inside = Inside::new().await;
    let error = inside.run("importGit", "http://code.example.com/none.git").await.unwrap_err();
    assert!(error.message.contains("none.git could not be cloned") && error.message.contains("not found"), "{error}");
    // The host's own address is nobody's repository.
    let error = inside.run("importGit", "http://127.0.0.1:1/shop.git").await.unwrap_err();
    assert!(error.message.contains("could not be cloned"), "{error}");
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_fetched_through_the_sandboxs_rules_and_a_failure_says_why() {
    let inside = Inside::new().await;
    std::fs::write(inside.web().join("docs.html"), "<!doctype html><h1>How to</h1>").unwrap();
    let page = inside.run("fetchPage", "http://code.example.com/docs.html").await.unwrap();
    assert_eq!(page["body"], "<!doctype html><h1>How to</h1>");
    let error = inside.run("fetchPage", "http://code.example.com/none.html").await.unwrap_err();
    assert!(error.message.contains("none.html could not be fetched") && error.message.contains("404"), "{error}");
    let error = inside.run("fetchPage", "http://127.0.0.1:1/").await.unwrap_err();
    assert!(error.message.contains("could not be fetched"), "{error}");
    inside.end().await;
}

/// Whether a sandbox here has a browser, by the rule of the check itself.
fn has_browser() -> bool {
    let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
    ["/usr/bin", "/usr/local/bin", "/bin"].iter().any(|dir| names.iter().any(|name| Path::new(dir).join(name).exists()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_inside_the_sandbox_finds_what_scripts_do_wrong_and_takes_a_picture() {
    let inside = Inside::new().await;
    let page = "<!doctype html><body><h1>Shop</h1><img src=none.png><script>console.log('all quiet'); console.error('no stock', 7); brokenFunction()</script></body>";
    let files = [("index.html", page), ("server.py", "def broken(:\n    pass\n")];
    inside.serve(&files, "python3 -m http.server 3000").await;
    let still = CommandSpec { line: "true".to_owned(), ..CommandSpec::default() };
    let command = inside.service.start_command(&inside.project, still).await.unwrap();
    inside.service.wait_command(&inside.project, &command, &CancellationToken::new()).await.unwrap();
    // The end of the first command reports what was put there.
    let mut events = inside.store.events().watch(&inside.project).await.unwrap();
    let files_rev = async || inside.store.events().state(&inside.project).await.unwrap().files_rev;
    while files_rev().await < 2 {
        events.changed().await.unwrap();
    }
    let checks = inside.check().await;
    let named = |name: &str| checks.iter().find(|check| check["name"] == name);
    assert_eq!(named("The app answers").unwrap()["ok"], true);
    let builds = named("It builds").unwrap();
    assert!(builds["ok"] == false && builds["detail"].as_str().unwrap().contains("server.py"), "{builds}");
    match named("A browser runs it") {
        Some(seen) => {
            assert!(
                seen["ok"] == false && seen["detail"].as_str().unwrap().contains("brokenFunction is not defined"),
                "{seen}"
            );
            let detail = seen["detail"].as_str().unwrap();
            assert!(detail.contains("console.error: no stock 7") && detail.contains("none.png"), "{seen}");
            assert!(!detail.contains("all quiet") && !detail.contains("favicon"), "{seen}");
            let id = AttachmentId::parse(seen["image"].as_str().unwrap()).unwrap();
            let picture = inside.store.attachments().read(&id).await.unwrap();
            assert_eq!(image_type(&picture), Some("image/png"));
        }
        None => {
            assert!(!has_browser(), "{checks:?}");
            assert_eq!(named("Not looked at in a browser").unwrap()["skipped"], true);
        }
    }
    // A look changes nothing, or errors seen before it would count as those of other files.
    assert_eq!(files_rev().await, 2);
    inside.end().await;
}

/// An app whose page keeps a stream of events open, as those with hot reload do.
const LIVE_APP: &str = r#"
import http.server, time
PAGE = b"""<!doctype html><body><h1>Live</h1><script>
new EventSource('/events');
addEventListener('load', () => setTimeout(() => lateFunction(), 300));
</script></body>"""
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        stream = self.path == '/events'
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream' if stream else 'text/html')
        self.end_headers()
        while stream:
            self.wfile.write(b'data: tick\n\n')
            time.sleep(0.1)
        self.wfile.write(PAGE)
http.server.ThreadingHTTPServer(('127.0.0.1', 3000), Handler).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_an_open_stream_of_events_is_looked_at_and_its_late_error_found() {
    let inside = Inside::new().await;
    inside.serve(&[("live.py", LIVE_APP)], "python3 live.py").await;
    let checks = inside.check().await;
    let Some(seen) = checks.iter().find(|check| check["name"] == "A browser runs it") else {
        assert!(!has_browser(), "{checks:?}");
        return inside.end().await;
    };
    assert!(seen["ok"] == false && seen["detail"].as_str().unwrap().contains("lateFunction is not defined"), "{seen}");
    assert!(seen["image"].is_string(), "{seen}");
    // The browser opens no port, and what is said through its pipes is in no log.
    for event in inside.store.events().after(&inside.project, 0, 1000).await.unwrap() {
        assert!(!matches!(event.body, EventBody::PortOpened { port, .. } if port != 3000), "{event:?}");
    }
    let browser = inside.browser().await.unwrap();
    let log = inside.service.read_log(&inside.project, &browser.id, LogFrom::Offset(0), 1 << 20).await.unwrap();
    assert!(log.text.lines().all(|line| line.contains("CONSOLE")), "{}", log.text);
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_scripts_draw_is_seen_by_one_browser_on_each_page_that_is_asked_for() {
    let inside = Inside::new().await;
    let page = |words: &str| {
        let script = format!("setTimeout(() => document.body.append('{words}'.split('').reverse().join('')), 100)");
        format!("<!doctype html><body><p>Shop</p><script>{script}</script></body>")
    };
    let (first, second) = (page("klim yuB"), page("daerb yuB"));
    inside.serve(&[("index.html", &first), ("list.html", &second)], "python3 -m http.server 3000").await;
    let step = |page: &str, contains: &str| {
        let check = json!({"kind": "page", "target": page, "contains": contains});
        json!({"title": format!("{page} {contains}"), "state": "done", "check": check})
    };
    let steps = [step("/", "Buy milk"), step("/list.html", "Buy bread"), step("/list.html", "Buy milk")];
    let input = json!({"project": inside.project, "port": 3000, "steps": steps});
    let found = inside.run_with("selfCheck", input).await.unwrap()["steps"].clone();
    let line = |at: usize| (found[at]["ok"] == true, found[at]["detail"].as_str().unwrap().to_owned());
    if has_browser() {
        assert_eq!(line(0), (true, "GET /: HTTP 200, a browser shows \"Buy milk\"".to_owned()));
        assert_eq!(line(1), (true, "GET /list.html: HTTP 200, a browser shows \"Buy bread\"".to_owned()));
        let missing = "GET /list.html: HTTP 200, but a browser does not show \"Buy milk\". It shows: Shop Buy bread";
        assert_eq!(line(2), (false, missing.to_owned()));
        let state = inside.store.events().state(&inside.project).await.unwrap();
        assert_eq!(state.commands.iter().filter(|command| command.line.contains("in a browser")).count(), 1);
    } else {
        assert!(found.as_array().unwrap().iter().all(|found| found["skipped"] == true), "{found}");
    }
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_lead_out_of_the_app_are_refused_also_where_a_run_is_submitted_by_hand() {
    let inside = Inside::new().await;
    inside.serve(&[("index.html", "<p>Shop</p>")], "python3 -m http.server 3000").await;
    let step =
        |kind: &str, target: &str| json!({"title": "x", "state": "done", "check": {"kind": kind, "target": target}});
    let mut steps = vec![
        step("page", "//evil.example.com/"),
        step("page", "http://evil.example.com/"),
        step("page", "/a HTTP/1.0\r\nHost: evil"),
        step("page", "/../x"),
        step("page", &"/x".repeat(100_000)),
        step("file", "../../etc/passwd"),
        step("file", "/etc/passwd"),
        step("file", "a\0b"),
        step("command", "echo a\0b"),
        step("command", &"x".repeat(1_000_000)),
    ];
    steps.extend((0..1_000).map(|n| step("file", &format!("{n}.txt"))));
    let input = json!({"project": inside.project, "port": 3000, "steps": steps});
    let checked = inside.run_with("selfCheck", input).await.unwrap();
    let found = checked["steps"].as_array().unwrap();
    assert_eq!(found.len(), 20, "the others are left out");
    for line in found {
        assert_eq!(line["ok"], false, "{line}");
        assert!(line["detail"].as_str().unwrap().len() < 300, "{line}");
    }
    let ran = inside.store.events().state(&inside.project).await.unwrap();
    assert!(ran.commands.iter().all(|command| !command.line.contains("xxx") && !command.line.contains("echo")));
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_is_cancelled_ends_its_browser() {
    let inside = Inside::new().await;
    let page = "<!doctype html><body><h1>Busy</h1><script>while (true) {}</script></body>";
    inside.serve(&[("index.html", page)], "python3 -m http.server 3000").await;
    if !has_browser() {
        return inside.end().await;
    }
    let cancel = CancellationToken::new();
    let input = json!({"project": inside.project, "port": 3000});
    let cancelling = async {
        let mut events = inside.store.events().watch(&inside.project).await.unwrap();
        while inside.browser().await.is_none() {
            events.changed().await.unwrap();
        }
        cancel.cancel();
    };
    let (checked, ()) = tokio::join!(inside.run_until("selfCheck", input, &cancel), cancelling);
    assert!(checked.is_err(), "{checked:?}");
    let mut events = inside.store.events().watch(&inside.project).await.unwrap();
    while inside.browser().await.unwrap().exit.is_none() {
        events.changed().await.unwrap();
    }
    // Or it went by itself, once nobody held its pipes; but it was not left to its time limit.
    let exit = inside.browser().await.unwrap().exit.unwrap();
    assert!(exit.reason.as_deref().is_none_or(|why| why == "stopped"), "{exit:?}");
    inside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_import_page_takes_a_folder_and_an_archive_and_says_what_is_wrong() {
    let app = TestApp::start().await;
    let html = app.get("/import").send().await.unwrap().text().await.unwrap();
    for field in ["name=\"git\"", "name=\"zip\"", "webkitdirectory"] {
        assert!(html.contains(field), "{field}: {html}");
    }
    let home = app.get("/").send().await.unwrap().text().await.unwrap();
    assert!(home.contains("href=\"/import\""));
    let post = |parts: &[(&str, &str, &str)]| {
        let mut body = String::new();
        for (field, file, content) in parts {
            body.push_str(&format!(
                "--x\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\n\r\n{content}\r\n"
            ));
        }
        body.push_str("--x--\r\n");
        app.request(Method::POST, "/import").header("content-type", "multipart/form-data; boundary=x").body(body)
    };
    let files = [
        ("folder", "shop/index.html", "<h1>Shop</h1>"),
        ("folder", "shop/node_modules/left/pad.js", "x"),
        ("folder", "shop/.git/config", "x"),
    ];
    let made = post(&files).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::SEE_OTHER);
    let project = made.headers()["location"].to_str().unwrap().trim_start_matches("/p/").to_owned();
    let project = ProjectId::parse(project).unwrap();
    let sandbox = &app.services().sandbox;
    let file = sandbox.read_file(&project, "index.html").await.unwrap();
    assert_eq!(file.text.as_deref(), Some("<h1>Shop</h1>"));
    assert!(sandbox.read_file(&project, "node_modules/left/pad.js").await.is_err());
    assert_eq!(app.services().store.events().state(&project).await.unwrap().name, "shop");

    // Sent twice from one look at the page, a folder is one project.
    let twice = async || {
        let again = [("folder", "twin/index.html", "x")];
        let body = "--x\r\nContent-Disposition: form-data; name=\"once\"\r\n\r\nmark\r\n";
        let (client, request) = post(&again).build_split();
        let mut request = request.unwrap();
        let rest = String::from_utf8(request.body().unwrap().as_bytes().unwrap().to_vec()).unwrap();
        *request.body_mut() = Some(format!("{body}{rest}").into());
        client.execute(request).await.unwrap().headers()["location"].clone()
    };
    let (one, two) = tokio::join!(twice(), twice());
    assert_eq!(one, two);

    let (status, error) = answer(post(&[("folder", "x/../../etc/passwd", "x")])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
    let (status, error) = answer(post(&[("zip", "a.zip", "nonsense")])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error["message"].as_str().unwrap().contains("cannot be read"), "{error}");
    let (_, error) = answer(post(&[])).await;
    assert!(error["message"].as_str().unwrap().contains("Nothing was chosen"), "{error}");
    app.stop().await;
}
