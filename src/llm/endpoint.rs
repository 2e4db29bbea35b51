//! Where a model is served, how long we wait for it, and the HTTP client towards it.

use super::error::shorten;
use crate::config::Secret;
use std::time::Duration;

/// Where a model is served.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Base URL without `/chat/completions`.
    pub base_url: String,
    /// Its key; none for local servers.
    pub api_key: Option<Secret>,
}

/// How long a client waits for what.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// For the connection.
    pub connect: Duration,
    /// For the next byte; keep-alive comments count.
    pub stall: Duration,
    /// In all, before the first token, for rate limits and retries.
    pub waiting: Duration,
    /// Requests sent at most for one answer.
    pub attempts: u32,
    /// The first pause between two attempts; it doubles. `Retry-After` overrides it.
    pub backoff: Duration,
    /// Bytes of one answer; a server that sends more is given up.
    pub answer: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(120),
            waiting: Duration::from_secs(60),
            attempts: 4,
            backoff: Duration::from_millis(500),
            answer: 64 * 1024 * 1024,
        }
    }
}

/// One HTTP client for the process's model traffic, on ring: no other crypto is linked.
pub(super) fn http_client(connect: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // The second installation fails because the first one won; both are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(connect)
        .tcp_nodelay(true)
        .user_agent(concat!("sandcastle/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The URL without credentials, which some people put into it.
pub(super) fn shown_url(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) => {
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_query(None);
            parsed.to_string().trim_end_matches('/').to_owned()
        }
        Err(_) => shorten(url),
    }
}

/// The innermost cause, which is the one that helps: `connection refused`, `failed to lookup address`.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
