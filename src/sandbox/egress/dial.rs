//! Connecting from the host for a sandbox: look up, check, connect to what was checked.

use super::networks::HostNetworks;
use super::policy;
use super::rules::{Glance, Rules};
use crate::domain::NetworkLine;
use crate::sandbox::base64;
use async_trait::async_trait;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one address.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_TRIED: usize = 4;
/// The longest answer of a proxy to `CONNECT`.
const PROXY_HEAD_MAX: usize = 16 * 1024;

/// How names are looked up.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Every address of the name.
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The host's own resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Where a sandbox wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A name it looked up before.
    Name(String),
    /// A plain address.
    Address(IpAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Not allowed.
    #[error("{target} is in {what}, which a sandbox may not reach")]
    Denied {
        /// What was asked for.
        target: Target,
        /// Where it is.
        what: &'static str,
    },
    /// The sandbox's own policy forbids it.
    #[error("{target} may not be reached: {why}")]
    Forbidden {
        /// What was asked for.
        target: Target,
        /// By which part of the policy.
        why: String,
    },
    /// Allowed, but it did not work.
    #[error("{target} cannot be reached: {why}")]
    Failed {
        /// What was asked for.
        target: Target,
        /// What happened.
        why: String,
    },
}

impl Refusal {
    /// In a few words, without the target.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Denied { what, .. } => (*what).to_owned(),
            Self::Forbidden { why, .. } | Self::Failed { why, .. } => why.chars().take(120).collect(),
        }
    }
}

/// A connection, and the addresses that were checked for it.
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    pub(super) addresses: Vec<IpAddr>,
}

/// Makes the sandboxes' connections.
pub(super) struct Dialer {
    resolver: Arc<dyn Resolver>,
    proxy: Option<UpstreamProxy>,
    host: HostNetworks,
}

impl Dialer {
    pub(super) fn new(resolver: Arc<dyn Resolver>, proxy: Option<UpstreamProxy>) -> Self {
        Self { resolver, proxy, host: HostNetworks::default() }
    }

    /// Connects, or says why not. Every address of a name must be allowed, or none is used.
    ///
    /// Also the host's own proxy is given an address that was checked, because its lookup could have another answer. It
    /// is given a name only where the policy names it, and the host cannot look it up or the proxy takes no addresses.
    pub(super) async fn dial(&self, target: &Target, port: u16, rules: &Rules) -> Result<Dialled, Refusal> {
        let forbidden = |why: &str| Refusal::Forbidden { target: target.clone(), why: why.to_owned() };
        let glance = rules.glance(target, port);
        if let Glance::Refused(why) = glance {
            return Err(forbidden(why));
        }
        let failed = |why: String| Refusal::Failed { target: target.clone(), why };
        let proxy = self.proxy.as_ref().filter(|proxy| !proxy.is_exempt(target));
        let addresses = match target {
            Target::Address(address) => vec![*address],
            Target::Name(name) => match self.resolver.resolve(name).await {
                Ok(addresses) => addresses,
                // Behind a proxy the host often cannot look up names.
                Err(_) if proxy.is_some() && rules.allows_by_name(target, port) => Vec::new(),
                Err(_) if proxy.is_some() => return Err(forbidden(NetworkLine::UNCHECKED)),
                Err(error) => return Err(failed(error.to_string())),
            },
        };
        for address in &addresses {
            if let Some(what) = policy::denied(*address, &self.host) {
                return Err(Refusal::Denied { target: target.clone(), what });
            }
        }
        if let Some(why) = rules.refusal(&addresses, port).filter(|_| glance == Glance::Ask) {
            return Err(forbidden(why));
        }
        if let Some(proxy) = proxy {
            let by_name = rules.allows_by_name(target, port).then_some(target);
            let stream = proxy.reach(&addresses, by_name, port).await.map_err(|error| {
                let hint = match (target, by_name) {
                    (Target::Name(_), None) => "; it gets the name only with a network rule that allows it",
                    _ => "",
                };
                failed(format!("{error}{hint}"))
            })?;
            return Ok(Dialled { stream, addresses });
        }
        let mut last = "it has no address".to_owned();
        for address in addresses.iter().take(ADDRESSES_TRIED) {
            match timeout(CONNECT_LIMIT, TcpStream::connect(SocketAddr::new(*address, port))).await {
                Ok(Ok(stream)) => return Ok(Dialled { stream, addresses }),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = "no answer in time".to_owned(),
            }
        }
        Err(failed(last))
    }
}

