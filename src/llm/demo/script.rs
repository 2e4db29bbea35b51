//! What the demo model says next: a pure function of the conversation.
//!
//! The first prompt that fits a recording chooses it, the newest prompt chooses the script inside (the app itself or a
//! change to it), and the answers given since then tell the step. Results steer it: a recorded branch, the same call
//! again if it was interrupted, or an honest end if it failed in a way nobody recorded.

use super::runs::{Recording, Run, Step};
use serde_json::Value;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reply {
    /// Words.
    pub text: String,
    /// Tool name and arguments (JSON text).
    pub calls: Vec<(String, String)>,
}

/// One answer the model gave before, and what its calls returned.
struct Given<'a> {
    calls: Vec<(&'a Value, Option<&'a str>)>,
}

/// The next answer.
pub(super) fn reply(recordings: &[Recording], messages: &[Value]) -> Reply {
    let Some(prompt) = current_prompt(messages) else { return words(introduce(recordings)) };
    let chosen = messages.iter().enumerate().take(prompt + 1).find_map(|(at, message)| {
        let text = user_text(message)?;
        Some((at, recordings.iter().find(|r| fits(&r.run, &text))?))
    });
    let Some((began, recording)) = chosen else { return words(introduce(recordings)) };
    let text = messages.get(prompt).and_then(user_text).unwrap_or_default();
    let steps = if began == prompt {
        &recording.run.steps
    } else if let Some(change) = recording.run.follow_ups.iter().find(|f| any_group(&f.keywords, &text)) {
        &change.steps
    } else {
        return words(other_change(&recording.run));
    };
    walk(recording, steps, messages.get(prompt + 1..).unwrap_or_default())
}

/// The newest prompt that is not just "go on".
fn current_prompt(messages: &[Value]) -> Option<usize> {
    messages.iter().rposition(|m| user_text(m).is_some_and(|text| !is_continue(&text)))
}

fn walk(recording: &Recording, steps: &[Step], since: &[Value]) -> Reply {
    let (mut steps, mut at) = (steps, 0);
    let given = answers(since);
    for (number, answer) in given.iter().enumerate() {
        let results = answer.calls.iter().map(|(_, result)| result.unwrap_or(INTERRUPTED));
        // What failed behind an interrupted call may have failed because of it.
        let mut interrupted = false;
        let mut lost = |result: Option<&str>| {
            interrupted |= result.is_none_or(was_interrupted);
            result.is_none_or(|result| was_interrupted(result) || interrupted && failed(result))
        };
        let cut: Vec<&Value> = answer.calls.iter().filter(|(_, r)| lost(*r)).map(|(c, _)| *c).collect();
        if !cut.is_empty() {
            if number + 1 == given.len() {
                return again(&cut);
            }
            // The next answer is the repeat of this one.
            continue;
        }
        let Some(step) = steps.get(at) else { break };
        let taken =
            step.when.iter().find(|w| results.clone().any(|r| w.contains.iter().any(|t| r.contains(t.as_str()))));
        if let Some(branch) = taken.and_then(|w| recording.run.branches.get(&w.branch)) {
            (steps, at) = (&branch.steps, 0);
        } else if let Some(failure) = results.clone().find(|r| failed(r)) {
            return words(gave_up(failure));
        } else {
            at += 1;
        }
    }
    match steps.get(at) {
        Some(step) => Reply {
            text: step.text.trim().to_owned(),
            calls: step.calls.iter().map(|c| (c.tool.clone(), recording.arguments(c).to_string())).collect(),
        },
        None => words("That is done; there is nothing left to do.".to_owned()),
    }
}

fn again(calls: &[&Value]) -> Reply {
    let text = |call: &Value, at: &str| call.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    Reply {
        text: "That was interrupted, so I do it again.".to_owned(),
        calls: calls.iter().map(|c| (text(c, "/function/name"), text(c, "/function/arguments"))).collect(),
    }
}

