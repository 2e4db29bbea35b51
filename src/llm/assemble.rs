//! From the chunks of a streamed chat completion to [`ModelEvent`]s, whatever the vendor makes of the format.
//!
//! Pure: JSON values in, events out. Tolerated: null and missing fields, content as a list of parts, `reasoning` under
//! either name, calls without id or index, with all of it repeated in every delta, several under the same index,
//! arguments as an object, and whole messages in place of deltas.

use super::error::words_of;
use super::{Answer, AnswerCall, Finish, ModelError, ModelEvent};
use crate::domain::Usage;
use serde_json::Value;

/// Collects one answer.
#[derive(Default)]
pub(super) struct Assembler {
    calls: Vec<Call>,
    finish: Option<Finish>,
    usage: Option<Usage>,
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
    /// Takes one chunk.
    pub(super) fn chunk(&mut self, chunk: &Value) -> Result<Vec<ModelEvent>, ModelError> {
        if let Some(error) = chunk.get("error").filter(|e| !e.is_null()) {
            let message = words_of(error).unwrap_or_else(|| "an error without a message".to_owned());
            return Err(ModelError::MidStream { message });
        }
        if let Some(usage) = chunk.get("usage").filter(|u| u.is_object()) {
            self.usage = Some(read_usage(usage));
        }
        let Some(choices) = chunk.get("choices").and_then(Value::as_array) else { return Ok(Vec::new()) };
        self.recognised = true;
        let mut out = Vec::new();
        if let Some(choice) = choices.first() {
            let delta = ["delta", "message"].iter().filter_map(|k| choice.get(*k)).find(|d| d.is_object());
            if let Some(delta) = delta {
                self.delta(delta, &mut out);
            }
            if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
                self.finish = Some(match reason {
                    "length" | "max_tokens" => Finish::Length,
                    "content_filter" => Finish::Filtered,
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

    /// The whole answer.
    pub(super) fn into_answer(self) -> Answer {
        let calls = self.calls.into_iter().filter(|c| c.announced);
        Answer {
            finish: self.finish.unwrap_or_default(),
            usage: self.usage,
            calls: calls
                .map(|c| AnswerCall { id: c.id, name: c.name, arguments: c.arguments, extra: c.extra })
                .collect(),
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
            Some(Value::String(text)) if !text.is_empty() => out.push(ModelEvent::Text(text.clone())),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| content_part(part, out)),
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
        let by_id = id.and_then(|id| self.calls.iter().rposition(|c| c.id.as_deref() == Some(id)));
        let by_index = index.and_then(|index| self.calls.iter().rposition(|c| c.index == Some(index)));
        let last = self.calls.len().checked_sub(1);
        let found = by_id.or_else(|| {
            let candidate = match index {
                Some(_) => by_index?,
                None => last?,
            };
            let call = self.calls.get(candidate)?;
            // A name again, on a call whose arguments are complete, under another id or with arguments of its own, is
            // the next call of a server that numbers all calls 0 or not at all.
            let begins = name.is_some() && call.announced && is_complete(&call.arguments);
            let other_id = id.is_some() && call.id.is_some();
            if begins && (other_id || (id.is_none() && !arguments.is_empty())) { None } else { Some(candidate) }
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

fn content_part(part: &Value, out: &mut Vec<ModelEvent>) {
    match part {
        Value::String(text) => out.push(ModelEvent::Text(text.clone())),
        Value::Object(map) => {
            if let Some(text) = map.get("text").and_then(Value::as_str) {
                out.push(ModelEvent::Text(text.to_owned()));
            } else if let Some(thinking) = map.get("thinking").and_then(Value::as_array) {
                let text = thinking.iter().filter_map(|t| t.get("text").and_then(Value::as_str)).collect::<String>();
                out.push(ModelEvent::Reasoning(text));
            }
        }
        _ => {}
    }
}

fn read_usage(usage: &Value) -> Usage {
    let number = |path: &str| usage.pointer(path).and_then(Value::as_u64);
    Usage {
        input_tokens: number("/prompt_tokens").or_else(|| number("/input_tokens")).unwrap_or(0),
        output_tokens: number("/completion_tokens").or_else(|| number("/output_tokens")).unwrap_or(0),
        cached_tokens: number("/prompt_tokens_details/cached_tokens").unwrap_or(0),
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
