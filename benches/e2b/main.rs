//! What the e2b API costs: a sandbox from the request to the first output of a command in it, and one command after the
//! other, over real connections to a whole server.
//!
//! Run by `make bench`; prints one JSON line a figure. The requests are the SDKs'; the JavaScript SDK itself is measured
//! where `make test` has installed it.

use reqwest::{Client, Method, RequestBuilder};
use sandcastle::boot::App;
use sandcastle::config::Config;
use sandcastle::store::KeyKind;
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const SANDBOXES: usize = 50;
const COMMANDS: usize = 500;
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/sdk/js-2.51.0/node_modules/e2b/dist/index.mjs");
const SDK_PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/e2b/sdk.mjs");

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A sandbox: its id and token.
struct Made {
    id: String,
    token: String,
}

struct Caller {
    http: Client,
    url: String,
    key: String,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::defaults(folder.path().join("data"));
    config.server.addr = ([127, 0, 0, 1], 0).into();
    config.server.site_root = folder.path().join("site");
    config.sandbox.init = std::env::var_os("SANDCASTLE_INIT").map(Into::into);
    let app = App::start(config).await?;
    let (_, key) = app.services().store.keys().create(KeyKind::E2b, "bench").await?;
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let caller = Caller { http: Client::new(), url: format!("http://{}", app.addr()), key };
    // The first one looks at the host's toolchains.
    caller.end(caller.create().await?).await?;

    let (mut made_in, mut first_output) = (Vec::new(), Vec::new());
    for _ in 0..SANDBOXES {
        let begun = Instant::now();
        let made = caller.create().await?;
        made_in.push(begun.elapsed());
        // As the SDKs start every command.
        let mut stream = caller.start(&made, "/bin/bash", &["-l", "-c", "echo hi"]).send().await?;
        let mut seen = Vec::new();
        while !contains(&seen, b"\"stdout\"") {
            seen.extend(stream.chunk().await?.ok_or("the stream ended without output")?);
        }
        first_output.push(begun.elapsed());
        drop(stream);
        caller.end(made).await?;
    }
    report("sandbox made over the e2b API, p50", quantile(&mut made_in, 50), None, "ready when it is answered");
    let note = "create, then bash -l, by raw requests";
    report("first output after create, p50", quantile(&mut first_output, 50), Some(15.0), note);
    report("first output after create, p99", quantile(&mut first_output, 99), None, "");

    let made = caller.create().await?;
    let (mut bare, mut commands) = (Vec::new(), Vec::new());
    for _ in 0..COMMANDS {
        let begun = Instant::now();
        std::process::Command::new("/bin/true").stdout(std::process::Stdio::piped()).output()?;
        bare.push(begun.elapsed());
        let begun = Instant::now();
        let answer = caller.start(&made, "/bin/true", &[]).send().await?.bytes().await?;
        commands.push(begun.elapsed());
        if !contains(&answer, b"exit status 0") {
            return Err(format!("true ended with {}", String::from_utf8_lossy(&answer)).into());
        }
    }
    let (bare, command) = (quantile(&mut bare, 50), quantile(&mut commands, 50));
    let millis = bare.as_secs_f64() * 1000.0;
    let note =
        format!("the full stream; {:.1} x a bare fork and exec ({millis:.2} ms)", command.div_duration_f64(bare));
    report("/bin/true through the gateway, p50", command, Some(3.0), &note);
    report("/bin/true through the gateway, p99", quantile(&mut commands, 99), None, "");
    caller.end(made).await?;
    sdk(&caller).await?;
    app.stop().await;
    Ok(())
}

/// The same by the JavaScript SDK.
async fn sdk(caller: &Caller) -> Outcome<()> {
    if !Path::new(SDK).exists() {
        eprintln!("the JavaScript SDK is not installed; make test installs it");
        return Ok(());
    }
    let mut node = tokio::process::Command::new("node");
    node.args([SDK_PROGRAM, SDK]).env("E2B_API_URL", &caller.url).env("E2B_SANDBOX_URL", &caller.url);
    let output = node.env("E2B_API_KEY", &caller.key).kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let samples = |name: &str| -> Vec<Duration> {
        let all = told[name].as_array().into_iter().flatten().filter_map(Value::as_f64);
        all.map(|millis| Duration::from_secs_f64(millis / 1000.0)).collect()
    };
    let note = "npm e2b 2.51.0 under node: create, then commands.run";
    report("first output after create by the SDK, p50", quantile(&mut samples("first"), 50), Some(15.0), note);
    report("commands.run('true') by the SDK, p50", quantile(&mut samples("run"), 50), None, "bash -l included");
    Ok(())
}

impl Caller {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).header("x-api-key", &self.key)
    }

    async fn create(&self) -> Outcome<Made> {
        let create = self.request(Method::POST, "/v2/sandboxes").json(&json!({ "templateID": "base", "timeout": 300 }));
        let told: Value = create.send().await?.error_for_status()?.json().await?;
        let text = |name: &str| told[name].as_str().map(str::to_owned).ok_or("the answer lacks a field");
        Ok(Made { id: text("sandboxID")?, token: text("envdAccessToken")? })
    }

    async fn end(&self, made: Made) -> Outcome<()> {
        self.request(Method::DELETE, &format!("/sandboxes/{}", made.id)).send().await?.error_for_status()?;
        Ok(())
    }

    fn start(&self, made: &Made, cmd: &str, args: &[&str]) -> RequestBuilder {
        let message = json!({ "process": { "cmd": cmd, "args": args }, "stdin": false }).to_string();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
        body.extend(message.as_bytes());
        let request = self.http.post(format!("{}/process.Process/Start", self.url)).body(body);
        let request = request.header("content-type", "application/connect+json").header("x-access-token", &made.token);
        request.header("e2b-sandbox-id", &made.id).header("e2b-sandbox-port", "49983")
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn quantile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort();
    samples.get(samples.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn report(what: &str, took: Duration, goal_ms: Option<f64>, note: &str) {
    let ms = took.as_secs_f64() * 1000.0;
    println!("{}", json!({ "what": what, "ms": ms, "goal_ms": goal_ms, "note": note }));
}
