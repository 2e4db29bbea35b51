//! How Restate is asked: its ingress, which takes invocations, and its administration.

use super::Identity;
use super::service::{Envelope, SERVICE};
use crate::config::{RestateAddress, RestateConfig};
use crate::domain::RunId;
use crate::workflow::EngineError;
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Longer means that it hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests under way at once: a thousand runs submitted together need no thousand connections.
const AT_ONCE: usize = 32;

/// Why Restate did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestateError {
    /// No connection, or no answer.
    #[error("Restate's {side} cannot be reached at {address}: {reason}")]
    Unreachable { side: &'static str, address: String, reason: String },
    /// It says no.
    #[error("Restate's {side} at {address} answered {status}: {message}")]
    Refused { side: &'static str, address: String, status: u16, message: String },
    /// It belongs to somebody else.
    #[error(
        "the Restate server at {address} runs the tasks of another Sandcastle (deployment {deployment} at {uri}). Give \
         each its own Restate server. If the other is gone for good: DELETE {address}/deployments/{deployment}?force=true"
    )]
    Foreign { address: String, deployment: String, uri: String },
}

/// Both sides of one Restate server.
pub(super) struct Client {
    ingress: Side,
    admin: Side,
    at_once: Semaphore,
}

struct Side {
    name: &'static str,
    /// For people.
    address: String,
    /// What requests begin with.
    base: String,
    http: reqwest::Client,
}

/// A registered address that Restate calls.
#[derive(Deserialize)]
pub(super) struct Deployment {
    pub(super) id: String,
    #[serde(default)]
    pub(super) uri: String,
    #[serde(default)]
    pub(super) metadata: HashMap<String, String>,
    #[serde(default)]
    pub(super) services: Vec<DeployedService>,
}

/// A service found there.
#[derive(Deserialize)]
pub(super) struct DeployedService {
    pub(super) name: String,
}

/// An invocation that has not ended.
#[derive(Deserialize)]
pub(super) struct LiveInvocation {
    pub(super) id: String,
    pub(super) status: String,
}

impl Client {
    /// A client for the configured addresses.
    pub(super) fn new(config: &RestateConfig) -> Result<Self, EngineError> {
        Ok(Self {
            ingress: Side::new("ingress", &config.ingress)?,
            admin: Side::new("administration", &config.admin)?,
            at_once: Semaphore::new(AT_ONCE),
        })
    }

    /// Where people find Restate's administration.
    pub(super) fn admin_address(&self) -> &str {
        &self.admin.address
    }

    /// Has a run invoked after so many milliseconds and returns the invocation's id: the one there is if the key was
    /// used before.
    pub(super) async fn send(&self, run: &RunId, key: &str, delay_ms: u64) -> Result<String, RestateError> {
        #[derive(Deserialize)]
        struct Sent {
            #[serde(rename = "invocationId")]
            invocation: String,
        }
        // Never closed.
        let _permit = self.at_once.acquire().await;
        let delay = if delay_ms == 0 { String::new() } else { format!("?delay={delay_ms}ms") };
        let request = self.ingress.request(Method::POST, &format!("/{SERVICE}/run/send{delay}"));
        let sent: Sent =
            self.ingress.json(request.header("idempotency-key", key).json(&Envelope { run: run.clone() })).await?;
        Ok(sent.invocation)
    }

    /// Whether the ingress takes invocations.
    pub(super) async fn check(&self) -> Result<(), RestateError> {
        self.ingress.send(self.ingress.request(Method::GET, "/restate/health")).await.map(drop)
    }

    /// Ends an invocation without asking it.
    pub(super) async fn kill(&self, invocation: &str) -> Result<(), RestateError> {
        self.admin.send(self.admin.request(Method::PATCH, &format!("/invocations/{invocation}/kill"))).await.map(drop)
    }

    /// Has an invocation go on that was paused or waits for its next try.
    pub(super) async fn resume(&self, invocation: &str) -> Result<(), RestateError> {
        self.admin.send(self.admin.request(Method::PATCH, &format!("/invocations/{invocation}/resume"))).await.map(drop)
    }

    /// Every invocation of a run that has not ended.
    pub(super) async fn live(&self) -> Result<Vec<LiveInvocation>, RestateError> {
        #[derive(Deserialize)]
        struct Rows {
            rows: Vec<LiveInvocation>,
        }
        let query = format!(
            "SELECT id, status FROM sys_invocation WHERE target_service_name = '{SERVICE}' AND status <> 'completed'"
        );
        let request = self.admin.request(Method::POST, "/query").header("accept", "application/json");
        Ok(self.admin.json::<Rows>(request.json(&json!({ "query": query }))).await?.rows)
    }

    /// What is registered.
    pub(super) async fn deployments(&self) -> Result<Vec<Deployment>, RestateError> {
        #[derive(Deserialize)]
        struct Deployments {
            deployments: Vec<Deployment>,
        }
        let all: Deployments = self.admin.json(self.admin.request(Method::GET, "/deployments")).await?;
        Ok(all.deployments)
    }

    /// Registers this server.
    pub(super) async fn register(&self, uri: &str, identity: &Identity) -> Result<(), RestateError> {
        let body = json!({
            "uri": uri,
            "additional_headers": headers(identity),
            "metadata": { super::ID_KEY: identity.id },
        });
        self.admin.send(self.admin.request(Method::POST, "/deployments").json(&body)).await.map(drop)
    }

    /// Tells where a registered server is now, so that invocations it has begun go on there.
    pub(super) async fn move_to(&self, deployment: &str, uri: &str, identity: &Identity) -> Result<(), RestateError> {
        let body = json!({ "uri": uri, "additional_headers": headers(identity), "overwrite": true });
        let path = format!("/deployments/{deployment}");
        self.admin.send(self.admin.request(Method::PATCH, &path).json(&body)).await.map(drop)
    }
}

fn headers(identity: &Identity) -> Value {
    json!({ "authorization": identity.password() })
}

impl Side {
    fn new(name: &'static str, address: &RestateAddress) -> Result<Self, EngineError> {
        // Nothing here is encrypted, but a client is only made with a provider.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        let (builder, base) = match address {
            RestateAddress::Http(url) => (builder, url.clone()),
            // The host is not looked up, but a request must have one.
            RestateAddress::Unix(path) => (builder.unix_socket(path.clone()), "http://localhost".to_owned()),
        };
        let http = builder.build().map_err(|error| EngineError::Client(told(&error)))?;
        Ok(Self { name, address: address.to_string(), base, http })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, RestateError> {
        let text = self.send(request).await?;
        serde_json::from_str(&text).map_err(|error| self.unreachable(format!("not an answer of Restate: {error}")))
    }

    async fn send(&self, request: RequestBuilder) -> Result<String, RestateError> {
        let answer = request.send().await.map_err(|error| self.unreachable(told(&error)))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.unreachable(told(&error)))?;
        if status.is_success() {
            return Ok(text);
        }
        let said = serde_json::from_str::<Value>(&text).ok();
        let message = said.as_ref().and_then(|said| said["message"].as_str()).unwrap_or(&text).to_owned();
        Err(RestateError::Refused { side: self.name, address: self.address.clone(), status: status.as_u16(), message })
    }

    fn unreachable(&self, reason: String) -> RestateError {
        RestateError::Unreachable { side: self.name, address: self.address.clone(), reason }
    }
}

/// The cause at the bottom: what wraps it only says that a request failed.
fn told(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
