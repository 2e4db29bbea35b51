//! The conversation as the model reads it, made from the transcript.
//!
//! The transcript is also the journal a turn resumes from, so its messages carry a few fields of ours (`x_...`) that
//! are taken off here. Owns the invariants providers insist on: every call has exactly one result, directly after it.
//! Pure: entries in, messages out.

use super::{compact, repeat};
use crate::domain::{CallId, RunId, Usage};
use crate::llm::AnswerCall;
use crate::store::TranscriptEntry;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The newest messages are cut last.
const KEPT_WHOLE: usize = 12;
/// Texts shorter than this are not worth cutting (bytes).
const WORTH_CUTTING: usize = 600;
/// Numbers of a turn's transcript steps: each model step has room for its answer and 999 results.
const STRIDE: u32 = 1000;

/// Step of the answer of model step `number` (from 1).
pub(super) fn answer_step(number: u32) -> u32 {
    number * STRIDE
}

/// Step of the result of that answer's call `index`.
pub(super) fn result_step(number: u32, index: usize) -> u32 {
    number * STRIDE + 1 + u32::try_from(index).unwrap_or(STRIDE - 2).min(STRIDE - 2)
}

/// A user's message as it is recorded.
pub(super) fn user_message(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// What is recorded with an answer, for the turn that goes on after a crash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recorded {
    /// How many parts the message has after it.
    pub parts: u32,
    /// Tokens and money.
    pub usage: Option<Usage>,
    /// Whether the turn goes on although nothing is called: it was cut at the output limit.
    pub goes_on: bool,
    /// How often the server had ended in this turn by then.
    pub crashes: u32,
}

/// The model's answer as it is recorded.
pub(super) fn assistant_message(text: &str, calls: &[(CallId, AnswerCall)], more: &Recorded) -> Value {
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    message.insert("content".to_owned(), if text.is_empty() && !calls.is_empty() { Value::Null } else { json!(text) });
    message.insert("x_parts".to_owned(), json!(more.parts));
    if let Some(usage) = &more.usage {
        message.insert("x_usage".to_owned(), json!(usage));
    }
    if more.crashes > 0 {
        message.insert("x_crashes".to_owned(), json!(more.crashes));
    }
    if more.goes_on {
        message.insert("x_goes_on".to_owned(), json!(true));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.iter().map(|(id, call)| wire_call(id, call)).collect());
    }
    Value::Object(message)
}

fn wire_call(id: &CallId, call: &AnswerCall) -> Value {
    // Malformed arguments are recorded as the model wrote them but sent back as an object: servers parse them.
    let valid = serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok();
    let arguments = if valid { call.arguments.clone() } else { json!({"malformed": call.arguments}).to_string() };
    let mut out = json!({
        "id": call.id.as_deref().unwrap_or(id.as_str()),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
        "x_call": id,
    });
    if !valid && let Some(map) = out.as_object_mut() {
        map.insert("x_raw".to_owned(), json!(call.arguments));
    }
    if let (Some(extra), Some(map)) = (&call.extra, out.as_object_mut()) {
        map.insert("extra_content".to_owned(), extra.clone());
    }
    out
}

/// A tool's result as it is recorded.
pub(super) fn tool_message(call: &AnswerCall, id: &CallId, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": call.id.as_deref().unwrap_or(id.as_str()), "content": content})
}

/// How far a turn got before it was cut off.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// Whether the prompts are recorded.
    pub begun: bool,
    /// Model steps whose answer is recorded.
    pub steps: u32,
    /// Parts of the message that belong to them.
    pub parts: u32,
    /// Calls of the last of them that have no result yet, with their index.
    pub open: Vec<(usize, CallId, AnswerCall)>,
    /// Whether the turn is to go on after the last of them: it had calls, or was cut. If not, the turn was complete.
    pub goes_on: bool,
    /// What all of them used.
    pub usage: Option<Usage>,
    /// How often the server had ended when the last of them was recorded.
    pub crashes: u32,
}

