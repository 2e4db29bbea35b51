//! From the chunks of a streamed chat completion to [`ModelEvent`]s, whatever the vendor makes of the format.
//!
//! Pure: JSON values in, events out. Tolerated: null and missing fields, content as a list of parts, `reasoning` under
//! either name, calls without id or index, with all of it repeated in every delta, several under the same index or id,
//! arguments as an object, calls and reasoning spelled in the text, and whole messages in place of deltas.

use super::error::words_of;
use super::prose::{Piece, Prose};
use super::{Answer, AnswerCall, Finish, ModelError, ModelEvent};
use crate::domain::Usage;
use serde_json::Value;

/// Collects one answer.
#[derive(Default)]
pub(super) struct Assembler {
    calls: Vec<Call>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    prose: Prose,
    /// Whether any chunk looked like a chat completion.
    pub(super) recognised: bool,
}

#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    name: String,
    arguments: String,
    extra: Option<Value>,
    announced: bool,
}

impl Assembler {
    /// For an answer to a request that offers these tools.
    pub(super) fn new(tools: Vec<String>) -> Self {
        Self { prose: Prose::new(tools), ..Self::default() }
    }

    /// Takes one chunk.
    pub(super) fn chunk(&mut self, chunk: &Value) -> Result<Vec<ModelEvent>, ModelError> {
        if let Some(error) = chunk.get("error").filter(|e| !e.is_null()) {
            let message = words_of(error).unwrap_or_else(|| "an error without a message".to_owned());
            return Err(ModelError::MidStream { message });
        }
        let usage = chunk.get("usage").or_else(|| chunk.pointer("/x_groq/usage"));
        if let Some(usage) = usage.filter(|u| u.is_object()) {
            self.usage = Some(read_usage(usage));
        }
        let Some(choices) = chunk.get("choices").and_then(Value::as_array) else { return Ok(Vec::new()) };
        self.recognised = true;
        let mut out = Vec::new();
        // One answer was asked for; a server that sends several is heard on the first.
        let first = |c: &&Value| c.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
        if let Some(choice) = choices.iter().find(first) {
            let delta = ["delta", "message"].iter().filter_map(|k| choice.get(*k)).find(|d| d.is_object());
            if let Some(delta) = delta {
                self.delta(delta, &mut out);
            }
            let reason = choice.get("finish_reason").and_then(Value::as_str);
            // Some servers send an empty reason with every delta.
            if let Some(reason) = reason.filter(|reason| !matches!(*reason, "" | "null")) {
                self.finish = Some(match reason {
                    "length" | "max_tokens" => Finish::Length,
                    "content_filter" | "safety" | "SAFETY" => Finish::Filtered,
                    "error" => {
                        let message = choice.get("error").and_then(words_of);
                        return Err(ModelError::MidStream {
                            message: message.unwrap_or_else(|| "finish reason: error".to_owned()),
                        });
                    }
                    _ => Finish::Stop,
                });
            }
        }
        Ok(out)
    }

    /// Whether the server said why it stopped; a stream that ends without it and without `[DONE]` was cut.
    pub(super) fn has_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether anything of an answer arrived.
    pub(super) fn is_empty(&self) -> bool {
        !self.recognised
    }

    /// What was held back because it could have been the beginning of something else.
    pub(super) fn rest(&mut self) -> Vec<ModelEvent> {
        let mut out = Vec::new();
        for piece in self.prose.finish() {
            self.piece(piece, &mut out);
        }
        out
    }

    /// The whole answer.
    pub(super) fn into_answer(self) -> Answer {
        let mut calls: Vec<AnswerCall> = Vec::new();
        for call in self.calls.into_iter().filter(|c| c.announced) {
            // An id given twice cannot be answered; ours takes its place.
            let id = call.id.filter(|id| calls.iter().all(|have| have.id.as_ref() != Some(id)));
            calls.push(AnswerCall { id, name: call.name, arguments: call.arguments, extra: call.extra });
        }
        Answer { finish: self.finish.unwrap_or_default(), usage: self.usage, calls }
    }

    fn text(&mut self, text: &str, out: &mut Vec<ModelEvent>) {
        for piece in self.prose.push(text) {
            self.piece(piece, out);
        }
    }