/// The HTTP proxy the host itself must use.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    authority: String,
    credentials: Option<String>,
    exempt: Vec<String>,
}

impl UpstreamProxy {
    /// The proxy named by `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, in capitals or not, with `NO_PROXY`.
    pub fn from_env() -> Option<Self> {
        let variable = |name: &str| {
            let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase()));
            value.ok().filter(|value| !value.trim().is_empty())
        };
        let url = variable("HTTPS_PROXY").or_else(|| variable("HTTP_PROXY")).or_else(|| variable("ALL_PROXY"))?;
        let proxy = Self::parse(&url, &variable("NO_PROXY").unwrap_or_default());
        if proxy.is_none() {
            tracing::warn!("the proxy of the environment is not an http:// one and is not used for sandboxes");
        }
        proxy
    }

    /// Parses `http://user:password@host:port` and a comma-separated list of names to reach directly.
    pub fn parse(url: &str, exempt: &str) -> Option<Self> {
        let rest = match url.trim().split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return None,
            None => url.trim(),
        };
        let rest = rest.split(['/', '?']).next()?;
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        if host.is_empty() {
            return None;
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(Self {
            authority: if has_port { host.to_owned() } else { format!("{host}:80") },
            credentials: user.map(|user| base64::encode(&percent_decode(user))),
            exempt: exempt
                .split(',')
                .map(|name| name.trim().trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
        })
    }

    fn is_exempt(&self, target: &Target) -> bool {
        let name = target.to_string();
        self.exempt.iter().any(|exempt| {
            name == *exempt || name.strip_suffix(exempt.as_str()).is_some_and(|front| front.ends_with('.'))
        })
    }

    /// Connects to one of the addresses, else by name, if there is one that may be used so.
    async fn reach(&self, addresses: &[IpAddr], name: Option<&Target>, port: u16) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::other("it has no address");
        let addresses = addresses.iter().take(ADDRESSES_TRIED).copied().map(Target::Address);
        for target in addresses.chain(name.cloned()) {
            match self.connect(&target, port).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect(&self, target: &Target, port: u16) -> std::io::Result<TcpStream> {
        let handshake = async {
            let mut stream = TcpStream::connect(&self.authority).await?;
            let host = match target {
                Target::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
                other => format!("{other}:{port}"),
            };
            let credentials = self.credentials.as_ref();
            let authorization =
                credentials.map(|secret| format!("Proxy-Authorization: Basic {secret}\r\n")).unwrap_or_default();
            let request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n");
            stream.write_all(request.as_bytes()).await?;
            // One byte at a time: what follows the head belongs to the connection.
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if head.len() >= PROXY_HEAD_MAX {
                    return Err(std::io::Error::other("the proxy's answer is too long"));
                }
                head.push(stream.read_u8().await?);
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            match line.split_whitespace().nth(1) {
                Some(status) if status.starts_with('2') => Ok(stream),
                _ => Err(std::io::Error::other(format!("the proxy answered: {line}"))),
            }
        };
        timeout(CONNECT_LIMIT, handshake).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamProxy").field("authority", &self.authority).finish_non_exhaustive()
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_address_credentials_and_exemptions_are_read() {
        let proxy =
            UpstreamProxy::parse("http://us%40er:pw@proxy.example:3128/", "localhost, .corp.example,*").unwrap();
        assert_eq!(proxy.authority, "proxy.example:3128");
        assert_eq!(proxy.credentials.as_deref(), Some("dXNAZXI6cHc="));
        let exempt = |name: &str| proxy.is_exempt(&Target::Name(name.to_owned()));
        assert!(exempt("git.corp.example") && exempt("corp.example") && !exempt("notcorp.example"));
        assert!(!format!("{proxy:?}").contains("dXNA"));
        assert_eq!(UpstreamProxy::parse("proxy", "").unwrap().authority, "proxy:80");
        assert_eq!(UpstreamProxy::parse("socks5://proxy", ""), None);
    }
}
