//! The event stream: opened with the store's position, batched once a frame, opened again with backoff when it breaks.
//!
//! The browser's own reconnect is not used: it would repeat the first address, with old offsets. It must not know what
//! events mean.

use super::store::{Incoming, Link, Store};
use crate::domain::{ErrorCode, Event, OutputChunk, json};
use crate::server_fns::fetch_state;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos::wasm_bindgen::{JsCast, closure::Closure};
use leptos::web_sys::{EventSource, MessageEvent};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// First wait before reopening.
const BACKOFF_LEAST: Duration = Duration::from_millis(500);
/// Longest wait.
const BACKOFF_MOST: Duration = Duration::from_secs(10);
/// How long a broken stream may stay unmentioned: most come back before a person would notice.
const QUIET: Duration = Duration::from_millis(1200);
/// After so many failures in a row the server is asked what is the matter: an `EventSource` does not tell.
const ASK_AFTER: u32 = 3;
/// How long a tab may be hidden before it gives its stream up.
const HIDDEN: Duration = Duration::from_secs(30);

/// Opens the project's stream and keeps it open while the page is looked at. Call it in the browser only.
pub fn connect(store: Store) {
    let stream = Rc::new(Stream {
        store,
        queue: RefCell::default(),
        source: RefCell::default(),
        wait: Cell::new(BACKOFF_LEAST),
        failed: Cell::new(0),
        broken: Cell::new(false),
        reopening: Cell::new(false),
        gap: Cell::new(false),
        paused: Cell::new(false),
    });
    stream.open();
    // They live as long as the page; the source's callbacks hold the stream weakly.
    let paused = Rc::clone(&stream);
    while_looked_at(move || paused.pause(), move || stream.resume());
}

/// Calls `hide` when the tab has been hidden for a while, and `show` whenever it is looked at, at once if it is now. A
/// browser opens six connections to a server at most, for all tabs together, if it speaks HTTP/1.1: each stream takes one.
pub fn while_looked_at(hide: impl Fn() + 'static, show: impl Fn() + 'static) {
    let changes = Rc::new(Cell::new(0_u32));
    let hide = Rc::new(hide);
    let look = move || {
        let now = changes.get().wrapping_add(1);
        changes.set(now);
        if !document().hidden() {
            return show();
        }
        let (changes, hide) = (Rc::clone(&changes), Rc::clone(&hide));
        let still = move || {
            if changes.get() == now {
                hide();
            }
        };
        set_timeout(still, HIDDEN);
    };
    look();
    // It lives as long as the page.
    let _ = window_event_listener_untyped("visibilitychange", move |_| look());
}

struct Stream {
    store: Store,
    // Arrived and not yet folded; a frame or a timer will.
    queue: RefCell<Vec<Incoming>>,
    source: RefCell<Option<Source>>,
    wait: Cell<Duration>,
    // How often in a row it could not be opened.
    failed: Cell<u32>,
    // Not open, and not yet open again.
    broken: Cell<bool>,
    // A timer or an answer will open it.
    reopening: Cell<bool>,
    // An event is missing: the state is to be read before it is opened.
    gap: Cell<bool>,
    // Given up while the tab is hidden.
    paused: Cell<bool>,
}

/// An open `EventSource` with the callbacks it calls.
struct Source {
    source: EventSource,
    _callbacks: Vec<Closure<dyn FnMut(MessageEvent)>>,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.source.set_onerror(None);
        self.source.close();
    }
}

impl Stream {
    fn open(self: &Rc<Self>) {
        if self.paused.get() {
            return;
        }
        let (after, outputs) = self.store.position();
        let outputs: Vec<String> = outputs.iter().map(|(command, offset)| format!("{command}:{offset}")).collect();
        let url = format!("/api/projects/{}/events?after={after}&outputs={}", self.store.id(), outputs.join(","));
        let Ok(source) = EventSource::new(&url) else { return };
        let callbacks = vec![
            self.listen(&source, "message", |stream, event| {
                stream.push(json::read::<Event>(event.as_bytes()).ok().map(|e| Incoming::Event(Box::new(e))));
            }),
            self.listen(&source, "output", |stream, event| {
                stream.push(json::read::<OutputChunk>(event.as_bytes()).ok().map(Incoming::Output));
            }),
            self.listen(&source, "open", |stream, _| stream.opened()),
            self.listen(&source, "bye", |stream, _| stream.lost()),
            self.listen(&source, "error", |stream, _| stream.lost()),
        ];
        *self.source.borrow_mut() = Some(Source { source, _callbacks: callbacks });
    }

