//! Puts the sources together, one setting at a time, and checks the whole.

use super::file::FileConfig;
use super::{
    AgentConfig, Config, E2bConfig, EngineConfig, ModelConfig, OtlpConfig, PublicUrl, RestateAddress, RestateConfig,
    SandboxConfig, Secret, ServerConfig, dotenv,
};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where a key of `AI_GATEWAY_API_KEY` belongs unless a base URL is set.
pub(super) const GATEWAY_URL: &str = "https://ai-gateway.vercel.sh/v1";
const OPENAI_URL: &str = "https://api.openai.com/v1";
/// Shorter tokens can be guessed.
const TOKEN_MIN: usize = 12;

/// A setting that cannot be used; the text names it, where it was set, and what is expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A value has the wrong form.
    #[error("{name}: {reason}")]
    Value {
        /// The variable, flag or key.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--addr`
    pub addr: Option<SocketAddr>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--config`: the file must exist then.
    pub config: Option<PathBuf>,
}

/// Everything a setting can come from, already read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The command line.
    pub overrides: Overrides,
    /// The environment over `.env.local` over `.env`.
    pub env: BTreeMap<String, String>,
    /// The text of `Leptos.toml` and its name.
    pub file: Option<(PathBuf, String)>,
}

impl Config {
    /// Reads environment and files of the working directory.
    pub fn load(overrides: Overrides) -> Result<Self, ConfigError> {
        Self::resolve(&Sources::read(overrides, Path::new("."), std::env::vars_os())?)
    }

    /// Decides every setting from sources already read.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        let file = match &sources.file {
            Some((path, text)) => toml::from_str::<FileConfig>(text)
                .map_err(|error| ConfigError::File { path: path.clone(), reason: error.to_string() })?,
            None => FileConfig::default(),
        };
        let env = Env(&sources.env);
        let config = Self {
            server: server(sources, &env, &file)?,
            model: model(&env, &file)?,
            try_models: env.switch("SANDCASTLE_TRY_MODELS", true)?,
            agent: AgentConfig {
                max_steps: env.number("SANDCASTLE_MAX_STEPS", file.agent.max_steps.map(u64::from), 40, 1..=1000)?
                    as u32,
            },
            sandbox: sandbox(&env, &file)?,
            e2b: e2b(&env, &file)?,
            otlp: otlp(&env)?,
            engine: engine(&env)?,
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses combinations that would expose the server, or have it call itself.
    fn check(&self) -> Result<(), ConfigError> {
        if let Some(e2b) = &self.e2b
            && is_address(&e2b.api_url, self.server.addr)
        {
            return Err(value(
                "E2B_API_URL",
                "this is the server's own address; unset E2B_API_KEY, or set SANDCASTLE_PROVIDER=local",
            ));
        }
        match &self.server.access_token {
            Some(token) if token.expose().len() < TOKEN_MIN => Err(value(
                "SANDCASTLE_ACCESS_TOKEN",
                format!("too short; use at least {TOKEN_MIN} characters, for instance from `openssl rand -hex 24`"),
            )),
            None => match self.server.open_address() {
                Some((address, instead)) => Err(value(
                    "SANDCASTLE_ACCESS_TOKEN",
                    format!(
                        "{address} can be reached from other machines, and whoever reaches this server can run commands on \
                         it; set SANDCASTLE_ACCESS_TOKEN (for instance to the output of `openssl rand -hex 24`) or {instead}"
                    ),
                )),
                None => Ok(()),
            },
            Some(_) => Ok(()),
        }
    }
}

impl ServerConfig {
    /// Where other machines may reach the server, and how to have that not be so.
    fn open_address(&self) -> Option<(String, &'static str)> {
        let listens = (!self.addr.ip().is_loopback()).then(|| (self.addr.to_string(), "listen on 127.0.0.1"));
        let public = self.public_url.as_ref().filter(|url| url.is_open());
        listens.or_else(|| public.map(|url| (url.to_string(), "unset SANDCASTLE_PUBLIC_URL")))
    }
}

impl Sources {
    /// Reads `.env`, `.env.local` and `Leptos.toml` of `dir`. A missing file is not an error, unless it was named.
    pub fn read(
        overrides: Overrides,
        dir: &Path,
        vars: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut env = BTreeMap::new();
        for name in [".env", ".env.local"] {
            let path = dir.join(name);
            if let Some(text) = read_optional(&path)? {
                env.extend(dotenv::parse(&text).map_err(|reason| ConfigError::File { path, reason })?);
            }
        }
        env.extend(vars.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))));
        let named = overrides.config.clone();
        let path = named.clone().unwrap_or_else(|| dir.join("Leptos.toml"));
        let file = match read_optional(&path)? {
            None if named.is_some() => {
                return Err(ConfigError::File { path, reason: "there is no such file".to_owned() });
            }
            text => text.map(|text| (path, text)),
        };
        Ok(Self { overrides, env, file })
    }
}

fn read_optional(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::File { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn server(sources: &Sources, env: &Env<'_>, file: &FileConfig) -> Result<ServerConfig, ConfigError> {
    let (overrides, table) = (&sources.overrides, file.server.clone());
    let addr = match overrides.addr {
        Some(addr) => addr,
        None => env.parsed("SANDCASTLE_ADDR")?.or(table.addr).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 3000))),
    };
    let data_dir = overrides.data_dir.clone().or_else(|| env.path("SANDCASTLE_DATA_DIR")).or(table.data_dir);
    let data_dir = data_dir.map_or_else(|| default_data_dir(env), Ok)?;
    // Sandboxes are built by a process that stands elsewhere.
    let data_dir = std::path::absolute(&data_dir)
        .map_err(|error| value("SANDCASTLE_DATA_DIR", format!("{}: {error}", data_dir.display())))?;
    let hosts = env.text("SANDCASTLE_ALLOWED_HOSTS").map(|list| list.split(',').map(str::to_owned).collect());
    let public_url = env.text("SANDCASTLE_PUBLIC_URL").or(table.public_url);
    let public_url = public_url.map(|url| url.parse::<PublicUrl>()).transpose();
    let public_url = public_url.map_err(|reason| value("SANDCASTLE_PUBLIC_URL", reason))?;
    let preview_domain = env.text("SANDCASTLE_PREVIEW_DOMAIN").or(table.preview_domain);
    let preview_domain = preview_domain
        .or_else(|| public_url.as_ref().map(PublicUrl::preview_domain))
        .unwrap_or_else(|| "localhost".to_owned());
    if preview_domain.contains([':', '/', '*']) {
        return Err(value("SANDCASTLE_PREVIEW_DOMAIN", "expected a bare domain name such as preview.example.org"));
    }
    let proxies = env.text("SANDCASTLE_TRUSTED_PROXIES").map(|list| list.split(',').map(str::to_owned).collect());
    let proxies = trusted_proxies(proxies.or(table.trusted_proxies), public_url.is_some())?;
    Ok(ServerConfig {
        addr,
        data_dir,
        access_token: env.text("SANDCASTLE_ACCESS_TOKEN").or(table.access_token).map(Secret::new),
        allowed_hosts: hosts
            .or(table.allowed_hosts)
            .unwrap_or_default()
            .iter()
            .map(|host| host.trim().to_ascii_lowercase())
            .filter(|host| !host.is_empty())
            .collect(),
        public_url,
        trusted_proxies: proxies,
        preview_domain: preview_domain.trim_matches('.').to_ascii_lowercase(),
        site_root: env
            .path("SANDCASTLE_SITE_ROOT")
            .or_else(|| env.path("LEPTOS_SITE_ROOT"))
            .or(table.site_root)
            .unwrap_or_else(find_site_root),
        leptos_toml: sources.file.as_ref().map(|(path, _)| path.clone()),
    })
}

/// Addresses and networks. A proxy on this machine goes without saying where a public address does say that there is one.
fn trusted_proxies(named: Option<Vec<String>>, behind_one: bool) -> Result<Vec<IpNet>, ConfigError> {
    let here = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let Some(named) = named else {
        return Ok(if behind_one { here.map(IpNet::from).to_vec() } else { Vec::new() });
    };
    let network = |text: &str| text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    named
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .map(|text| {
            let expected = || format!("\"{text}\" is no address or network such as 10.0.0.2 or 172.16.0.0/12");
            network(text).ok_or_else(|| value("SANDCASTLE_TRUSTED_PROXIES", expected()))
        })
        .collect()
}

fn model(env: &Env<'_>, file: &FileConfig) -> Result<ModelConfig, ConfigError> {
    // A key is sent only to the base URL of its own family: a stray OPENAI_API_KEY never goes to another provider.
    let families =
        [("AI_GATEWAY_API_KEY", "AI_GATEWAY_BASE_URL", GATEWAY_URL), ("OPENAI_API_KEY", "OPENAI_BASE_URL", OPENAI_URL)];
    let from_env = families.iter().find_map(|(key, url, default)| {
        let (key, url_value) = (env.text(key), env.text(url));
        (key.is_some() || url_value.is_some()).then(|| (*url, url_value.unwrap_or_else(|| (*default).to_owned()), key))
    });
    let table = file.model.clone();
    let from_file = (table.base_url.is_some() || table.api_key.is_some())
        .then(|| ("[model] base-url", table.base_url.unwrap_or_else(|| GATEWAY_URL.to_owned()), table.api_key));
    let chosen = from_env.or(from_file);
    let configured = chosen.is_some();
    let (name, base_url, key) = chosen.unwrap_or(("AI_GATEWAY_BASE_URL", GATEWAY_URL.to_owned(), None));
    let base_url = base_url.trim().trim_end_matches('/').trim_end_matches("/chat/completions").to_owned();
    if !(base_url.starts_with("http://") || base_url.starts_with("https://")) {
        return Err(value(name, "expected a URL that begins with http:// or https://"));
    }
    Ok(ModelConfig {
        base_url,
        api_key: key.map(Secret::new),
        default_model: env.text("AI_MODEL").or(table.default_model),
        configured,
    })
}

fn sandbox(env: &Env<'_>, file: &FileConfig) -> Result<SandboxConfig, ConfigError> {
    let table = file.sandbox.clone();
    let default = SandboxConfig::default();
    let seconds =
        |name, set, default: Duration, range| env.number(name, set, default.as_secs(), range).map(Duration::from_secs);
    Ok(SandboxConfig {
        memory_mib: env.number("SANDCASTLE_MEMORY_MIB", table.memory_mib, default.memory_mib, 64..=1 << 20)?,
        processes: env.number("SANDCASTLE_PROCESSES", table.processes, default.processes, 16..=100_000)?,
        disk_mib: env.number("SANDCASTLE_DISK_MIB", table.disk_mib, default.disk_mib, 16..=1 << 24)?,
        files: env.number("SANDCASTLE_FILES", table.files, default.files, 1000..=100_000_000)?,
        cpu_percent: env.number("SANDCASTLE_CPU_PERCENT", table.cpu_percent, default.cpu_percent, 0..=100_000)?,
        open_files: env.number("SANDCASTLE_OPEN_FILES", table.open_files, default.open_files, 64..=1 << 20)?,
        command_timeout: seconds(
            "SANDCASTLE_COMMAND_TIMEOUT_SECONDS",
            table.command_timeout_seconds,
            default.command_timeout,
            1..=86_400,
        )?,
        idle_timeout: seconds(
            "SANDCASTLE_IDLE_TIMEOUT_SECONDS",
            table.idle_timeout_seconds,
            default.idle_timeout,
            10..=30 * 86_400,
        )?,
        disk_floor_mib: env.number(
            "SANDCASTLE_DISK_FLOOR_MIB",
            table.disk_floor_mib,
            default.disk_floor_mib,
            0..=1 << 24,
        )?,
        init: env.path("SANDCASTLE_INIT").or(table.init),
        extra_mounts: env
            .text("SANDCASTLE_EXTRA_MOUNTS")
            .map(|list| list.split(':').filter(|p| !p.is_empty()).map(PathBuf::from).collect())
            .or(table.extra_mounts)
            .unwrap_or_default(),
    })
}

/// The remote service, if a key or the choice of a provider asks for one.
fn e2b(env: &Env<'_>, file: &FileConfig) -> Result<Option<E2bConfig>, ConfigError> {
    let table = file.e2b.clone();
    let key = env.text("E2B_API_KEY").or(table.api_key);
    let key = match (env.text("SANDCASTLE_PROVIDER").or(file.sandbox.provider.clone()).as_deref(), key) {
        (Some("local"), _) | (None, None) => return Ok(None),
        (Some("e2b") | None, Some(key)) => key,
        (Some("e2b"), None) => return Err(value("E2B_API_KEY", "is not set, and SANDCASTLE_PROVIDER is e2b")),
        (Some(other), _) => return Err(value("SANDCASTLE_PROVIDER", format!("{other:?} is neither local nor e2b"))),
    };
    let url = |name: &str, url: String| {
        let well_formed = url.starts_with("http://") || url.starts_with("https://");
        let url = url.trim_end_matches('/').to_owned();
        if well_formed { Ok(url) } else { Err(value(name, "expected a URL that begins with http:// or https://")) }
    };
    let domain = env.text("E2B_DOMAIN").or(table.domain).unwrap_or_else(|| "e2b.app".to_owned());
    if domain.contains(['/', '@', '*']) {
        return Err(value("E2B_DOMAIN", "expected a bare domain name such as e2b.app"));
    }
    let timeout = env.number("E2B_TIMEOUT", table.timeout_seconds, 300, 15..=86_400)?;
    let api_url = env.text("E2B_API_URL").or(table.api_url).unwrap_or_else(|| format!("https://api.{domain}"));
    let sandbox_url = env.text("E2B_SANDBOX_URL").or(table.sandbox_url);
    Ok(Some(E2bConfig {
        api_key: Secret::new(key),
        api_url: url("E2B_API_URL", api_url)?,
        domain,
        sandbox_url: sandbox_url.map(|text| url("E2B_SANDBOX_URL", text)).transpose()?,
        template: env.text("E2B_TEMPLATE").or(table.template).unwrap_or_else(|| "base".to_owned()),
        timeout: Duration::from_secs(timeout),
    }))
}

/// Whether a URL leads to an address of this machine.
fn is_address(url: &str, addr: SocketAddr) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let here = [addr.to_string(), format!("localhost:{}", addr.port()), format!("127.0.0.1:{}", addr.port())];
    here.iter().any(|here| here == authority)
}

/// The standard names; without an address nothing is exported.
fn otlp(env: &Env<'_>) -> Result<Option<OtlpConfig>, ConfigError> {
    let (traces, base) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
    let (name, endpoint) = match (env.text(traces), env.text(base)) {
        (Some(whole), _) => (traces, whole),
        (None, Some(base_url)) => (base, format!("{}/v1/traces", base_url.trim_end_matches('/'))),
        (None, None) => return Ok(None),
    };
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        return Err(value(name, format!("\"{endpoint}\" is not an http address; traces go over OTLP/HTTP")));
    }
    let headers = env.text("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
    let header = |pair: &str| {
        let (name, text) = pair.split_once('=')?;
        Some((name.trim().to_owned(), Secret::new(text.trim())))
    };
    let headers = headers.split(',').filter(|pair| !pair.trim().is_empty()).map(|pair| {
        header(pair).ok_or_else(|| value("OTEL_EXPORTER_OTLP_HEADERS", "write them as name=value, separated by commas"))
    });
    Ok(Some(OtlpConfig {
        endpoint,
        headers: headers.collect::<Result<_, _>>()?,
        service: env.text("OTEL_SERVICE_NAME").unwrap_or_else(|| "sandcastle".to_owned()),
    }))
}

fn engine(env: &Env<'_>) -> Result<EngineConfig, ConfigError> {
    match env.text("WORKFLOW_ENGINE").as_deref() {
        None | Some("embedded") => Ok(EngineConfig::Embedded),
        Some("restate") => Ok(EngineConfig::Restate(RestateConfig {
            ingress: restate_address(env, "RESTATE_INGRESS_URL", "http://127.0.0.1:8080")?,
            admin: restate_address(env, "RESTATE_ADMIN_URL", "http://127.0.0.1:9070")?,
        })),
        Some(other) => {
            Err(value("WORKFLOW_ENGINE", format!("there is no engine \"{other}\"; use \"embedded\" or \"restate\"")))
        }
    }
}

fn restate_address(env: &Env<'_>, name: &str, default: &str) -> Result<RestateAddress, ConfigError> {
    let text = env.text(name).unwrap_or_else(|| default.to_owned());
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(RestateAddress::Unix(path.trim_start_matches("//").into()));
    }
    let host = text.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let host = host.map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host));
    if text.contains('@') || !matches!(host, Some("127.0.0.1" | "localhost" | "[::1]")) {
        let reason = format!(
            "\"{text}\" is not an address on this machine. Restate has no passwords, so whoever reaches it decides what \
             runs: have it listen on loopback (http://127.0.0.1:PORT) or on a socket (unix:/PATH)"
        );
        return Err(value(name, reason));
    }
    Ok(RestateAddress::Http(text.trim_end_matches('/').to_owned()))
}

fn default_data_dir(env: &Env<'_>) -> Result<PathBuf, ConfigError> {
    let base = match env.path("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        Some(path) => path,
        None => env
            .path("HOME")
            .map(|home| home.join(".local/share"))
            .ok_or_else(|| value("SANDCASTLE_DATA_DIR", "HOME is not set; say where to keep projects (--data-dir)"))?,
    };
    Ok(base.join("sandcastle"))
}

/// `target/site` below the working directory, else beside the binary's build folder, where both builds put it.
fn find_site_root() -> PathBuf {
    let here = PathBuf::from("target/site");
    if here.is_dir() {
        return here;
    }
    std::env::current_exe()
        .ok()
        .and_then(|exe| {
            let dir = exe.parent()?.to_owned();
            [dir.join("site"), dir.parent()?.join("site")].into_iter().find(|path| path.is_dir())
        })
        .unwrap_or(here)
}

fn value(name: impl Into<String>, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { name: name.into(), reason: reason.into() }
}

/// Environment variables; an empty one counts as not set.
struct Env<'a>(&'a BTreeMap<String, String>);

impl Env<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn switch(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        match self.text(name).as_deref() {
            None => Ok(default),
            Some("on") => Ok(true),
            Some("off") => Ok(false),
            Some(other) => Err(value(name, format!("\"{other}\" is neither on nor off"))),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| value(name, format!("\"{text}\" is not a valid value"))))
            .transpose()
    }

    fn number(
        &self,
        name: &str,
        set: Option<u64>,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let number = self.parsed(name)?.or(set).unwrap_or(default);
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(value(name, format!("{number} is not between {} and {}", range.start(), range.end())))
        }
    }
}
