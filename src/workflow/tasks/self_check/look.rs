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
#[path = "look_tests.rs"]
mod tests;
