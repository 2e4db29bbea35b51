//! The control plane's JSON: what callers send, checked, and what they get.

use super::answer::error;
use super::{Answer, Inner};
use crate::domain::rfc3339;
use crate::sandbox::fleet::{Level, Network, NewSandbox, OnTimeout, Phase, Record, Sample};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version of envd whose behaviour is offered.
pub(super) const ENVD_VERSION: &str = "0.6.13";
/// The longest time a sandbox may be given, in hours.
const HOURS_MAX: u64 = 720;
/// Characters of all metadata or all environment.
const MAP_MAX: usize = 64 * 1024;

/// A request to make a sandbox, first or second version.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Create {
    #[serde(rename = "templateID")]
    template_id: Option<String>,
    timeout: Option<i64>,
    metadata: Option<BTreeMap<String, String>>,
    env_vars: Option<BTreeMap<String, String>>,
    mcp: Option<Value>,
    #[serde(rename = "allow_internet_access")]
    allow_internet_access: Option<bool>,
    network: Option<NetworkMessage>,
    iam: Option<Value>,
    auto_pause: Option<bool>,
    auto_pause_memory: Option<bool>,
    auto_resume: Option<AutoResume>,
    volume_mounts: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AutoResume {
    enabled: bool,
}

/// What an owner may set about the network.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NetworkMessage {
    allow_out: Option<Vec<String>>,
    deny_out: Option<Vec<String>>,
    allow_public_traffic: Option<bool>,
    mask_request_host: Option<String>,
    https_ports: Option<Vec<Value>>,
    rules: Option<Map<String, Value>>,
    egress_proxy: Option<Value>,
    #[serde(alias = "allow_internet_access")]
    allow_internet_access: Option<bool>,
}

/// Why a request is refused: always the caller's fault.
pub(super) type Refused = Answer;

pub(super) fn bad(message: impl AsRef<str>) -> Refused {
    error(StatusCode::BAD_REQUEST, message)
}

impl Create {
    /// Checks it all. What cannot be held is refused, never dropped.
    pub(super) fn check(self, owner: &str, default_timeout: u64) -> Result<NewSandbox, Refused> {
        let template = self.template_id.filter(|id| !id.is_empty()).ok_or_else(|| bad("templateID is missing"))?;
        if self.mcp.is_some_and(|mcp| !mcp.is_null()) {
            return Err(bad("mcp is not supported by this server"));
        }
        if self.iam.is_some_and(|iam| !iam.is_null()) {
            return Err(bad("iam tokens are not supported by this server"));
        }
        if self.volume_mounts.is_some_and(|mounts| !mounts.is_empty()) {
            return Err(bad("volumes are not supported by this server"));
        }
        let metadata = check_map("metadata", self.metadata.unwrap_or_default())?;
        let envs = check_map("envVars", self.env_vars.unwrap_or_default())?;
        if let Some(name) = envs.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(bad(format!("envVars: {name:?} is not the name of a variable")));
        }
        if envs.values().any(|value| value.contains('\0')) {
            return Err(bad("envVars: a value contains a NUL"));
        }
        let mut network = self.network.unwrap_or_default().check()?;
        network.internet = self.allow_internet_access.or(network.internet);
        let on_timeout = if self.auto_pause.unwrap_or(false) { OnTimeout::Pause } else { OnTimeout::Kill };
        let auto_resume = self.auto_resume.unwrap_or_default().enabled;
        if auto_resume && on_timeout != OnTimeout::Pause {
            return Err(bad("autoResume needs autoPause"));
        }
        Ok(NewSandbox {
            owner: owner.to_owned(),
            template,
            timeout: match self.timeout {
                None => default_timeout * 1000,
                Some(seconds) if seconds > 0 => milliseconds(seconds)?,
                Some(_) => return Err(bad("Timeout must be greater than 0")),
            },
            metadata,
            envs,
            on_timeout,
            keep_memory: self.auto_pause_memory.unwrap_or(true),
            auto_resume,
            network,
        })
    }
}