fn answers(since: &[Value]) -> Vec<Given<'_>> {
    let result_of = |id: &str| {
        since
            .iter()
            .find(|m| role(m) == "tool" && m.get("tool_call_id").and_then(Value::as_str) == Some(id))
            .and_then(|m| m.get("content"))
            .and_then(Value::as_str)
    };
    let given = |message| {
        let calls = tool_calls(message).map(|c| (c, c.get("id").and_then(Value::as_str).and_then(result_of)));
        Given { calls: calls.collect() }
    };
    since.iter().filter(|m| role(m) == "assistant").map(given).collect()
}

fn tool_calls(message: &Value) -> impl Iterator<Item = &Value> {
    message.get("tool_calls").and_then(Value::as_array).into_iter().flatten()
}

fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

fn user_text(message: &Value) -> Option<String> {
    if role(message) != "user" {
        return None;
    }
    match message.get("content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|p| p.get("text")?.as_str()).collect::<Vec<_>>().join(" ")),
        _ => None,
    }
}

/// How a tool says that a restart of the server cut it off.
const INTERRUPTED: &str = "interrupted: true";

fn was_interrupted(result: &str) -> bool {
    result.contains(INTERRUPTED) || result.contains("stopped by the user")
}

fn failed(result: &str) -> bool {
    result.starts_with("Error")
        || result.strip_prefix("exit code ").is_some_and(|rest| !rest.starts_with('0'))
        || result.starts_with("killed by")
}

fn fits(run: &Run, text: &str) -> bool {
    text.trim() == run.prompt || any_group(&run.keywords, text)
}

fn any_group(groups: &[Vec<String>], text: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    // A word ending in `*` matches its beginning ("habit*"); one with a space or a dot is looked up as text.
    let has = |word: &String| match word.strip_suffix('*') {
        Some(stem) => words.iter().any(|w| w.starts_with(stem)),
        None if word.contains(['.', ' ']) => lower.contains(word.as_str()),
        None => words.contains(&word.as_str()),
    };
    groups.iter().any(|group| !group.is_empty() && group.iter().all(has))
}

fn is_continue(text: &str) -> bool {
    let text = text.trim().trim_end_matches(['.', '!']).to_lowercase();
    ["continue", "go on", "keep going", "please continue", "carry on", "try again", "retry"].contains(&text.as_str())
}

fn words(text: String) -> Reply {
    Reply { text, calls: Vec::new() }
}

fn introduce(recordings: &[Recording]) -> String {
    let list: String =
        recordings.iter().map(|r| format!("- **{}**: \u{201c}{}\u{201d}\n", r.run.title, r.run.prompt)).collect();
    format!(
        "I am the **demo model**: I replay recorded work, I do not think. The sandbox, the commands and the files are \
         real, but I cannot build this one.\n\nWhat I can build:\n\n{list}\n{CONNECT}"
    )
}

fn other_change(run: &Run) -> String {
    let list: String = run.follow_ups.iter().map(|f| format!("- \u{201c}{}\u{201d}\n", f.prompt)).collect();
    let can = if list.is_empty() {
        String::new()
    } else {
        format!("For {} I have recorded these changes:\n\n{list}\n", run.title)
    };
    format!(
        "As the **demo model** I can only replay what was recorded, and this change was not. Nothing was touched.\n\n\
         {can}For another app, start a new project. {CONNECT}"
    )
}

fn gave_up(result: &str) -> String {
    let first = result.lines().next().unwrap_or_default();
    format!(
        "That did not work here (`{}`). A real model would read the output above and find another way; the demo model \
         only has its recording, so I stop. Everything written so far is in the project.\n\n{CONNECT}",
        first.replace('`', "'").chars().take(160).collect::<String>()
    )
}

const CONNECT: &str = "To build anything you like, connect a real model: set `AI_GATEWAY_API_KEY` (and, for a provider \
other than the default, `AI_GATEWAY_BASE_URL`) and start Sandcastle again, or run \
[Ollama](https://ollama.com) on this machine and choose one of its models in the model menu.";

