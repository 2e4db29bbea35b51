//! `bench`: the figures of the README, measured on this machine over the release build.
//!
//! Each figure of the server stands beside the same work done without it (a bare loopback exchange, a bare process
//! start), so that numbers of different machines can be compared by their ratio.

mod http;
mod server;
mod table;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::project::{Mode, NAME, Project};
use crate::{build, end2end, prerequisites, process, restate};
use http::Client;
use server::Server;
use table::{Samples, Table};

/// Requests per figure.
const REQUESTS: usize = 1000;
/// What the demo model answers in words, without a sandbox.
const SMALL_TALK: &str = "What can you do?";
/// Messages in the long conversation.
const MESSAGES: usize = 50;

/// Builds, measures, prints the table and writes it to `target/bench.md`.
pub fn run(project: &Project) -> Result<()> {
    prerequisites::require(project)?;
    build::run(project, Mode::Release)?;
    let mut table = Table::default();
    let server = Server::start(project)?;
    over_http(project, &server, &mut table)?;
    drop(server);
    in_process(project, &mut table)?;
    in_browser(project, &mut table)?;

    let report = format!("{}\n\n{}", machine(), table.markdown());
    println!("\n{report}");
    let file = project.target.join("bench.md");
    fs::write(&file, report).with_context(|| format!("cannot write {}", file.display()))
}

fn over_http(project: &Project, server: &Server, table: &mut Table) -> Result<()> {
    let ms = Duration::from_millis;
    table.time("start of the server to its first answer", server.started_in, None, String::new());
    let mut client = Client::connect(server.addr)?;
    client.get("/", "identity")?.expect_success("/")?;
    table.size("resident memory, idle", server.resident_kib()? * 1024, Some(40 << 20), "after one page".into());

    let bare = bare_exchange()?;
    let home = Samples::take(50, REQUESTS, || client.get("/", "identity")?.expect_success("/"))?;
    let ratio = |samples: &Samples| format!("{:.1} x a bare loopback exchange", samples.p50().div_duration_f64(bare));
    table.time("home page, p50", home.p50(), Some(ms(1)), ratio(&home));
    table.time("home page, p99", home.p99(), None, String::new());

    let project_id = long_conversation(&mut client)?;
    let path = format!("/p/{project_id}");
    let workbench = Samples::take(20, REQUESTS / 2, || client.get(&path, "identity")?.expect_success(&path))?;
    table.time(&format!("workbench with {MESSAGES} messages, p50"), workbench.p50(), Some(ms(5)), ratio(&workbench));
    table.time(&format!("workbench with {MESSAGES} messages, p99"), workbench.p99(), None, String::new());

    let first = first_event(server.addr, &mut client, &project_id)?;
    table.time("message to first event on the wire, p50", first.p50(), None, String::new());

    let html = client.get("/", "br, gzip")?.body.len() as u64;
    table.size("first load, compressed", html + assets(project)?, Some(260 << 10), format!("of it HTML {html} B"));
    Ok(())
}

/// A request and a short answer between two threads over loopback: the floor under every HTTP figure here.
fn bare_exchange() -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let echo = thread::spawn(move || -> Result<()> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            if line == "\r\n" {
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            }
            line.clear();
        }
        Ok(())
    });
    let mut client = Client::connect(addr)?;
    let samples = Samples::take(50, REQUESTS, || client.get("/", "identity").map(drop))?;
    drop(client);
    echo.join().map_err(|_| anyhow::anyhow!("the echo thread panicked"))??;
    Ok(samples.p50())
}

/// A project with as many messages as the goal names, half of them answers.
fn long_conversation(client: &mut Client) -> Result<String> {
    let created = client.post("/api/projects", &json!({ "prompt": SMALL_TALK }))?;
    let id = created["id"].as_str().context("a created project has no id")?.to_owned();
    for answered in 1..=MESSAGES / 2 {
        settled(client, &id, 2 * answered)?;
        if answered < MESSAGES / 2 {
            say(client, &id)?;
        }
    }
    Ok(id)
}

fn say(client: &mut Client, id: &str) -> Result<()> {
    client.post(&format!("/api/projects/{id}/messages"), &json!({ "text": SMALL_TALK })).map(drop)
}