/// Reads from the journal how far this turn got.
pub(super) fn progress(entries: &[TranscriptEntry], turn: &RunId) -> Progress {
    let mine: BTreeMap<u32, &Value> =
        entries.iter().filter(|e| e.turn == *turn).map(|e| (e.step, &e.message)).collect();
    let mut out = Progress { begun: !mine.is_empty(), ..Progress::default() };
    for usage in mine.values().filter_map(|m| Usage::deserialize(m.get("x_usage")?).ok()) {
        out.usage.get_or_insert_default().add(&usage);
    }
    let last = mine.iter().rev().find(|(step, _)| **step >= STRIDE && **step % STRIDE == 0);
    let Some((step, answer)) = last else { return out };
    out.steps = step / STRIDE;
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    out.parts = number("x_parts").unwrap_or_default();
    out.crashes = number("x_crashes").unwrap_or_default();
    let calls = answer.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // Cut at the output limit, or sent on by what was said behind it (a failed check).
    let sent_on = calls.is_empty() && mine.contains_key(&result_step(out.steps, 0));
    out.goes_on = !calls.is_empty() || sent_on || answer.get("x_goes_on").is_some();
    for (index, call) in calls.iter().enumerate() {
        if mine.contains_key(&result_step(out.steps, index)) {
            continue;
        }
        let text = |at: &str| call.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let Some(id) = text("/x_call").and_then(|id| CallId::parse(id).ok()) else { continue };
        let arguments = text("/x_raw").or_else(|| text("/function/arguments")).unwrap_or_default();
        let name = text("/function/name").unwrap_or_default();
        out.open.push((index, id, AnswerCall { id: text("/id"), name, arguments, extra: None }));
    }
    out
}

/// The messages to send: system prompt, then the transcript, repaired and cut to `budget` bytes. First old results and
/// file contents go, then whole turns, of which a summary stays, and last the newest results are shortened.
pub(super) fn messages(system: &str, entries: &[TranscriptEntry], budget: usize) -> Vec<Value> {
    let mut starts: Vec<usize> =
        (0..entries.len()).filter(|at| *at == 0 || entries[*at].turn != entries[*at - 1].turn).collect();
    let from = |start: usize| {
        let (old, recent) = entries.split_at(start);
        let mut out = vec![json!({"role": "system", "content": system})];
        if !old.is_empty() {
            out.push(user_message(&compact::summary(old)));
        }
        pair(recent, &mut out);
        let mut once = out.clone();
        repeat::told_once(&mut once);
        if size(&once) <= budget {
            return once;
        }
        // What is cut must not be what a later message refers to: so first cut, then look for what is told twice.
        trim(&mut out, budget);
        repeat::told_once(&mut out);
        out
    };
    let whole = from(0);
    if size(&whole) <= budget {
        return whole;
    }
    // The more turns are summarised the shorter it gets; the running one is never among them.
    let last = starts.pop().unwrap_or(0);
    let first = starts.partition_point(|start| size(&from(*start)) > budget);
    let mut out = from(starts.get(first).copied().unwrap_or(last));
    compact::shorten(&mut out, budget);
    out
}

/// The transcript as providers want it: every call with its result right behind it.
fn pair(entries: &[TranscriptEntry], out: &mut Vec<Value>) {
    let mut results: Vec<(String, Value)> = Vec::new();
    let mut wanted: Vec<String> = Vec::new();
    for entry in entries {
        if role(&entry.message) == "tool" {
            if let Some(id) = entry.message.get("tool_call_id").and_then(Value::as_str) {
                results.push((id.to_owned(), entry.message.clone()));
            }
            continue;
        }
        settle(out, &mut wanted, &mut results);
        let calls = entry.message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        wanted = calls.filter_map(|c| c.get("id")?.as_str().map(str::to_owned)).collect();
        out.push(without_ours(&entry.message));
    }
    settle(out, &mut wanted, &mut results);
}

/// Bytes of a conversation on the wire.
pub(super) fn size(messages: &[Value]) -> usize {
    messages.iter().map(|m| m.to_string().len()).sum()
}

/// Puts the results of the last answer behind it, one for each call, made up where the turn ended before there was one.
fn settle(out: &mut Vec<Value>, wanted: &mut Vec<String>, results: &mut Vec<(String, Value)>) {
    for id in wanted.drain(..) {
        let found = results.iter().position(|(have, _)| *have == id).map(|at| results.remove(at).1);
        out.push(found.unwrap_or_else(|| {
            json!({"role": "tool", "tool_call_id": id, "content": "stopped by the user before it finished; no result"})
        }));
    }
    results.clear();
}