#[cfg(test)]
mod tests {
    use super::super::runs::load;
    use super::*;
    use serde_json::json;

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    /// Answers the model's calls with a result and asks again.
    fn extend(messages: &mut Vec<Value>, reply: &Reply, result: &str) {
        let base = messages.len();
        let id = |i: usize| format!("c{base}_{i}");
        let calls = reply.calls.iter().enumerate().map(|(i, (name, arguments))| json!({"id": id(i), "type": "function", "function": {"name": name, "arguments": arguments}}));
        messages.push(json!({"role": "assistant", "content": reply.text, "tool_calls": calls.collect::<Vec<_>>()}));
        for i in 0..reply.calls.len() {
            messages.push(json!({"role": "tool", "tool_call_id": id(i), "content": result}));
        }
    }

    #[test]
    fn every_sample_prompt_plays_to_its_end_and_then_takes_its_changes() {
        let recordings = load().unwrap();
        for recording in &recordings {
            let mut messages = vec![json!({"role": "system", "content": "s"}), user(&recording.run.prompt)];
            let prompts = recording.run.follow_ups.iter().map(|f| f.prompt.as_str());
            for next in prompts.map(Some).chain([None]) {
                for round in 0.. {
                    assert!(round < 20, "{} does not end", recording.run.title);
                    let answer = reply(&recordings, &messages);
                    extend(&mut messages, &answer, "exit code 0");
                    if answer.calls.is_empty() {
                        assert!(!answer.text.contains("AI_GATEWAY_API_KEY"), "{}", answer.text);
                        break;
                    }
                }
                messages.extend(next.map(user));
            }
        }
    }

    #[test]
    fn an_interrupted_call_is_made_again_and_then_the_run_goes_on() {
        let recordings = load().unwrap();
        let mut messages = vec![user(&recordings[0].run.prompt)];
        let first = reply(&recordings, &messages);
        extend(&mut messages, &first, "interrupted: true");
        let again = reply(&recordings, &messages);
        assert_eq!(again.calls, first.calls);
        extend(&mut messages, &again, "done");
        assert_ne!(reply(&recordings, &messages).calls, first.calls);
    }

    #[test]
    fn a_call_that_failed_behind_an_interrupted_one_is_made_again_too() {
        let recordings = load().unwrap();
        let mut messages = vec![user(&recordings[0].run.prompt)];
        let mut answer = reply(&recordings, &messages);
        while answer.calls.last().is_none_or(|(name, _)| name != "get_sandbox_url") {
            extend(&mut messages, &answer, "done");
            answer = reply(&recordings, &messages);
        }
        extend(&mut messages, &answer, "Error: nothing answers on port 3000");
        let first = messages.len() - answer.calls.len();
        messages[first]["content"] = json!("interrupted: true");
        assert!(answer.calls.len() > 1);
        assert_eq!(reply(&recordings, &messages).calls, answer.calls);
    }

    #[test]
    fn a_stopped_run_goes_on_when_told_to_continue() {
        let recordings = load().unwrap();
        let mut messages = vec![user(&recordings[0].run.prompt)];
        let first = reply(&recordings, &messages);
        extend(&mut messages, &first, "stopped by the user");
        messages.push(user("Continue."));
        assert_eq!(reply(&recordings, &messages).calls, first.calls);
    }

    #[test]
    fn a_missing_toolchain_takes_the_recorded_branch() {
        let recordings = load().unwrap();
        let mut messages = vec![user("Create a golang server that responds with Hello World to any request")];
        for _ in 0..3 {
            let answer = reply(&recordings, &messages);
            let missing = answer.calls.iter().any(|(_, args)| args.contains("go version"));
            if answer.calls.is_empty() {
                assert!(answer.text.contains("Go is not"), "{}", answer.text);
                return;
            }
            extend(&mut messages, &answer, if missing { "exit code 127\n/bin/sh: 1: go: not found" } else { "ok" });
        }
        panic!("the branch was not taken");
    }

    #[test]
    fn other_prompts_get_an_honest_answer() {
        let recordings = load().unwrap();
        let answer = reply(&recordings, &[user("write me a 3d engine")]);
        assert!(
            answer.text.contains("demo model") && answer.text.contains("AI_GATEWAY_API_KEY") && answer.calls.is_empty()
        );
        assert!(reply(&recordings, &[]).text.contains("demo model"));
    }
}