    fn listen(
        self: &Rc<Self>,
        source: &EventSource,
        name: &str,
        handle: fn(&Rc<Self>, String),
    ) -> Closure<dyn FnMut(MessageEvent)> {
        let stream = Rc::downgrade(self);
        let callback = Closure::new(move |event: MessageEvent| {
            if let Some(stream) = stream.upgrade() {
                // `open` and `error` are plain events without data.
                let data = event.dyn_ref::<MessageEvent>().and_then(|e| e.data().as_string()).unwrap_or_default();
                handle(&stream, data);
            }
        });
        // Adding a listener fails only for objects that are no event targets.
        let _ = source.add_event_listener_with_callback(name, callback.as_ref().unchecked_ref());
        callback
    }

    fn opened(self: &Rc<Self>) {
        self.wait.set(BACKOFF_LEAST);
        self.failed.set(0);
        self.broken.set(false);
        self.store.link.set(Link::Live);
        self.store.open.set(true);
    }

    fn lost(self: &Rc<Self>) {
        // `bye` is followed by `error`.
        if self.reopening.get() {
            return;
        }
        self.failed.set(self.failed.get() + 1);
        self.broken.set(true);
        self.store.open.set(false);
        let wait = self.wait.get();
        self.wait.set((wait * 2).min(BACKOFF_MOST));
        let stream = Rc::clone(self);
        set_timeout(
            move || {
                if stream.broken.get() && stream.store.link.with_untracked(|link| *link == Link::Live) {
                    stream.store.link.set(Link::Reconnecting);
                }
            },
            QUIET,
        );
        self.reopen_after(wait);
    }

    /// Closes it now and opens it later, outside of the source's own callback.
    fn reopen_after(self: &Rc<Self>, wait: Duration) {
        if self.reopening.replace(true) {
            return;
        }
        if let Some(open) = &*self.source.borrow() {
            open.source.close();
        }
        let stream = Rc::clone(self);
        set_timeout(move || stream.reopen(), wait);
    }

    fn reopen(self: &Rc<Self>) {
        // Until the end, so that a gap found now is not one more reason to open it.
        self.reopening.set(true);
        self.source.borrow_mut().take();
        self.flush();
        if !self.paused.get() && (self.gap.get() || self.failed.get() >= ASK_AFTER) {
            let stream = Rc::clone(self);
            return spawn_local(async move { stream.ask().await });
        }
        self.reopening.set(false);
        self.open();
    }

    /// Reads the state again, after a gap or to learn why the stream cannot be opened. Nothing is lost meanwhile: the
    /// stream is closed, and goes on behind what is read.
    async fn ask(self: &Rc<Self>) {
        let answer = fetch_state(self.store.id()).await;
        self.reopening.set(false);
        match answer {
            Ok(state) => {
                self.gap.set(false);
                self.store.replace(state);
                self.open();
            }
            Err(error) => {
                let over = matches!(error.code, ErrorCode::NotFound | ErrorCode::Unauthorized | ErrorCode::Forbidden);
                self.store.link.set(Link::Lost(error));
                if !over {
                    self.lost();
                }
            }
        }
    }

    fn pause(self: &Rc<Self>) {
        self.paused.set(true);
        self.source.borrow_mut().take();
        self.flush();
    }

    fn resume(self: &Rc<Self>) {
        if self.paused.replace(false) && !self.reopening.get() {
            self.reopen();
        }
    }

    fn push(self: &Rc<Self>, incoming: Option<Incoming>) {
        // What this build does not know is left out; the gap check reads the state again if it was an event.
        let Some(incoming) = incoming else { return };
        let first = self.queue.borrow().is_empty();
        self.queue.borrow_mut().push(incoming);
        if first {
            let stream = Rc::clone(self);
            if document().hidden() {
                // Frames stop in a hidden tab.
                set_timeout(move || stream.flush(), Duration::from_millis(200));
            } else {
                request_animation_frame(move || stream.flush());
            }
        }
    }

    fn flush(self: &Rc<Self>) {
        let batch = std::mem::take(&mut *self.queue.borrow_mut());
        if !batch.is_empty() && !self.store.apply(batch) && !self.gap.replace(true) {
            self.reopen_after(Duration::ZERO);
        }
    }
}
