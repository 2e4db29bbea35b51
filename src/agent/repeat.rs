//! What the model has read already is not sent again: a result that equals an earlier one, or a file as the model itself
//! wrote it, becomes a reference to the first.
//!
//! Pure. The first stays and later ones go, so that what was sent before keeps its text, which providers have in their
//! caches.

use super::conversation::role;
use serde_json::Value;
use std::collections::HashMap;

/// Shorter texts are not worth a reference (bytes).
const WORTH_IT: usize = 400;

/// Where a text was told first.
#[derive(Clone, Copy)]
enum Told {
    Written,
    Result,
}

/// Replaces results whose whole text the conversation has before.
pub(super) fn told_once(messages: &mut [Value]) {
    let mut told: HashMap<String, Told> = HashMap::new();
    for message in messages {
        match role(message) {
            "assistant" => {
                let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
                for content in calls.flat_map(written) {
                    told.entry(content).or_insert(Told::Written);
                }
            }
            "tool" => {
                let Some(Value::String(content)) = message.get_mut("content") else { continue };
                if content.len() < WORTH_IT {
                    continue;
                }
                let lines = content.lines().count();
                match told.get(content.as_str()) {
                    Some(Told::Written) => {
                        *content = format!("[{lines} lines, exactly as you wrote them in this conversation]");
                    }
                    Some(Told::Result) => {
                        *content = format!("[{lines} lines, the same as in an earlier result in this conversation]");
                    }
                    None => {
                        told.insert(content.clone(), Told::Result);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Contents of the files a call writes.
fn written(call: &Value) -> Vec<String> {
    if call.pointer("/function/name").and_then(Value::as_str) != Some("generate_files") {
        return Vec::new();
    }
    let arguments = call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default();
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    let files = arguments.get("files").and_then(Value::as_array).into_iter().flatten();
    let content = |file: &Value| file.get("content").and_then(Value::as_str).map(str::to_owned);
    files.filter_map(content).filter(|content| content.len() >= WORTH_IT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result(content: &str) -> Value {
        json!({"role": "tool", "tool_call_id": "1", "content": content})
    }

    #[test]
    fn a_file_that_is_read_again_unchanged_is_told_once() {
        let (long, other) = ("line\n".repeat(200), "other\n".repeat(200));
        let arguments = json!({"files": [{"path": "a.js", "content": long}]}).to_string();
        let call = json!({"id": "1", "function": {"name": "generate_files", "arguments": arguments}});
        let mut messages = vec![
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            result("wrote a.js"),
            result(&long),
            result(&other),
            result(&other),
            result("short"),
            result("short"),
        ];
        told_once(&mut messages);
        let content = |at: usize| messages[at]["content"].as_str().unwrap();
        assert_eq!(content(2), "[200 lines, exactly as you wrote them in this conversation]");
        assert_eq!(content(3), other);
        assert_eq!(content(4), "[200 lines, the same as in an earlier result in this conversation]");
        assert_eq!((content(5), content(6)), ("short", "short"));
    }
}
