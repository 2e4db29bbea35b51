//! What must be on the machine before anything can be built, and the command that installs each.

use anyhow::{Result, bail};

use crate::process::{command, exists, output, probe};
use crate::project::{Project, WASM_TARGET};

const NODE_MAJOR: u32 = 20;

/// Checks everything at once, so that a person is told all that is missing in one go. Adds missing Rust targets itself.
pub fn require(project: &Project) -> Result<()> {
    let missing: Vec<String> = [node(), npm(), c_compiler(), wasm_target(project)].into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("missing on this machine:\n  - {}", missing.join("\n  - "))
}

/// The musl target of this machine, if its standard library is or can be installed.
pub fn musl_target(project: &Project) -> Option<String> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    add_target(project, &target).is_ok().then_some(target)
}

fn node() -> Option<String> {
    let major = probe("node", &["--version"])?.trim_start_matches('v').split('.').next()?.parse::<u32>().ok();
    match major {
        Some(major) if major >= NODE_MAJOR => None,
        _ => Some(format!("Node {NODE_MAJOR} or newer (this one is older): https://nodejs.org/en/download")),
    }
}

fn npm() -> Option<String> {
    let how = "apt install nodejs npm (Debian), dnf install nodejs npm (Fedora), or https://nodejs.org/en/download";
    if !exists("node") {
        return Some(format!("Node {NODE_MAJOR} or newer, with npm: {how}"));
    }
    (!exists("npm")).then(|| format!("npm, which comes with Node: {how}"))
}

fn c_compiler() -> Option<String> {
    let found = std::env::var_os("CC").is_some() || ["cc", "gcc", "clang"].into_iter().any(exists);
    (!found).then(|| {
        "a C compiler (for SQLite and linking): apt install build-essential (Debian), dnf install gcc (Fedora)".into()
    })
}

fn wasm_target(project: &Project) -> Option<String> {
    add_target(project, WASM_TARGET).err().map(|error| {
        format!(
            "Rust's {WASM_TARGET} target: rustup target add {WASM_TARGET} (tried: {error:#}); rustup: https://rustup.rs"
        )
    })
}

/// Makes sure that the toolchain of this repository can compile for `target`.
fn add_target(project: &Project, target: &str) -> Result<()> {
    let mut rustc = command("rustc", &project.root);
    let libdir = output(rustc.args(["--print", "target-libdir", "--target", target]))?;
    if std::path::Path::new(String::from_utf8_lossy(&libdir.stdout).trim()).is_dir() {
        return Ok(());
    }
    println!("Installing Rust's standard library for {target}");
    output(command("rustup", &project.root).args(["target", "add", target])).map(drop)
}
