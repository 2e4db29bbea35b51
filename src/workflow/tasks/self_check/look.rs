//! One look at an app by the DevTools protocol: what the browser is asked, and what its messages mean. Of the first page a
//! picture is taken, and each page of the route is read. Here is no I/O and no clock, and nothing a message says is
//! relied on.

use super::messages::{Entry, Message, Params, cut};
use super::route::{READ, Route};
use super::traffic::Traffic;
use crate::domain::image_type;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// A page that is never quiet is drawn so long after it has loaded.
const RESTLESS: Duration = Duration::from_secs(5);
/// A page that never finishes loading is drawn so long after it was asked for.
const UNLOADED: Duration = Duration::from_secs(20);
/// Characters of a session's name, which is repeated with each message to it.
const SESSION_MAX: usize = 100;
/// Questions of the page (`alert`) and workers that are answered.
const REPLIES_MAX: usize = 50;
/// Errors that are told.
const ERRORS: usize = 5;

/// What was seen of an app.
#[derive(Debug, Default)]
pub struct Seen {
    /// Errors of its pages, each once: those nobody caught, those its scripts wrote to the console, and what of its own
    /// it could not load.
    pub errors: Vec<String>,
    /// The first page: a PNG by its first bytes.
    pub picture: Option<Vec<u8>>,
    /// The words of each page that was read, by its path.
    pub words: Vec<(String, String)>,
}

/// One look at one app, from the first message to the last page.
#[derive(Debug)]
pub struct Look {
    route: Route,
    /// When this page was asked for.
    began: Instant,
    /// Messages to be sent, each with its NUL.
    unsent: Vec<Bytes>,
    sent: u64,
    /// The page's session, once the browser has one.
    session: Option<String>,
    /// Calls whose answers are waited for before the page is led anywhere, or it would show and load unheard.
    preparing: Vec<u64>,
    navigation: Option<u64>,
    capture: Option<u64>,
    reading: Option<u64>,
    /// Whether the page is there, if only in part.
    shown: bool,
    loaded: Option<Instant>,
    traffic: Traffic,
    replies: usize,
    errors: Vec<String>,
    picture: Option<Vec<u8>>,
    done: bool,
}

impl Look {
    /// A look at these pages.
    pub fn new(route: Route, now: Instant) -> Self {
        let mut look = Self {
            route,
            began: now,
            unsent: Vec::new(),
            sent: 0,
            session: None,
            preparing: Vec::new(),
            navigation: None,
            capture: None,
            reading: None,
            shown: false,
            loaded: None,
            traffic: Traffic::new(now),
            replies: 0,
            errors: Vec::new(),
            picture: None,
            done: false,
        };
        look.attach(None);
        look
    }

