//! Answers that are odd in their contents: reasoning, nulls, refusals, silence, limits, and servers with other rules.

use super::{cases, completes, delta, done, end, event, fails, refusal, stream, word};
use crate::fake_model::{calls, chunk, says};
use serde_json::json;

fn quiet() -> super::Script {
    stream(&[delta(json!({"role": "assistant", "content": ""})), end("stop"), done()])
}

cases! {
    null_role_and_content: vec![stream(&[delta(json!({"role": null, "content": null, "tool_calls": null})), word("x"), end("stop")])]
        => completes("x");
    reasoning_content: vec![stream(&[delta(json!({"reasoning_content": "hm"})), word("x"), end("stop")])] => completes("x").reasoned("hm");
    reasoning_by_another_name: vec![stream(&[delta(json!({"reasoning": "hm", "content": ""})), word("x"), end("stop")])]
        => completes("x").reasoned("hm");
    reasoning_in_tags: vec![stream(&[word("<th"), word("ink>h"), word("m</think>"), word("x"), end("stop")])]
        => completes("x").reasoned("hm");
    reasoning_as_a_part: vec![stream(&[delta(json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]})),
            delta(json!({"content": [{"type": "text", "text": "x"}]})), end("stop")])] => completes("x").reasoned("hm");
    reasoning_and_nothing_else: vec![stream(&[delta(json!({"reasoning": "hm"})), end("stop")]), says("ok")] => completes("ok").asked(2);
    content_as_parts: vec![stream(&[delta(json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})), end("stop")])]
        => completes("ab");
    a_refusal: vec![stream(&[delta(json!({"refusal": "I cannot help with that."})), end("stop")])] => completes("I cannot help with that.");
    several_choices: vec![stream(&[
            event(&json!({"choices": [{"index": 1, "delta": {"content": "B"}}, {"index": 0, "delta": {"content": "A"}}]})),
            event(&json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]})), end("stop")])]
        => completes("A");
    empty_finish_reasons: vec![stream(&[chunk(json!({"content": "a"}), Some("")), chunk(json!({"content": "b"}), Some("")), end("stop")])]
        => completes("ab");
    empty_finish_reasons_do_not_hide_a_cut: vec![stream(&[chunk(json!({"content": "a"}), Some(""))]), says("ok")] => completes("ok").asked(2);
    a_first_chunk_without_choices: vec![stream(&[event(&json!({"choices": [], "prompt_filter_results": []})), word("x"), end("stop")])]
        => completes("x");
    usage_after_the_end: vec![stream(&[word("x"), end("stop"), event(&json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})), done()])]
        => completes("x");
    usage_as_null: vec![stream(&[event(&json!({"choices": [{"delta": {"content": "x"}}], "usage": null})), end("stop")])] => completes("x");
    an_empty_answer_once: vec![quiet(), says("ok")] => completes("ok").asked(2);
    an_empty_answer_twice: vec![quiet(), quiet()] => fails(&["empty answer"]).asked(2);
    an_empty_answer_after_work_is_an_end: vec![calls(&[("create_sandbox", "{}")]), quiet(), quiet()]
        => completes("").asked(3).ran(&["createSandbox"]);
    blank_lines_first: vec![stream(&[word("\n\n"), word("  x"), end("stop")])] => completes("x");
    an_answer_cut_at_the_output_limit_goes_on: vec![stream(&[word("one "), end("length"), done()]), says("two")]
        => completes("one\n\ntwo").asked(2);
    an_answer_cut_at_the_output_limit_again_and_again:
        (0..4).map(|_| stream(&[word("more "), end("length"), done()])).collect() => fails(&["output limit"]).asked(4);
    a_content_filter_in_the_middle: vec![stream(&[word("so"), end("content_filter"), done()])] => fails(&["content filter"]);
    a_server_that_does_not_know_the_usage_option: vec![refusal("400 Bad Request", "Unrecognized request argument supplied: stream_options"), says("ok")]
        => completes("ok").asked(2);
    a_template_without_a_system_role: vec![refusal("400 Bad Request", "System role not supported"), says("ok")]
        => completes("ok").asked(2);
    a_template_with_strict_turns: vec![refusal("400 Bad Request", "Conversation roles must alternate user/assistant/user/assistant/..."), says("ok")]
        => completes("ok").asked(2);
}