fn without_ours(message: &Value) -> Value {
    let mut message = message.clone();
    let Some(map) = message.as_object_mut() else { return message };
    map.retain(|key, _| !key.starts_with("x_"));
    for call in map.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(call) = call.as_object_mut() {
            call.retain(|key, _| !key.starts_with("x_"));
        }
    }
    message
}

/// Cuts old results and old file contents, oldest first, until the conversation fits. Messages themselves stay, so
/// that calls and results stay paired.
fn trim(messages: &mut [Value], budget: usize) {
    let mut total = size(messages);
    let last = messages.len().saturating_sub(KEPT_WHOLE);
    for message in messages.iter_mut().take(last) {
        if total <= budget {
            return;
        }
        let before = message.to_string().len();
        match role(message) {
            "tool" => {
                if let Some(Value::String(content)) = message.get_mut("content")
                    && content.len() > WORTH_CUTTING
                {
                    *content = "[old output left out]".to_owned();
                }
            }
            "assistant" => {
                let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
                calls.into_iter().flatten().for_each(cut_arguments);
            }
            _ => {}
        }
        total = total.saturating_sub(before.saturating_sub(message.to_string().len()));
    }
}

fn cut_arguments(call: &mut Value) {
    let Some(Value::String(arguments)) = call.pointer_mut("/function/arguments") else { return };
    let Ok(mut parsed) = serde_json::from_str::<Value>(arguments) else { return };
    cut_strings(&mut parsed);
    *arguments = parsed.to_string();
}

fn cut_strings(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > WORTH_CUTTING => {
            *text = "[old content left out; read the file to see it]".to_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(cut_strings),
        Value::Object(map) => map.values_mut().for_each(cut_strings),
        _ => {}
    }
}

/// The words of a message, also of one with images.
pub(super) fn words(message: &Value) -> &str {
    let content = message.get("content");
    let first = content.and_then(|content| content.get(0)).and_then(|part| part.get("text"));
    content.and_then(Value::as_str).or(first.and_then(Value::as_str)).unwrap_or_default()
}

