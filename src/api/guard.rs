//! Who may talk to this server: the host allowlist, the same-origin rule, the access token, body sizes and the
//! headers that fence the pages in.
//!
//! Every request that is not for a preview passes here. It must not know projects or pages: it decides on the head of
//! a request only.

use super::error::{Failure, too_large};
use crate::config::{Secret, ServerConfig};
use crate::domain::{ApiError, ErrorCode};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http_body_util::Limited;
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// Name of the cookie that proves a sign-in. The preview proxy strips every `sandcastle_` cookie.
pub const TOKEN_COOKIE: &str = "sandcastle_token";
/// Wrong tokens one address may send a minute.
const FAILURES_ALLOWED: u32 = 10;
/// Cookies of that name in one request that are looked at.
const COOKIES_READ: usize = 3;
/// Each proxy adds whom it was called by.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered for their failures.
const FAILURES_KEPT: usize = 1024;

/// The rules, made once from the configuration.
pub struct Guard {
    hosts: Vec<String>,
    /// Where browsers reach this server, if it knows.
    origin: Option<String>,
    proxies: Vec<IpNet>,
    any_address: bool,
    token: Option<Secret>,
    cookie: Option<String>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// What one address sent that was wrong.
struct Failures {
    count: u32,
    since: Instant,
    /// Digest of the wrong cookie it sent last.
    cookie: Option<[u8; 32]>,
}

impl Guard {
    /// Reads the rules.
    pub fn new(config: &ServerConfig) -> Self {
        let public = config.public_url.as_ref();
        Self {
            hosts: config.allowed_hosts.iter().cloned().chain(public.map(|url| url.host.clone())).collect(),
            origin: public.map(ToString::to_string),
            proxies: config.trusted_proxies.clone(),
            // A name can be rebound to another address, an address cannot. So on a listener that is meant to be
            // reached from elsewhere every address literal is this server.
            any_address: !config.addr.ip().is_loopback(),
            cookie: config.access_token.as_ref().map(|token| cookie_value(token.expose())),
            token: config.access_token.clone(),
            failures: Mutex::default(),
        }
    }

    /// Who sent a request: whoever is at the other end, or the last one before the proxies that are trusted to say so.
    pub fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| self.proxies.iter().any(|network| network.contains(&address));
        let told = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let told: Vec<&str> = told.flat_map(|line| line.split(',')).map(str::trim).collect();
        let mut sender = peer.to_canonical();
        for address in told.iter().rev() {
            let Some(before) = address.parse::<IpAddr>().ok().filter(|_| trusted(sender)) else { break };
            sender = before.to_canonical();
        }
        sender
    }

    /// Whether a token is asked for.
    pub fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Checks a token a person typed; on success gives the `Set-Cookie` value.
    pub fn sign_in(&self, from: IpAddr, typed: &str, https: bool) -> Result<String, Failure> {
        let Some(token) = &self.token else {
            return Err(ApiError::invalid("this server asks for no access token").into());
        };
        self.limit(from)?;
        if !equal(typed.trim(), token.expose()) {
            self.failed(from);
            return Err(ApiError::new(ErrorCode::Unauthorized, "that is not the access token of this server").into());
        }
        let cookie = self.cookie.as_deref().unwrap_or_default();
        let secure = if https { "; Secure" } else { "" };
        Ok(format!("{TOKEN_COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000{secure}"))
    }