    /// Messages to be sent now.
    pub fn unsent(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.unsent)
    }

    /// Takes a message. Fails where nothing more is to be seen, and says why.
    pub fn hear(&mut self, message: &[u8], now: Instant) -> Result<(), String> {
        let Ok(message) = serde_json::from_slice::<Message>(message) else { return Ok(()) };
        match (message.id, message.method.as_deref()) {
            (Some(id), _) => self.answered(id, message, now),
            (None, Some("Target.attachedToTarget")) => {
                self.attached(message);
                Ok(())
            }
            // Of a worker only its errors are heard.
            (None, Some("Runtime.exceptionThrown")) => {
                self.note(message.params.exception_details.describe());
                Ok(())
            }
            (None, Some("Runtime.consoleAPICalled")) if message.params.r#type.as_deref() == Some("error") => {
                self.note(message.params.written());
                Ok(())
            }
            (None, Some(method)) if message.session_id.is_some() && message.session_id == self.session => {
                self.told(method, &message.params, now)
            }
            (None, _) => Ok(()),
        }
    }

    /// When the page is to be drawn or read, if nothing more is heard.
    pub fn due(&self) -> Option<Instant> {
        if !self.shown || self.capture.is_some() || self.reading.is_some() {
            return None;
        }
        let Some(loaded) = self.loaded else { return Some(self.began + UNLOADED) };
        Some(self.traffic.quiet_at().min(loaded + RESTLESS))
    }

    /// Takes the picture of the first page, and reads the others.
    pub fn draw(&mut self) {
        match self.picture {
            None => self.capture = Some(self.ask("Page.captureScreenshot", json!({"format": "png"}))),
            Some(_) => self.read(),
        }
    }

    /// Whether there is no more to see.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// What was seen until now.
    pub fn into_seen(self) -> Seen {
        Seen { errors: self.errors, picture: self.picture, words: self.route.into_words() }
    }

    fn read(&mut self) {
        self.reading = Some(self.ask("Runtime.evaluate", json!({"expression": READ, "returnByValue": true})));
    }

    fn navigate(&mut self) {
        self.navigation = Some(self.ask("Page.navigate", json!({"url": self.route.address()})));
    }

    /// Leaves this page for the next one.
    fn go_on(&mut self, now: Instant) {
        self.done = !self.route.go_on();
        if !self.done {
            (self.began, self.shown, self.loaded) = (now, false, None);
            (self.capture, self.reading) = (None, None);
            self.navigate();
        }
    }

    fn answered(&mut self, id: u64, message: Message, now: Instant) -> Result<(), String> {
        if let Some(at) = self.preparing.iter().position(|call| *call == id) {
            self.preparing.swap_remove(at);
            if self.preparing.is_empty() {
                self.navigate();
            }
            return Ok(());
        }
        let refused = message.error.map(|error| error.message.unwrap_or_default());
        if Some(id) == self.navigation {
            let failed = refused.or(message.result.error_text).filter(|why| !why.is_empty());
            return match failed {
                None => Ok(()),
                Some(why) if self.picture.is_none() => Err(format!("the page was not loaded: {}", cut(&why))),
                Some(_) => {
                    self.go_on(now);
                    Ok(())
                }
            };
        }
        if Some(id) == self.capture {
            let picture = message.result.data.and_then(|data| STANDARD.decode(data).ok());
            self.picture = picture.filter(|picture| image_type(picture) == Some("image/png"));
            if self.picture.is_none() {
                return Err("it took no picture".to_owned());
            }
            self.read();
            return Ok(());
        }
        if Some(id) == self.reading {
            if let Value::String(words) = &message.result.result.value {
                self.route.read(words);
            }
            self.go_on(now);
        }
        Ok(())
    }

    /// The first page is ours; of what belongs to it, workers are heard.
    fn attached(&mut self, message: Message) {
        let session = message.params.session_id.filter(|session| session.len() <= SESSION_MAX);
        let Some(session) = session else { return };
        match message.params.target_info.r#type.as_deref() {
            Some("page") if self.session.is_none() => {
                self.session = Some(session);
                self.attach(self.session.clone());
                let size = json!({"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": false});
                self.ask("Emulation.setDeviceMetricsOverride", size);
                let domains = ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"];
                self.preparing = domains.map(|domain| self.ask(domain, json!({}))).to_vec();
            }
            Some("worker") if self.may_reply() => {
                self.say("Runtime.enable", json!({}), Some(&session));
            }
            _ => {}
        }
    }

    fn told(&mut self, method: &str, params: &Params, now: Instant) -> Result<(), String> {
        let request = params.request_id.as_deref().unwrap_or_default();
        match method {
            "Page.frameNavigated" if params.frame.parent_id.is_none() => {
                self.shown = params.frame.url.as_ref().is_some_and(|url| url.starts_with("http"));
                self.loaded = None;
                self.traffic = Traffic::new(now);
            }
            "Page.domContentEventFired" => self.traffic.stir(now),
            "Page.loadEventFired" if self.shown => {
                self.loaded = Some(now);
                self.traffic.stir(now);
            }
            // The page stands still until it is answered.
            "Page.javascriptDialogOpening" if self.may_reply() => {
                self.ask("Page.handleJavaScriptDialog", json!({"accept": false}));
            }
            "Network.requestWillBeSent" if is_awaited(params) => self.traffic.send(request, now),
            "Network.responseReceived" if params.response.mime_type.as_deref() == Some("text/event-stream") => {
                self.traffic.pass_over(request);
            }
            "Network.loadingFinished" | "Network.loadingFailed" => self.traffic.end(request, now),
            // What it has from elsewhere is not its fault, nor that it has no icon.
            "Log.entryAdded" if params.entry.level.as_deref() == Some("error") && self.is_own(&params.entry) => {
                self.note(params.entry.describe());
            }
            "Inspector.targetCrashed" => return Err("the page crashed".to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn is_own(&self, entry: &Entry) -> bool {
        let path = entry.url.as_deref().and_then(|url| self.route.path_of(url));
        path.is_some_and(|path| path != "/favicon.ico")
    }

    fn note(&mut self, error: String) {
        if self.errors.len() < ERRORS && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn may_reply(&mut self) -> bool {
        self.replies += 1;
        self.replies <= REPLIES_MAX
    }

    fn attach(&mut self, session: Option<String>) {
        let how = json!({"autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true});
        self.say("Target.setAutoAttach", how, session.as_deref());
    }

    /// Asks the page.
    fn ask(&mut self, method: &str, params: Value) -> u64 {
        let session = self.session.clone();
        self.say(method, params, session.as_deref())
    }

    fn say(&mut self, method: &str, params: Value, session: Option<&str>) -> u64 {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.unsent.push(format!("{message}\0").into());
        self.sent
    }
}

/// Whether a request is the page's own and no stream. Those without a loader are its workers', whose end is told
/// elsewhere.
fn is_awaited(request: &Params) -> bool {
    let stays_open = matches!(request.r#type.as_deref(), Some("EventSource" | "Ping"));
    !stays_open && request.loader_id.as_ref().is_some_and(|loader| !loader.is_empty())
}

#[cfg(test)]
mod tests {
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
}
