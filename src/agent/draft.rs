//! One answer of the model, as events: text, reasoning, calls and file contents while they arrive.
//!
//! Owns the numbering of a message's parts and the coalescing: a delta after a pause is appended at once, and those that
//! follow it within 30 ms are joined, because each append is a transaction and a frame on every open page. Words are cut
//! into a part for each passage (paragraph, list, code block), so that a long answer is formatted as it is written and not
//! at its end. It must not know where the deltas come from.

use super::files_json::FilesReader;
use crate::domain::{CallId, EventBody, MessageId, ProjectId, clean_path};
use crate::render::{markdown_to_html, readable, settled};
use crate::store::{EventLog, StoreError, new_call_id};
use std::time::Duration;
use tokio::time::Instant;

/// Appends of deltas are at least so far apart.
const COALESCE: Duration = Duration::from_millis(30);
/// Waiting text is appended at once when it is longer than this (bytes).
const TEXT_MAX: usize = 256;
/// The same for file contents, which come faster and are read slower.
const FILE_MAX: usize = 4096;

/// Writes one message's parts to the event log.
pub(super) struct DraftWriter {
    events: EventLog,
    project: ProjectId,
    message: MessageId,
    /// Index the next part gets.
    next_part: u32,
    open: Option<OpenPart>,
    calls: Vec<DraftCall>,
    waiting: Vec<EventBody>,
    waiting_text: usize,
    waiting_file: usize,
    due: Option<Instant>,
    /// When deltas were last appended.
    flushed: Option<Instant>,
}

struct OpenPart {
    part: u32,
    reasoning: bool,
    /// The passage's words, to render them once it is complete; of reasoning none.
    text: String,
    /// So many bytes of `text` are told already. The first word of a line waits, because it may begin another passage.
    told: usize,
}

struct DraftCall {
    id: CallId,
    files: Option<FilesReader>,
}

impl DraftWriter {
    /// A writer that goes on after `parts` parts.
    pub fn new(events: EventLog, project: ProjectId, message: MessageId, parts: u32) -> Self {
        Self {
            events,
            project,
            message,
            next_part: parts,
            open: None,
            calls: Vec::new(),
            waiting: Vec::new(),
            waiting_text: 0,
            waiting_file: 0,
            due: None,
            flushed: None,
        }
    }

    /// When waiting deltas must be appended with [`DraftWriter::flush`], if there are any.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Parts written so far.
    pub fn parts(&self) -> u32 {
        self.next_part
    }

    /// The ids given to the calls, in order.
    pub fn call_ids(&self) -> Vec<CallId> {
        self.calls.iter().map(|c| c.id.clone()).collect()
    }

    /// More words.
    pub async fn text(&mut self, text: &str) -> Result<(), StoreError> {
        // Some models begin with blank lines, which would make an empty bubble.
        let starts = !matches!(&self.open, Some(open) if !open.reasoning);
        let text = if starts { text.trim_start() } else { text };
        if text.is_empty() {
            return Ok(());
        }
        self.open_part(false);
        let Some(open) = &mut self.open else { return Ok(()) };
        open.text.push_str(text);
        let known = readable(&open.text);
        // Only a new line can begin another passage.
        if open.text[open.told..known].contains('\n') || open.text[..open.told].ends_with('\n') {
            let complete = settled(&open.text[..known]);
            if complete > 0 && complete >= open.told {
                let next = open.text.split_off(complete);
                self.close_part();
                self.open_part(false);
                if let Some(open) = &mut self.open {
                    open.text = next;
                }
            }
        }
        self.tell_open(readable);
        self.flush_if_full().await
    }

    /// More reasoning.
    pub async fn reasoning(&mut self, text: &str) -> Result<(), StoreError> {
        let part = self.open_part(true);
        let message = self.message.clone();
        self.wait(EventBody::ReasoningDelta { message, part, text: text.to_owned() });
        self.flush_if_full().await
    }