    fn piece(&mut self, piece: Piece, out: &mut Vec<ModelEvent>) {
        match piece {
            Piece::Text(text) => out.push(ModelEvent::Text(text)),
            Piece::Reasoning(text) => out.push(ModelEvent::Reasoning(text)),
            Piece::Call { name, arguments } => {
                let call = self.calls.len();
                out.push(ModelEvent::CallStarted { call, name: name.clone() });
                out.push(ModelEvent::CallArguments { call, text: arguments.clone() });
                self.calls.push(Call { name, arguments, announced: true, ..Call::default() });
            }
        }
    }

    fn delta(&mut self, delta: &Value, out: &mut Vec<ModelEvent>) {
        for key in ["reasoning_content", "reasoning", "thinking"] {
            if let Some(text) = delta.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()) {
                out.push(ModelEvent::Reasoning(text.to_owned()));
                break;
            }
        }
        match delta.get("content") {
            Some(Value::String(text)) if !text.is_empty() => self.text(text, out),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| self.content_part(part, out)),
            _ => {}
        }
        if let Some(text) = delta.get("refusal").and_then(Value::as_str).filter(|t| !t.is_empty()) {
            out.push(ModelEvent::Text(text.to_owned()));
        }
        match delta.get("tool_calls") {
            Some(Value::Array(calls)) => calls.iter().for_each(|call| self.call(call, out)),
            Some(call @ Value::Object(_)) => self.call(call, out),
            _ => {}
        }
        if let Some(call) = delta.get("function_call").filter(|c| c.is_object()) {
            self.call(&serde_json::json!({"index": 0, "function": call}), out);
        }
    }

    fn content_part(&mut self, part: &Value, out: &mut Vec<ModelEvent>) {
        match part {
            Value::String(text) => self.text(text, out),
            Value::Object(map) => {
                if let Some(text) = map.get("text").and_then(Value::as_str) {
                    self.text(text, out);
                } else if let Some(thinking) = map.get("thinking").and_then(Value::as_array) {
                    let text = thinking.iter().filter_map(|t| t.get("text").and_then(Value::as_str)).collect();
                    out.push(ModelEvent::Reasoning(text));
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, piece: &Value, out: &mut Vec<ModelEvent>) {
        let text = |v: Option<&Value>| v.and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
        let function = piece.get("function").unwrap_or(piece);
        let name = text(function.get("name"));
        let id = text(piece.get("id"));
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        };
        let at = self.find(piece.get("index").and_then(Value::as_u64), id.as_deref(), name.as_deref(), &arguments);
        let Some(call) = self.calls.get_mut(at) else { return };
        call.id = call.id.take().or(id);
        if let Some(extra) = piece.get("extra_content").filter(|e| !e.is_null()) {
            call.extra = Some(extra.clone());
        }
        if let Some(name) = name.filter(|_| !call.announced) {
            call.name = name;
            call.announced = true;
            out.push(ModelEvent::CallStarted { call: at, name: call.name.clone() });
            // Arguments that came before the name were kept back.
            if !call.arguments.is_empty() {
                out.push(ModelEvent::CallArguments { call: at, text: call.arguments.clone() });
            }
        }
        if !arguments.is_empty() {
            call.arguments.push_str(&arguments);
            if call.announced {
                out.push(ModelEvent::CallArguments { call: at, text: arguments });
            }
        }
    }

    /// Which call a delta continues; a new one is added when it continues none.
    fn find(&mut self, index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str) -> usize {
        // The same id under another number is another call, of a server that gives all of them one id.
        let same_number = |c: &Call| index.is_none() || c.index.is_none() || c.index == index;
        let by_id = id.and_then(|id| self.calls.iter().rposition(|c| c.id.as_deref() == Some(id) && same_number(c)));
        let by_index = index.and_then(|index| self.calls.iter().rposition(|c| c.index == Some(index)));
        let last = if index.is_none() { self.calls.len().checked_sub(1) } else { None };
        let found = by_id.or(by_index).or(last).filter(|at| {
            let Some(call) = self.calls.get(*at) else { return false };
            // A name again, on a call whose arguments are complete, under another id or with arguments of its own, is
            // the next call of a server that numbers all calls 0 or not at all.
            let begins = name.is_some() && call.announced && is_complete(&call.arguments);
            let other_id = id.is_some() && call.id.is_some() && call.id.as_deref() != id;
            let own_arguments = arguments.starts_with('{') || (id.is_none() && !arguments.is_empty());
            !(begins && (other_id || own_arguments))
        });
        found.unwrap_or_else(|| {
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        })
    }
}

fn is_complete(arguments: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok()
}

fn read_usage(usage: &Value) -> Usage {
    let number = |path: &str| usage.pointer(path).and_then(Value::as_u64);
    Usage {
        input_tokens: number("/prompt_tokens").or_else(|| number("/input_tokens")).unwrap_or(0),
        output_tokens: number("/completion_tokens").or_else(|| number("/output_tokens")).unwrap_or(0),
        cached_tokens: number("/prompt_tokens_details/cached_tokens")
            .or_else(|| number("/prompt_cache_hit_tokens"))
            .unwrap_or(0),
        cost: usage.get("cost").and_then(Value::as_f64).and_then(Usage::micro_usd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn calls(deltas: &[Value]) -> Vec<(String, String)> {
        let mut assembler = Assembler::default();
        for delta in deltas {
            assembler
                .chunk(&json!({"choices": [{"delta": {"role": null, "content": null, "tool_calls": [delta]}}]}))
                .unwrap();
        }
        assembler.into_answer().calls.into_iter().map(|c| (c.name, c.arguments)).collect()
    }

    fn pair(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn the_usual_deltas_make_one_call() {
        let got = calls(&[
            json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            json!({"index": 0, "function": {"arguments": "{\"x\":"}}),
            json!({"index": 0, "function": {"arguments": "1}"}}),
        ]);
        assert_eq!(got, [pair("f", "{\"x\":1}")]);
    }

    #[test]
    fn id_and_name_repeated_in_every_delta_still_make_one_call() {
        let piece = |a: &str| json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": a}});
        assert_eq!(calls(&[piece("{\"x\":"), piece("1}"), piece("")]), [pair("f", "{\"x\":1}")]);
    }

    #[test]
    fn calls_without_id_or_index_in_one_piece_are_separate() {
        let got = calls(&[
            json!({"function": {"name": "f", "arguments": "{\"x\":1}"}}),
            json!({"function": {"name": "f", "arguments": {"x": 2}}}),
        ]);
        assert_eq!(got, [pair("f", "{\"x\":1}"), pair("f", "{\"x\":2}")]);
    }

    #[test]
    fn parallel_calls_all_numbered_zero_are_told_apart_by_their_ids() {
        let got = calls(&[
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
            json!({"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}),
        ]);
        assert_eq!(got, [pair("f", "{}"), pair("g", "{}")]);
    }

    #[test]
    fn calls_that_share_one_id_are_told_apart_and_only_one_keeps_it() {
        let mut assembler = Assembler::default();
        for (index, name) in [(0, "f"), (1, "g")] {
            let call = json!({"index": index, "id": "same", "function": {"name": name, "arguments": "{}"}});
            assembler.chunk(&json!({"choices": [{"delta": {"tool_calls": [call]}}]})).unwrap();
        }
        let ids: Vec<_> = assembler.into_answer().calls.into_iter().map(|c| (c.name, c.id)).collect();
        assert_eq!(ids, [("f".to_owned(), Some("same".to_owned())), ("g".to_owned(), None)]);
        let same = |name: &str| json!({"id": "x", "function": {"name": name, "arguments": "{\"a\":1}"}});
        assert_eq!(calls(&[same("f"), same("f")]), [pair("f", "{\"a\":1}"), pair("f", "{\"a\":1}")]);
    }

    #[test]
    fn parallel_calls_may_interleave() {
        let piece = |i: u64, f: Value| json!({"index": i, "function": f});
        let got = calls(&[
            piece(0, json!({"name": "f", "arguments": "{\"a\""})),
            piece(1, json!({"name": "g", "arguments": "{\"b\""})),
            piece(0, json!({"name": null, "arguments": ":1}"})),
            piece(1, json!({"arguments": ":2}"})),
        ]);
        assert_eq!(got, [pair("f", "{\"a\":1}"), pair("g", "{\"b\":2}")]);
    }

    #[test]
    fn a_whole_message_is_read_like_a_delta() {
        let mut assembler = Assembler::default();
        let events = assembler
            .chunk(&json!({"choices": [{"message": {"content": [{"type": "text", "text": "hi"}]}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}))
            .unwrap();
        assert_eq!(events, [ModelEvent::Text("hi".to_owned())]);
        assert_eq!(assembler.into_answer().usage.unwrap().input_tokens, 3);
    }
}
