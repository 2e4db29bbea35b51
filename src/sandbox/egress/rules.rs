//! A policy's rules, read once, and what they say about a destination.

use super::dial::Target;
use super::dns::is_host_name;
use crate::domain::{NetworkLine, NetworkMode, NetworkPolicy};
use crate::sandbox::SandboxError;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// Rules of one kind in one policy.
const RULES_MAX: usize = 500;

/// A policy that can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    mode: NetworkMode,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    what: What,
    /// Any, if none.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Name(String),
    /// All names below this one.
    Below(String),
    Network(IpAddr, u8),
}

/// A port besides 80 and 443 that a rule opens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Door {
    Name(String, u16),
    Address(SocketAddrV4),
}

/// What the rules say before a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glance {
    /// It may pass, whatever its addresses.
    Allowed,
    /// It may not pass, and is not looked up: a lookup alone would tell the world outside.
    Refused(&'static str),
    /// Its addresses decide.
    Ask,
}

const OFF: &str = "the network is off";
const UNLISTED: &str = NetworkLine::UNLISTED;
const DENIED: &str = NetworkLine::DENIED;

impl Rules {
    /// Reads a policy; the error says which rule cannot be read.
    pub(super) fn parse(policy: &NetworkPolicy) -> Result<Self, SandboxError> {
        let read = |rules: &[String]| {
            if rules.len() > RULES_MAX {
                return Err(SandboxError::Invalid(format!("a network policy has at most {RULES_MAX} rules of a kind")));
            }
            rules.iter().map(|rule| parse(rule)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { mode: policy.mode, allow: read(&policy.allow)?, deny: read(&policy.deny)? })
    }

    /// Whether the names that a program sends are compared with where it goes.
    pub(super) fn is_strict(&self) -> bool {
        self.mode == NetworkMode::Allowlist || !self.deny.is_empty()
    }

    /// Whether some name is denied, so that one that a program sends to a plain address matters.
    pub(super) fn denies_names(&self) -> bool {
        self.deny.iter().any(|rule| !rule.is_network())
    }

    /// Whether a name is denied by itself.
    pub(super) fn denies(&self, name: &str, port: u16) -> bool {
        let named = |rules: &[Rule]| rules.iter().any(|rule| rule.names(name, port));
        named(&self.deny) && !named(&self.allow)
    }

    /// Whether a rule allows this very name, whatever its addresses.
    pub(super) fn allows_by_name(&self, target: &Target, port: u16) -> bool {
        let Target::Name(name) = target else { return false };
        self.mode != NetworkMode::Off && self.allow.iter().any(|rule| rule.names(name, port))
    }

    /// What can be said without a lookup.
    pub(super) fn glance(&self, target: &Target, port: u16) -> Glance {
        if self.mode == NetworkMode::Off {
            return Glance::Refused(OFF);
        }
        let Target::Name(name) = target else { return Glance::Ask };
        let named = |rules: &[Rule]| rules.iter().any(|rule| rule.names(name, port));
        if named(&self.allow) {
            return Glance::Allowed;
        }
        if named(&self.deny) {
            return Glance::Refused(DENIED);
        }
        let by_address = self.allow.iter().any(Rule::is_network);
        let all_denied = self.deny.iter().any(Rule::is_everything);
        match self.mode {
            NetworkMode::Allowlist if !by_address => Glance::Refused(UNLISTED),
            NetworkMode::Internet if all_denied && !by_address => Glance::Refused(UNLISTED),
            NetworkMode::Internet if self.deny.iter().all(|rule| !rule.is_network()) => Glance::Allowed,
            _ => Glance::Ask,
        }
    }

    /// Why these addresses may not be reached; none if they may. Without any, no rule about addresses allows.
    pub(super) fn refusal(&self, addresses: &[IpAddr], port: u16) -> Option<&'static str> {
        let within = |rules: &[Rule], address: &IpAddr| rules.iter().any(|rule| rule.holds(*address, port));
        if self.mode == NetworkMode::Off {
            return Some(OFF);
        }
        if !addresses.is_empty() && addresses.iter().all(|address| within(&self.allow, address)) {
            return None;
        }
        if self.mode == NetworkMode::Allowlist {
            return Some(UNLISTED);
        }
        let unknown = addresses.is_empty() && self.deny.iter().any(Rule::is_network);
        (unknown || addresses.iter().any(|address| within(&self.deny, address))).then_some(DENIED)
    }