    /// A call begins.
    pub async fn call_started(&mut self, tool: &str) -> Result<(), StoreError> {
        self.close_part();
        let id = new_call_id();
        let part = self.take_part();
        self.calls.push(DraftCall { id: id.clone(), files: (tool == "generate_files").then(FilesReader::default) });
        let message = self.message.clone();
        self.wait(EventBody::ToolCallStarted { message, part, call: id, tool: tool.to_owned() });
        self.flush().await
    }

    /// More of a call's arguments; only those of `generate_files` are shown while they arrive.
    pub async fn call_arguments(&mut self, call: usize, text: &str) -> Result<(), StoreError> {
        let Some(call) = self.calls.get_mut(call) else { return Ok(()) };
        let Some(reader) = &mut call.files else { return Ok(()) };
        let id = call.id.clone();
        for piece in reader.push(text) {
            // The path the tool will write; one it will refuse is not shown.
            if let Ok(path) = clean_path(&piece.path) {
                self.wait(EventBody::FileDelta { call: id.clone(), path, text: piece.text });
            }
        }
        self.flush_if_full().await
    }

    /// The answer is complete: closes the open part and appends everything.
    pub async fn finish(&mut self) -> Result<(), StoreError> {
        self.close_part();
        self.flush().await
    }

    /// Appends what waits.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        self.due = None;
        (self.waiting_text, self.waiting_file) = (0, 0);
        let bodies = std::mem::take(&mut self.waiting);
        if !bodies.is_empty() {
            self.flushed = Some(Instant::now());
            self.events.append(&self.project, bodies).await?;
        }
        Ok(())
    }

    async fn flush_if_full(&mut self) -> Result<(), StoreError> {
        if self.waiting_text >= TEXT_MAX || self.waiting_file >= FILE_MAX { self.flush().await } else { Ok(()) }
    }

    fn take_part(&mut self) -> u32 {
        let part = self.next_part;
        self.next_part += 1;
        part
    }

    fn open_part(&mut self, reasoning: bool) -> u32 {
        if let Some(open) = self.open.as_ref().filter(|open| open.reasoning == reasoning) {
            return open.part;
        }
        self.close_part();
        let part = self.take_part();
        self.open = Some(OpenPart { part, reasoning, text: String::new(), told: 0 });
        part
    }

    /// Tells the open passage's words up to `end` of them.
    fn tell_open(&mut self, end: impl Fn(&str) -> usize) {
        let Some(open) = &mut self.open else { return };
        let end = end(&open.text);
        if end > open.told {
            let text = open.text[open.told..end].to_owned();
            open.told = end;
            let part = open.part;
            self.wait(EventBody::TextDelta { message: self.message.clone(), part, text });
        }
    }

    fn close_part(&mut self) {
        self.tell_open(str::len);
        if let Some(open) = self.open.take().filter(|open| !open.reasoning) {
            let html = markdown_to_html(&open.text);
            self.wait(EventBody::PartRendered { message: self.message.clone(), part: open.part, html });
        }
    }

    /// Adds an event to those that wait, joined with the last one where both continue the same text.
    fn wait(&mut self, body: EventBody) {
        match &body {
            EventBody::FileDelta { text, .. } => self.waiting_file += text.len(),
            EventBody::TextDelta { text, .. } | EventBody::ReasoningDelta { text, .. } => {
                self.waiting_text += text.len()
            }
            _ => {}
        }
        let now = Instant::now();
        let next = self.flushed.map_or(now, |flushed| (flushed + COALESCE).max(now));
        self.due.get_or_insert(next);
        let joined = match (self.waiting.last_mut(), &body) {
            (Some(EventBody::TextDelta { part: a, text: have, .. }), EventBody::TextDelta { part: b, text, .. })
            | (
                Some(EventBody::ReasoningDelta { part: a, text: have, .. }),
                EventBody::ReasoningDelta { part: b, text, .. },
            ) if a == b => {
                have.push_str(text);
                true
            }
            (
                Some(EventBody::FileDelta { call: a, path: p, text: have }),
                EventBody::FileDelta { call: b, path: q, text },
            ) if a == b && p == q => {
                have.push_str(text);
                true
            }
            _ => false,
        };
        if !joined {
            self.waiting.push(body);
        }
    }
}
