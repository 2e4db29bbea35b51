//! Tests of the look: what is asked of a browser that says one thing or another.

use super::super::traffic::{QUIET, STREAM};
use super::*;

/// A look whose page has a session, at the moment it began.
fn begun() -> (Look, Instant) {
    let now = Instant::now();
    let mut look = Look::new(Route::new(3000, &["/", "/list", "/about"]), now);
    let page = json!({"sessionId": "S", "targetInfo": {"type": "page"}});
    tell(&mut look, json!({"method": "Target.attachedToTarget", "params": page}), now).unwrap();
    (look, now)
}

/// One that is on its way to the address, and its call for that.
fn led() -> (Look, Instant, Value) {
    let (mut look, now) = begun();
    for message in sent(&mut look) {
        tell(&mut look, json!({"id": message["id"], "result": {}}), now).unwrap();
    }
    let id = id_of(&sent(&mut look), "Page.navigate");
    (look, now, id)
}

fn tell(look: &mut Look, message: Value, now: Instant) -> Result<(), String> {
    look.hear(message.to_string().as_bytes(), now)
}

fn event(look: &mut Look, method: &str, params: Value, now: Instant) {
    tell(look, json!({"method": method, "params": params, "sessionId": "S"}), now).unwrap();
}

fn sent(look: &mut Look) -> Vec<Value> {
    let whole = |message: &Bytes| serde_json::from_slice(message.strip_suffix(b"\0").unwrap()).unwrap();
    look.unsent().iter().map(whole).collect()
}

fn id_of(sent: &[Value], method: &str) -> Value {
    sent.iter().find(|message| message["method"] == method).unwrap()["id"].clone()
}

fn show(look: &mut Look, now: Instant) {
    event(look, "Page.frameNavigated", json!({"frame": {"url": "http://localhost:3000/"}}), now);
}