impl NetworkMessage {
    /// What is asked for, as far as it can be held.
    pub(super) fn check(self) -> Result<Network, Refused> {
        let refuse = |field: &str| Err(bad(format!("network.{field} is not supported by this server")));
        let (allow, deny) = (self.allow_out.unwrap_or_default(), self.deny_out.unwrap_or_default());
        let is_network = |rule: &String| rule.bytes().all(|b| b.is_ascii_hexdigit() || b".:/".contains(&b));
        if let Some(name) = deny.iter().find(|rule| !is_network(rule)) {
            return Err(bad(format!("network.denyOut takes addresses and networks, not {name:?}")));
        }
        let closed = deny.iter().any(|rule| rule == "0.0.0.0/0");
        if !closed && allow.iter().any(|rule| !is_network(rule)) {
            return Err(bad("network.allowOut with names needs 0.0.0.0/0 in network.denyOut"));
        }
        if self.rules.is_some_and(|rules| !rules.is_empty()) {
            return refuse("rules");
        }
        if self.egress_proxy.is_some_and(|proxy| !proxy.is_null()) {
            return refuse("egressProxy");
        }
        if self.https_ports.is_some_and(|ports| !ports.is_empty()) {
            return refuse("httpsPorts");
        }
        let mask_host = self.mask_request_host.filter(|host| !host.is_empty());
        if mask_host.as_ref().is_some_and(|host| http::HeaderValue::from_str(host).is_err()) {
            return Err(bad("network.maskRequestHost is not a host"));
        }
        Ok(Network {
            internet: self.allow_internet_access,
            allow,
            deny,
            private_ports: !self.allow_public_traffic.unwrap_or(true),
            mask_host,
        })
    }
}

fn check_map(field: &str, map: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused> {
    let length: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if length > MAP_MAX { Err(bad(format!("{field} is larger than {MAP_MAX} bytes"))) } else { Ok(map) }
}

/// A time a sandbox may be given.
pub(super) fn milliseconds(seconds: i64) -> Result<u64, Refused> {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    if seconds > HOURS_MAX * 3600 {
        return Err(bad(format!("Timeout cannot be greater than {HOURS_MAX} hours")));
    }
    Ok(seconds * 1000)
}

impl Inner {
    /// A sandbox to its owner, with what opens it.
    pub(super) fn sandbox(&self, record: &Record) -> Value {
        with_alias(
            record,
            json!({
                "sandboxID": record.id,
                "templateID": record.template,
                "clientID": "sandcastle",
                "envdVersion": ENVD_VERSION,
                "envdAccessToken": record.token,
                "trafficAccessToken": record.traffic_token,
                "domain": self.domain(),
            }),
        )
    }

    /// The same in detail.
    pub(super) fn detail(&self, record: &Record) -> Value {
        let mut value = self.listed(record);
        value["envdAccessToken"] = json!(record.token);
        value["domain"] = json!(self.domain());
        let Network { allow, deny, .. } = &record.network;
        value["allowInternetAccess"] = json!(record.network.internet);
        let mut network = json!({ "allowPublicTraffic": !record.network.private_ports });
        for (name, rules) in [("allowOut", allow), ("denyOut", deny)] {
            if !rules.is_empty() {
                network[name] = json!(rules);
            }
        }
        if let Some(host) = &record.network.mask_host {
            network["maskRequestHost"] = json!(host);
        }
        value["network"] = network;
        let on_timeout = match record.on_timeout {
            OnTimeout::Kill => "kill",
            OnTimeout::Pause => "pause",
        };
        value["lifecycle"] = json!({ "onTimeout": on_timeout, "autoResume": record.auto_resume });
        value
    }

    /// The same as an item of a list.
    pub(super) fn listed(&self, record: &Record) -> Value {
        let (memory, disk) = self.fleet.size();
        let state = match record.phase {
            Phase::Running => "running",
            Phase::Paused => "paused",
        };
        with_alias(
            record,
            json!({
                "sandboxID": record.id,
                "templateID": record.template,
                "clientID": "sandcastle",
                "startedAt": rfc3339(record.started_at),
                "endAt": rfc3339(record.ends_at),
                "cpuCount": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
                "memoryMB": memory,
                "diskSizeMB": disk,
                "metadata": record.metadata,
                "state": state,
                "envdVersion": ENVD_VERSION,
            }),
        )
    }

    /// The domain below which ports have hosts, with the server's port.
    fn domain(&self) -> String {
        format!("{}:{}", self.address.domain, self.address.port)
    }
}

fn with_alias(record: &Record, mut value: Value) -> Value {
    if let Some(alias) = &record.alias {
        value["alias"] = json!(alias);
    }
    value
}

/// A sample of what a sandbox used.
pub(super) fn metric(sample: &Sample) -> Value {
    json!({
        "timestamp": rfc3339(sample.at),
        "timestampUnix": sample.at / 1000,
        "cpuCount": sample.cpus,
        "cpuUsedPct": sample.cpu_percent,
        "memUsed": sample.memory,
        "memTotal": sample.memory_total,
        "memCache": 0,
        "diskUsed": sample.disk,
        "diskTotal": sample.disk_total,
    })
}

/// A line of a sandbox's journal.
pub(super) fn log(line: &crate::sandbox::fleet::Line) -> Value {
    let level = line.level.max(Level::Debug).name();
    json!({ "timestamp": rfc3339(line.at), "level": level, "message": line.message, "fields": {} })
}
