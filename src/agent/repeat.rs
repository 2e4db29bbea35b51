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

/// Tools that tell what is there. What a command says is told again: that it says the same is news.
const READING: [&str; 4] = ["read_file", "list_files", "search_files", "fetch_page"];

/// Where a text was told first.
#[derive(Clone, Copy)]
enum Told {
    Written,
    Result,
}

/// Replaces results whose whole text the conversation has before.
pub(super) fn told_once(messages: &mut [Value]) {
    let mut told: HashMap<String, Told> = HashMap::new();
    // Calls that read, of the last answer: results stand right behind it.
    let mut reading: Vec<String> = Vec::new();
    for message in messages {
        match role(message) {
            "assistant" => {
                reading.clear();
                for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                    let text = |at: &str| call.pointer(at).and_then(Value::as_str).unwrap_or_default();
                    if READING.contains(&text("/function/name")) {
                        reading.push(text("/id").to_owned());
                    }
                    for content in written(call) {
                        told.entry(content).or_insert(Told::Written);
                    }
                }
            }
            "tool" if message.get("tool_call_id").is_some_and(|id| reading.iter().any(|call| id == call)) => {
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

    fn call(id: &str, name: &str, arguments: &Value) -> Value {
        json!({"id": id, "function": {"name": name, "arguments": arguments.to_string()}})
    }

    fn result(id: &str, content: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": content})
    }

    #[test]
    fn a_file_that_is_read_again_unchanged_is_told_once() {
        let (long, other) = ("line\n".repeat(200), "other\n".repeat(200));
        let files = json!({"files": [{"path": "a.js", "content": long}]});
        let path = json!({"path": "a.js"});
        let read = |ids: [&str; 2]| {
            let calls = [call(ids[0], "read_file", &path), call(ids[1], "run_command", &json!({}))];
            json!({"role": "assistant", "content": null, "tool_calls": calls})
        };
        let mut messages = vec![
            json!({"role": "assistant", "content": null, "tool_calls": [call("1", "generate_files", &files)]}),
            result("1", "wrote a.js"),
            read(["2", "3"]),
            result("2", &long),
            result("3", &other),
            read(["4", "5"]),
            result("4", &other),
            result("5", &other),
            read(["6", "7"]),
            result("6", &other),
            result("7", "short"),
        ];
        told_once(&mut messages);
        let content = |at: usize| messages[at]["content"].as_str().unwrap();
        assert_eq!(content(3), "[200 lines, exactly as you wrote them in this conversation]");
        assert_eq!((content(4), content(6), content(7)), (other.as_str(), other.as_str(), other.as_str()));
        assert_eq!(content(9), "[200 lines, the same as in an earlier result in this conversation]");
    }
}