    /// Host allowlist: stops DNS rebinding.
    fn check_host(&self, host: &str) -> Result<(), Failure> {
        let name = host_name(host).to_ascii_lowercase();
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let known = match address {
            Some(ip) => ip.is_loopback() || self.any_address,
            None => name == "localhost",
        };
        if known || self.hosts.contains(&name) || self.hosts.iter().any(|have| have.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        let message = format!(
            "this server does not answer to the name \"{}\"; add it to SANDCASTLE_ALLOWED_HOSTS if it is yours",
            name.chars().filter(|c| !c.is_control()).take(100).collect::<String>()
        );
        Err(Failure::with_status(StatusCode::MISDIRECTED_REQUEST, ApiError::new(ErrorCode::Forbidden, message)))
    }

    /// Token by bearer header or cookie.
    fn check_token(&self, headers: &HeaderMap, from: IpAddr) -> Result<(), Failure> {
        let Some(token) = &self.token else { return Ok(()) };
        let unauthorized = |message: &str| Failure::from(ApiError::new(ErrorCode::Unauthorized, message));
        if let Some(given) = bearer(headers) {
            self.limit(from)?;
            if equal(given, token.expose()) {
                return Ok(());
            }
            self.failed(from);
            return Err(unauthorized("the access token is wrong"));
        }
        let given: Vec<&str> = cookies(headers, TOKEN_COOKIE).take(COOKIES_READ).collect();
        if !given.is_empty() {
            self.limit(from)?;
            if self.cookie.as_ref().is_some_and(|expected| given.iter().any(|given| equal(given, expected))) {
                return Ok(());
            }
            given.iter().for_each(|given| self.wrong_cookie(from, given));
        }
        Err(unauthorized("an access token is needed: sign in at /login, or send it as Authorization: Bearer"))
    }

    fn limit(&self, from: IpAddr) -> Result<(), Failure> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = failures
            .get(&from)
            .is_some_and(|failed| failed.count >= FAILURES_ALLOWED && failed.since.elapsed() < FAILURE_WINDOW);
        if !limited {
            return Ok(());
        }
        let error = ApiError::new(ErrorCode::Unauthorized, "too many wrong access tokens; wait a minute and try again");
        Err(Failure::with_status(StatusCode::TOO_MANY_REQUESTS, error))
    }

    fn failed(&self, from: IpAddr) {
        self.note(from, |failed| failed.count += 1);
    }

    /// Counts a wrong cookie. The same one again is no other guess: the pages of a browser that signed in before the
    /// token was changed send it many times at once.
    fn wrong_cookie(&self, from: IpAddr, given: &str) {
        let digest: [u8; 32] = Sha256::digest(given).into();
        self.note(from, |failed| {
            if failed.cookie.replace(digest) != Some(digest) {
                failed.count += 1;
            }
        });
    }

    fn note(&self, from: IpAddr, note: impl FnOnce(&mut Failures)) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, failed| failed.since.elapsed() < FAILURE_WINDOW);
        if failures.len() < FAILURES_KEPT || failures.contains_key(&from) {
            note(failures.entry(from).or_insert(Failures { count: 0, since: Instant::now(), cookie: None }));
        }
    }
}

/// The guard as a layer.
pub async fn guard(
    State(guard): State<Arc<Guard>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    // One that goes with a bearer token was not looked at.
    let cookie = bearer(request.headers()).is_none() && cookies(request.headers(), TOKEN_COOKIE).next().is_some();
    let sender = guard.sender(peer.ip(), request.headers());
    let mut response = match admit(&guard, sender, &request).and_then(|()| bounded(request)) {
        Ok(request) => next.run(request).await,
        Err(refusal) => {
            let wrong = cookie && refusal.is_unauthorized();
            let mut response = refusal.into_response();
            if wrong {
                response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(NO_COOKIE));
            }
            response
        }
    };
    fence(response.headers_mut());
    response
}

/// Why a request is not let in: an answer, or a way to sign in.
enum Refusal {
    Failure(Failure),
    SignIn(String),
}

/// Takes a wrong cookie away from a browser.
const NO_COOKIE: &str = "sandcastle_token=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0";

impl Refusal {
    /// Whether the token was missing or wrong, and not one of too many.
    fn is_unauthorized(&self) -> bool {
        match self {
            Self::SignIn(_) => true,
            Self::Failure(failure) => failure.status == StatusCode::UNAUTHORIZED,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Failure(failure) => failure.into_response(),
            Self::SignIn(next) => Redirect::to(&format!("/login?next={next}")).into_response(),
        }
    }
}

fn admit(guard: &Guard, from: IpAddr, request: &Request) -> Result<(), Refusal> {
    let host = host(request).ok_or_else(|| Refusal::Failure(ApiError::invalid("the request names no host").into()))?;
    guard.check_host(host).map_err(Refusal::Failure)?;
    check_origin(request, host, guard.origin.as_deref()).map_err(Refusal::Failure)?;
    if is_open(request.uri().path()) {
        return Ok(());
    }
    guard.check_token(request.headers(), from).map_err(|failure| {
        let page = request.method() == Method::GET && !request.uri().path().starts_with("/api/");
        let wants_html = header_text(request.headers(), &header::ACCEPT).is_some_and(|v| v.contains("text/html"));
        if page && wants_html && failure.status == StatusCode::UNAUTHORIZED {
            Refusal::SignIn(encode(request.uri().path()))
        } else {
            Refusal::Failure(failure)
        }
    })
}