/// Who wrote a message.
pub(super) fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(turn: &str, step: u32, message: Value) -> TranscriptEntry {
        TranscriptEntry { turn: RunId::parse(turn).unwrap(), step, message }
    }

    fn call(id: &str) -> (CallId, AnswerCall) {
        let answer = AnswerCall {
            id: Some(format!("v{id}")),
            name: "run_command".to_owned(),
            arguments: "{}".to_owned(),
            extra: None,
        };
        (CallId::parse(format!("call_{id}")).unwrap(), answer)
    }

    fn parts(parts: u32) -> Recorded {
        Recorded { parts, ..Recorded::default() }
    }

    #[test]
    fn what_a_turn_used_is_in_its_journal() {
        let usage = Usage { input_tokens: 5, output_tokens: 2, cached_tokens: 0, cost: Some(7) };
        let cut = Recorded { parts: 1, usage: Some(usage), goes_on: true, crashes: 3 };
        let entries = [
            entry("run_1", 1000, assistant_message("", &[call("a")], &Recorded { goes_on: false, crashes: 0, ..cut })),
            entry("run_1", 2000, assistant_message("half", &[], &cut)),
        ];
        let got = progress(&entries, &RunId::parse("run_1").unwrap());
        assert!(got.goes_on && got.crashes == 3);
        assert_eq!(got.usage, Some(Usage { input_tokens: 10, output_tokens: 4, cached_tokens: 0, cost: Some(14) }));
    }

    #[test]
    fn a_very_long_conversation_keeps_a_summary_of_its_first_turns() {
        let mut entries = Vec::new();
        for turn in 1..20 {
            let run = format!("run_{turn}");
            entries.push(entry(&run, 0, user_message(&format!("wish {turn}: {}", "x".repeat(3000)))));
            entries.push(entry(&run, 1000, assistant_message(&"y".repeat(3000), &[call("a")], &parts(1))));
            let result = format!("{turn:02}{}", "z".repeat(2998));
            entries.push(entry(&run, 1001, tool_message(&call("a").1, &call("a").0, &result)));
        }
        let got = messages("s", &entries, 40_000);
        assert!(size(&got) <= 40_000, "{}", size(&got));
        let summary = got[1]["content"].as_str().unwrap();
        assert!(summary.contains("wish 1:") && summary.contains("wish 3:"), "{summary}");
        assert!(got.last().unwrap()["content"].as_str().unwrap().ends_with('z'));
        // One turn alone that does not fit is shortened where it is longest.
        let huge = [
            entries[0].clone(),
            entry("run_1", 1000, assistant_message("", &[call("a")], &parts(1))),
            entry("run_1", 1001, tool_message(&call("a").1, &call("a").0, &"z".repeat(90_000))),
        ];
        assert!(size(&messages("s", &huge, 20_000)) <= 20_000);
    }

    #[test]
    fn calls_without_a_result_get_one_and_foreign_fields_are_gone() {
        let entries = [
            entry("run_1", 0, user_message("hi")),
            entry("run_1", 1000, assistant_message("", &[call("a"), call("b")], &parts(2))),
            entry("run_1", 1001, tool_message(&call("a").1, &call("a").0, "ok")),
            entry("run_2", 0, user_message("again")),
        ];
        let got = messages("s", &entries, 1 << 20);
        let roles: Vec<&str> = got.iter().map(role).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "user"]);
        assert_eq!(got[3]["content"], "ok");
        assert!(got[4]["content"].as_str().unwrap().contains("stopped by the user"));
        assert!(!got.iter().any(|m| m.to_string().contains("x_")));
    }

    #[test]
    fn the_journal_tells_which_calls_are_open() {
        let entries = [
            entry("run_1", 0, user_message("hi")),
            entry("run_1", 1000, assistant_message("", &[call("a"), call("b")], &parts(2))),
            entry("run_1", 1001, tool_message(&call("a").1, &call("a").0, "ok")),
        ];
        let got = progress(&entries, &RunId::parse("run_1").unwrap());
        assert_eq!((got.begun, got.steps, got.parts, got.goes_on), (true, 1, 2, true));
        assert_eq!(got.open, [(1, call("b").0, call("b").1)]);
        assert_eq!(progress(&entries, &RunId::parse("run_2").unwrap()), Progress::default());
    }

    #[test]
    fn a_long_conversation_loses_old_outputs_first_and_keeps_its_pairs() {
        let mut entries = vec![entry("run_1", 0, user_message("hi"))];
        for step in 1..30 {
            entries.push(entry("run_1", step * 1000, assistant_message("", &[call(&step.to_string())], &parts(step))));
            entries.push(entry(
                "run_1",
                step * 1000 + 1,
                tool_message(&call(&step.to_string()).1, &call("x").0, &format!("{step:02}{}", "y".repeat(39_998))),
            ));
        }
        let got = messages("s", &entries, 400 * 1024);
        assert!(size(&got) <= 400 * 1024);
        assert_eq!(got.len(), entries.len() + 1);
        assert_eq!(got.last().unwrap()["content"].as_str().unwrap().len(), 40_000);
    }

    #[test]
    fn a_result_never_refers_to_one_that_was_cut() {
        let mut entries = vec![entry("run_1", 0, user_message("hi"))];
        let same = "s".repeat(20_000);
        for step in 1..30u32 {
            let id = step.to_string();
            // The file is read at the beginning and at the end; much is said in between.
            let content =
                if step == 1 || step == 29 { same.clone() } else { format!("{step:02}{}", "y".repeat(9_998)) };
            let (call_id, read) = call(&id);
            let read = AnswerCall { name: "read_file".to_owned(), ..read };
            entries.push(entry("run_1", step * 1000 + 1, tool_message(&read, &call_id, &content)));
            let answer = assistant_message("", &[(call_id, read)], &parts(step));
            entries.insert(entries.len() - 1, entry("run_1", step * 1000, answer));
        }
        let whole = messages("s", &entries, 1 << 20);
        assert_eq!(whole[3]["content"].as_str().unwrap(), same);
        assert!(whole.last().unwrap()["content"].as_str().unwrap().contains("the same as in an earlier result"));
        let cut = messages("s", &entries, 200 * 1024);
        assert_eq!(cut[3]["content"], "[old output left out]");
        assert_eq!(cut.last().unwrap()["content"].as_str().unwrap(), same);
    }
}
