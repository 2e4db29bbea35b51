//! What may leave remote sandboxes: a project's rules in the service's words, which holds them itself.
//!
//! The service does not tell which destinations were reached, so the ledger stays empty.

use super::control::Control;
use crate::domain::{NetworkLine, NetworkMode, NetworkPolicy, SandboxId};
use crate::sandbox::SandboxError;
use crate::sandbox::entry::lock;
use crate::sandbox::provider::Network;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

const EVERYTHING: &str = "0.0.0.0/0";

/// The rules of all sandboxes.
pub struct RemoteNetwork {
    control: Arc<Control>,
    policies: Mutex<HashMap<SandboxId, NetworkPolicy>>,
    /// Live sandboxes by our id: the service's id.
    live: Mutex<HashMap<SandboxId, String>>,
    never: watch::Sender<u64>,
}

impl RemoteNetwork {
    /// No rules yet.
    pub fn new(control: Arc<Control>) -> Self {
        Self { control, policies: Mutex::default(), live: Mutex::default(), never: watch::Sender::new(0) }
    }

    /// What a sandbox is to be started with. Rules that the service cannot hold are an error: it would be open.
    pub fn rules(&self, id: &SandboxId) -> Result<Value, SandboxError> {
        translate(&lock(&self.policies).get(id).cloned().unwrap_or_default())
    }

    /// It is awake under this id of the service.
    pub fn awake(&self, id: &SandboxId, remote: &str) {
        lock(&self.live).insert(id.clone(), remote.to_owned());
    }

    /// It is not awake any more.
    pub fn asleep(&self, id: &SandboxId) {
        lock(&self.live).remove(id);
    }
}

#[async_trait]
impl Network for RemoteNetwork {
    async fn set_policy(&self, id: &SandboxId, policy: &NetworkPolicy) -> Result<(), SandboxError> {
        let rules = translate(policy)?;
        let live = lock(&self.live).get(id).cloned();
        if let Some(remote) = live {
            // One that is gone gets the rules when it is made again.
            self.control.set_network(&remote, &rules).await?;
        }
        lock(&self.policies).insert(id.clone(), policy.clone());
        Ok(())
    }

    fn ledger(&self, _id: &SandboxId) -> Vec<NetworkLine> {
        Vec::new()
    }

    fn restore(&self, id: &SandboxId, policy: &NetworkPolicy, _lines: &[NetworkLine]) -> Result<(), SandboxError> {
        lock(&self.policies).insert(id.clone(), policy.clone());
        Ok(())
    }

    fn changed(&self, _id: &SandboxId) -> watch::Receiver<u64> {
        self.never.subscribe()
    }

    fn forget(&self, id: &SandboxId) {
        lock(&self.policies).remove(id);
        lock(&self.live).remove(id);
    }
}

/// The rules as `allowOut` and `denyOut`. There, what is allowed wins as here; names can only be allowed, and only
/// where everything else is denied; ports cannot be named.
fn translate(policy: &NetworkPolicy) -> Result<Value, SandboxError> {
    let cannot = |rule: &str, why: &str| {
        Err(SandboxError::Invalid(format!(
            "e2b cannot hold the network rule {rule}: {why}. Change it under Logs, Network."
        )))
    };
    let (allow, deny): (&[String], Vec<&str>) = match policy.mode {
        NetworkMode::Internet if policy.deny.is_empty() => (&[], Vec::new()),
        NetworkMode::Internet => (&policy.allow, policy.deny.iter().map(String::as_str).collect()),
        NetworkMode::Allowlist => (&policy.allow, vec![EVERYTHING]),
        NetworkMode::Off => (&[], vec![EVERYTHING]),
    };
    if let Some(rule) = allow.iter().map(String::as_str).chain(deny.iter().copied()).find(|rule| has_port(rule)) {
        return cannot(rule, "its rules have no ports");
    }
    if let Some(rule) = deny.iter().find(|rule| !is_network(rule)) {
        return cannot(rule, "it denies addresses and networks only, not names");
    }
    if let Some(rule) = allow.iter().find(|rule| !is_network(rule) && !deny.contains(&EVERYTHING)) {
        return cannot(rule, "it allows names only where everything else is denied");
    }
    let mut rules = json!({});
    if !allow.is_empty() {
        rules["allowOut"] = json!(allow);
    }
    if !deny.is_empty() {
        rules["denyOut"] = json!(deny);
    }
    Ok(rules)
}

fn has_port(rule: &str) -> bool {
    rule.rsplit_once(':').is_some_and(|(host, port)| {
        (!host.contains(':') || host.ends_with(']')) && port.bytes().all(|b| b.is_ascii_digit())
    })
}

fn is_network(rule: &str) -> bool {
    let address = rule.split_once('/').map_or(rule, |(address, _)| address);
    address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: NetworkMode, allow: &[&str], deny: &[&str]) -> NetworkPolicy {
        let list = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
        NetworkPolicy { mode, allow: list(allow), deny: list(deny) }
    }

    #[test]
    fn rules_become_the_services_own() {
        let cases = [
            (policy(NetworkMode::Internet, &[], &[]), json!({})),
            (policy(NetworkMode::Internet, &["example.com"], &[]), json!({})),
            (
                policy(NetworkMode::Internet, &["203.0.113.7"], &["203.0.113.0/24"]),
                json!({"allowOut": ["203.0.113.7"], "denyOut": ["203.0.113.0/24"]}),
            ),
            (
                policy(NetworkMode::Allowlist, &["*.example.com", "192.0.2.1"], &["192.0.2.0/24"]),
                json!({"allowOut": ["*.example.com", "192.0.2.1"], "denyOut": ["0.0.0.0/0"]}),
            ),
            (policy(NetworkMode::Off, &["example.com"], &[]), json!({"denyOut": ["0.0.0.0/0"]})),
        ];
        for (policy, rules) in cases {
            assert_eq!(translate(&policy).unwrap(), rules, "{policy:?}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_held_is_refused_by_its_name() {
        for (policy, rule) in [
            (policy(NetworkMode::Allowlist, &["db.example.com:5432"], &[]), "db.example.com:5432"),
            (policy(NetworkMode::Internet, &[], &["ads.example.com"]), "ads.example.com"),
            (policy(NetworkMode::Internet, &["cdn.example.com"], &["203.0.113.0/24"]), "cdn.example.com"),
        ] {
            let error = translate(&policy).unwrap_err().to_string();
            assert!(error.contains(rule), "{error}");
        }
        assert!(translate(&policy(NetworkMode::Allowlist, &["2001:db8::/32"], &[])).is_ok());
    }
}