/// What is served before signing in: the sign-in itself, liveness, and the files it is drawn with.
fn is_open(path: &str) -> bool {
    // The API of Trigger.dev has keys of its own.
    super::trigger::owns(path)
        || matches!(path, "/login" | "/healthz" | "/favicon.svg" | "/icons.svg" | "/api/fn/login")
        || path.starts_with("/pkg/")
}

/// Nothing on another origin may change anything here, nor read the API. Programs send neither header and pass.
fn check_origin(request: &Request, host: &str, public: Option<&str>) -> Result<(), Failure> {
    let headers = request.headers();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let refuse = || {
        let message = "this request comes from another site; open Sandcastle itself to do this";
        Err(Failure::from(ApiError::new(ErrorCode::Forbidden, message)))
    };
    if let Some(site) = header_text(headers, &HeaderName::from_static("sec-fetch-site")) {
        // `same-site` is another origin: every preview is one.
        let own = matches!(site, "same-origin" | "none");
        let navigation = header_text(headers, &HeaderName::from_static("sec-fetch-mode")) == Some("navigate");
        if !own && (!reading || (request.uri().path().starts_with("/api/") && !navigation)) {
            return refuse();
        }
    }
    match header_text(headers, &header::ORIGIN) {
        Some(origin) if !reading => {
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            let own = authority.is_some_and(|a| a.eq_ignore_ascii_case(host)) || public == Some(origin);
            if own { Ok(()) } else { refuse() }
        }
        None if !reading && headers.contains_key(header::ORIGIN) => refuse(),
        _ => Ok(()),
    }
}

/// Refuses a body over the limit: at once where its length is told, else when the limit is passed.
fn bounded(request: Request) -> Result<Request, Refusal> {
    let limit = super::body_limit(request.uri().path());
    let length = header_text(request.headers(), &header::CONTENT_LENGTH).and_then(|v| v.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Refusal::Failure(too_large(limit)));
    }
    Ok(request.map(|body| Body::new(Limited::new(body, limit))))
}

/// Security headers of every answer that is not a preview's. A page's own policy, with its nonce, stays.
fn fence(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-write=(self)",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'"));
}

/// The policy of a page. Previews are the only frames; scripts and inline styles need the page's nonce. In development
/// the page may also listen for new builds on `reload_port`.
pub fn page_policy(nonce: &str, preview_domain: &str, reload_port: Option<u32>) -> String {
    let reload = reload_port.map(|port| format!(" ws://*:{port}")).unwrap_or_default();
    format!(
        "default-src 'self'; script-src 'nonce-{nonce}' 'strict-dynamic' 'wasm-unsafe-eval'; \
         style-src 'self' 'nonce-{nonce}'; connect-src 'self'{reload}; img-src 'self' data:; font-src 'self'; \
         frame-src http://*.{preview_domain}:* https://*.{preview_domain}:*; frame-ancestors 'none'; \
         base-uri 'none'; object-src 'none'; form-action 'self'"
    )
}

/// The host a request names, with its port.
pub fn host(request: &Request) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => header_text(request.headers(), &header::HOST),
    }
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &'a str) -> Option<&'a str> {
    cookies(headers, name).next()
}

/// The values of all cookies of a name: those set for a folder or a domain above are sent too.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A path to go to after signing in: local, or the home page. `//host` and `/\host` are not local.
pub fn local_path(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains(['\\', '\r', '\n', '\t'])
        && !next.chars().any(char::is_control);
    if local { next } else { "/" }
}

fn host_name(host: &str) -> &str {
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or(host);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name).trim_end_matches('.')
}

fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = header_text(headers, &header::AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares without telling by its duration where the difference is; hashing first hides the length too.
fn equal(a: &str, b: &str) -> bool {
    Sha256::digest(a).ct_eq(&Sha256::digest(b)).into()
}

/// The cookie holds a digest, so that a leaked cookie jar does not hold the token.
fn cookie_value(token: &str) -> String {
    let mut hash = Sha256::new();
    hash.update("sandcastle sign-in\0");
    hash.update(token);
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn encode(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'.') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
