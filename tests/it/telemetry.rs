//! The server's own log, as machines read it.

use crate::fake_model::{FakeModel, says};
use crate::killed::Server;
use crate::support::PATIENCE;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_the_log_are_json_and_name_the_run_they_are_about() {
    let fake = FakeModel::start(vec![says("hello")]).await;
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let server = Server::start_with(&dir.path().join("data"), &fake.endpoint.base_url, &http, |command| {
        command.env("SANDCASTLE_LOG_FORMAT", "json").stderr(std::fs::File::create(&log).unwrap());
    })
    .await;
    let body = json!({"prompt": "say hello"});
    http.post(format!("http://{}/api/projects", server.addr)).json(&body).send().await.unwrap();
    let told = async {
        loop {
            let said = std::fs::read_to_string(&log).unwrap();
            if said.contains("a run ended") && said.ends_with('\n') {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let said = tokio::time::timeout(PATIENCE, told).await.unwrap();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let run = server.get(&http, "/api/runs?task=agentTurn").await[0]["id"].clone();
    let end = lines.iter().find(|line| line["fields"]["message"] == "a run ended").unwrap();
    assert_eq!((&end["fields"]["run"], &end["fields"]["task"]), (&run, &json!("agentTurn")));
    assert!(end["timestamp"].is_string() && end["level"] == "INFO", "{end}");
}
