//! Model servers that misbehave, each in one way, and what a whole turn makes of them.
//!
//! A case is a line in a table: what the server sends to each request in turn, and what the person ends up with. To
//! add one, add a line. Every case is a test of its own, with the real agent, store, workflow and HTTP client.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod calls;
mod quirks;
mod refusals;
mod streams;

use crate::agent_bench::{Bench, Sandbox, outcome};
use crate::fake_model::{Act, FakeModel, chunk, http, stream_head};
use sandcastle::domain::{Part, TurnOutcome};
use sandcastle::llm::StreamLimits;
use serde_json::{Value, json};
use std::time::Duration;

/// What the server does to one request.
pub type Script = Vec<Act>;

/// What a person ends up with.
pub struct Expect {
    said: Option<String>,
    failed: Vec<String>,
    reasoned: Option<String>,
    tasks: Vec<&'static str>,
    told: Vec<String>,
    requests: usize,
    limits: StreamLimits,
}

/// The turn completes and its words are these.
pub fn completes(said: &str) -> Expect {
    Expect { said: Some(said.to_owned()), ..nothing() }
}

/// The turn fails, and the person reads all of these words.
pub fn fails(words: &[&str]) -> Expect {
    Expect { failed: words.iter().map(|w| (*w).to_owned()).collect(), ..nothing() }
}

fn nothing() -> Expect {
    let limits = StreamLimits {
        connect: Duration::from_secs(20),
        stall: Duration::from_secs(20),
        waiting: Duration::from_secs(2),
        attempts: 3,
        backoff: Duration::from_millis(1),
        answer: 256 * 1024,
    };
    Expect { said: None, failed: Vec::new(), reasoned: None, tasks: Vec::new(), told: Vec::new(), requests: 1, limits }
}

impl Expect {
    /// So many requests were sent.
    pub fn asked(self, requests: usize) -> Self {
        Self { requests, ..self }
    }

    /// These tasks ran, in this order.
    pub fn ran(self, tasks: &[&'static str]) -> Self {
        Self { tasks: tasks.to_vec(), ..self }
    }

    /// The results the model was told contain these words, one for each result.
    pub fn told(self, words: &[&str]) -> Self {
        Self { told: words.iter().map(|w| (*w).to_owned()).collect(), ..self }
    }

    /// The reasoning shown.
    pub fn reasoned(self, text: &str) -> Self {
        Self { reasoned: Some(text.to_owned()), ..self }
    }

    /// A server silent for this long is given up.
    pub fn patience(self, stall: Duration) -> Self {
        Self { limits: StreamLimits { stall, ..self.limits }, ..self }
    }
}

/// Plays a case.
pub async fn play(scripts: Vec<Script>, expect: Expect) {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeModel::start(scripts).await;
    let bench = Bench::start_with(dir.path(), fake, Sandbox::default(), 10, expect.limits).await;
    let project = bench.store.events().create_project("test").await.unwrap();
    bench.agent.send(&project, "build it", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    let answer = &state.messages[1];
    match (&expect.said, outcome(&state)) {
        (Some(said), TurnOutcome::Completed) => assert_eq!(answer.text(), *said),
        (None, TurnOutcome::Failed { error }) => {
            for words in &expect.failed {
                assert!(error.message.contains(words), "{words:?} is not in: {error}");
            }
            assert!(!error.message.contains("sk-test-secret"), "{error}");
        }
        (_, other) => panic!("{other:?} {answer:#?}"),
    }
    if let Some(wanted) = expect.reasoned {
        let reasoning = |part: &Part| match part {
            Part::Reasoning { text } => Some(text.clone()),
            _ => None,
        };
        assert_eq!(answer.parts.iter().filter_map(reasoning).collect::<String>(), wanted);
    }
    let requests = bench.fake.requests();
    assert_eq!(requests.len(), expect.requests, "requests");
    assert_eq!(bench.sandbox.asked(), expect.tasks, "tasks");
    let last = requests.last().unwrap()["messages"].as_array().unwrap().clone();
    let results: Vec<&Value> = last.iter().filter(|m| m["role"] == "tool").collect();
    for (at, words) in expect.told.iter().enumerate() {
        let told = results[at]["content"].as_str().unwrap();
        assert!(told.contains(words), "{words:?} is not in: {told}");
    }
}

/// A table of cases: `name: [scripts] => expectation;`.
macro_rules! cases {
    ($($name:ident: $scripts:expr => $expect:expr;)*) => {
        /// The cases in this table.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test]
            async fn $name() {
                crate::misbehaving::play($scripts, $expect).await;
            }
        )*
    };
}
pub(crate) use cases;

#[test]
fn the_suite_has_at_least_sixty_cases() {
    let count = [calls::NAMES, quirks::NAMES, refusals::NAMES, streams::NAMES].concat().len();
    assert!(count >= 60, "{count}");
}

/// A stream of these bytes, which ends when they have been sent.
pub fn stream(parts: &[Vec<u8>]) -> Script {
    vec![Act::Send([stream_head(), parts.concat()].concat())]
}

/// A chunk of words.
pub fn word(text: &str) -> Vec<u8> {
    chunk(json!({"content": text}), None)
}

/// A chunk with a delta of any form.
pub fn delta(delta: Value) -> Vec<u8> {
    chunk(delta, None)
}

/// The chunk that says why it ends.
pub fn end(reason: &str) -> Vec<u8> {
    chunk(json!({}), Some(reason))
}

/// `[DONE]`.
pub fn done() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}

/// Any JSON as an event.
pub fn event(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

/// A refusal as JSON with a message.
pub fn refusal(status: &str, message: &str) -> Script {
    let body = json!({"error": {"message": message, "type": "x", "code": null}}).to_string();
    vec![Act::Send(http(status, "application/json", "", &body))]
}

/// A refusal with any body and headers.
pub fn answer(status: &str, kind: &str, headers: &str, body: &str) -> Script {
    vec![Act::Send(http(status, kind, headers, body))]
}
