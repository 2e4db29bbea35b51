//! The control plane: making, finding and ending sandboxes, by a key.

use super::access::printable;
use super::answer::{empty, error, fleet_error, json};
use super::body::{BodyError, json as json_of, whole};
use super::list::{page, select};
use super::shapes::{Create, NetworkMessage, Refused, bad, log, metric, milliseconds};
use super::{Answer, Incoming, Inner, access, layers, text};
use crate::domain::rfc3339;
use crate::sandbox::entry::lock;
use crate::sandbox::fleet::{FleetError, ImageKind, Level, NewSandbox, Paused, Phase, Record, Sandbox};
use crate::store::KeyKind;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

const BODY_MAX: usize = 1 << 20;
const FORKS_MAX: usize = 20;
/// Requests remembered for their idempotency keys.
const REMEMBERED: usize = 1000;

/// What was made for which key and request.
#[derive(Default)]
pub(super) struct Idempotent {
    made: Mutex<VecDeque<(String, [u8; 32], Record)>>,
    /// Held while a request with this key is answered, so that the same one waits for the first.
    one: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Idempotent {
    fn one(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut one = lock(&self.one);
        one.retain(|_, used| Arc::strong_count(used) > 1);
        Arc::clone(one.entry(key.to_owned()).or_default())
    }
}

/// Whether a path is the control plane's. No page and no other API begins like these.
pub(super) fn is_route(path: &str) -> bool {
    const FIRST: [&str; 8] =
        ["sandboxes", "snapshots", "templates", "volumes", "volumecontent", "secrets", "teams", "events"];
    let mut parts = path.trim_start_matches('/').split('/');
    match parts.next() {
        Some("v2" | "v3") => parts.next().is_some_and(|next| FIRST.contains(&next)),
        Some(first) => FIRST.contains(&first),
        None => false,
    }
}

/// One request, once its key is known.
pub(super) struct Call<'a> {
    pub(super) gateway: &'a Inner,
    pub(super) owner: String,
    pub(super) query: HashMap<String, String>,
    /// Where the caller reached us.
    pub(super) origin: String,
    idempotency_key: Option<String>,
    body: Bytes,
}

/// Answers a request.
pub(super) async fn handle(gateway: &Arc<Inner>, request: Incoming) -> Answer {
    answer(gateway, request).await.unwrap_or_else(|refused| refused)
}

