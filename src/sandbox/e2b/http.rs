//! Requests over HTTP: how long they may take, and which may be sent again.

use super::error::E2bError;
use http::{HeaderMap, StatusCode};
use reqwest::{Client, RequestBuilder, Response};
use std::time::Duration;

/// Tries of one request.
const TRIES: u32 = 3;
/// Before the second try; each further wait is four times as long.
const BACKOFF: Duration = Duration::from_millis(200);
/// A service that asks for more patience than this is busy.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(10);
/// Servers close idle connections after half a minute or later; one that is about to be closed must not be used.
const IDLE: Duration = Duration::from_secs(20);
/// Bytes of an error that are read.
const ERROR_MAX: usize = 64 * 1024;

/// Whether a request may be sent again when it may have been carried out already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is the same as once.
    Safe,
    /// It does something each time.
    Unsafe,
}

/// The client for everything: answers pass as they are, redirections and compression included.
pub fn client() -> Result<Client, E2bError> {
    // The second installation fails because the first one won; both are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip()
        .user_agent(concat!("sandcastle/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| E2bError::transport(&error))
}

/// Sends a request; only success is returned. A rate limit is waited for, if that is short.
pub async fn send(repeat: Repeat, build: impl Fn() -> RequestBuilder) -> Result<Response, E2bError> {
    let mut backoff = BACKOFF;
    for last in (0..TRIES).map(|n| n + 1 == TRIES) {
        let (error, wait) = match build().send().await {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => refusal(repeat, response, backoff).await,
            Err(error) => {
                let error = E2bError::transport(&error);
                let unsent = matches!(error, E2bError::Unreachable { unsent: true, .. });
                (error, (unsent || repeat == Repeat::Safe).then_some(backoff))
            }
        };
        match wait {
            Some(wait) if !last => tokio::time::sleep(wait).await,
            _ => return Err(error),
        }
        backoff *= 4;
    }
    Err(E2bError::Protocol("no answer".to_owned()))
}

/// What an answer without success says, and after which time the request may be sent again, if at all.
async fn refusal(repeat: Repeat, response: Response, backoff: Duration) -> (E2bError, Option<Duration>) {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = limited(response, ERROR_MAX).await.unwrap_or_default();
    let error = E2bError::read(status, &body);
    let final_word = headers.get("should-retry").is_some_and(|value| value == "false");
    let again = match status {
        // The limit of requests, not that of sandboxes: it says when.
        StatusCode::TOO_MANY_REQUESTS => retry_after(&headers).filter(|wait| *wait <= PATIENCE),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::BAD_GATEWAY
            if repeat == Repeat::Safe =>
        {
            matches!(error, E2bError::Refused { .. }).then_some(backoff)
        }
        _ => None,
    };
    (error, again.filter(|_| !final_word))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A body, up to so many bytes; what is beyond is left unread.
pub async fn limited(mut response: Response, max: usize) -> Result<Vec<u8>, E2bError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| E2bError::transport(&error))? {
        body.extend_from_slice(piece.get(..piece.len().min(max - body.len())).unwrap_or_default());
        if body.len() == max {
            break;
        }
    }
    Ok(body)
}
