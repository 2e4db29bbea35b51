//! Reading one answer from bytes, whatever form it has: server-sent events, one JSON object, or JSON line by line.
//!
//! The form is told by the first byte, not by `Content-Type`, which servers and proxies get wrong.

use super::assemble::Assembler;
use super::error::{looks_like_html, page_title, shorten};
use super::sse::SseDecoder;
use super::{Answer, ModelError, ModelEvent};
use serde_json::Value;

/// Bytes of a stream's beginning that are kept, to show what came when it is none.
const START_KEPT: usize = 2048;

/// An answer being read.
pub(super) struct Reading {
    decoder: SseDecoder,
    assembler: Assembler,
    /// The beginning of the answer; all of it when it is JSON.
    start: Vec<u8>,
    /// Whether it is JSON instead of events; not known before the first byte.
    json: Option<bool>,
    /// Whether `[DONE]` came.
    done: bool,
    bytes: usize,
    /// Bytes of an answer that are read at most.
    limit: usize,
}

impl Reading {
    /// For an answer to a request that offers these tools.
    pub(super) fn new(tools: Vec<String>, limit: usize) -> Self {
        Self {
            decoder: SseDecoder::default(),
            assembler: Assembler::new(tools),
            start: Vec::new(),
            json: None,
            done: false,
            bytes: 0,
            limit,
        }
    }

    /// Whether the server said that nothing follows.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the answer is whole even if the connection breaks now.
    pub(super) fn has_finished(&self) -> bool {
        self.assembler.has_finished()
    }

    /// Takes bytes and returns what they add to the answer.
    pub(super) fn take(&mut self, bytes: &[u8], url: &str) -> Result<Vec<ModelEvent>, ModelError> {
        let endless = || ModelError::NotAModel { url: url.to_owned(), message: "an answer without end".to_owned() };
        self.bytes += bytes.len();
        if self.bytes > self.limit {
            return Err(endless());
        }
        if self.json.is_none() {
            let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
            self.json = first.map(|b| matches!(b, b'{' | b'['));
        }
        let json = self.json.unwrap_or_default();
        let room = if json { self.limit } else { START_KEPT }.saturating_sub(self.start.len());
        self.start.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let mut out = Vec::new();
        if !json {
            for data in self.decoder.push(bytes).map_err(|_| endless())? {
                self.event(&data, url, &mut out)?;
            }
        }
        Ok(out)
    }

    /// What is left when the body has ended, and the whole.
    pub(super) fn finish(mut self, url: &str) -> Result<(Vec<ModelEvent>, Answer), ModelError> {
        let mut out = Vec::new();
        let json = self.json.unwrap_or_default();
        if json {
            self.json_body(url, &mut out)?;
        } else if let Some(data) = self.decoder.finish() {
            self.event(&data, url, &mut out)?;
        }
        if self.assembler.is_empty() {
            let start = String::from_utf8_lossy(&self.start).into_owned();
            // A proxy that gives up sometimes answers 200 with nothing: the next attempt may fare better.
            if start.trim().is_empty() {
                return Err(ModelError::Interrupted { message: "an empty answer".to_owned() });
            }
            return Err(ModelError::NotAModel { url: url.to_owned(), message: what_came(&start) });
        }
        if !self.done && !json && !self.assembler.has_finished() {
            // Neither a finish reason nor [DONE]: the answer was cut, and acting on half of it would be wrong.
            return Err(ModelError::Interrupted { message: "the stream ended early".to_owned() });
        }
        out.extend(self.assembler.rest());
        Ok((out, self.assembler.into_answer()))
    }

    /// One object, or one in each line.
    fn json_body(&mut self, url: &str, out: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let body = String::from_utf8_lossy(&std::mem::take(&mut self.start)).into_owned();
        if let Ok(whole) = serde_json::from_str::<Value>(&body) {
            // Google wraps even an error into a list.
            let list = match whole {
                Value::Array(items) => items,
                one => vec![one],
            };
            for item in list {
                out.extend(self.assembler.chunk(&item)?);
            }
        } else {
            for line in body.lines().filter(|line| !line.trim().is_empty()) {
                match serde_json::from_str::<Value>(line) {
                    Ok(chunk) => out.extend(self.assembler.chunk(&chunk)?),
                    Err(_) if self.assembler.is_empty() => break,
                    Err(_) => return Err(ModelError::Interrupted { message: "the answer was cut".to_owned() }),
                }
            }
        }
        if self.assembler.is_empty() {
            return Err(ModelError::NotAModel { url: url.to_owned(), message: what_came(&body) });
        }
        Ok(())
    }

    fn event(&mut self, data: &str, url: &str, out: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let data = data.trim();
        if data == "[DONE]" {
            self.done = true;
        }
        if self.done || data.is_empty() {
            return Ok(());
        }
        match serde_json::from_str::<Value>(data) {
            Ok(chunk) => out.extend(self.assembler.chunk(&chunk)?),
            // Once an answer is under way, a stray line of text is noise; before that it is the wrong server.
            Err(_) if !self.assembler.is_empty() => {}
            Err(_) => return Err(ModelError::NotAModel { url: url.to_owned(), message: what_came(data) }),
        }
        Ok(())
    }
}

/// What came in place of an answer, in words.
pub(super) fn what_came(body: &str) -> String {
    let body = body.trim();
    if body.is_empty() {
        "an empty answer".to_owned()
    } else if looks_like_html(body) {
        page_title(body).map_or_else(|| "a web page".to_owned(), |title| format!("a web page, \"{title}\""))
    } else {
        format!("it sent \"{}\"", shorten(&body.chars().take(120).collect::<String>()))
    }
}
