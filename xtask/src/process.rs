//! Running other programs, with errors that say which program failed and how.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// A command that runs in `dir`.
pub fn command(program: impl AsRef<Path>, dir: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(dir);
    command
}

/// The cargo that runs this tool, in the folder `dir`.
pub fn cargo(dir: &Path) -> Command {
    let mut command = command(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), dir);
    // Builds run side by side; two progress bars on one terminal overwrite each other.
    command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    command
}

/// Runs to the end with our own standard streams. An exit status other than zero is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// Runs to the end and returns what it printed. An exit status other than zero is an error that shows it.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| not_started(command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({})\n{}", describe(command), output.status, said.trim_end());
    }
    Ok(output)
}

/// What a program prints to its standard output, trimmed, or none when it is not installed or fails.
pub fn probe(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a program of this name can be started.
pub fn exists(program: &str) -> bool {
    !matches!(Command::new(program).arg("--version").output(), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn not_started(command: &Command) -> String {
    format!("cannot start {}", command.get_program().to_string_lossy())
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().take(4).map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}
