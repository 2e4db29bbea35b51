//! The body of a request, in the dialect the server understands.
//!
//! Servers refuse what they do not know. What one refused is remembered for its model, and the request is spelled
//! without it: no usage option, no system role, tools described in words. Pure but for the memory.

use super::error::ModelError;
use super::{ModelRequest, ToolSpec};
use async_openai::types::chat::{ChatCompletionTool, ChatCompletionTools, FunctionObject};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a server does not understand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// `stream_options`.
    pub no_usage: bool,
    /// A system message, or two messages of one role in a row.
    pub strict_roles: bool,
    /// The `tools` field: they are described in the system prompt and called in text.
    pub spoken_tools: bool,
    /// Marks of what to keep in the prompt cache.
    pub no_cache_marks: bool,
    /// How much to think: the model has one way only.
    pub no_effort: bool,
    /// Images. Whoever makes the conversation leaves them out.
    pub no_images: bool,
}

/// Dialects by server and model. Cheap to clone; all clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct Dialects(Arc<Mutex<HashMap<String, Dialect>>>);

impl Dialects {
    /// The dialect of a model; the standard one until the server refused something.
    pub fn of(&self, url: &str, model: &str) -> Dialect {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key(url, model)).copied().unwrap_or_default()
    }

    /// Remembers.
    pub fn learn(&self, url: &str, model: &str, dialect: Dialect) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key(url, model), dialect);
    }
}

fn key(url: &str, model: &str) -> String {
    format!("{url} {model}")
}

impl Dialect {
    /// The dialect to try after this refusal; none if spelling it differently would not help.
    pub(super) fn after(self, error: &ModelError, has_tools: bool) -> Option<Self> {
        let words = error.to_string().to_lowercase();
        let says = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
        let refused = matches!(error, ModelError::Provider { status, .. } if matches!(status, 400 | 404 | 422 | 500));
        let next = match error {
            ModelError::NoTools { .. } if has_tools => Self { spoken_tools: true, ..self },
            _ if refused && says(&["cache_control"]) => Self { no_cache_marks: true, ..self },
            _ if refused && says(&["stream_options", "include_usage"]) => Self { no_usage: true, ..self },
            _ if refused
                && says(&["reasoning_effort", "reasoning effort", "support thinking", "support reasoning"]) =>
            {
                Self { no_effort: true, ..self }
            }
            _ if refused
                && says(&[
                    "system role not supported",
                    "system role is not supported",
                    "roles must alternate",
                    "developer instruction is not enabled",
                    "does not support system",
                ]) =>
            {
                Self { strict_roles: true, ..self }
            }
            _ => return None,
        };
        (next != self).then_some(next)
    }
}

/// async-openai's shape, with the messages as they were recorded.
#[derive(Serialize)]
struct WireRequest<'a> {
    model: &'a str,
    messages: &'a [Value],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ChatCompletionTools>,
}

/// The request as JSON text.
pub(super) fn body(request: &ModelRequest, dialect: Dialect) -> Result<Vec<u8>, ModelError> {
    let mut messages = request.messages.clone();
    if dialect.spoken_tools && !request.tools.is_empty() {
        speak(&mut messages, &request.tools);
    }
    if dialect.strict_roles {
        alternate(&mut messages);
    }
    // Claude's cache is asked for; others find what they know by themselves.
    if request.model.contains("claude") && !dialect.no_cache_marks && !dialect.strict_roles {
        mark_for_cache(&mut messages);
    }
    let tools = if dialect.spoken_tools { &[] } else { request.tools.as_slice() };
    let wire = WireRequest {
        model: &request.model,
        messages: &messages,
        stream: true,
        stream_options: (!dialect.no_usage).then(|| json!({"include_usage": true})),
        reasoning_effort: request.effort.as_deref().filter(|_| !dialect.no_effort),
        tools: tools.iter().map(wire_tool).collect(),
    };
    serde_json::to_vec(&wire)
        .map_err(|e| ModelError::Provider { status: 0, message: format!("the request cannot be encoded: {e}") })
}

fn wire_tool(tool: &ToolSpec) -> ChatCompletionTools {
    ChatCompletionTools::Function(ChatCompletionTool {
        function: FunctionObject {
            name: tool.name.to_owned(),
            description: Some(tool.description.to_owned()),
            parameters: Some(tool.parameters.clone()),
            strict: None,
        },
    })
}

