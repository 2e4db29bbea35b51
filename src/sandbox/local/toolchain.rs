//! Which languages and tools the host has, where they really are, and so what of the host is mounted read-only.
//!
//! Version managers put small programs on the `PATH` that find the real one; here the real one's own directory is
//! mounted at the same path, and never the manager's home, which may hold tokens.

use super::wire::{Link, Mount};
use crate::sandbox::provider::HostTool;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Files and folders of `/etc` that programs need and that hold no secrets.
const ETC: [&str; 22] = [
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/fonts",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/perl",
    "/etc/protocols",
    "/etc/python3",
    "/etc/services",
    "/etc/terminfo",
];
/// Top folders that are links into `/usr` on most distributions and folders of their own on others.
const SYSTEM: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// The store of NixOS and Guix, into which everything else there links.
const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];
/// Folders that hold more than one program's files: from these a single file is mounted, or nothing.
const SHARED: [&str; 5] = [".local", "opt", "home", "root", "share"];
/// What is looked for, and how each says its version.
const TOOLS: [(&str, &str); 21] = [
    ("node", "--version"),
    ("npm", "--version"),
    ("npx", "--version"),
    ("pnpm", "--version"),
    ("yarn", "--version"),
    ("corepack", "--version"),
    ("bun", "--version"),
    ("deno", "--version"),
    ("python3", "--version"),
    ("pip", "--version"),
    ("uv", "--version"),
    ("go", "version"),
    ("rustc", "--version"),
    ("cargo", "--version"),
    ("java", "--version"),
    ("ruby", "--version"),
    ("php", "--version"),
    ("gcc", "--version"),
    ("make", "--version"),
    ("git", "--version"),
    ("curl", "--version"),
];
/// A tool that takes longer to say its version is left out.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the host offers to sandboxes.
#[derive(Debug, Default)]
pub struct Toolchains {
    /// Folders for the sandbox's `PATH`, before the system's.
    pub path: Vec<PathBuf>,
    mounts: BTreeSet<PathBuf>,
    found: Vec<Tool>,
    tools: OnceLock<Vec<HostTool>>,
}

#[derive(Debug)]
struct Tool {
    name: &'static str,
    flag: &'static str,
    at: PathBuf,
}

impl Toolchains {
    /// Looks along the server's `PATH`. Asks the three languages that version managers hide where they really are.
    pub fn detect(extra: &[PathBuf]) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let mut found = Self::default();
        found.mounts.extend(extra.iter().filter(|path| path.is_absolute() && path.exists()).cloned());
        let asked = [
            ("node", &["-p", "process.execPath"][..], ""),
            ("python3", &["-c", "import sys; print(sys.base_prefix)"], "bin/python3"),
            ("rustc", &["--print", "sysroot"], "bin/rustc"),
        ];
        let real = in_parallel(asked.map(|(name, ask, below)| {
            let at = which(&path, name);
            move || Some(Path::new(&first_line(&at?, ask)?).join(below))
        }));
        // A path joined with nothing gets a slash at its end.
        for real in real.into_iter().flatten().map(|real| real.components().collect::<PathBuf>()) {
            if real.is_absolute() && real.is_file() {
                found.admit(&real);
            }
        }
        for (name, flag) in TOOLS {
            if let Some(at) = found.which_inside(&path, name) {
                found.found.push(Tool { name, flag, at });
            }
        }
        found
    }

    /// Programs usable inside. The first call runs each once for its version, all at the same time.
    pub fn tools(&self) -> &[HostTool] {
        self.tools.get_or_init(|| {
            let asked = self.found.iter().map(|tool| {
                move || {
                    let version = version(&first_line(&tool.at, &[tool.flag])?);
                    Some(HostTool { name: tool.name.to_owned(), version, path: tool.at.clone() })
                }
            });
            in_parallel(asked).into_iter().flatten().collect()
        })
    }

    /// Mounts a program's installation, if it is not part of the system, and puts its folder on the `PATH`.
    fn admit(&mut self, program: &Path) {
        let (Some(folder), Ok(real)) = (program.parent(), program.canonicalize()) else { return };
        for file in [program, &real] {
            match prefix(file) {
                _ if is_system(file) => {}
                Some(prefix) => drop(self.mounts.insert(prefix)),
                None => drop(self.mounts.insert(file.to_owned())),
            }
        }
        if !is_system(folder) && !self.path.iter().any(|known| known == folder) {
            self.path.push(folder.to_owned());
        }
    }

    /// Where a program will be found inside; admits it if its installation is a folder of its own.
    fn which_inside(&mut self, path: &[PathBuf], name: &str) -> Option<PathBuf> {
        if let Some(at) = which(&self.path, name) {
            return Some(at);
        }
        let mut managed = path.iter().filter_map(|folder| executable(folder, name));
        let at = managed.find(|at| !is_manager_stub(at))?;
        let real = at.canonicalize().ok()?;
        if !is_system(&at) || !is_system(&real) {
            let own = prefix(&real)?;
            self.mounts.insert(own);
            let folder = real.parent()?.to_owned();
            let inside = executable(&folder, name)?;
            self.path.push(folder);
            return Some(inside);
        }
        Some(at)
    }

    /// Everything of the host that is mounted, outermost first, and the links of the root.
    pub fn root(&self) -> (Vec<Mount>, Vec<Link>) {
        let mut links = Vec::new();
        let mut folders: Vec<PathBuf> = vec!["/usr".into()];
        for folder in SYSTEM.map(Path::new) {
            match std::fs::read_link(folder) {
                Ok(to) => links.push(Link { to: to.as_os_str().as_encoded_bytes().into(), at: bytes(folder) }),
                Err(_) if folder.is_dir() => folders.push(folder.to_owned()),
                Err(_) => {}
            }
        }
        folders.extend(STORES.iter().chain(&ETC).map(PathBuf::from).filter(|path| path.exists()));
        folders.extend(python_etc());
        folders.extend(self.mounts.iter().cloned());
        let mut kept: Vec<PathBuf> = Vec::new();
        for folder in folders {
            let hidden = kept.iter().any(|outer| folder.starts_with(outer));
            // The workspace's place and the private folders are not the host's to fill.
            let private =
                ["/home/user", "/var/user", "/tmp", "/proc", "/dev", "/sys"].iter().any(|own| folder.starts_with(own));
            if !hidden && !private && folder != Path::new("/") {
                kept.push(folder);
            }
        }
        let mounts = kept.iter().map(|folder| Mount { source: bytes(folder), target: bytes(folder), writable: false });
        (mounts.collect(), links)
    }
}