async fn answer(gateway: &Arc<Inner>, request: Incoming) -> Result<Answer, Refused> {
    let (method, path) = (request.method().clone(), request.uri().path().trim_end_matches('/').to_owned());
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    // The address itself is the secret here: the SDKs send it no key.
    if let (&Method::PUT, ["templates", id, "files", digest]) = (&method, parts.as_slice()) {
        return layers::receive(gateway, request, id, digest).await;
    }
    let owner = authenticate(gateway, given_key(request.headers())).await?;
    let origin = layers::origin(request.headers());
    let idempotency_key = text(request.headers(), "idempotency-key").map(str::to_owned);
    let query = access::query(&request);
    let body = whole(request.into_body(), BODY_MAX).await.map_err(|failed| match failed {
        BodyError::TooLarge => {
            error(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {BODY_MAX} bytes"))
        }
        BodyError::CutOff => bad("the request was cut off"),
    })?;
    let call = Call { gateway, owner, query, origin, idempotency_key, body };
    call.route(&method, &parts).await
}

fn given_key(headers: &HeaderMap) -> String {
    let bearer = || text(headers, header::AUTHORIZATION.as_str())?.strip_prefix("Bearer ");
    text(headers, "x-api-key").or_else(bearer).unwrap_or_default().trim().to_owned()
}

async fn authenticate(gateway: &Inner, given: String) -> Result<String, Refused> {
    match gateway.keys.authenticate(KeyKind::E2b, &given).await {
        Ok(Some(key)) => Ok(key.id),
        Ok(None) => Err(error(
            StatusCode::UNAUTHORIZED,
            "Invalid API key, please make one with `sandcastle keys create NAME` on the server or in its settings",
        )),
        Err(failed) => Err(fleet_error(&FleetError::Store(failed))),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timing {
    timeout: Option<i64>,
    duration: Option<i64>,
    memory: Option<bool>,
    count: Option<usize>,
    name: Option<String>,
}

impl Call<'_> {
    async fn route(&self, method: &Method, parts: &[&str]) -> Result<Answer, Refused> {
        let (get, post) = (method == Method::GET, method == Method::POST);
        if let Some(answered) = self.templates(method, parts).await {
            return answered;
        }
        match parts {
            ["v2", "sandboxes"] if post => self.create(300).await,
            ["sandboxes"] if post => self.create(15).await,
            ["v2", "sandboxes"] if get => self.list(true),
            ["sandboxes"] if get => self.list(false),
            ["sandboxes", "metrics"] if get => self.all_metrics().await,
            ["snapshots"] if get => self.snapshots(),
            ["sandboxes", id] if get => Ok(json(StatusCode::OK, &self.gateway.detail(&self.find(id)?.record()))),
            ["sandboxes", id] if method == Method::DELETE => {
                self.gateway.fleet.kill(&self.find(id)?).await.map_err(|failed| fleet_error(&failed))?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            ["v2", "sandboxes", id, "logs"] if get => self.logs(self.find(id)?.as_ref()),
            ["sandboxes", id, "logs"] if get => self.old_logs(self.find(id)?.as_ref()),
            ["sandboxes", id, "metrics"] if get => self.metrics(&self.find(id)?).await,
            ["sandboxes", id, "network"] if method == Method::PUT => self.network(&self.find(id)?).await,
            ["v2", "sandboxes", id, "connect"] | ["sandboxes", id, "connect"] if post => {
                self.connect(&self.find(id)?).await
            }
            ["sandboxes", id, action] if post => self.act(&self.find(id)?, action).await,
            ["templates" | "volumes" | "volumecontent" | "secrets" | "teams" | "events" | "v2" | "v3", ..] => {
                Err(not_offered(method, parts))
            }
            _ => Err(error(StatusCode::NOT_FOUND, format!("there is no {method} {}", printable(&parts.join("/"))))),
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Sandbox>, Refused> {
        let id = unescape(id);
        // `id-clientid` is the same sandbox.
        let short = id.split('-').next().unwrap_or_default();
        self.gateway.fleet.owned(&self.owner, short).map_err(|failed| fleet_error(&failed))
    }

    /// The body, if there is one.
    pub(super) fn read<T: DeserializeOwned + Default>(&self) -> Result<T, Refused> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        json_of(&self.body).map_err(|wrong| bad(format!("Error when parsing request: {wrong}")))
    }

    async fn create(&self, default_timeout: u64) -> Result<Answer, Refused> {
        let new = self.read::<Create>()?.check(&self.owner, default_timeout)?;
        let record = match &self.idempotency_key {
            None => self.make(new).await?,
            Some(key) => {
                let valid = (1..=255).contains(&key.len())
                    && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                if !valid {
                    return Err(bad("Idempotency-Key has 1 to 255 characters of a-z, 0-9 and -"));
                }
                self.make_once(&format!("{} {key}", self.owner), new).await?
            }
        };
        Ok(json(StatusCode::CREATED, &self.gateway.sandbox(&record)))
    }

    async fn make(&self, new: NewSandbox) -> Result<Record, Refused> {
        self.gateway.fleet.create(new).await.map_err(|failed| fleet_error(&failed))
    }

    async fn make_once(&self, key: &str, new: NewSandbox) -> Result<Record, Refused> {
        let one = self.gateway.idempotent.one(key);
        let _one = one.lock().await;
        let digest: [u8; 32] = Sha256::digest(&self.body).into();
        let before = lock(&self.gateway.idempotent.made).iter().find(|(made, _, _)| made == key).cloned();
        match before {
            Some((_, same, record)) if same == digest => Ok(record),
            Some(_) => Err(error(StatusCode::CONFLICT, "this Idempotency-Key was used for another request")),
            None => {
                let record = self.make(new).await?;
                let mut made = lock(&self.gateway.idempotent.made);
                if made.len() >= REMEMBERED {
                    made.pop_front();
                }
                made.push_back((key.to_owned(), digest, record.clone()));
                Ok(record)
            }
        }
    }

    fn list(&self, pages: bool) -> Result<Answer, Refused> {
        let all = self.gateway.fleet.records(&self.owner);
        let running = all.iter().filter(|record| record.phase == Phase::Running).count();
        let states: &[Phase] = if pages { &[Phase::Running, Phase::Paused] } else { &[Phase::Running] };
        let (found, ascending) = select(all, &self.query, states)?;
        if !pages {
            let items: Vec<Value> = found.iter().map(|record| self.gateway.listed(record)).collect();
            return Ok(json(StatusCode::OK, &items.into()));
        }
        let page = page(found, &self.query, ascending, |record| (record.created_at, record.id.to_string()))?;
        let items: Vec<Value> = page.items.iter().map(|record| self.gateway.listed(record)).collect();
        let mut response = with_next(json(StatusCode::OK, &items.into()), page.next);
        response.headers_mut().insert("x-total-running", HeaderValue::from(running));
        Ok(response)
    }

    async fn connect(&self, sandbox: &Arc<Sandbox>) -> Result<Answer, Refused> {
        let asked: Timing = self.read()?;
        let timeout = milliseconds(asked.timeout.unwrap_or(300))?;
        let reboot = asked.memory == Some(false);
        let resumed = self.gateway.fleet.resume(sandbox, timeout, reboot).await;
        let resumed = resumed.map_err(|failed| fleet_error(&failed))?;
        let status = if resumed { StatusCode::CREATED } else { StatusCode::OK };
        Ok(json(status, &self.gateway.sandbox(&sandbox.record())))
    }

    async fn act(&self, sandbox: &Arc<Sandbox>, action: &str) -> Result<Answer, Refused> {
        let fleet = &self.gateway.fleet;
        let asked: Timing = self.read()?;
        let done = |result: Result<(), FleetError>| match result {
            Ok(()) => Ok(empty(StatusCode::NO_CONTENT)),
            Err(failed) => Err(fleet_error(&failed)),
        };
        let id = sandbox.id();
        match action {
            "timeout" => {
                let seconds = asked.timeout.ok_or_else(|| bad("timeout is missing"))?;
                done(fleet.set_timeout(sandbox, milliseconds(seconds.max(0))?).await)
            }
            "refreshes" => {
                let seconds = asked.duration.unwrap_or(15).max(15);
                if seconds > 3600 {
                    return Err(bad("duration is at most 3600"));
                }
                done(fleet.extend(sandbox, milliseconds(seconds)?).await)
            }
            "pause" => match fleet.pause(sandbox, asked.memory.unwrap_or(true)).await {
                Ok(Paused::Now) => Ok(empty(StatusCode::NO_CONTENT)),
                Ok(Paused::Already) => Err(error(StatusCode::CONFLICT, format!("Sandbox \"{id}\" is already paused"))),
                Err(failed) => Err(fleet_error(&failed)),
            },
            "resume" => {
                if sandbox.record().phase == Phase::Running {
                    return Err(error(StatusCode::CONFLICT, format!("Sandbox \"{id}\" is already running")));
                }
                let timeout = milliseconds(asked.timeout.unwrap_or(15))?;
                fleet.resume(sandbox, timeout, false).await.map_err(|failed| fleet_error(&failed))?;
                Ok(json(StatusCode::CREATED, &self.gateway.sandbox(&sandbox.record())))
            }
            "snapshots" => {
                let image = fleet.snapshot(sandbox, asked.name).await.map_err(|failed| fleet_error(&failed))?;
                Ok(json(StatusCode::CREATED, &snapshot_json(&image)))
            }
            "fork" => self.fork(sandbox, &asked).await,
            _ => Err(error(StatusCode::NOT_FOUND, format!("a sandbox has no {}", printable(action)))),
        }
    }

    async fn fork(&self, sandbox: &Arc<Sandbox>, asked: &Timing) -> Result<Answer, Refused> {
        let count = asked.count.unwrap_or(1);
        if !(1..=FORKS_MAX).contains(&count) {
            return Err(bad(format!("count is a number from 1 to {FORKS_MAX}")));
        }
        let timeout = milliseconds(asked.timeout.unwrap_or(15).max(1))?;
        let made = self.gateway.fleet.fork(sandbox, count, timeout).await.map_err(|failed| fleet_error(&failed))?;
        let results: Vec<Value> = made
            .iter()
            .map(|made| match made {
                Ok(record) => json!({ "sandbox": self.gateway.sandbox(record) }),
                Err(failed) => {
                    let code = fleet_error(failed).status().as_u16();
                    json!({ "error": { "code": code, "message": failed.to_string() } })
                }
            })
            .collect();
        Ok(json(StatusCode::CREATED, &results.into()))
    }

    async fn network(&self, sandbox: &Arc<Sandbox>) -> Result<Answer, Refused> {
        let network = self.read::<NetworkMessage>()?.check()?;
        self.gateway.fleet.set_network(sandbox, network).await.map_err(|failed| fleet_error(&failed))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn metrics(&self, sandbox: &Arc<Sandbox>) -> Result<Answer, Refused> {
        let time = |name: &str, usual: u64| match self.query.get(name).filter(|text| !text.is_empty()) {
            None => Ok(usual),
            Some(text) => text.parse::<u64>().map_err(|_| bad(format!("{name} is not a Unix time in seconds"))),
        };
        let (start, end) = (time("start", 0)?, time("end", u64::MAX / 1000)?);
        if end < start {
            return Err(bad("end is before start"));
        }
        // So that a caller who asks right after the start is told something.
        self.gateway.fleet.sample(sandbox).await;
        let samples = sandbox.samples(start.saturating_mul(1000), end.saturating_mul(1000).saturating_add(999));
        Ok(json(StatusCode::OK, &samples.iter().map(metric).collect::<Vec<_>>().into()))
    }

    async fn all_metrics(&self) -> Result<Answer, Refused> {
        let ids = self.query.get("sandbox_ids").map(String::as_str).unwrap_or_default();
        let mut found = serde_json::Map::new();
        for id in ids.split(',').filter(|id| !id.is_empty()).take(100) {
            if let Ok(sandbox) = self.find(id)
                && let Some(sample) = self.gateway.fleet.sample(&sandbox).await
            {
                found.insert(sandbox.id().to_string(), metric(&sample));
            }
        }
        Ok(json(StatusCode::OK, &json!({ "sandboxes": found })))
    }

    fn logs(&self, sandbox: &Sandbox) -> Result<Answer, Refused> {
        let get = |name: &str| self.query.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let number = |name: &str| match get(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| bad(format!("{name} is not a number"))),
        };
        let (cursor, limit) = (number("cursor")?, number("limit")?.unwrap_or(1000).min(1000));
        let level =
            get("level").map(|name| Level::parse(name).ok_or_else(|| bad("level is debug, info, warn or error")));
        let (level, search) = (level.transpose()?, get("search").unwrap_or_default());
        let backward = get("direction") == Some("backward");
        let mut lines = sandbox.journal.lines();
        lines.retain(|line| level.is_none_or(|level| line.level >= level) && line.message.contains(search));
        if backward {
            lines.reverse();
        }
        lines.retain(|line| cursor.is_none_or(|at| if backward { line.at <= at } else { line.at >= at }));
        lines.truncate(usize::try_from(limit).unwrap_or(1000));
        Ok(json(StatusCode::OK, &json!({ "logs": lines.iter().map(log).collect::<Vec<_>>() })))
    }

    fn old_logs(&self, sandbox: &Sandbox) -> Result<Answer, Refused> {
        let lines = sandbox.journal.lines();
        let old: Vec<Value> =
            lines.iter().map(|line| json!({ "timestamp": rfc3339(line.at), "line": line.message })).collect();
        let new: Vec<Value> = lines.iter().map(log).collect();
        Ok(json(StatusCode::OK, &json!({ "logs": old, "logEntries": new })))
    }

    fn snapshots(&self) -> Result<Answer, Refused> {
        let get = |name: &str| self.query.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let (of, named) = (get("sandboxID"), get("name"));
        let images = self.gateway.fleet.images(&self.owner).into_iter().filter(|image| match &image.kind {
            ImageKind::Snapshot { of: sandbox } => {
                of.is_none_or(|of| sandbox.as_str() == of)
                    && named.is_none_or(|named| image.names.iter().any(|name| name == named))
            }
            ImageKind::Template { .. } => false,
        });
        let page = page(images.collect(), &self.query, false, |image| (image.created_at, image.id.to_string()))?;
        let items: Vec<Value> = page.items.iter().map(snapshot_json).collect();
        Ok(with_next(json(StatusCode::OK, &items.into()), page.next))
    }
}

fn snapshot_json(image: &crate::sandbox::fleet::Image) -> Value {
    let names: Vec<String> = image.names.iter().map(|name| format!("{name}:default")).collect();
    json!({ "snapshotID": format!("{}:default", image.id), "names": names })
}

pub(super) fn with_next(mut response: Answer, next: Option<String>) -> Answer {
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert("x-next-token", next);
    }
    response
}

pub(super) fn unescape(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn not_offered(method: &Method, parts: &[&str]) -> Refused {
    let path = printable(&parts.join("/"));
    error(StatusCode::NOT_IMPLEMENTED, format!("{method} /{path} is not offered by this server"))
}
