//! What a browser says over the pipe of its DevTools protocol: messages taken apart and read, with distrust, because the
//! app may have written them. What follows from them is `look`'s.

use serde::Deserialize;
use serde_json::Value;

/// Bytes of one message; a longer one is dropped. A picture of 1280x800 stays below.
const MESSAGE_MAX: usize = 6 << 20;
/// Bytes of all messages.
const TOTAL_MAX: usize = 64 << 20;
/// Messages.
const MESSAGES_MAX: usize = 100_000;
/// Characters of an error, and of the address where it is.
const ERROR_MAX: usize = 300;

/// Splits what comes through the pipe into messages, each of which ends with a NUL.
#[derive(Debug, Default)]
pub struct Messages {
    begun: Vec<u8>,
    dropping: bool,
    bytes: usize,
    count: usize,
}

impl Messages {
    /// The messages these bytes complete.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        self.bytes += bytes.len();
        let mut whole = Vec::new();
        let mut parts = bytes.split(|byte| *byte == 0).peekable();
        while let Some(part) = parts.next() {
            self.dropping |= self.begun.len() + part.len() > MESSAGE_MAX;
            match self.dropping {
                true => self.begun.clear(),
                false => self.begun.extend_from_slice(part),
            }
            // What stands behind the last NUL has only begun.
            if parts.peek().is_some() {
                self.count += 1;
                self.dropping = false;
                whole.push(std::mem::take(&mut self.begun));
            }
        }
        if self.bytes > TOTAL_MAX || self.count > MESSAGES_MAX {
            return Err("it said too much".to_owned());
        }
        whole.retain(|message| !message.is_empty());
        Ok(whole)
    }
}

/// What is read of a message, which is an event or the answer to a call. One that has anything else in these places is
/// of no use here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    pub(super) id: Option<u64>,
    pub(super) method: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) error: Option<Refusal>,
    pub(super) params: Params,
    pub(super) result: Answer,
}

/// Why a call was refused.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    pub(super) message: Option<String>,
}

/// What an event carries; of each kind it is other fields.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Params {
    pub(super) session_id: Option<String>,
    pub(super) target_info: Target,
    pub(super) frame: Frame,
    pub(super) request_id: Option<String>,
    pub(super) loader_id: Option<String>,
    pub(super) r#type: Option<String>,
    pub(super) response: Response,
    pub(super) exception_details: Exception,
    pub(super) args: Vec<Thrown>,
    pub(super) entry: Entry,
}

/// What the browser itself writes to the console.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    pub(super) level: Option<String>,
    pub(super) text: Option<String>,
    pub(super) url: Option<String>,
}

/// What a session is attached to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Target {
    pub(super) r#type: Option<String>,
}

/// A document of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Frame {
    pub(super) parent_id: Option<String>,
    pub(super) url: Option<String>,
}

/// The head of an answer from the network.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Response {
    pub(super) mime_type: Option<String>,
}

/// What a call returned.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    pub(super) error_text: Option<String>,
    pub(super) data: Option<String>,
    pub(super) result: Thrown,
}

/// An error nobody caught.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exception {
    pub(super) text: Option<String>,
    pub(super) url: Option<String>,
    pub(super) line_number: Option<u64>,
    pub(super) stack_trace: Stack,
    pub(super) exception: Thrown,
}

/// The calls it came through, the last one first.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stack {
    pub(super) call_frames: Vec<Place>,
}

/// A place in a script; lines are counted from 0.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Place {
    pub(super) url: Option<String>,
    pub(super) line_number: Option<u64>,
}

/// What was thrown, written to the console or returned by a script: an object as text, or a value.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Thrown {
    pub(super) description: Option<String>,
    pub(super) value: Value,
}