/// Tools in words: their description in the system prompt, calls in the assistant's text, results in the person's.
fn speak(messages: &mut [Value], tools: &[ToolSpec]) {
    for message in messages.iter_mut() {
        match message.get("role").and_then(Value::as_str) {
            Some("system") => {
                let text = format!("{}\n\n{}", content(message), describe(tools));
                *message = json!({"role": "system", "content": text});
            }
            Some("assistant") => {
                let mut text = content(message);
                for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                    let arguments = call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or("{}");
                    let arguments: Value = serde_json::from_str(arguments).unwrap_or(Value::Object(Map::new()));
                    let call = json!({"name": call.pointer("/function/name"), "arguments": arguments});
                    text.push_str(&format!("\n<tool_call>\n{call}\n</tool_call>"));
                }
                *message = json!({"role": "assistant", "content": text.trim()});
            }
            Some("tool") => {
                let text = format!("<tool_response>\n{}\n</tool_response>", content(message));
                *message = json!({"role": "user", "content": text});
            }
            _ => {}
        }
    }
}

fn describe(tools: &[ToolSpec]) -> String {
    let list: String = tools
        .iter()
        .map(|t| {
            let spec = json!({"name": t.name, "description": t.description, "parameters": t.parameters});
            format!("{spec}\n")
        })
        .collect();
    format!(
        "# Calling tools\n\nYou call a tool by writing, exactly in this form and with nothing after it:\n<tool_call>\n\
         {{\"name\": \"run_command\", \"arguments\": {{\"command\": \"ls\"}}}}\n</tool_call>\nThe arguments are one JSON \
         object; line breaks inside strings are written \\n. You are answered with <tool_response>. To call several \
         tools, write several such blocks. These are the tools, with the JSON schemas of their arguments:\n{list}"
    )
}

