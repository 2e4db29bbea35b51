//! `dev`: `cargo leptos watch`, with its tools installed into `.tools` on first use.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build;
use crate::prerequisites;
use crate::process::{cargo, probe, run};
use crate::project::{Mode, Project};

/// The newest that compiles with this repository's toolchain.
const CARGO_LEPTOS: &str = "0.3.10";
/// Must equal `wasm-bindgen` in `Cargo.toml`.
const WASM_BINDGEN: &str = "0.2.130";

/// Installs what is missing, then becomes `cargo leptos` with `args` (default `watch`).
pub fn exec(project: &Project, args: &[String]) -> Result<ExitCode> {
    prerequisites::require(project)?;
    build::install_npm(project, &project.root)?;
    install(project, "cargo-leptos", CARGO_LEPTOS, &["--features", "no_downloads"])?;
    install(project, "wasm-bindgen-cli", WASM_BINDGEN, &[])?;
    build::init(project, Mode::Dev)?;
    let mut leptos = cargo(&project.root);
    leptos.arg("leptos").env("PATH", path(project)?).env_remove("CARGO_TERM_PROGRESS_WHEN");
    if args.is_empty() {
        leptos.arg("watch")
    } else {
        leptos.args(args)
    };
    Err(leptos.exec()).context("cannot start cargo leptos")
}

/// `cargo install` into `.tools`, compiled quickly rather than well: these tools run for seconds.
fn install(project: &Project, package: &str, version: &str, args: &[&str]) -> Result<()> {
    let root = project.root.join(".tools");
    let program = root.join("bin").join(package.trim_end_matches("-cli"));
    let arg = if package == "cargo-leptos" { ["leptos", "--version"].as_slice() } else { &["--version"] };
    if probe(&program.to_string_lossy(), arg).is_some_and(|said| said.ends_with(version)) {
        return Ok(());
    }
    println!("Installing {package} {version} into .tools; this is done once and takes minutes");
    let attempt = |locked: &[&str]| {
        let mut cargo = cargo(&project.root);
        cargo.args(["install", "--quiet", "--version", version, package]).args(locked).args(args);
        cargo.arg("--root").arg(&root).arg("--target-dir").arg(project.target.join("tools"));
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        run(cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"))
    };
    // A mirror of the registry may lack a version that the tool was released with.
    attempt(&["--locked"]).or_else(|_| attempt(&[]))
}

fn path(project: &Project) -> Result<OsString> {
    let own = [project.root.join(".tools/bin"), project.root.join("node_modules/.bin")];
    let inherited = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.into_iter().chain(env::split_paths(&inherited))).context("PATH cannot be extended")
}
