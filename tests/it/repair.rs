//! Auto-fix through the whole server, with a scripted model: a bounded number of tries, nothing lost, nothing broken.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, calls, chunk, http, says, stream_head};
use crate::history::{app_with, until};
use crate::support::TestApp;
use sandcastle::domain::{EventBody, FaultKind, FaultState, ProjectId, Role, TurnOutcome};
use sandcastle::sandbox::{CommandSpec, FileWrite, LogFrom, SeenFault};
use sandcastle::store::now_ms;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

fn first() -> Vec<Act> {
    let files = json!({"files": [{"path": "app.js", "content": "x"}]}).to_string();
    calls(&[("create_sandbox", "{}"), ("generate_files", &files)])
}

/// A server with a project whose first turn is done.
async fn begun(more: Vec<Vec<Act>>) -> (FakeModel, TestApp, ProjectId) {
    let mut scripts = vec![first(), says("built")];
    scripts.extend(more);
    let fake = FakeModel::start(scripts).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("App").await.unwrap();
    app.services().agent.send(&project, "build", None).await.unwrap();
    until(&app, &project, |s| s.turn.is_none() && s.messages.iter().any(|m| m.outcome.is_some())).await;
    (fake, app, project)
}

fn report(app: &TestApp, project: &ProjectId, title: &str) {
    app.services().sandbox.report_fault(SeenFault::new(project, FaultKind::Browser, title, "at app.js:1:2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_browser_is_sent_to_the_same_model_and_counted() {
    let (fake, app, project) = begun(vec![says("fixed")]).await;
    report(&app, &project, "TypeError: a is undefined");
    report(&app, &project, "TypeError: a is undefined");
    let state =
        until(&app, &project, |s| s.messages.len() == 4 && s.turn.is_none() && s.messages[3].outcome.is_some()).await;
    assert_eq!(state.messages[2].fixes.len(), 1);
    assert_eq!((state.faults[0].state, state.faults[0].tries), (FaultState::Gone, 1));
    let requests = fake.requests();
    assert_eq!(requests[2]["model"], "test-model");
    assert!(requests[2]["messages"].to_string().contains("TypeError: a is undefined"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_comes_back_is_given_up_after_three_tries_and_says_what_it_cost() {
    let (fake, app, project) = begun((0..3).map(|n| says(&format!("try {n}"))).collect()).await;
    for tries in 1..=3 {
        report(&app, &project, "ReferenceError: b is not defined");
        until(&app, &project, |s| s.faults.first().is_some_and(|f| f.tries == tries && f.state == FaultState::Gone))
            .await;
    }
    report(&app, &project, "ReferenceError: b is not defined");
    let state = until(&app, &project, |s| s.faults[0].state == FaultState::GivenUp).await;
    assert!(state.turn.is_none());
    assert_eq!(fake.requests().len(), 5);
    assert!(fake.requests()[4]["messages"].to_string().contains("try 3 of 3"));
    let html = app.get(&format!("/p/{project}/faults")).send().await.unwrap().text().await.unwrap();
    for words in
        ["ReferenceError: b is not defined", "not fixed", "this error has cost", "Try again", "See the last change"]
    {
        assert!(html.contains(words), "{words}: {html}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_shows_again_before_its_fix_ends_is_not_gone_and_is_tried_again() {
    let again = Arc::new(Notify::new());
    let files = json!({"files": [{"path": "app.js", "content": "y"}]}).to_string();
    let mut ends = vec![Act::Wait(Arc::clone(&again))];
    ends.extend(says("fixed, I think"));
    // The check before the end sends it on, twice; then another try begins.
    let insists = || says("it must be something else");
    let scripts = vec![calls(&[("generate_files", &files)]), ends, insists(), insists(), says("now it is fixed")];
    let (fake, app, project) = begun(scripts).await;
    let title = "TypeError: a is undefined";
    report(&app, &project, title);
    let state = until(&app, &project, |s| s.faults.first().is_some_and(|f| f.last_at < s.files_at)).await;
    assert_eq!(state.faults[0].state, FaultState::Trying);
    report(&app, &project, title);
    until(&app, &project, |s| s.faults[0].seen == 2).await;
    again.notify_one();
    let state = until(&app, &project, |s| s.faults[0].tries == 2 && s.faults[0].state == FaultState::Gone).await;
    let told = |text: &str| fake.requests().iter().any(|r| r["messages"].to_string().contains(text));
    assert!(told("the last change did not help"));
    // The receipt of the first try did not say that all is well.
    let checks = &state.messages[3].checks;
    assert!(checks.iter().any(|c| c.name == "No errors seen" && !c.ok && c.detail.contains(title)), "{checks:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_from_before_the_fix_says_again_is_no_news() {
    let ends = Arc::new(Notify::new());
    let files = json!({"files": [{"path": "app.js", "content": "y"}]}).to_string();
    let mut last = vec![Act::Wait(Arc::clone(&ends))];
    last.extend(says("fixed"));
    let (fake, app, project) = begun(vec![calls(&[("generate_files", &files)]), last]).await;
    let sandbox = app.services().sandbox.clone();
    let title = "TypeError: a is undefined";
    let opened = now_ms();
    let seen = |title: &str| SeenFault {
        page_at: Some(opened),
        ..SeenFault::new(&project, FaultKind::Browser, title, "at app.js:1:2")
    };
    sandbox.report_fault(seen(title));
    until(&app, &project, |s| s.faults.first().is_some_and(|f| f.last_at < s.files_at)).await;
    // The person clicks on in the page that was open; something else goes wrong in it as well.
    sandbox.report_fault(seen(title));
    sandbox.report_fault(seen("RangeError: too deep"));
    until(&app, &project, |s| s.faults.len() == 2).await;
    ends.notify_one();
    let state = until(&app, &project, |s| s.turn.is_none() && s.faults[0].state != FaultState::Trying).await;
    assert_eq!((state.faults[0].state, state.faults[0].seen, state.faults[0].tries), (FaultState::Gone, 1, 1));
    assert!(!fake.requests().iter().any(|r| r["messages"].to_string().contains("did not help")));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_waited_for_a_failed_turn_is_fixed_after_its_retry() {
    let refused = vec![Act::Send(http("401 Unauthorized", "application/json", "", r#"{"error":{"message":"no"}}"#))];
    let (_fake, app, project) = begun(vec![refused, says("built more"), says("fixed")]).await;
    app.services().agent.send(&project, "more", None).await.unwrap();
    until(&app, &project, |s| s.turn.is_none() && s.messages.len() == 4 && s.messages[3].outcome.is_some()).await;
    report(&app, &project, "TypeError: a is undefined");
    let state = until(&app, &project, |s| !s.faults.is_empty()).await;
    assert_eq!(state.faults[0].state, FaultState::Open);
    app.services().agent.retry(&project).await.unwrap();
    until(&app, &project, |s| s.faults[0].state == FaultState::Gone && s.faults[0].tries == 1).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_an_error_is_shown_and_nothing_is_sent() {
    let (fake, app, project) = begun(vec![says("asked for")]).await;
    app.services().store.events().append(&project, vec![EventBody::AutoFixSet { on: false }]).await.unwrap();
    report(&app, &project, "Error: one");
    let state = until(&app, &project, |s| !s.faults.is_empty()).await;
    assert_eq!(state.faults[0].state, FaultState::Open);
    // The person asks for it.
    app.services().agent.fix_again(&project, &state.faults[0].fault.id, None).await.unwrap();
    let state =
        until(&app, &project, |s| s.turn.is_none() && s.messages.len() == 4 && s.messages[3].outcome.is_some()).await;
    assert_eq!(state.messages.iter().filter(|m| m.role == Role::User).count(), 2);
    assert_eq!(fake.requests().len(), 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_one_that_logs_errors_are_noticed() {
    let (_fake, app, project) = begun(vec![says("a"), says("b"), says("c"), says("d")]).await;
    app.services().store.events().append(&project, vec![EventBody::AutoFixSet { on: false }]).await.unwrap();
    let start =
        |line: &str| sandcastle::sandbox::CommandSpec { line: line.to_owned(), background: true, ..Default::default() };
    let sandbox = &app.services().sandbox;
    sandbox.start_command(&project, start("echo 'Error: cannot open the door'; sleep 30")).await.unwrap();
    sandbox.start_command(&project, start("echo bye >&2; exit 3")).await.unwrap();
    let state = until(&app, &project, |s| s.faults.len() >= 2).await;
    let find = |kind| state.faults.iter().find(|f| f.fault.kind == kind).unwrap().fault.clone();
    assert!(find(FaultKind::Output).title.contains("cannot open the door"));
    let ended = find(FaultKind::Exit);
    assert!(ended.title.contains("exit code 3") && ended.detail.contains("bye"), "{ended:?}");
    app.stop().await;
}

/// Sends a page that no buffer holds, and fails where it is asked to.
const PYTHON: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/boom':
            return {}['name']
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'<h1>x</h1>' * 800_000)
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_server_is_asked_without_an_error_in_its_log_and_its_own_errors_have_their_names() {
    let (_fake, app, project) = begun(Vec::new()).await;
    app.services().store.events().append(&project, vec![EventBody::AutoFixSet { on: false }]).await.unwrap();
    let (sandbox, cancel) = (&app.services().sandbox, CancellationToken::new());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = FileWrite { path: "app.py".into(), content: PYTHON.into() };
    sandbox.write_files(&project, None, vec![file]).await.unwrap();
    let line = format!("python3 -u app.py {port}");
    let spec = CommandSpec { line, background: true, ..CommandSpec::default() };
    let command = sandbox.start_command(&project, spec).await.unwrap();
    let wait = Duration::from_secs(30);
    assert_eq!(sandbox.wait_for_url(&project, port, wait, &cancel).await.unwrap().status, 200);
    let (status, page) = sandbox.read_page(&project, port, "/", wait, &cancel).await.unwrap();
    assert!(status == 200 && page.starts_with("<h1>x"));
    let log = sandbox.read_log(&project, &command, LogFrom::Offset(0), 1 << 20).await.unwrap();
    assert!(!log.text.contains("Traceback"), "{}", log.text);
    let _ = sandbox.get_page(&project, port, "/boom", wait, &cancel).await;
    let state = until(&app, &project, |s| !s.faults.is_empty()).await;
    let titles: Vec<&str> = state.faults.iter().map(|f| f.fault.title.as_str()).collect();
    assert_eq!(titles, ["KeyError: 'name'"]);
    assert!(state.faults[0].fault.detail.contains("in do_GET"), "{:?}", state.faults[0].fault);
    app.stop().await;
}

/// A call of a tool that touches nothing, and what the answer cost.
fn looks_for(dollars: f64) -> Vec<Act> {
    let mut bytes = stream_head();
    let call = json!({"index": 0, "id": "v1", "function": {"name": "no_such_tool", "arguments": "{}"}});
    bytes.extend(chunk(json!({"tool_calls": [call]}), Some("tool_calls")));
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 9, "cost": dollars}});
    bytes.extend(format!("data: {usage}\n\ndata: [DONE]\n\n").into_bytes());
    vec![Act::Send(bytes)]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_try_at_an_error_stops_when_the_errors_money_is_used() {
    let tries = vec![looks_for(0.3), says("first try"), looks_for(0.4), looks_for(0.4), says("never asked")];
    let (fake, app, project) = begun(tries).await;
    let seen = |tries| {
        until(&app, &project, move |s| {
            s.turn.is_none() && s.faults.first().is_some_and(|f| f.tries == tries && f.state == FaultState::Gone)
        })
    };
    report(&app, &project, "RangeError: too deep");
    seen(1).await;
    report(&app, &project, "RangeError: too deep");
    let state = seen(2).await;
    let Some(TurnOutcome::Failed { error }) = &state.messages.last().unwrap().outcome else { panic!("{state:#?}") };
    assert!(error.message.contains("the $0.70 that were left") && error.message.contains("$0.80 spent"), "{error}");
    assert_eq!(state.faults[0].cost, 1_100_000);
    assert_eq!(fake.requests().len(), 6);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_has_cost_its_money_is_given_up_before_its_tries_are_used() {
    let mut dear = stream_head();
    dear.extend(chunk(json!({"content": "I looked everywhere"}), None));
    dear.extend(chunk(json!({}), Some("stop")));
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 9, "cost": 1.25}});
    dear.extend(format!("data: {usage}\n\ndata: [DONE]\n\n").into_bytes());
    let (fake, app, project) = begun(vec![vec![Act::Send(dear)], says("never asked")]).await;
    report(&app, &project, "RangeError: too deep");
    until(&app, &project, |s| s.faults.first().is_some_and(|f| f.state == FaultState::Gone && f.tries == 1)).await;
    report(&app, &project, "RangeError: too deep");
    let state = until(&app, &project, |s| s.faults[0].state == FaultState::GivenUp).await;
    assert_eq!((state.faults[0].tries, state.faults[0].cost), (1, 1_250_000));
    assert_eq!(fake.requests().len(), 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_can_see_is_noticed_before_the_end() {
    let files = json!({"files": [{"path": "index.html", "content": "<h1>Shop</h1>"}]}).to_string();
    let first = calls(&[("create_sandbox", "{}"), ("generate_files", &files)]);
    let fake = FakeModel::start(vec![first, says("done"), says("open index.html yourself"), says("as I said")]).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("App").await.unwrap();
    app.services().agent.send(&project, "build a shop", None).await.unwrap();
    let state = until(&app, &project, |s| s.turn.is_none() && s.messages.iter().any(|m| m.outcome.is_some())).await;
    assert!(fake.requests()[2]["messages"].to_string().contains("No preview is open"));
    let checks = &state.messages[1].checks;
    assert!(checks.iter().any(|c| c.name == "The app is shown" && !c.ok), "{checks:?}");
    app.stop().await;
}
