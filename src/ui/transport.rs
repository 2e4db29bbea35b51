//! The event stream: opened with the store's position, batched once a frame, opened again with backoff when it breaks.
//!
//! The browser's own reconnect is not used: it would repeat the first address, with old offsets. It must not know what
//! events mean.

use super::store::{Incoming, Link, Store};
use crate::domain::{Event, OutputChunk, json};
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

/// Opens the project's stream and keeps it open for as long as the page lives. Call it in the browser only.
pub fn connect(store: Store) {
    let stream = Rc::new(Stream {
        store,
        queue: RefCell::default(),
        source: RefCell::default(),
        wait: Cell::new(BACKOFF_LEAST),
        broken: Cell::new(false),
        reopening: Cell::new(false),
    });
    stream.open();
    // The page's owner keeps it; the callbacks hold it weakly.
    StoredValue::new_local(stream);
}

struct Stream {
    store: Store,
    // Arrived and not yet folded; a frame or a timer will.
    queue: RefCell<Vec<Incoming>>,
    source: RefCell<Option<Source>>,
    wait: Cell<Duration>,
    // Not open, and not yet open again.
    broken: Cell<bool>,
    // A timer will open it.
    reopening: Cell<bool>,
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
        self.broken.set(false);
        self.store.link.set(Link::Live);
        self.store.open.set(true);
    }

    fn lost(self: &Rc<Self>) {
        // `bye` is followed by `error`.
        if self.reopening.replace(true) {
            return;
        }
        if let Some(open) = &*self.source.borrow() {
            open.source.close();
        }
        self.broken.set(true);
        self.store.open.set(false);
        let wait = self.wait.get();
        self.wait.set((wait * 2).min(BACKOFF_MOST));
        let stream = Rc::clone(self);
        set_timeout(
            move || {
                if stream.broken.get() {
                    stream.store.link.set(Link::Reconnecting);
                }
            },
            QUIET,
        );
        let stream = Rc::clone(self);
        // Dropped and opened outside of the source's own callback.
        set_timeout(
            move || {
                stream.reopening.set(false);
                stream.source.borrow_mut().take();
                stream.flush();
                stream.open();
            },
            wait,
        );
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
        if !batch.is_empty() && !self.store.apply(batch) {
            let stream = Rc::clone(self);
            spawn_local(async move {
                if let Ok(state) = fetch_state(stream.store.id()).await {
                    stream.store.replace(state);
                }
            });
        }
    }
}
