//! What stays of a conversation that no longer fits: decisions, files and errors, without asking a model for it.
//!
//! Pure. A summary made by rules costs nothing, is the same after a crash, and cannot invent anything.

use super::conversation::{role, size, words};
use crate::store::TranscriptEntry;
use serde_json::Value;
use std::collections::BTreeSet;

/// Characters kept of each wish and answer.
const SAID: usize = 400;
/// Characters kept of an error.
const ERROR: usize = 160;
/// Errors that are named, the last ones.
const ERRORS: usize = 8;
/// Files that are named.
const FILES: usize = 120;
/// Turns whose words are kept; of older ones only the wish.
const TOLD: usize = 12;

/// The turns in these entries in a few lines each.
pub(super) fn summary(entries: &[TranscriptEntry]) -> String {
    let mut turns: Vec<Told> = Vec::new();
    let (mut files, mut errors) = (BTreeSet::new(), Vec::new());
    let mut current = None;
    for entry in entries {
        if current != Some(&entry.turn) {
            current = Some(&entry.turn);
            turns.push(Told::default());
        }
        let Some(turn) = turns.last_mut() else { continue };
        let text = words(&entry.message);
        match role(&entry.message) {
            "user" => turn.wishes.push(cut(text, SAID)),
            "assistant" => {
                if !text.trim().is_empty() {
                    turn.answer = cut(text, SAID);
                }
                files.extend(written(&entry.message));
            }
            "tool" if failed(text) => errors.push(cut(text, ERROR)),
            _ => {}
        }
    }
    let mut out =
        String::from("[The beginning of this conversation, shortened. Read files again before you change them.]\n");
    let told_from = turns.len().saturating_sub(TOLD);
    for (at, turn) in turns.iter().enumerate() {
        for wish in &turn.wishes {
            out.push_str(&format!("- The person: {wish}\n"));
        }
        if at >= told_from && !turn.answer.is_empty() {
            out.push_str(&format!("  You: {}\n", turn.answer));
        }
    }
    if !files.is_empty() {
        let list: Vec<String> = files.into_iter().take(FILES).collect();
        out.push_str(&format!("Files written: {}\n", list.join(", ")));
    }
    if !errors.is_empty() {
        let last = errors.len().saturating_sub(ERRORS);
        out.push_str("Errors met:\n");
        errors.iter().skip(last).for_each(|error| out.push_str(&format!("- {error}\n")));
    }
    out
}

#[derive(Default)]
struct Told {
    wishes: Vec<String>,
    answer: String,
}

/// Paths in the calls of an answer that write files.
fn written(message: &Value) -> Vec<String> {
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let mut paths = Vec::new();
    for call in calls {
        let name = call.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
        let arguments = call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default();
        let Ok(arguments) = serde_json::from_str::<Value>(arguments) else { continue };
        let path = |value: &Value| value.get("path").and_then(Value::as_str).map(str::to_owned);
        match name {
            "generate_files" => {
                paths.extend(arguments.get("files").and_then(Value::as_array).into_iter().flatten().filter_map(path));
            }
            "edit_file" => paths.extend(path(&arguments)),
            _ => {}
        }
    }
    paths
}

fn failed(output: &str) -> bool {
    output.starts_with("Error:") || (output.starts_with("exit code ") && !output.starts_with("exit code 0"))
}

/// Shortens the longest texts until the conversation fits: the last resort, when one turn alone is too long.
pub(super) fn shorten(messages: &mut [Value], budget: usize) {
    let mut limit = 16 * 1024;
    while size(messages) > budget && limit >= 256 {
        for message in messages.iter_mut().skip(1) {
            match message.get_mut("content") {
                Some(Value::String(text)) => middle_out(text, limit),
                Some(Value::Array(parts)) => {
                    let texts = parts.iter_mut().filter_map(|part| part.get_mut("text"));
                    texts.for_each(|text| each_string(text, limit));
                }
                _ => {}
            }
            let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
            for call in calls.into_iter().flatten() {
                let Some(Value::String(arguments)) = call.pointer_mut("/function/arguments") else { continue };
                let Ok(mut parsed) = serde_json::from_str::<Value>(arguments) else { continue };
                each_string(&mut parsed, limit);
                *arguments = parsed.to_string();
            }
        }
        limit /= 2;
    }
}

fn each_string(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) => middle_out(text, limit),
        Value::Array(items) => items.iter_mut().for_each(|item| each_string(item, limit)),
        Value::Object(map) => map.values_mut().for_each(|item| each_string(item, limit)),
        _ => {}
    }
}

/// Keeps beginning and end, where the question and the result are.
fn middle_out(text: &mut String, limit: usize) {
    if text.len() <= limit {
        return;
    }
    let head = (0..=limit / 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let tail = (text.len() - limit / 2..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let note = format!("\n[{} bytes left out]\n", tail - head);
    text.replace_range(head..tail, &note);
}

fn cut(text: &str, limit: usize) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= limit {
        return flat;
    }
    let mut cut: String = flat.chars().take(limit).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RunId;
    use serde_json::json;

    #[test]
    fn decisions_files_and_errors_stay() {
        let entry = |step: u32, message: Value| TranscriptEntry { turn: RunId::parse("run_1").unwrap(), step, message };
        let arguments = json!({"files": [{"path": "src/app.js", "content": "x"}]}).to_string();
        let call = json!({"id": "1", "function": {"name": "generate_files", "arguments": arguments}});
        let entries = [
            entry(0, json!({"role": "user", "content": "A shop in blue"})),
            entry(1000, json!({"role": "assistant", "content": "I take SQLite.", "tool_calls": [call]})),
            entry(1001, json!({"role": "tool", "content": "Error: disk full"})),
            entry(1002, json!({"role": "tool", "content": "exit code 0 after 1 s"})),
        ];
        let text = summary(&entries);
        for wanted in ["A shop in blue", "I take SQLite.", "src/app.js", "disk full"] {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(!text.contains("exit code 0"));
    }

    #[test]
    fn shortening_keeps_beginning_and_end() {
        let mut text = format!("begin{}end", "é".repeat(1000));
        middle_out(&mut text, 300);
        assert!(text.starts_with("begin") && text.ends_with("end") && text.len() < 340 && text.contains("left out"));
    }
}
