//! Tool calls in every form they come in, and calls that cannot be executed.

use super::{cases, completes, delta, done, end, fails, stream};
use crate::fake_model::{calls, says};
use serde_json::{Value, json};

fn call(index: Value, id: Value, name: Value, arguments: Value) -> Vec<u8> {
    let mut piece = json!({"function": {"name": name, "arguments": arguments}});
    if !index.is_null() {
        piece["index"] = index;
    }
    if !id.is_null() {
        piece["id"] = id;
    }
    delta(json!({"role": null, "content": null, "tool_calls": [piece]}))
}

/// The usual ending of an answer that calls.
fn called(parts: &[Vec<u8>]) -> super::Script {
    stream(&[parts.concat(), end("tool_calls"), done()])
}

fn text_call(text: &str) -> super::Script {
    stream(&[super::word(text), end("stop"), done()])
}

const LS: &str = "{\"command\":\"ls\"}";

cases! {
    a_call_without_an_id: vec![called(&[call(json!(0), Value::Null, json!("run_command"), json!(LS))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    a_call_with_an_empty_id: vec![called(&[call(json!(0), json!(""), json!("run_command"), json!(LS))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    a_call_without_an_index: vec![called(&[call(Value::Null, json!("a"), json!("run_command"), json!(LS))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    id_and_name_in_every_delta: vec![called(&[
            call(json!(0), json!("a"), json!("run_command"), json!("{\"command\":")),
            call(json!(0), json!("a"), json!("run_command"), json!("\"ls\"}")),
            call(json!(0), json!("a"), json!("run_command"), json!(""))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    the_name_after_the_arguments: vec![called(&[
            call(json!(0), json!("a"), Value::Null, json!(LS)),
            call(json!(0), Value::Null, json!("run_command"), Value::Null)]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    arguments_as_an_object: vec![called(&[call(json!(0), json!("a"), json!("run_command"), json!({"command": "ls"}))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    arguments_as_null: vec![called(&[call(json!(0), json!("a"), json!("create_sandbox"), Value::Null)]), says("ok")]
        => completes("ok").asked(2).ran(&["createSandbox"]);
    arguments_encoded_twice: vec![called(&[call(json!(0), json!("a"), json!("run_command"), json!("\"{\\\"command\\\":\\\"ls\\\"}\""))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    arguments_in_a_code_fence: vec![called(&[call(json!(0), json!("a"), json!("run_command"), json!("```json\n{\"command\":\"ls\"}\n```"))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    arguments_with_raw_line_breaks: vec![called(&[call(json!(0), json!("a"), json!("run_command"), json!("{\"command\":\"echo a\necho b\"}"))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    arguments_followed_by_chatter: vec![called(&[call(json!(0), json!("a"), json!("run_command"), json!("{\"command\":\"ls\"}</s>"))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    arguments_cut_at_the_output_limit: vec![stream(&[call(json!(0), json!("a"), json!("run_command"), json!("{\"command\": \"ls")), end("length"), done()]), says("ok")]
        => completes("ok").asked(2).told(&["end too early"]);
    arguments_that_are_no_json: vec![calls(&[("run_command", "command=ls")]), says("ok")]
        => completes("ok").asked(2).told(&["not valid JSON"]);
    arguments_that_are_a_list: vec![calls(&[("run_command", "[\"ls\"]")]), says("ok")]
        => completes("ok").asked(2).told(&["one JSON object"]);
    a_missing_argument: vec![calls(&[("run_command", "{\"cmd\":\"ls\"}")]), says("ok")]
        => completes("ok").asked(2).told(&["\"command\" is missing; the call has only: cmd"]);
    an_unknown_tool: vec![calls(&[("make_coffee", "{}")]), says("ok")]
        => completes("ok").asked(2).told(&["no tool \"make_coffee\""]);
    a_tool_name_in_another_spelling: vec![calls(&[("functions.runCommand", LS), ("run-command", LS)]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand", "runCommand"]);
    several_calls_at_once: vec![calls(&[("create_sandbox", "{}"), ("run_command", LS), ("run_command", "{\"command\":\"pwd\"}")]), says("ok")]
        => completes("ok").asked(2).ran(&["createSandbox", "runCommand", "runCommand"]);
    several_calls_all_numbered_zero: vec![called(&[
            call(json!(0), json!("a"), json!("create_sandbox"), json!("{}")),
            call(json!(0), json!("b"), json!("run_command"), json!(LS))]), says("ok")]
        => completes("ok").asked(2).ran(&["createSandbox", "runCommand"]);
    several_calls_with_one_id: vec![called(&[
            call(json!(0), json!("same"), json!("create_sandbox"), json!("{}")),
            call(json!(1), json!("same"), json!("run_command"), json!(LS))]), says("ok")]
        => completes("ok").asked(2).ran(&["createSandbox", "runCommand"]);
    the_same_id_in_two_answers: vec![calls(&[("create_sandbox", "{}")]), calls(&[("run_command", LS)]), says("ok")]
        => completes("ok").asked(3).ran(&["createSandbox", "runCommand"]);
    several_calls_interleaved: vec![called(&[
            call(json!(0), json!("a"), json!("run_command"), json!("{\"command\"")),
            call(json!(1), json!("b"), json!("run_command"), json!("{\"command\"")),
            call(json!(0), Value::Null, Value::Null, json!(":\"ls\"}")),
            call(json!(1), Value::Null, Value::Null, json!(":\"pwd\"}"))]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand", "runCommand"]);
    a_call_that_ends_with_stop: vec![stream(&[call(json!(0), json!("a"), json!("run_command"), json!(LS)), end("stop"), done()]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    a_call_in_the_old_form: vec![stream(&[
            delta(json!({"function_call": {"name": "run_command", "arguments": "{\"command\":"}})),
            delta(json!({"function_call": {"arguments": "\"ls\"}"}})), end("function_call")]), says("ok")]
        => completes("ok").asked(2).ran(&["runCommand"]);
    a_call_spelled_in_the_text: vec![text_call("I look. <tool_call>\n{\"name\": \"run_command\", \"arguments\": {\"command\": \"ls\"}}\n</tool_call>"), says("ok")]
        => completes("I look.\n\nok").asked(2).ran(&["runCommand"]);
    a_call_without_a_name: vec![called(&[call(json!(0), json!("a"), Value::Null, json!(LS))]), says("ok")] => completes("ok").asked(2);
    a_finish_reason_of_calls_without_calls: vec![stream(&[super::word("hm"), end("tool_calls"), done()])] => completes("hm");
    a_call_repeated_without_end: (0..6).map(|_| calls(&[("make_coffee", "{}")])).collect()
        => fails(&["same failing call 5 times"]).asked(5);
    calls_refused_by_a_server_without_tools: vec![
            super::refusal("400 Bad Request", "registry.ollama.ai/library/gemma does not support tools"),
            text_call("<tool_call>{\"name\":\"run_command\",\"arguments\":{\"command\":\"ls\"}}</tool_call>"),
            says("ok")]
        => completes("ok").asked(3).ran(&["runCommand"]);
    calls_refused_by_a_server_started_without_templates: vec![
            super::refusal("500 Internal Server Error", "tools param requires --jinja flag"), says("plain words")]
        => completes("plain words").asked(2);
}
