//! `serve`: build for release, then become the server.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::project::{Mode, Project};
use crate::{build, prerequisites, process};

/// Builds, then replaces this process by the server, so that signals and the exit status are the server's own.
pub fn run(project: &Project, args: &[String]) -> Result<ExitCode> {
    prerequisites::require(project)?;
    build::run(project, Mode::Release)?;
    let args = args.iter().skip_while(|arg| *arg == "--");
    let server = project.server(Mode::Release);
    let error = process::command(&server, &project.root).arg("serve").args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", server.display()))
}