fn in_parallel<T: Send>(work: impl IntoIterator<Item = impl FnOnce() -> Option<T> + Send>) -> Vec<Option<T>> {
    std::thread::scope(|scope| {
        #[expect(clippy::needless_collect, reason = "all must be started before the first is waited for")]
        let running: Vec<_> = work.into_iter().map(|work| scope.spawn(work)).collect();
        running.into_iter().map(|work| work.join().ok().flatten()).collect()
    })
}

fn bytes(path: &Path) -> super::wire::Text {
    path.as_os_str().as_encoded_bytes().into()
}

/// `/etc/python3.11` and its like, into which Debian's `/usr/lib/python3.11` links.
fn python_etc() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3."))
        .map(|entry| entry.path())
        .collect()
}

fn which(path: &[PathBuf], name: &str) -> Option<PathBuf> {
    path.iter().find_map(|folder| executable(folder, name))
}

fn executable(folder: &Path, name: &str) -> Option<PathBuf> {
    let at = folder.join(name);
    let metadata = std::fs::metadata(&at).ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 && at.is_absolute()).then_some(at)
}

/// A version manager's forwarding program, which does not work without the manager's home.
fn is_manager_stub(at: &Path) -> bool {
    let text = at.to_string_lossy();
    ["/shims/", "/.cargo/bin/", "/.volta/bin/", "/.asdf/"].iter().any(|part| text.contains(part))
}

fn is_system(path: &Path) -> bool {
    path.starts_with("/usr") || SYSTEM.iter().chain(&STORES).any(|folder| path.starts_with(folder))
}

/// The folder of a program's installation: what `bin` lies in, unless that holds other things too.
fn prefix(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    let prefix = if folder.file_name()? == "bin" { folder.parent()? } else { folder };
    let name = prefix.file_name()?.to_str()?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let shared = SHARED.contains(&name) || home.as_deref() == Some(prefix) || prefix.components().count() < 3;
    (!shared).then(|| prefix.to_owned())
}

/// Runs a program of the host for the first line it prints. Its working directory is the root, so that no file of a
/// workspace can influence it.
fn first_line(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .env("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0")
        .env("COREPACK_ENABLE_NETWORK", "0")
        .spawn()
        .ok()?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if started.elapsed() > PATIENCE => {
                child.kill().ok()?;
                child.wait().ok()?;
                return None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let output = child.wait_with_output().ok().filter(|_| status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

/// `v20.19.2`, `Python 3.11.7`, `go version go1.22 linux/amd64`: the first word with a digit and a dot, without letters
/// before it.
fn version(line: &str) -> String {
    let word =
        line.split_ascii_whitespace().find(|word| word.contains('.') && word.contains(|c: char| c.is_ascii_digit()));
    let word = word.unwrap_or(line).trim_start_matches(|c: char| !c.is_ascii_digit());
    word.trim_end_matches([')', ',', ';']).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_shortened_to_their_number() {
        assert_eq!(version("v20.19.2"), "20.19.2");
        assert_eq!(version("go version go1.22.1 linux/amd64"), "1.22.1");
        assert_eq!(version("gcc (Debian 12.2.0-14) 12.2.0"), "12.2.0-14");
        assert_eq!(version("git version 2.39.5"), "2.39.5");
    }

    #[test]
    fn an_installation_is_a_folder_of_its_own() {
        let of = |path: &str| prefix(Path::new(path));
        assert_eq!(of("/opt/go/bin/go"), Some("/opt/go".into()));
        assert_eq!(
            of("/home/a/.nvm/versions/node/v22.1.0/bin/node"),
            Some("/home/a/.nvm/versions/node/v22.1.0".into())
        );
        assert_eq!(of("/home/a/.local/bin/uv"), None);
        assert_eq!(of("/bin/x"), None);
    }

    #[test]
    fn nothing_of_the_host_lies_where_the_sandbox_has_its_own() {
        let found = Toolchains::detect(&["/home/user/tools".into(), "/usr/bin".into()]);
        let (mounts, _) = found.root();
        assert!(mounts.iter().all(|mount| !mount.target.0.starts_with(b"/home/user")));
        assert_eq!(mounts.iter().filter(|mount| mount.target.0.starts_with(b"/usr")).count(), 1);
    }
}
