//! Refusals and proxies: the person reads the provider's own words, and what can pass is tried again.

use super::{answer, cases, completes, fails, refusal};
use crate::fake_model::says;
use serde_json::json;

const JSON: &str = "application/json";

fn limited(header: &str) -> super::Script {
    answer("429 Too Many Requests", JSON, header, "{\"error\": {\"message\": \"slow down, please\"}}")
}

fn page(title: &str) -> String {
    format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>")
}

fn past() -> String {
    "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n".to_owned()
}

fn thrice(make: impl Fn() -> super::Script) -> Vec<super::Script> {
    (0..3).map(|_| make()).collect()
}

cases! {
    an_invalid_key: vec![refusal("401 Unauthorized", "Incorrect API key provided: sk-***")]
        => fails(&["refused the key", "Incorrect API key provided", "AI_GATEWAY_API_KEY"]);
    a_key_without_rights: vec![refusal("403 Forbidden", "Your plan does not include this model")]
        => fails(&["Your plan does not include this model"]);
    a_firewall_page_in_place_of_the_api: vec![answer("403 Forbidden", "text/html", "", &page("Attention Required! | Cloudflare"))]
        => fails(&["Attention Required! | Cloudflare"]);
    a_model_that_is_not_there: vec![refusal("404 Not Found", "The model `gpt-9` does not exist or you do not have access to it.")]
        => fails(&["no such model", "gpt-9", "Choose another one"]);
    a_local_model_that_was_not_pulled: vec![refusal("404 Not Found", "model \"qwen\" not found, try pulling it first")]
        => fails(&["no such model", "try pulling it first"]);
    a_model_id_the_gateway_does_not_know: vec![refusal("400 Bad Request", "x/y is not a valid model ID")]
        => fails(&["no such model", "x/y"]);
    no_credit: vec![refusal("402 Payment Required", "Insufficient credits. Add more")] => fails(&["no credit left", "Add more"]);
    a_used_up_quota_is_not_waited_for: vec![answer("429 Too Many Requests", JSON, "",
        "{\"error\": {\"message\": \"You exceeded your current quota\", \"code\": \"insufficient_quota\"}}")]
        => fails(&["no credit left", "You exceeded your current quota"]);
    a_rate_limit_in_seconds: vec![limited("retry-after: 0.01\r\n"), says("ok")] => completes("ok").asked(2);
    a_rate_limit_in_milliseconds: vec![limited("retry-after-ms: 5\r\n"), says("ok")] => completes("ok").asked(2);
    a_rate_limit_until_a_date: vec![limited(&past()), says("ok")] => completes("ok").asked(2);
    a_rate_limit_without_a_time: vec![limited(""), limited(""), says("ok")] => completes("ok").asked(3);
    a_rate_limit_longer_than_anybody_waits: vec![limited("retry-after: 3600\r\n")]
        => fails(&["limits requests for the next 3600 s", "slow down, please"]);
    a_rate_limit_that_does_not_pass: thrice(|| limited("")) => fails(&["slow down, please"]).asked(3);
    a_nonsense_retry_after: vec![limited("retry-after: soon\r\n"), says("ok")] => completes("ok").asked(2);
    an_internal_error_once: vec![refusal("500 Internal Server Error", "oops"), says("ok")] => completes("ok").asked(2);
    an_internal_error_each_time: thrice(|| refusal("500 Internal Server Error", "the GPU fell off"))
        => fails(&["answered 500", "the GPU fell off"]).asked(3);
    overload_once: vec![refusal("529 Overloaded", "Overloaded"), says("ok")] => completes("ok").asked(2);
    overload_each_time: thrice(|| refusal("529 Overloaded", "Overloaded for now")) => fails(&["overloaded", "Overloaded for now"]).asked(3);
    unavailable_with_a_time: vec![answer("503 Service Unavailable", JSON, "retry-after: 0.01\r\n", "{\"message\": \"loading model\"}"), says("ok")]
        => completes("ok").asked(2);
    unavailable_for_an_hour: vec![answer("503 Service Unavailable", JSON, "retry-after: 3600\r\n", "{\"message\": \"maintenance\"}")]
        => fails(&["overloaded for the next 3600 s", "maintenance"]);
    a_bad_gateway_page: thrice(|| answer("502 Bad Gateway", "text/html", "", &page("502 Bad Gateway")))
        => fails(&["answered 502", "502 Bad Gateway (a web page)"]).asked(3);
    a_gateway_timeout_page_once: vec![answer("504 Gateway Time-out", "text/html", "", &page("504")), says("ok")] => completes("ok").asked(2);
    a_request_timeout_once: vec![refusal("408 Request Timeout", "timeout"), says("ok")] => completes("ok").asked(2);
    a_web_server_that_is_no_model: vec![answer("200 OK", "text/html", "", &page("Welcome to nginx!"))]
        => fails(&["does not answer like", "Welcome to nginx!", "usually ends in /v1"]);
    a_wrong_path: vec![answer("404 Not Found", "text/html", "", &page("404"))] => fails(&["does not answer like", "/v1"]);
    a_method_that_is_not_allowed: vec![answer("405 Method Not Allowed", "text/html", "", &page("405"))] => fails(&["does not answer like"]);
    a_redirect_to_a_sign_in_page: vec![answer("302 Found", "text/html", "location: /login\r\n", "")] => fails(&["does not answer like"]);
    an_error_as_a_plain_string: vec![answer("400 Bad Request", JSON, "", "{\"error\": \"bad temperature\"}")] => fails(&["bad temperature"]);
    an_error_as_plain_text: vec![answer("400 Bad Request", "text/plain", "", "nope, not today")] => fails(&["nope, not today"]);
    an_error_as_a_list: vec![answer("400 Bad Request", JSON, "", "[{\"error\": {\"message\": \"API key not valid\", \"status\": \"INVALID_ARGUMENT\"}}]")]
        => fails(&["API key not valid"]);
    a_validation_error: vec![answer("422 Unprocessable Entity", JSON, "", "{\"detail\": [{\"loc\": [\"body\"], \"msg\": \"field required\"}]}")]
        => fails(&["field required"]);
    an_error_inside_an_error: vec![answer("400 Bad Request", JSON, "", &json!({"error": {"message": "Provider returned error",
        "metadata": {"raw": "{\"error\":{\"message\":\"the real reason\"}}"}}}).to_string())] => fails(&["the real reason"]);
    an_error_without_a_word: vec![answer("400 Bad Request", JSON, "", "{}")] => fails(&["answered 400", "without a reason"]);
    a_very_long_error: vec![refusal("400 Bad Request", &"x".repeat(100_000))] => fails(&["xxx", "…"]);
    a_prompt_the_filter_refuses: vec![answer("400 Bad Request", JSON, "",
        "{\"error\": {\"message\": \"The response was filtered due to the prompt\", \"code\": \"content_filter\"}}")]
        => fails(&["declined to answer", "filtered due to the prompt"]);
    a_conversation_too_long_even_when_it_is_short: vec![refusal("400 Bad Request", "This model's maximum context length is 512 tokens")]
        => fails(&["too long for this model", "512 tokens"]);
}