/// Waits until there are so many messages and no turn runs.
fn settled(client: &mut Client, id: &str, messages: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let state = client.json(&format!("/api/projects/{id}"))?;
        let count = state["messages"].as_array().map_or(0, Vec::len);
        if count >= messages && state.get("turn").is_none_or(Value::is_null) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("a turn of the demo model did not end in 30 s")
}

/// From sending a message to the first event about it on an open stream.
fn first_event(addr: SocketAddr, client: &mut Client, id: &str) -> Result<Samples> {
    let mut taken = Vec::new();
    for round in 0..20 {
        settled(client, id, MESSAGES + 2 * round)?;
        let seq = client.json(&format!("/api/projects/{id}"))?["seq"].as_u64().context("a project has no seq")?;
        let mut events = Client::connect(addr)?.subscribe(&format!("/api/projects/{id}/events?after={seq}"))?;
        let begun = Instant::now();
        say(client, id)?;
        events.next_data()?;
        taken.push(begun.elapsed());
    }
    Ok(Samples::from(taken))
}

/// The files that every page loads, as brotli.
fn assets(project: &Project) -> Result<u64> {
    let hashes = fs::read_to_string(project.bin_dir(Mode::Release).join("hash.txt")).context("no hash.txt")?;
    let mut total = 0;
    for (kind, hash) in hashes.lines().filter_map(|line| line.split_once(": ")) {
        total += fs::metadata(project.site().join(format!("pkg/{NAME}.{hash}.{kind}.br")))?.len();
    }
    Ok(total)
}

/// Sandboxes, the task engine and the agent, from inside the process they are part of.
fn in_process(project: &Project, table: &mut Table) -> Result<()> {
    for bench in ["sandbox", "e2b", "workflow", "agent"] {
        // Only the task engine has figures under Restate, and only it is built with it.
        let restate = if bench == "workflow" { restate::install(project).ok() } else { None };
        let features = if restate.is_some() { "restate" } else { "ssr" };
        let mut cargo = process::cargo(&project.root);
        cargo.args(["bench", "--quiet", "--package", NAME, "--features", features, "--bench", bench]);
        cargo.envs(restate.map(|server| ("SANDCASTLE_RESTATE_SERVER", server)));
        cargo.env("SANDCASTLE_INIT", project.bin_dir(Mode::Release).join(crate::project::INIT));
        figures(&process::output(&mut cargo)?.stdout, table)?;
    }
    Ok(())
}

/// What a person sees, in Chromium.
fn in_browser(project: &Project, table: &mut Table) -> Result<()> {
    let dir = project.root.join("end2end");
    build::install_npm(project, &dir)?;
    let server = Server::start(project)?;
    let mut node = process::command("node", &dir);
    node.arg("bench.mjs").arg(format!("http://{}", server.addr));
    figures(&process::output(node.env("SANDCASTLE_CHROMIUM", end2end::chromium()?))?.stdout, table)?;
    drop(server);

    // A model whose words carry their time: it is in the same program as the browser.
    let model = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Server::start_with(project, Some(model))?;
    let mut node = process::command("node", &dir);
    node.arg("bench-stream.mjs").arg(format!("http://{}", server.addr)).arg(model.to_string());
    figures(&process::output(node.env("SANDCASTLE_CHROMIUM", end2end::chromium()?))?.stdout, table)
}

/// Reads lines of `{"what", "ms", "goal_ms"?, "note"?}`, or with `count` in place of `ms`.
fn figures(stdout: &[u8], table: &mut Table) -> Result<()> {
    for line in String::from_utf8_lossy(stdout).lines().filter(|line| line.starts_with('{')) {
        let figure: Value = serde_json::from_str(line).context("a figure is not JSON")?;
        let time = |name: &str| figure[name].as_f64().map(|ms| Duration::from_secs_f64(ms / 1000.0));
        let what = figure["what"].as_str().context("a figure has no name")?;
        let note = figure["note"].as_str().unwrap_or_default().to_owned();
        if let Some(count) = figure["count"].as_u64() {
            table.count(what, count, figure["goal_count"].as_u64(), note);
            continue;
        }
        table.time(what, time("ms").context("a figure has no time")?, time("goal_ms"), note);
    }
    Ok(())
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}, load {load} at the end", kernel.trim())
}
