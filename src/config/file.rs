//! The tables of `Leptos.toml` that are ours. An unknown key is an error that names it, so that a typing mistake shows.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `Leptos.toml`, of which `[package.metadata.leptos]` is read by leptos itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    pub server: ServerTable,
    pub model: ModelTable,
    pub agent: AgentTable,
    pub sandbox: SandboxTable,
    pub e2b: E2bTable,
    /// Belongs to leptos.
    #[serde(rename = "package")]
    _package: Option<serde::de::IgnoredAny>,
}

/// `[server]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServerTable {
    pub addr: Option<SocketAddr>,
    pub data_dir: Option<PathBuf>,
    pub access_token: Option<String>,
    pub allowed_hosts: Option<Vec<String>>,
    pub public_url: Option<String>,
    pub trusted_proxies: Option<Vec<String>>,
    pub preview_domain: Option<String>,
    pub site_root: Option<PathBuf>,
}

/// `[model]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelTable {
    pub base_url: Option<String>,
    pub api_key: Option<String>,
    pub default_model: Option<String>,
}

/// `[agent]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct AgentTable {
    pub max_steps: Option<u32>,
}

/// `[sandbox]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SandboxTable {
    pub provider: Option<String>,
    pub memory_mib: Option<u64>,
    pub processes: Option<u64>,
    pub disk_mib: Option<u64>,
    pub files: Option<u64>,
    pub cpu_percent: Option<u64>,
    pub open_files: Option<u64>,
    pub command_timeout_seconds: Option<u64>,
    pub idle_timeout_seconds: Option<u64>,
    pub disk_floor_mib: Option<u64>,
    pub init: Option<PathBuf>,
    pub extra_mounts: Option<Vec<PathBuf>>,
}

/// `[e2b]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct E2bTable {
    pub api_key: Option<String>,
    pub api_url: Option<String>,
    pub domain: Option<String>,
    pub sandbox_url: Option<String>,
    pub template: Option<String>,
    pub timeout_seconds: Option<u64>,
}