fn throw(look: &mut Look, details: Value) {
    let now = Instant::now();
    event(look, "Runtime.exceptionThrown", json!({"exceptionDetails": details}), now);
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_first_page_is_led_to_the_address_once_it_is_heard_and_no_other() {
    let (mut look, now) = begun();
    let prepared = sent(&mut look);
    assert_eq!(prepared[0]["method"], "Target.setAutoAttach");
    for message in &prepared {
        assert!(sent(&mut look).is_empty(), "not all has been prepared");
        tell(&mut look, json!({"id": message["id"], "result": {}}), now).unwrap();
    }
    let navigate = sent(&mut look).remove(0);
    assert_eq!((&navigate["method"], &navigate["sessionId"]), (&json!("Page.navigate"), &json!("S")));
    assert_eq!(navigate["params"]["url"], "http://localhost:3000/");
    let popup = json!({"sessionId": "P", "targetInfo": {"type": "page"}});
    tell(&mut look, json!({"method": "Target.attachedToTarget", "params": popup}), now).unwrap();
    assert!(sent(&mut look).is_empty());
}

#[test]
fn a_quiet_page_is_drawn_soon_and_a_restless_one_after_a_while() {
    let (mut look, now) = begun();
    assert_eq!(look.due(), None, "there is nothing to draw yet");
    event(&mut look, "Page.loadEventFired", json!({}), now);
    assert_eq!(look.due(), None, "the empty page the browser begins with has loaded");
    show(&mut look, now);
    assert_eq!(look.due(), Some(now + UNLOADED));
    event(&mut look, "Page.loadEventFired", json!({}), now);
    assert_eq!(look.due(), Some(now + QUIET));
    let request = json!({"requestId": "1", "loaderId": "L", "type": "Fetch"});
    event(&mut look, "Network.requestWillBeSent", request.clone(), now + 100 * MS);
    assert_eq!(look.due(), Some(now + 100 * MS + STREAM), "what it fetches is waited for, unless it is a stream");
    event(&mut look, "Network.loadingFinished", json!({"requestId": "1"}), now + 300 * MS);
    assert_eq!(look.due(), Some(now + 300 * MS + QUIET));
    event(&mut look, "Network.requestWillBeSent", request, now + 4900 * MS);
    assert_eq!(look.due(), Some(now + RESTLESS));
}

#[test]
fn streams_and_requests_of_workers_are_not_waited_for() {
    let (mut look, now) = begun();
    show(&mut look, now);
    event(&mut look, "Page.loadEventFired", json!({}), now);
    let later = now + 200 * MS;
    let source = json!({"requestId": "1", "loaderId": "L", "type": "EventSource"});
    event(&mut look, "Network.requestWillBeSent", source, later);
    let worker = json!({"requestId": "2", "loaderId": "", "type": "Script"});
    event(&mut look, "Network.requestWillBeSent", worker, later);
    event(&mut look, "Network.dataReceived", json!({"requestId": "1"}), later);
    assert_eq!(look.due(), Some(now + QUIET));
    let fetch = json!({"requestId": "3", "loaderId": "L", "type": "Fetch"});
    event(&mut look, "Network.requestWillBeSent", fetch, later);
    let answer = json!({"requestId": "3", "response": {"mimeType": "text/event-stream"}});
    event(&mut look, "Network.responseReceived", answer, later);
    assert_eq!(look.due(), Some(later + QUIET));
}

#[test]
fn what_a_script_or_the_browser_writes_as_an_error_is_told_if_it_is_the_pages_own() {
    let (mut look, now) = begun();
    let written = json!([{"value": "no user"}, {"value": 7}, {"description": "Error: gone\n    at a.js:1:1"}]);
    event(&mut look, "Runtime.consoleAPICalled", json!({"type": "error", "args": written}), now);
    event(&mut look, "Runtime.consoleAPICalled", json!({"type": "warning", "args": [{"value": "old"}]}), now);
    for (level, url) in [
        ("error", "http://localhost:3000/a.png"),
        ("error", "http://localhost:3000/favicon.ico"),
        ("error", "https://fonts.example.com/a.css"),
        ("warning", "http://localhost:3000/b.png"),
    ] {
        let entry = json!({"level": level, "text": "Failed to load resource: 404", "url": url});
        event(&mut look, "Log.entryAdded", json!({"entry": entry}), now);
    }
    let loaded = "Failed to load resource: 404 at http://localhost:3000/a.png";
    assert_eq!(look.errors, ["console.error: no user 7 Error: gone", loaded]);
}

#[test]
fn errors_are_told_each_once_and_five_at_most() {
    let (mut look, _) = begun();
    for n in [0, 0, 1, 2, 3, 4, 5, 6] {
        throw(&mut look, json!({"text": "Uncaught", "exception": {"value": n}}));
    }
    assert_eq!(look.errors, ["Uncaught 0", "Uncaught 1", "Uncaught 2", "Uncaught 3", "Uncaught 4"]);
}

#[test]
fn a_worker_is_heard_and_a_question_of_the_page_is_answered() {
    let (mut look, now) = begun();
    sent(&mut look);
    let worker = json!({"sessionId": "W", "targetInfo": {"type": "worker"}});
    event(&mut look, "Target.attachedToTarget", worker, now);
    let messages = sent(&mut look);
    assert_eq!((&messages[0]["method"], &messages[0]["sessionId"]), (&json!("Runtime.enable"), &json!("W")));
    for _ in 0..1000 {
        event(&mut look, "Page.javascriptDialogOpening", json!({"type": "alert"}), now);
    }
    let answers = sent(&mut look);
    assert_eq!(answers[0]["method"], "Page.handleJavaScriptDialog");
    assert!(answers.len() <= REPLIES_MAX);
}

#[test]
fn a_picture_is_a_picture_or_none() {
    let (mut look, now) = begun();
    look.draw();
    let id = id_of(&sent(&mut look), "Page.captureScreenshot");
    let png = b"\x89PNG\r\n\x1a\nrest";
    tell(&mut look, json!({"id": id, "result": {"data": STANDARD.encode(png)}}), now).unwrap();
    assert_eq!(look.picture.as_deref().unwrap(), png);
    for data in ["!", "PHN2Zz4="] {
        assert!(tell(&mut look, json!({"id": id, "result": {"data": data}}), now).is_err());
        assert_eq!(look.picture, None);
    }
    assert!(tell(&mut look, json!({"id": id, "error": {"message": "no"}}), now).is_err());
}

#[test]
fn the_first_page_is_drawn_and_read_and_the_next_ones_are_read() {
    let (mut look, now, _) = led();
    show(&mut look, now);
    event(&mut look, "Page.loadEventFired", json!({}), now);
    look.draw();
    assert_eq!(look.due(), None, "it is being drawn");
    let id = id_of(&sent(&mut look), "Page.captureScreenshot");
    let png = STANDARD.encode(b"\x89PNG\r\n\x1a\nrest");
    tell(&mut look, json!({"id": id, "result": {"data": png}}), now).unwrap();
    let read = |look: &mut Look, words: Value| {
        let id = id_of(&sent(look), "Runtime.evaluate");
        tell(look, json!({"id": id, "result": {"result": {"type": "string", "value": words}}}), now).unwrap();
        sent(look)
    };
    let next = read(&mut look, json!("Milk")).remove(0);
    assert_eq!(next["params"]["url"], "http://localhost:3000/list");
    assert!(look.due().is_none() && !look.is_done(), "the next page is not there yet");
    // One that cannot be loaded is passed over.
    let failed = json!({"id": next["id"], "result": {"errorText": "net::ERR_ABORTED"}});
    tell(&mut look, failed, now).unwrap();
    assert_eq!(sent(&mut look)[0]["params"]["url"], "http://localhost:3000/about");
    event(&mut look, "Page.loadEventFired", json!({}), now);
    assert_eq!(look.due(), None, "that was the page before");
    show(&mut look, now);
    event(&mut look, "Page.loadEventFired", json!({}), now);
    assert_eq!(look.due(), Some(now + QUIET));
    look.draw();
    assert!(read(&mut look, json!({"not": "words"})).is_empty());
    assert!(look.is_done());
    let Seen { picture, words, .. } = look.into_seen();
    assert!(picture.is_some());
    assert_eq!(words, [("/".to_owned(), "Milk".to_owned())]);
}

#[test]
fn a_page_that_does_not_load_or_crashes_is_no_page() {
    let (mut look, now, id) = led();
    let failed = json!({"id": id, "result": {"errorText": "net::ERR_CONNECTION_REFUSED"}});
    assert!(tell(&mut look, failed, now).unwrap_err().contains("ERR_CONNECTION_REFUSED"));
    assert!(tell(&mut look, json!({"id": id, "result": {"frameId": "F"}}), now).is_ok());
    let crashed = json!({"method": "Inspector.targetCrashed", "sessionId": "S", "params": {}});
    assert!(tell(&mut look, crashed, now).is_err());
}

#[test]
fn nonsense_is_passed_over() {
    let (mut look, now) = begun();
    let deep = "[".repeat(100_000);
    for message in ["", "nonsense", "[]", "null", "{\"id\":-1}", "{\"id\":1,\"method\":7}", deep.as_str()] {
        assert!(look.hear(message.as_bytes(), now).is_ok(), "{message}");
    }
    throw(&mut look, json!({"lineNumber": "seven"}));
    assert!(look.errors.is_empty());
}