impl Exception {
    /// `Uncaught ReferenceError: f is not defined at http://localhost:3000/a.js (7)`.
    pub fn describe(&self) -> String {
        let text = format!("{} {}", self.text.as_deref().unwrap_or("Uncaught"), self.exception.describe());
        let caller = self.stack_trace.call_frames.first();
        let place = match &self.url {
            Some(url) => Some((url, self.line_number)),
            None => caller.and_then(|place| place.url.as_ref().map(|url| (url, place.line_number))),
        };
        match place {
            Some((url, Some(line))) => format!("{} at {} ({})", cut(&text), cut(url), line.saturating_add(1)),
            _ => cut(&text),
        }
    }
}

impl Thrown {
    /// An error's message without the calls it came through.
    fn describe(&self) -> String {
        match (&self.description, &self.value) {
            (Some(description), _) => description.split("\n    at ").next().unwrap_or_default().to_owned(),
            (None, Value::String(text)) => text.clone(),
            (None, Value::Null) => String::new(),
            (None, value) => value.to_string(),
        }
    }
}

impl Params {
    /// What a script wrote to the console: `console.error: no user 7`.
    pub fn written(&self) -> String {
        let words: Vec<String> = self.args.iter().map(Thrown::describe).collect();
        cut(&format!("console.error: {}", words.join(" ")))
    }
}

impl Entry {
    /// `Failed to load resource: ... 404 (Not Found) at http://localhost:3000/a.png`.
    pub fn describe(&self) -> String {
        format!("{} at {}", cut(self.text.as_deref().unwrap_or_default()), cut(self.url.as_deref().unwrap_or_default()))
    }
}

/// Text of a stranger's, at a length one can read.
pub fn cut(text: &str) -> String {
    text.trim().chars().take(ERROR_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_put_together_from_pieces() {
        let mut messages = Messages::default();
        assert_eq!(messages.take(b"{\"a\"").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(messages.take(b":1}\0\0{}\0{").unwrap(), [b"{\"a\":1}".to_vec(), b"{}".to_vec()]);
        assert_eq!(messages.take(b"}\0").unwrap(), [b"{}".to_vec()]);
    }

    #[test]
    fn a_message_that_is_too_long_is_dropped_and_too_many_end_the_look() {
        let mut messages = Messages::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..8 {
            assert!(messages.take(&piece).unwrap().is_empty());
            assert!(messages.begun.len() <= MESSAGE_MAX);
        }
        assert_eq!(messages.take(b"\0{}\0").unwrap(), [b"{}".to_vec()]);
        let error = (0..64).find_map(|_| messages.take(&piece).err()).unwrap();
        assert_eq!(error, "it said too much");
        let mut messages = Messages::default();
        let error = (0..200).find_map(|_| messages.take(&[0; 1000]).err()).unwrap();
        assert_eq!(error, "it said too much");
    }

    #[test]
    fn an_error_is_told_with_its_place_and_without_its_calls() {
        let told = |json: Value| serde_json::from_value::<Exception>(json).unwrap().describe();
        let missing = json!({
            "text": "Uncaught", "url": "http://localhost:3000/a.js", "lineNumber": 6,
            "exception": {"description": "ReferenceError: f is not defined\n    at http://localhost:3000/a.js:7:1"},
        });
        assert_eq!(told(missing), "Uncaught ReferenceError: f is not defined at http://localhost:3000/a.js (7)");
        let frames = json!({"callFrames": [{"url": "http://localhost:3000/", "lineNumber": 0}]});
        let rejected = json!({"text": "Uncaught (in promise)", "stackTrace": frames, "exception": {"value": "no"}});
        assert_eq!(told(rejected), "Uncaught (in promise) no at http://localhost:3000/ (1)");
        assert_eq!(told(json!({"exception": {"value": 7}})), "Uncaught 7");
        assert_eq!(told(json!({"lineNumber": u64::MAX, "url": "u"})), format!("Uncaught at u ({})", u64::MAX));
        assert_eq!(told(json!({"exception": {"description": "x".repeat(10_000)}})).len(), ERROR_MAX);
    }
}
