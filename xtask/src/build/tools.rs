//! The release build's npm tools (esbuild, binaryen), installed into the repository from its lock file.

use std::fs;

use anyhow::{Context, Result};

use super::stamp::{Stamp, digest};
use crate::process::{command, output};
use crate::project::Project;

/// Runs `npm ci` unless what the lock file names is installed already.
pub fn install(project: &Project) -> Result<()> {
    install_in(project, &project.root)
}

/// The same for a folder with a `package-lock.json` of its own.
pub fn install_in(project: &Project, dir: &std::path::Path) -> Result<()> {
    let lock = dir.join("package-lock.json");
    let wanted = digest([fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?]);
    let stamp = Stamp::at(dir.join("node_modules/.sandcastle-stamp"));
    if stamp.holds(&wanted) {
        return Ok(());
    }
    println!(
        "Installing npm tools into {}",
        dir.strip_prefix(&project.root).unwrap_or(dir).join("node_modules").display()
    );
    output(command("npm", dir).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))
        .context("npm could not install the build tools; it needs the npm registry (or a mirror set in ~/.npmrc)")?;
    stamp.write(&wanted)
}
