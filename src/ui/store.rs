//! The browser's copy of a project: the fold, the output windows, and one trigger for each thing that can change.
//!
//! A text delta redraws its message and nothing else, because views subscribe to a [`Topic`], not to the state. It must
//! not know the DOM or the network; `transport` feeds it batches.

use super::page::ProjectPage;
use crate::domain::{
    ApiError, Change, CommandId, Event, LogSlice, Message, MessageId, OutputChunk, OutputWindow, ProjectId,
    ProjectState,
};
use leptos::prelude::*;
use std::collections::HashMap;
use std::sync::Mutex;

/// Bytes of output kept for each command; earlier output stays on the server.
const OUTPUT_KEPT: usize = 256 * 1024;

/// What a view can subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A part of the fold.
    State(Change),
    /// Output of one command.
    Output(CommandId),
}

/// What the stream delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// The next event of the log.
    Event(Box<Event>),
    /// A piece of a command's output.
    Output(OutputChunk),
}

/// How the page is connected to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// The stream is open, or is being opened for the first time.
    Live,
    /// The stream broke; it is being opened again.
    Reconnecting,
    /// It could not be opened several times; this is what the server says.
    Lost(ApiError),
}

/// Handle to the project's data; cheap to copy into views.
#[derive(Clone, Copy)]
pub struct Store {
    inner: StoredValue<Inner>,
    /// How the page is connected, as people are told: a break that mends itself soon is not mentioned.
    pub link: RwSignal<Link>,
    /// Whether the stream is open, or being opened for the first time. Each break shows here, except those that the page
    /// made itself.
    pub open: RwSignal<bool>,
}

struct Inner {
    state: ProjectState,
    outputs: HashMap<CommandId, OutputWindow>,
    // Created by the first view that asks; reading must not need a mutable borrow.
    topics: Mutex<HashMap<Topic, ArcTrigger>>,
}

impl Store {
    /// Starts from what the page came with.
    pub fn new(page: &ProjectPage) -> Self {
        let outputs = page.outputs.iter().map(|window| (window.command.clone(), window.clone())).collect();
        let inner = Inner { state: page.state.clone(), outputs, topics: Mutex::default() };
        Self { inner: StoredValue::new(inner), link: RwSignal::new(Link::Live), open: RwSignal::new(true) }
    }

    /// Reads the fold and subscribes to one kind of change.
    pub fn read<R>(self, change: Change, read: impl FnOnce(&ProjectState) -> R) -> R {
        self.track(Topic::State(change));
        self.peek(read)
    }

    /// Reads the fold without subscribing.
    pub fn peek<R>(self, read: impl FnOnce(&ProjectState) -> R) -> R {
        self.inner.with_value(|inner| read(&inner.state))
    }

    /// The project's id.
    pub fn id(self) -> ProjectId {
        self.peek(|state| state.id.clone())
    }

    /// Reads one message and subscribes to it.
    pub fn message<R>(self, id: &MessageId, read: impl FnOnce(&Message) -> R) -> Option<R> {
        self.read(Change::Message(id.clone()), |state| state.message(id).map(read))
    }

    /// Reads a command's output and subscribes to it.
    pub fn output<R>(self, command: &CommandId, read: impl FnOnce(Option<&OutputWindow>) -> R) -> R {
        self.track(Topic::Output(command.clone()));
        self.inner.with_value(|inner| read(inner.outputs.get(command)))
    }

    /// Where the stream has to go on: the last event's number and, for each command, the offset after its last byte.
    pub fn position(self) -> (u64, Vec<(CommandId, u64)>) {
        self.inner.with_value(|inner| {
            let ended = |id: &CommandId| inner.state.command(id).is_none_or(|c| c.exit.is_some());
            let running = inner.outputs.values().filter(|window| !ended(&window.command));
            (inner.state.seq, running.map(|window| (window.command.clone(), window.end)).collect())
        })
    }

    /// Folds a batch in and wakes the views it touches. False if an event is missing before one of the batch: then
    /// nothing from there on was applied and the state has to be read again.
    pub fn apply(self, batch: Vec<Incoming>) -> bool {
        let mut touched: Vec<Topic> = Vec::new();
        let mut complete = true;
        self.inner.update_value(|inner| {
            for incoming in batch {
                match incoming {
                    Incoming::Event(event) if event.seq > inner.state.seq + 1 => {
                        complete = false;
                        break;
                    }
                    Incoming::Event(event) => touched.extend(inner.state.apply(&event).into_iter().map(Topic::State)),
                    Incoming::Output(chunk) => {
                        let window = inner
                            .outputs
                            .entry(chunk.command.clone())
                            .or_insert_with(|| OutputWindow::new(chunk.command.clone()));
                        if window.push(&chunk, OUTPUT_KEPT) {
                            touched.push(Topic::Output(chunk.command));
                        }
                    }
                }
            }
        });
        self.wake(touched);
        complete
    }

    /// Replaces the fold after a gap.
    pub fn replace(self, state: ProjectState) {
        self.inner.update_value(|inner| inner.state = state);
        let all = self.inner.with_value(|inner| match inner.topics.lock() {
            Ok(topics) => topics.keys().cloned().collect(),
            Err(_) => Vec::new(),
        });
        self.wake(all);
    }

    /// Puts fetched output in place of what is there, if it reaches further back or further on.
    pub fn put_output(self, command: &CommandId, slice: LogSlice) {
        let mut changed = false;
        self.inner.update_value(|inner| {
            let have = inner.outputs.get(command);
            changed =
                have.is_none_or(|have| slice.end > have.end || (slice.end == have.end && slice.start < have.start));
            if changed {
                let LogSlice { start, end, text, .. } = slice;
                let window = OutputWindow { command: command.clone(), start, end, text };
                inner.outputs.insert(command.clone(), window);
            }
        });
        if changed {
            self.wake(vec![Topic::Output(command.clone())]);
        }
    }

    /// Whether any of the command's output is here.
    pub fn has_output(self, command: &CommandId) -> bool {
        self.inner.with_value(|inner| inner.outputs.contains_key(command))
    }

    fn track(self, topic: Topic) {
        let trigger = self
            .inner
            .with_value(|inner| inner.topics.lock().ok().map(|mut topics| topics.entry(topic).or_default().clone()));
        if let Some(trigger) = trigger {
            trigger.track();
        }
    }

    fn wake(self, mut touched: Vec<Topic>) {
        let mut seen: Vec<Topic> = Vec::new();
        touched.retain(|topic| {
            let fresh = !seen.contains(topic);
            if fresh {
                seen.push(topic.clone());
            }
            fresh
        });
        let triggers: Vec<ArcTrigger> = self.inner.with_value(|inner| match inner.topics.lock() {
            Ok(topics) => touched.iter().filter_map(|topic| topics.get(topic).cloned()).collect(),
            Err(_) => Vec::new(),
        });
        for trigger in triggers {
            trigger.notify();
        }
    }
}
