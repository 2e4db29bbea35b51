//! What a command finds around it: environment variables and the few files of `/etc` that we write ourselves.
//!
//! The server's own environment never passes: every variable is named here.

use super::toolchain::Toolchains;
use super::wire;
use super::workspace::{HOME, STATE};
use std::collections::BTreeMap;
use std::path::Path;

/// Certificates of the host, under the names that programs know. Behind a proxy that opens TLS nothing works without.
const CERTIFICATES: [&str; 9] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
];
/// Where distributions keep all certificates in one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Which registries packages come from. Passed on only without credentials.
const REGISTRIES: [&str; 9] = [
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "YARN_NPM_REGISTRY_SERVER",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_INDEX_URL",
    "GOPROXY",
    "GOSUMDB",
];

/// The environment of every command.
pub fn base(toolchains: &Toolchains) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = fixed().map(|(name, value)| (name.to_owned(), value)).collect();
    env.insert("PATH".to_owned(), path(toolchains));
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    env.insert("SHELL".to_owned(), shell.to_owned());
    env.extend(certificates(|name| std::env::var(name).ok()));
    env.extend(REGISTRIES.iter().filter_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !has_credentials(value))?;
        Some(((*name).to_owned(), value))
    }));
    env.extend(npm_registry());
    env
}

/// Caches and settings go to the state folder: kept from one wake to the next, and out of the person's file tree.
fn fixed() -> impl Iterator<Item = (&'static str, String)> {
    let text = |name, value: &str| (name, value.to_owned());
    let state = |name, folder: &str| (name, format!("{STATE}/{folder}"));
    [
        text("HOME", HOME),
        text("USER", "user"),
        text("LOGNAME", "user"),
        text("LANG", "C.UTF-8"),
        text("TMPDIR", "/tmp"),
        text("BROWSER", "none"),
        state("XDG_CACHE_HOME", "cache"),
        state("XDG_CONFIG_HOME", "config"),
        state("XDG_DATA_HOME", "share"),
        state("XDG_STATE_HOME", "state"),
        state("npm_config_cache", "cache/npm"),
        state("npm_config_prefix", "npm"),
        state("npm_config_store_dir", "cache/pnpm"),
        state("YARN_CACHE_FOLDER", "cache/yarn"),
        state("COREPACK_HOME", "cache/corepack"),
        state("PIP_CACHE_DIR", "cache/pip"),
        state("PYTHONUSERBASE", "python"),
        state("GOPATH", "go"),
        state("GOCACHE", "cache/go"),
        state("CARGO_HOME", "cargo"),
        text("npm_config_update_notifier", "false"),
        text("npm_config_fund", "false"),
        text("npm_config_audit", "false"),
        text("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        // The machine is the person's own to fill; the system's packages are read-only anyway.
        text("PIP_BREAK_SYSTEM_PACKAGES", "1"),
        // Else a server's first words stay in a buffer for minutes.
        text("PYTHONUNBUFFERED", "1"),
        text("NEXT_TELEMETRY_DISABLED", "1"),
        text("GOTOOLCHAIN", "local"),
    ]
    .into_iter()
}

fn path(toolchains: &Toolchains) -> String {
    let mut folders = vec![format!("{STATE}/npm/bin"), format!("{STATE}/python/bin"), format!("{STATE}/go/bin")];
    folders.extend(toolchains.path.iter().map(|folder| folder.display().to_string()));
    folders.extend(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(str::to_owned));
    folders.join(":")
}

/// The host's own settings where it has some, else its bundle for programs that bring certificates of their own.
fn certificates(get: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let visible =
        |path: &String| path.starts_with("/etc/ssl/") || path.starts_with("/etc/pki/") || path.starts_with("/usr/");
    let bundle = BUNDLES.iter().find(|path| Path::new(path).exists()).map(|path| (*path).to_owned());
    let names = CERTIFICATES.iter().filter_map(|name| {
        let own = get(name).filter(visible).filter(|path| Path::new(path).exists());
        let value = own.or_else(|| bundle.clone().filter(|_| *name != "SSL_CERT_DIR"))?;
        Some(((*name).to_owned(), value))
    });
    names.collect()
}

/// The registry of the server's user, which npm reads from a file that may hold tokens and so is not mounted.
fn npm_registry() -> Option<(String, String)> {
    let home = std::env::var_os("HOME")?;
    let text = std::fs::read_to_string(Path::new(&home).join(".npmrc")).ok()?;
    let registry = text.lines().find_map(|line| line.trim().strip_prefix("registry")?.trim().strip_prefix('='))?;
    let registry = registry.trim().to_owned();
    (!has_credentials(&registry)).then(|| ("npm_config_registry".to_owned(), registry))
}

/// `https://user:secret@host/`, or a variable that npm would fill in.
fn has_credentials(url: &str) -> bool {
    url.contains('@') || url.contains("${")
}

/// Files of `/etc` that say who and where one is inside.
pub fn base_files(hostname: &str) -> Vec<wire::File> {
    let [a, b, c, d] = wire::DNS_ADDRESS;
    let id = wire::INSIDE_ID;
    [
        ("/etc/passwd", format!("root:x:0:0:root:/:/bin/sh\nuser:x:{id}:{id}:user:{HOME}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")),
        ("/etc/group", format!("root:x:0:\nuser:x:{id}:\nnogroup:x:65534:\n")),
        // IPv4 first: development servers bind the first address of localhost, and previews connect to it.
        ("/etc/hosts", format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost\n")),
        ("/etc/resolv.conf", format!("nameserver {a}.{b}.{c}.{d}\noptions timeout:5 attempts:2\n")),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nservices: files\n".to_owned()),
        ("/etc/hostname", format!("{hostname}\n")),
        ("/etc/host.conf", "multi on\n".to_owned()),
    ]
    .map(|(at, content)| wire::File { at: at.into(), content: content.into() })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_with_credentials_are_not_passed_on() {
        assert!(has_credentials("https://me:secret@registry.example/"));
        assert!(has_credentials("https://registry.example/${TOKEN}"));
        assert!(!has_credentials("https://registry.example/npm/"));
    }

    #[test]
    fn a_certificate_file_outside_the_mounts_is_replaced_by_the_host_bundle() {
        let env = certificates(|name| (name == "PIP_CERT").then(|| "/root/private/ca.pem".to_owned()));
        assert_ne!(env.get("PIP_CERT").map(String::as_str), Some("/root/private/ca.pem"));
    }
}