/// Marks the system prompt and the last message: the next step begins with the same text up to there.
fn mark_for_cache(messages: &mut [Value]) {
    let last = messages.len().saturating_sub(1);
    for at in [0, last] {
        let Some(content) = messages.get_mut(at).and_then(|m| m.get_mut("content")) else { continue };
        match content {
            Value::String(text) if !text.is_empty() => {
                *content = json!([{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]);
            }
            // Text and images: the mark is on the last of them.
            Value::Array(parts) => {
                if let Some(Value::Object(last)) = parts.last_mut() {
                    last.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
                }
            }
            _ => {}
        }
    }
}

/// Puts the system prompt into the first message of the person, and joins neighbours of one role.
fn alternate(messages: &mut Vec<Value>) {
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    for mut message in messages.drain(..) {
        if message.get("role").and_then(Value::as_str) == Some("system") {
            message = json!({"role": "user", "content": content(&message)});
        }
        let plain = |m: &Value| m.get("tool_calls").is_none() && m.get("tool_call_id").is_none();
        match out.last_mut() {
            Some(last) if last.get("role") == message.get("role") && plain(last) && plain(&message) => {
                *last = json!({"role": last.get("role"), "content": joined(last, &message)});
            }
            _ => out.push(message),
        }
    }
    *messages = out;
}

/// What two messages say, as one: text, or parts where one of them has an image.
fn joined(first: &Value, second: &Value) -> Value {
    let parts = |message: &Value| match message.get("content") {
        Some(Value::Array(parts)) => parts.clone(),
        _ => vec![json!({"type": "text", "text": content(message)})],
    };
    let all: Vec<Value> = parts(first).into_iter().chain(parts(second)).collect();
    if all.iter().all(|part| part.get("text").is_some()) {
        return json!(format!("{}\n\n{}", content(first), content(second)));
    }
    Value::Array(all)
}

fn content(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ModelRequest {
        let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        ModelRequest {
            model: "m".to_owned(),
            messages: vec![
                json!({"role": "system", "content": "be"}),
                json!({"role": "user", "content": "a"}),
                json!({"role": "user", "content": "b"}),
                json!({"role": "assistant", "content": null, "tool_calls": [call]}),
                json!({"role": "tool", "tool_call_id": "1", "content": "done"}),
            ],
            tools: vec![ToolSpec { name: "f", description: "does f", parameters: json!({"type": "object"}) }],
            effort: None,
        }
    }

    fn spelled(dialect: Dialect) -> Value {
        serde_json::from_slice(&body(&request(), dialect).unwrap()).unwrap()
    }

    #[test]
    fn tools_can_be_spelled_in_words() {
        let wire = spelled(Dialect { spoken_tools: true, ..Dialect::default() });
        assert!(wire.get("tools").is_none());
        assert!(wire["messages"][0]["content"].as_str().unwrap().contains("does f"));
        assert_eq!(
            wire["messages"][3]["content"],
            "<tool_call>\n{\"arguments\":{\"a\":1},\"name\":\"f\"}\n</tool_call>"
        );
        assert_eq!(wire["messages"][4]["role"], "user");
    }

    #[test]
    fn claude_is_told_what_to_keep_until_its_server_refuses_that() {
        let claude = ModelRequest { model: "anthropic/claude-x".to_owned(), ..request() };
        let wire: Value = serde_json::from_slice(&body(&claude, Dialect::default()).unwrap()).unwrap();
        assert_eq!(wire["messages"][0]["content"][0]["cache_control"]["type"], "ephemeral");
        assert_eq!(wire["messages"][4]["content"][0]["text"], "done");
        let refused = ModelError::Provider { status: 400, message: "unknown field cache_control".to_owned() };
        let next = Dialect::default().after(&refused, true).unwrap();
        let wire: Value = serde_json::from_slice(&body(&claude, next).unwrap()).unwrap();
        assert_eq!(wire["messages"][0]["content"], "be");
    }

    #[test]
    fn a_model_that_cannot_be_told_how_much_to_think_is_asked_without_it() {
        let told = ModelRequest { effort: Some("high".to_owned()), ..request() };
        let wire: Value = serde_json::from_slice(&body(&told, Dialect::default()).unwrap()).unwrap();
        assert_eq!(wire["reasoning_effort"], "high");
        for words in ["Unrecognized request argument supplied: reasoning_effort", "\"m\" does not support thinking"] {
            let refused = ModelError::Provider { status: 400, message: words.to_owned() };
            let next = Dialect::default().after(&refused, true).unwrap();
            let wire: Value = serde_json::from_slice(&body(&told, next).unwrap()).unwrap();
            assert!(wire.get("reasoning_effort").is_none(), "{words}");
        }
    }

    #[test]
    fn strict_servers_get_alternating_roles() {
        let dialect = Dialect { strict_roles: true, spoken_tools: true, no_usage: true, ..Dialect::default() };
        let wire = spelled(dialect);
        let roles: Vec<&str> =
            wire["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "user"]);
        assert!(wire.get("stream_options").is_none());
    }

    #[test]
    fn images_stay_where_messages_are_joined_or_marked() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
        let shown = json!({"role": "user", "content": [{"type": "text", "text": "b"}, image]});
        let mut asked = request();
        asked.messages.truncate(2);
        asked.messages.push(shown);
        let strict = Dialect { strict_roles: true, ..Dialect::default() };
        let wire: Value = serde_json::from_slice(&body(&asked, strict).unwrap()).unwrap();
        assert_eq!(wire["messages"].as_array().unwrap().len(), 1);
        assert_eq!(wire["messages"][0]["content"][2], image);
        asked.model = "claude".to_owned();
        let wire: Value = serde_json::from_slice(&body(&asked, Dialect::default()).unwrap()).unwrap();
        let last = &wire["messages"][2]["content"][1];
        assert_eq!((&last["image_url"], &last["cache_control"]["type"]), (&image["image_url"], &json!("ephemeral")));
    }

    #[test]
    fn a_refusal_that_no_spelling_helps_changes_nothing() {
        let error = ModelError::Provider { status: 400, message: "no".to_owned() };
        assert_eq!(Dialect::default().after(&error, true), None);
        let error = ModelError::NoTools { message: "x".to_owned() };
        assert_eq!(Dialect::default().after(&error, false), None);
        let spoken = Dialect { spoken_tools: true, ..Dialect::default() };
        assert_eq!(Dialect::default().after(&error, true), Some(spoken));
        assert_eq!(spoken.after(&error, true), None);
    }
}
