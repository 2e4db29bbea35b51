//! Playwright over the release build, in the Chromium of this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::install_npm;
use crate::process::{self, command, exists, probe};
use crate::project::{Mode, Project};

/// Names under which distributions ship Chromium, and where.
const BROWSERS: [&str; 5] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/usr/bin/google-chrome-stable",
    "/snap/bin/chromium",
];

/// Runs all end-to-end tests. The release build must exist.
pub fn run(project: &Project) -> Result<()> {
    let dir = project.root.join("end2end");
    install_npm(project, &dir)?;
    let mut playwright = command(dir.join("node_modules/.bin/playwright"), &dir);
    playwright
        .arg("test")
        .env("SANDCASTLE_CHROMIUM", chromium()?)
        .env("SANDCASTLE_BINARY", project.server(Mode::Release));
    process::run(&mut playwright)
}

/// A Chromium to drive; installed when this is a Debian and we may.
pub fn chromium() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SANDCASTLE_CHROMIUM").map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("SANDCASTLE_CHROMIUM is {}, which is not a file", path.display());
    }
    if let Some(found) = find_browser() {
        return Ok(found);
    }
    let how = "Chromium is missing: apt install chromium, or set SANDCASTLE_CHROMIUM to a Chromium or Chrome binary";
    if !(exists("apt-get") && probe("id", &["-u"]).as_deref() == Some("0")) {
        bail!("{how}");
    }
    println!("Installing Chromium with apt-get");
    let root = Path::new("/");
    process::run(command("apt-get", root).args(["update", "-qq"])).context(how)?;
    let mut install = command("apt-get", root);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    process::run(install.args(["install", "-y", "-qq", "--no-install-recommends", "chromium"])).context(how)?;
    find_browser().context(how)
}

fn find_browser() -> Option<PathBuf> {
    BROWSERS.iter().map(PathBuf::from).find(|path| path.is_file())
}
