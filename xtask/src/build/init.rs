//! The sandbox's PID 1: small and static, so that it runs in a root that has no libc of ours.

use std::fs;

use anyhow::{Context, Result};

use crate::prerequisites::musl_target;
use crate::process::{cargo, run};
use crate::project::{INIT, Mode, Project};

const PROFILE: &str = "init";

/// Builds it and puts it beside the server binary, where the server looks for it.
pub fn build(project: &Project, mode: Mode) -> Result<()> {
    let mut cargo = cargo(&project.root);
    cargo.args(["build", "--package", INIT, "--profile", PROFILE]);
    let target = musl_target(project).unwrap_or_else(|| {
        // glibc links statically too where its archive is installed, which every C compiler package brings along.
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
        cargo.env(flags, "-C target-feature=+crt-static");
        target
    });
    run(cargo.args(["--target", &target]))?;
    let built = project.target.join(target).join(PROFILE).join(INIT);
    let wanted = project.bin_dir(mode).join(INIT);
    copy_if_changed(&built, &wanted).with_context(|| format!("cannot put {INIT} at {}", wanted.display()))
}

/// Replaces by rename: the running server may have the old file open as a running program.
fn copy_if_changed(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("no folder")?)?;
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh)?;
    Ok(fs::rename(fresh, to)?)
}
