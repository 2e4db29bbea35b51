//! A command's output, read by whoever comes, from any byte on, as long as the sandbox lives.

use super::{Made, Server, eventually, frame, frames};
use crate::support::answer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

const WRITTEN: u64 = 3_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_told_the_byte_it_really_begins_with() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let process = json!({"cmd": "/bin/sh", "args": ["-c", format!("head -c {WRITTEN} /dev/zero | tr '\\0' x")]});
    server.stream(&sandbox, "/process.Process/Start", &json!({"process": process, "tag": "flood"})).await;
    let look = async |from: &str| {
        let request = server.inside(&sandbox, Method::POST, "/process.Process/Connect");
        let request =
            request.header("content-type", "application/connect+json").header("origin", "https://app.example");
        let request = if from.is_empty() { request } else { request.header("sandcastle-output-from", from) };
        let response = request.body(frame(&json!({"process": {"tag": "flood"}}))).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-expose-headers"), "*", "a page could not read it");
        let begins: u64 = header("sandcastle-output-from").parse().unwrap();
        let messages = frames(&response.bytes().await.unwrap());
        let data = messages.iter().filter_map(|(_, message)| message["event"]["data"]["stdout"].as_str());
        let seen: usize = data.map(|text| STANDARD.decode(text).unwrap().len()).sum();
        assert_eq!(begins + seen as u64, WRITTEN, "from {from:?}");
        begins
    };
    assert_eq!(look("").await, 0);
    assert_eq!(look("10").await, 10);
    assert_eq!(look("2999000").await, 2_999_000);
    for beyond in ["end", "9000000"] {
        assert_eq!(look(beyond).await, WRITTEN);
    }
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_short_because_it_is_remembered() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let start = async |length: usize| {
        let asked = json!({"process": {"cmd": "true"}, "tag": "t".repeat(length)});
        let frames = server.stream(&sandbox, "/process.Process/Start", &asked).await;
        frames.last().unwrap().1["error"]["message"].as_str().map(str::to_owned)
    };
    assert_eq!(start(1024).await, None);
    assert_eq!(start(1025).await.unwrap(), "the tag is longer than 1024 bytes");
    server.app.stop().await;
}

/// Lines of each source in a round, and rounds.
const LINES: usize = 12_000;
const ROUNDS: usize = 20;

/// What one viewer saw: the number of its first byte, every byte with its source, and the exit code if it was told.
#[derive(Default)]
struct Look {
    begins: usize,
    seen: Vec<(u8, u8)>,
    exit: Option<i64>,
}

impl Look {
    /// Looks until a byte or the end.
    async fn at(server: &Server, sandbox: &Made, from: &str, until: usize) -> Self {
        let request = server.inside(sandbox, Method::POST, "/process.Process/Connect");
        let request = request.header("content-type", "application/connect+json").header("sandcastle-output-from", from);
        let mut response = request.body(frame(&json!({"process": {"tag": "long"}}))).send().await.unwrap();
        let begins = response.headers()["sandcastle-output-from"].to_str().unwrap().parse().unwrap();
        let (mut look, mut rest) = (Self { begins, ..Self::default() }, Vec::new());
        while look.begins + look.seen.len() < until {
            let Some(bytes) = response.chunk().await.unwrap() else { break };
            rest.extend_from_slice(&bytes);
            let whole = whole_frames(&rest);
            for (_, message) in frames(&rest.drain(..whole).collect::<Vec<u8>>()) {
                for (source, kind) in [(1, "stdout"), (2, "stderr")] {
                    let text = message["event"]["data"][kind].as_str().unwrap_or_default();
                    look.seen.extend(STANDARD.decode(text).unwrap().into_iter().map(|byte| (source, byte)));
                }
                look.exit = look.exit.or(message["event"].get("end").map(|end| end["exitCode"].as_i64().unwrap_or(0)));
            }
        }
        look
    }

    fn of(&self, source: u8) -> String {
        let bytes = self.seen.iter().filter(|(from, _)| *from == source).map(|(_, byte)| *byte);
        String::from_utf8(bytes.collect()).unwrap()
    }
}

/// How many bytes the whole frames at the beginning take.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some([_, length @ ..]) = bytes.get(at..at + 5) {
        let next = at + 5 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if next > bytes.len() {
            break;
        }
        at = next;
    }
    at
}

/// Starts a command and leaves as soon as it runs.
async fn start_and_leave(server: &Server, sandbox: &Made, line: &str) {
    let process = json!({"cmd": "/bin/bash", "args": ["-c", line]});
    let request = server.inside(sandbox, Method::POST, "/process.Process/Start");
    let request = request.header("content-type", "application/connect+json");
    let body = frame(&json!({"process": process, "tag": "long", "stdin": true}));
    let started = request.body(body).send().await.unwrap().chunk().await.unwrap();
    assert!(!started.unwrap().is_empty());
}

