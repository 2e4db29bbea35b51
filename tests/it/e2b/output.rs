//! What a viewer of a command is told about where its output begins.

use super::{Server, frame, frames};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

const WRITTEN: u64 = 3_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_told_the_byte_it_really_begins_with() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let process = json!({"cmd": "/bin/sh", "args": ["-c", format!("head -c {WRITTEN} /dev/zero | tr '\\0' x")]});
    server.stream(&sandbox, "/process.Process/Start", &json!({"process": process, "tag": "flood"})).await;
    let look = async |from: &str| {
        let request = server.inside(&sandbox, Method::POST, "/process.Process/Connect");
        let request =
            request.header("content-type", "application/connect+json").header("origin", "https://app.example");
        let request = if from.is_empty() { request } else { request.header("sandcastle-output-from", from) };
        let response = request.body(frame(&json!({"process": {"tag": "flood"}}))).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-expose-headers"), "*", "a page could not read it");
        let begins: u64 = header("sandcastle-output-from").parse().unwrap();
        let messages = frames(&response.bytes().await.unwrap());
        let data = messages.iter().filter_map(|(_, message)| message["event"]["data"]["stdout"].as_str());
        let seen: usize = data.map(|text| STANDARD.decode(text).unwrap().len()).sum();
        assert_eq!(begins + seen as u64, WRITTEN, "from {from:?}");
        begins
    };
    let kept = look("").await;
    assert!(kept > WRITTEN / 2, "the beginning is kept no longer, and that is told: {kept}");
    assert_eq!(look("10").await, kept);
    assert_eq!(look("2999000").await, 2_999_000);
    for beyond in ["end", "9000000"] {
        assert_eq!(look(beyond).await, WRITTEN);
    }
    server.app.stop().await;
}
