//! The control plane: making, waking, pausing and ending sandboxes by the key.

use super::error::E2bError;
use super::http::{self, Repeat};
use crate::config::E2bConfig;
use ::http::Method;
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// A call may take so long.
const CALL: Duration = Duration::from_secs(30);
/// Making, waking and pausing move gigabytes.
const SLOW_CALL: Duration = Duration::from_secs(90);
/// A sandbox that is still on its way between two states is asked again so often, once a second.
const SETTLE_TRIES: u32 = 30;
const BODY_MAX: usize = 4 << 20;

/// The control plane of one service.
pub struct Control {
    client: Client,
    config: E2bConfig,
}

/// A sandbox that answers, and what opens it: never to be printed.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    /// Its id.
    #[serde(rename = "sandboxID")]
    pub id: String,
    /// Opens its services.
    pub envd_access_token: Option<String>,
    /// Opens its other ports.
    pub traffic_access_token: Option<String>,
    /// Below it are its hosts, if that is not the configured domain.
    pub domain: Option<String>,
}

/// A sandbox as it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// `running` or `paused`.
    pub state: String,
    /// Processors.
    #[serde(default)]
    pub cpu_count: u64,
    /// Memory in MiB.
    #[serde(default, rename = "memoryMB")]
    pub memory_mb: u64,
    /// Disk in MiB.
    #[serde(default, rename = "diskSizeMB")]
    pub disk_size_mb: u64,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "sandboxID")]
    id: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    sandcastle: Option<String>,
}

impl Control {
    /// A client of the service that is configured.
    pub fn new(client: Client, config: E2bConfig) -> Self {
        Self { client, config }
    }

    /// For everything else that goes to this service.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where the service is, and how sandboxes are made.
    pub fn config(&self) -> &E2bConfig {
        &self.config
    }

    /// Makes a sandbox from the template. It pauses when its time is up, so that a server that died loses nothing, and
    /// only this server reaches its ports, where programs see themselves as `localhost`.
    pub async fn create(&self, name: &str, egress: &Value) -> Result<Opened, E2bError> {
        let body = json!({
            "templateID": self.config.template,
            "timeout": self.config.timeout.as_secs(),
            "metadata": { "sandcastle": name },
            "autoPause": true,
            "autoPauseMemory": false,
            "network": network(egress),
        });
        // Without an answer nobody knows whether there is one now: the next start looks for it by its name.
        self.ask(Method::POST, "/v2/sandboxes", Some(&body), Repeat::Unsafe, SLOW_CALL).await.and_then(checked)
    }

    /// The sandbox that was made by this name, if its answer was lost on the way.
    pub async fn find(&self, name: &str) -> Result<Option<String>, E2bError> {
        // A name is letters and digits, so that the number of times this is unescaped does not matter.
        let path = format!("/v2/sandboxes?metadata=sandcastle%3D{name}&state=running,paused&limit=1");
        let list: Vec<Listed> = self.ask(Method::GET, &path, None, Repeat::Safe, CALL).await?;
        Ok(list.into_iter().find(|listed| listed.metadata.sandcastle.as_deref() == Some(name)).map(|listed| listed.id))
    }

    /// Wakes a sandbox, or makes sure that it runs; none if it is gone.
    pub async fn connect(&self, id: &str) -> Result<Option<Opened>, E2bError> {
        let body = json!({ "timeout": self.config.timeout.as_secs() });
        let path = format!("/v2/sandboxes/{id}/connect");
        for _ in 0..SETTLE_TRIES {
            match self.ask(Method::POST, &path, Some(&body), Repeat::Safe, SLOW_CALL).await {
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) if error.is_conflict() => tokio::time::sleep(Duration::from_secs(1)).await,
                result => return result.and_then(checked).map(Some),
            }
        }
        Err(E2bError::Refused { status: 409, message: "the sandbox is neither awake nor paused".to_owned() })
    }

    /// What a sandbox is now; none if it is gone.
    pub async fn detail(&self, id: &str) -> Result<Option<Detail>, E2bError> {
        let asked = self.ask(Method::GET, &format!("/sandboxes/{id}"), None, Repeat::Safe, CALL).await;
        found(asked)
    }

    /// Has it live for the configured time from now on. False if it is gone.
    pub async fn extend(&self, id: &str) -> Result<bool, E2bError> {
        let body = json!({ "timeout": self.config.timeout.as_secs() });
        self.act(Method::POST, &format!("/sandboxes/{id}/timeout"), Some(&body), CALL).await
    }

    /// Keeps its files and ends its processes. False if it is gone.
    pub async fn pause(&self, id: &str) -> Result<bool, E2bError> {
        let path = format!("/sandboxes/{id}/pause");
        match self.act(Method::POST, &path, Some(&json!({ "memory": false })), SLOW_CALL).await {
            // It is paused already.
            Err(error) if error.is_conflict() => Ok(true),
            result => result,
        }
    }

    /// Deletes it. False if it was gone.
    pub async fn kill(&self, id: &str) -> Result<bool, E2bError> {
        self.act(Method::DELETE, &format!("/sandboxes/{id}"), None, SLOW_CALL).await
    }

    /// Replaces the rules of a live sandbox's way out.
    pub async fn set_network(&self, id: &str, egress: &Value) -> Result<bool, E2bError> {
        self.act(Method::PUT, &format!("/sandboxes/{id}/network"), Some(egress), CALL).await
    }

    /// Whether the key opens anything, without doing anything.
    pub async fn check_key(&self) -> Result<(), E2bError> {
        let list: Value = self.ask(Method::GET, "/v2/sandboxes?limit=1", None, Repeat::Safe, CALL).await?;
        if list.is_array() { Ok(()) } else { Err(E2bError::Protocol("a list was expected".to_owned())) }
    }

    /// A call whose answer has no body that matters. False if there is no such sandbox. All of these may be repeated.
    async fn act(&self, method: Method, path: &str, body: Option<&Value>, limit: Duration) -> Result<bool, E2bError> {
        match self.send(method, path, body, Repeat::Safe, limit).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        repeat: Repeat,
        limit: Duration,
    ) -> Result<T, E2bError> {
        let answer = http::limited(self.send(method, path, body, repeat, limit).await?, BODY_MAX).await?;
        serde_json::from_slice(&answer).map_err(|error| E2bError::Protocol(error.to_string()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        repeat: Repeat,
        limit: Duration,
    ) -> Result<reqwest::Response, E2bError> {
        http::send(repeat, || {
            let request = self.client.request(method.clone(), format!("{}{path}", self.config.api_url));
            let request = request.header("x-api-key", self.config.api_key.expose()).timeout(limit);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        })
        .await
    }
}

/// What every sandbox of ours has, with the rules of its way out.
fn network(egress: &Value) -> Value {
    let mut network = json!({ "allowPublicTraffic": false, "maskRequestHost": "localhost:${PORT}" });
    if let (Some(network), Some(egress)) = (network.as_object_mut(), egress.as_object()) {
        network.extend(egress.clone());
    }
    network
}

/// The id becomes a part of hosts and paths.
fn checked(opened: Opened) -> Result<Opened, E2bError> {
    let plain =
        |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain(&opened.id) { Ok(opened) } else { Err(E2bError::Protocol("an id with odd characters".to_owned())) }
}

fn found<T>(asked: Result<T, E2bError>) -> Result<Option<T>, E2bError> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}