/// Bytes of old output on the server's disk.
fn on_disk(dir: &tempfile::TempDir) -> u64 {
    let Ok(files) = std::fs::read_dir(dir.path().join("data/fleet-output")) else { return 0 };
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|data| data.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_output_is_there_from_any_byte_for_anyone_also_after_a_pause_and_after_the_end() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let numbered = |name: &str| format!("seq -f \"{name} $round %05.0f {}\" {LINES}", "=".repeat(26));
    let (out, err) = (numbered("out"), numbered("err"));
    let rounds = format!("for round in $(seq 10 {}); do {out}; {err} >&2; done", 9 + ROUNDS);
    start_and_leave(&server, &sandbox, &format!("{rounds}; read line; echo bye; exit 7")).await;

    let written = 2 * ROUNDS * LINES * 40;
    let look = async |from: &str| Look::at(&server, &sandbox, from, written).await;
    let (whole, another) = tokio::join!(look("0"), look("end"));
    for (source, name) in [(1, "out"), (2, "err")] {
        let lines = (10..10 + ROUNDS).flat_map(|round| (1..=LINES).map(move |line| (round, line)));
        let expected: String =
            lines.map(|(round, line)| format!("{name} {round} {line:05} {}\n", "=".repeat(26))).collect();
        assert!(whole.of(source) == expected, "{name}");
    }
    assert!(on_disk(&server.dir) > 15 << 20, "it was not all in memory");
    let same = |look: &Look| look.seen == whole.seen[look.begins..];
    assert!(same(&another), "from what was the end at {}", another.begins);
    let (one, two) = tokio::join!(look("5000001"), look("19000000"));
    assert!(same(&one) && same(&two));
    assert_eq!((one.begins, two.begins), (5_000_001, 19_000_000));

    let path = format!("/sandboxes/{}", sandbox.0);
    server.ask(Method::POST, &format!("{path}/pause"), &json!({}), 204).await;
    server.ask(Method::POST, &format!("{path}/resume"), &json!({"timeout": 60}), 201).await;
    for from in ["0", "7654321"] {
        assert!(same(&look(from).await), "after a pause, from {from}");
    }

    let input = json!({"process": {"tag": "long"}, "input": {"stdin": STANDARD.encode("\n")}});
    let request = server.inside(&sandbox, Method::POST, "/process.Process/SendInput").json(&input);
    assert!(request.send().await.unwrap().status().is_success());
    for from in [0, 12_345_678, written] {
        let look = Look::at(&server, &sandbox, &from.to_string(), usize::MAX).await;
        assert_eq!((look.begins, look.exit), (from, Some(7)));
        let (before, last) = look.seen.split_at(written - from);
        assert!(before == &whole.seen[from..] && last.iter().map(|(_, byte)| *byte).eq(*b"bye\n"), "from {from}");
    }
    server.ask(Method::DELETE, &path, &json!({}), 204).await;
    eventually("its output is deleted", || async { on_disk(&server.dir) == 0 }).await;
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_flood_as_much_is_kept_as_may_be_and_where_it_begins_is_told() {
    const FLOOD: usize = 300_000_000;
    const LIMIT: usize = 256 << 20;
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    start_and_leave(&server, &sandbox, &format!("head -c {} /dev/zero; echo; exit 3", FLOOD - 1)).await;
    let list = async || {
        let list = server.inside(&sandbox, Method::POST, "/process.Process/List").json(&json!({}));
        answer(list).await.1 == json!({})
    };
    eventually("it ends", list).await;
    let end = Look::at(&server, &sandbox, "end", usize::MAX).await;
    assert_eq!((end.begins + end.seen.len(), end.exit), (FLOOD, Some(3)));
    let first = Look::at(&server, &sandbox, "0", 1).await.begins;
    assert!((FLOOD - LIMIT - (2 << 20)..FLOOD - LIMIT + (8 << 20)).contains(&first), "{first}");
    assert!(on_disk(&server.dir) <= LIMIT as u64);
    let last = Look::at(&server, &sandbox, &(FLOOD - 5_000_000).to_string(), usize::MAX).await;
    assert_eq!((last.seen.len(), last.seen.last(), last.exit), (5_000_000, Some(&(1, b'\n')), Some(3)));
    server.app.stop().await;
    assert_eq!(on_disk(&server.dir), 0, "a server that stops leaves no output behind");
}
