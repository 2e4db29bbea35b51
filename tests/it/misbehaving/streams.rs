//! Streams that are slow, silent, cut, badly framed, or no streams at all.

use super::{answer, cases, completes, done, end, event, fails, stream, word};
use crate::fake_model::{Act, calls, says, stream_head};
use serde_json::json;
use std::time::Duration;

fn whole(text: &str) -> String {
    json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}).to_string()
}

fn with_head(head: &str, body: &[u8]) -> Vec<Act> {
    vec![Act::Send([format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(), body].concat())]
}

/// Every byte in a packet of its own.
fn byte_by_byte(bytes: Vec<u8>) -> Vec<Act> {
    let mut acts = vec![Act::Send(stream_head())];
    acts.extend(bytes.into_iter().map(|byte| Act::Send(vec![byte])));
    acts
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn ok(text: &str) -> Vec<u8> {
    [word(text), end("stop"), done()].concat()
}

const SHORT: Duration = Duration::from_millis(1500);

cases! {
    a_stream_byte_by_byte: vec![byte_by_byte(ok("pâté 🏖"))] => completes("pâté 🏖");
    a_stream_cut_once: vec![stream(&[word("half")]), says("whole")] => completes("whole").asked(2);
    a_stream_cut_twice: vec![stream(&[word("a")]), stream(&[word("b")]), says("whole")] => completes("whole").asked(3);
    a_stream_cut_each_time: vec![stream(&[word("a")]), stream(&[word("b")]), stream(&[word("c")])]
        => fails(&["lost in the middle", "ended early"]).asked(3);
    a_stream_cut_after_its_first_step_keeps_that_step:
        vec![calls(&[("create_sandbox", "{}")]), stream(&[word("half")]), says("done")]
        => completes("done").asked(3).ran(&["createSandbox"]);
    a_stream_cut_in_a_call_runs_nothing_of_it:
        vec![stream(&[super::delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "run_command", "arguments": "{\"comm"}}]}))]), says("ok")]
        => completes("ok").asked(2);
    a_body_shorter_than_announced:
        vec![with_head("content-type: text/event-stream\r\ncontent-length: 99999", &word("half")), says("ok")]
        => completes("ok").asked(2);
    a_body_shorter_than_announced_whose_answer_is_whole:
        vec![with_head("content-type: text/event-stream\r\ncontent-length: 99999", &[word("all"), end("stop")].concat())]
        => completes("all");
    a_broken_chunked_encoding:
        vec![with_head("content-type: text/event-stream\r\ntransfer-encoding: chunked", b"zz\r\nnonsense"), says("ok")]
        => completes("ok").asked(2);
    a_stream_that_stalls_in_the_middle:
        vec![vec![Act::Send([stream_head(), word("half")].concat()), Act::Hang], says("whole")]
        => completes("whole").asked(2).patience(SHORT);
    a_server_that_never_answers:
        vec![vec![Act::Hang], vec![Act::Hang], vec![Act::Hang]]
        => fails(&["sent nothing for 1 s"]).asked(3).patience(SHORT);
    a_connection_closed_without_a_word: vec![vec![], vec![], says("third time")] => completes("third time").asked(3);
    an_empty_body: vec![answer("200 OK", "text/event-stream", "", ""), says("ok")] => completes("ok").asked(2);
    an_empty_body_each_time: (0..3).map(|_| answer("200 OK", "text/event-stream", "", "")).collect()
        => fails(&["an empty answer"]).asked(3);
    only_comments: vec![stream(&[b": ping\n\n: ping\n\n".to_vec()]), says("ok")] => fails(&["does not answer like"]);
    keep_alive_comments_between_words:
        vec![stream(&[b": OPENROUTER PROCESSING\n\n".to_vec(), word("a"), b":\n\n".to_vec(), word("b"), end("stop")])]
        => completes("ab");
    event_names_ids_and_retry_fields:
        vec![stream(&[b"event: message\nid: 7\nretry: 10\n".to_vec(), ok("hi")])] => completes("hi");
    no_space_after_data: vec![stream(&[b"data:{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata:[DONE]\n\n".to_vec()])]
        => completes("x");
    carriage_returns_alone: vec![stream(&[String::from_utf8(ok("cr")).unwrap().replace('\n', "\r").into_bytes()])] => completes("cr");
    a_byte_order_mark: vec![stream(&["\u{feff}".as_bytes().to_vec(), ok("bom")])] => completes("bom");
    events_without_blank_lines:
        vec![stream(&[String::from_utf8(ok("joined")).unwrap().replace("\n\n", "\n").into_bytes()])] => completes("joined");
    done_is_missing: vec![stream(&[word("x"), end("stop")])] => completes("x");
    the_finish_reason_is_missing: vec![stream(&[word("x"), done()])] => completes("x");
    words_after_done_are_ignored: vec![stream(&[word("x"), end("stop"), done(), word("y")])] => completes("x");
    a_line_of_noise_in_the_middle:
        vec![stream(&[word("x"), b"data: <keepalive/>\n\n".to_vec(), end("stop")])] => completes("x");
    a_whole_answer_with_the_right_type: vec![answer("200 OK", "application/json", "", &whole("one piece"))] => completes("one piece");
    a_whole_answer_called_a_stream: vec![answer("200 OK", "text/event-stream", "", &whole("one piece"))] => completes("one piece");
    a_whole_answer_called_text: vec![answer("200 OK", "text/plain", "", &whole("one piece"))] => completes("one piece");
    a_stream_called_json: vec![with_head("content-type: application/json\r\nconnection: close", &ok("stream"))] => completes("stream");
    a_stream_called_binary: vec![with_head("content-type: application/octet-stream\r\nconnection: close", &ok("stream"))] => completes("stream");
    a_stream_without_a_type: vec![with_head("connection: close", &ok("stream"))] => completes("stream");
    json_line_by_line:
        vec![with_head("content-type: application/x-ndjson\r\nconnection: close", b"{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n{\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n")]
        => completes("ab");
    a_gzipped_stream_nobody_asked_for:
        vec![with_head("content-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close", &gzip(&ok("small")))]
        => completes("small");
    a_whole_answer_cut_in_half:
        vec![answer("200 OK", "application/json", "", "{\"choices\": [{\"mess"), says("ok")] => fails(&["does not answer like"]);
    an_answer_without_end:
        vec![vec![Act::Send([stream_head(), word(&"blah ".repeat(80_000))].concat())]] => fails(&["an answer without end"]);
    an_error_in_the_middle_once:
        vec![stream(&[word("x"), event(&json!({"error": {"message": "overloaded", "code": 529}}))]), says("ok")]
        => completes("ok").asked(2);
    an_error_in_the_middle_each_time:
        (0..3).map(|_| stream(&[word("x"), event(&json!({"error": {"message": "engine crashed, sorry"}}))])).collect()
        => fails(&["broke off", "engine crashed, sorry"]).asked(3);
    an_error_as_a_finish_reason:
        vec![stream(&[word("x"), event(&json!({"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "upstream died"}}]}))]), says("ok")]
        => completes("ok").asked(2);
    an_error_with_status_200:
        (0..3).map(|_| answer("200 OK", "application/json", "", "{\"error\": {\"message\": \"no capacity today\"}}")).collect()
        => fails(&["no capacity today"]).asked(3);
}
