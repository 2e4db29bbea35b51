//! The server's configuration: command line over environment over `.env.local`, `.env` and `Leptos.toml`, checked once.
//!
//! Owns every knob and its default. It must not do anything beyond reading: no directories are made, no ports bound.

mod dotenv;
mod file;
mod load;
mod public;

pub use load::{ConfigError, Overrides, Sources};
pub use public::PublicUrl;

use ipnet::IpNet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything a person can set. `README.md` has the table of names.
#[derive(Clone, Debug)]
pub struct Config {
    /// HTTP front.
    pub server: ServerConfig,
    /// Models.
    pub model: ModelConfig,
    /// Whether models that nobody is billed for are tried by themselves when they are chosen. Default true.
    pub try_models: bool,
    /// The agent.
    pub agent: AgentConfig,
    /// Sandboxes.
    pub sandbox: SandboxConfig,
    /// The service that makes projects' sandboxes; none for this machine itself.
    pub e2b: Option<E2bConfig>,
    /// Where traces are sent; nowhere by default.
    pub otlp: Option<OtlpConfig>,
    /// What decides when tasks run.
    pub engine: EngineConfig,
}

/// Export of traces over OTLP/HTTP, by the names that OpenTelemetry gives its settings.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// The whole address that traces are posted to.
    pub endpoint: String,
    /// Headers of each request, for instance a collector's key.
    pub headers: Vec<(String, Secret)>,
    /// The service's name in traces.
    pub service: String,
}

impl Config {
    /// Every default over this data folder: loopback, demo model.
    pub fn defaults(data_dir: PathBuf) -> Self {
        Self {
            server: ServerConfig {
                addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
                data_dir,
                access_token: None,
                allowed_hosts: Vec::new(),
                public_url: None,
                trusted_proxies: Vec::new(),
                preview_domain: "localhost".to_owned(),
                site_root: PathBuf::from("target/site"),
                leptos_toml: None,
            },
            model: ModelConfig {
                base_url: load::GATEWAY_URL.to_owned(),
                api_key: None,
                default_model: None,
                configured: false,
            },
            try_models: true,
            agent: AgentConfig { max_steps: 40 },
            sandbox: SandboxConfig::default(),
            e2b: None,
            otlp: None,
            engine: EngineConfig::Embedded,
        }
    }
}

/// What decides when tasks run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineConfig {
    /// The server itself.
    Embedded,
    /// A Restate server.
    Restate(RestateConfig),
}

/// Where a Restate server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestateConfig {
    /// Where it takes invocations. Default `http://127.0.0.1:8080`.
    pub ingress: RestateAddress,
    /// Its administration. Default `http://127.0.0.1:9070`.
    pub admin: RestateAddress,
}

/// An address that nobody but this machine can reach: Restate asks nobody for a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestateAddress {
    /// HTTP over loopback, without a slash at the end.
    Http(String),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for RestateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// HTTP front.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen. Default `127.0.0.1:3000`.
    pub addr: SocketAddr,
    /// Database, workspaces, logs. Default `$XDG_DATA_HOME/sandcastle`.
    pub data_dir: PathBuf,
    /// Required in the browser when other machines can reach the server.
    pub access_token: Option<Secret>,
    /// Host names the server answers to, besides loopback names and addresses.
    pub allowed_hosts: Vec<String>,
    /// Where browsers reach the server, if that is not `addr`: behind a reverse proxy.
    pub public_url: Option<PublicUrl>,
    /// Whose `X-Forwarded-For` is believed. With `public_url`, this machine unless others are named; else nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// Domain under which previews live as `{port}-{sandbox}.{domain}`. Default the host of `public_url`, else `localhost`.
    pub preview_domain: String,
    /// Where the built browser files are. Default `target/site` beside the working directory or the binary.
    pub site_root: PathBuf,
    /// The `Leptos.toml` that was read, for leptos' own table in it.
    pub leptos_toml: Option<PathBuf>,
}

/// Models.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// OpenAI-compatible base URL, without `/chat/completions`.
    pub base_url: String,
    /// Its key; none for local servers.
    pub api_key: Option<Secret>,
    /// The model to use unless a message names one.
    pub default_model: Option<String>,
    /// Whether base URL or key were set: else the demo answers.
    pub configured: bool,
}

/// The agent.
#[derive(Clone, Copy, Debug)]
pub struct AgentConfig {
    /// Model calls in one turn. Default 40.
    pub max_steps: u32,
}

/// Sandboxes.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Memory of one sandbox in MiB. Default 2048.
    pub memory_mib: u64,
    /// Processes and threads of one sandbox. Default 512.
    pub processes: u64,
    /// Workspace size in MiB. Default 4096.
    pub disk_mib: u64,
    /// Files and folders of one workspace, caches of its tools included. Default 500,000.
    pub files: u64,
    /// CPU time of one sandbox in percent of one core. Default 0: a fair share of all cores.
    pub cpu_percent: u64,
    /// Files one process of a sandbox may have open. Default 65,536.
    pub open_files: u64,
    /// Time a foreground command may take unless the tool names one. Default 300 s.
    pub command_timeout: Duration,
    /// Put to sleep after so long without command or traffic. Default 30 min.
    pub idle_timeout: Duration,
    /// Keep this much of the host's disk free, in MiB. Default 512.
    pub disk_floor_mib: u64,
    /// The init binary; default: beside the server's.
    pub init: Option<PathBuf>,
    /// Directories of the host mounted read-only besides those found (toolchains).
    pub extra_mounts: Vec<PathBuf>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            memory_mib: 2048,
            processes: 512,
            disk_mib: 4096,
            files: 500_000,
            cpu_percent: 0,
            open_files: 65_536,
            command_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(30 * 60),
            disk_floor_mib: 512,
            init: None,
            extra_mounts: Vec::new(),
        }
    }
}

/// An e2b service: the cloud's, or any server that speaks its protocol. The names are those of its SDKs.
#[derive(Clone, Debug)]
pub struct E2bConfig {
    /// The key.
    pub api_key: Secret,
    /// Its control plane, without a slash at the end. Default `https://api.{domain}`.
    pub api_url: String,
    /// Below it sandboxes have their hosts. Default `e2b.app`.
    pub domain: String,
    /// One address for everything in sandboxes instead, by headers; without a slash at the end.
    pub sandbox_url: Option<String>,
    /// What sandboxes are made from. Default `base`.
    pub template: String,
    /// How long a sandbox lives after the last word of a server that died. Default 300 s.
    pub timeout: Duration,
}

/// A value that must not be seen in logs, events, prompts or `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