    /// Ports to open besides the usual two.
    pub(super) fn doors(&self) -> Vec<Door> {
        let door = |rule: &Rule| {
            let port = rule.port.filter(|port| ![80, 443].contains(port))?;
            match &rule.what {
                What::Name(name) => Some(Door::Name(name.clone(), port)),
                What::Network(IpAddr::V4(address), 32) => Some(Door::Address(SocketAddrV4::new(*address, port))),
                _ => None,
            }
        };
        if self.mode == NetworkMode::Off { Vec::new() } else { self.allow.iter().filter_map(door).collect() }
    }
}

impl Rule {
    fn fits(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    fn names(&self, name: &str, port: u16) -> bool {
        self.fits(port)
            && match &self.what {
                What::Name(own) => own == name,
                What::Below(own) => name.strip_suffix(own.as_str()).is_some_and(|front| front.ends_with('.')),
                What::Network(..) => false,
            }
    }

    fn holds(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.fits(port)
            && matches!(self.what, What::Network(network, prefix) if super::networks::same_network(address, network, prefix))
    }

    fn is_network(&self) -> bool {
        matches!(self.what, What::Network(..))
    }

    fn is_everything(&self) -> bool {
        self.port.is_none() && matches!(self.what, What::Network(_, 0))
    }
}

fn parse(rule: &str) -> Result<Rule, SandboxError> {
    let invalid = |what: &str| SandboxError::Invalid(format!("the network rule \"{rule}\" {what}"));
    let text = rule.trim().to_ascii_lowercase();
    if let Some(network) = network(&text) {
        return Ok(Rule { what: network, port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse::<u16>().ok().filter(|port| *port != 0);
            (
                host.trim_start_matches('[').trim_end_matches(']'),
                Some(port.ok_or_else(|| invalid("has no valid port"))?),
            )
        }
        None => (text.as_str(), None),
    };
    if let Some(what) = network(host) {
        let single = matches!(what, What::Network(IpAddr::V4(_), 32) | What::Network(IpAddr::V6(_), 128));
        return if single || port.is_none() {
            Ok(Rule { what, port })
        } else {
            Err(invalid("has a port for a whole network"))
        };
    }
    let what = match host.strip_prefix("*.") {
        Some(_) if port.is_some() => return Err(invalid("has a port, which needs one whole name")),
        Some(below) => What::Below(below.to_owned()),
        None => What::Name(host.to_owned()),
    };
    let whole = match &what {
        // A whole top-level domain may stand behind the star.
        What::Below(below) => format!("x.{below}"),
        _ => host.to_owned(),
    };
    if !is_host_name(&whole) {
        return Err(invalid("is neither a host name nor an address or network"));
    }
    Ok(Rule { what, port })
}

/// `203.0.113.7`, `203.0.113.0/24` and the same of IPv6.
fn network(text: &str) -> Option<What> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(whole), |prefix| prefix.parse().ok().filter(|prefix| *prefix <= whole))?;
    // `::/0` is meant for everything, and everything here begins as IPv4.
    let address = if prefix == 0 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { address };
    Some(What::Network(address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(mode: NetworkMode, allow: &[&str], deny: &[&str]) -> Rules {
        let own = |list: &[&str]| list.iter().map(|rule| (*rule).to_owned()).collect();
        Rules::parse(&NetworkPolicy { mode, allow: own(allow), deny: own(deny) }).unwrap()
    }

    fn name(name: &str) -> Target {
        Target::Name(name.to_owned())
    }

    const PUBLIC: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80))];

    #[test]
    fn an_allowlist_knows_names_and_what_is_below_them() {
        let rules = rules(NetworkMode::Allowlist, &["Example.com", "*.registry.example", "db.example.org:5432"], &[]);
        for allowed in ["example.com", "a.registry.example", "a.b.registry.example"] {
            assert_eq!(rules.glance(&name(allowed), 443), Glance::Allowed, "{allowed}");
        }
        for refused in ["www.example.com", "registry.example", "evilregistry.example", "db.example.org"] {
            assert_eq!(rules.glance(&name(refused), 443), Glance::Refused(UNLISTED), "{refused}");
        }
        assert_eq!(rules.glance(&name("db.example.org"), 5432), Glance::Allowed);
        assert_eq!(rules.doors(), [Door::Name("db.example.org".to_owned(), 5432)]);
        assert_eq!(rules.refusal(&PUBLIC, 443), Some(UNLISTED), "a plain address is no name");
        assert!(rules.is_strict());
    }

    #[test]
    fn networks_decide_by_every_address() {
        let rules = rules(NetworkMode::Allowlist, &["203.0.113.0/24"], &[]);
        assert_eq!(rules.glance(&name("a.example"), 443), Glance::Ask);
        assert_eq!(rules.refusal(&PUBLIC, 443), None);
        let mixed = [PUBLIC[0], "198.51.100.1".parse().unwrap()];
        assert_eq!(rules.refusal(&mixed, 443), Some(UNLISTED));
        assert_eq!(rules.refusal(&[], 443), Some(UNLISTED));
        assert_eq!(rules.refusal(&["::ffff:203.0.113.9".parse().unwrap()], 443), None);
    }

    #[test]
    fn what_is_allowed_wins_over_what_is_denied() {
        let some = rules(NetworkMode::Internet, &["good.example"], &["*.example", "198.51.100.0/24"]);
        assert_eq!(some.glance(&name("good.example"), 443), Glance::Allowed);
        assert_eq!(some.glance(&name("bad.example"), 443), Glance::Refused(DENIED));
        assert_eq!(some.glance(&name("other.test"), 443), Glance::Ask);
        assert_eq!(some.refusal(&["198.51.100.7".parse().unwrap()], 443), Some(DENIED));
        assert_eq!((some.refusal(&PUBLIC, 443), some.refusal(&[], 443)), (None, Some(DENIED)));
        let all = rules(NetworkMode::Internet, &["good.example"], &["0.0.0.0/0"]);
        assert_eq!(all.glance(&name("good.example"), 443), Glance::Allowed);
        assert_eq!(all.glance(&name("other.test"), 443), Glance::Refused(UNLISTED), "not even looked up");
        assert_eq!(all.refusal(&PUBLIC, 443), Some(DENIED));
    }

    #[test]
    fn off_is_off_whatever_is_allowed() {
        let rules = rules(NetworkMode::Off, &["good.example:5432", "0.0.0.0/0"], &[]);
        assert_eq!(rules.glance(&name("good.example"), 443), Glance::Refused(OFF));
        assert_eq!((rules.refusal(&PUBLIC, 443), rules.doors()), (Some(OFF), vec![]));
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_named() {
        for rule in [
            "",
            "*",
            "a b",
            "under_score.example",
            "example.com:0",
            "example.com:70000",
            "10.0.0.0/33",
            "*.a.b:22",
            "10.0.0.0/8:22",
            "http://example.com",
            "nul\0.example",
            "-x.example",
            "single",
        ] {
            let policy = NetworkPolicy { allow: vec![rule.to_owned()], ..NetworkPolicy::default() };
            let error = Rules::parse(&policy).unwrap_err();
            assert!(matches!(&error, SandboxError::Invalid(text) if text.contains(rule)), "{rule}: {error}");
        }
        let many = NetworkPolicy { deny: vec!["a.example".to_owned(); RULES_MAX + 1], ..NetworkPolicy::default() };
        assert!(Rules::parse(&many).is_err());
    }
}
