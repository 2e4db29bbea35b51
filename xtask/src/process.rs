//! Running other programs, with errors that say which program failed and how.

use std::io::{BufRead, BufReader, ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// Runs `cargo test` like [`run`]. The error ends with what the failed tests said, which is otherwise far up.
pub fn run_tests(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| not_started(command))?;
    let mut failures = Failures::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let mut out = std::io::stdout().lock();
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            failures.read(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed ({status}){}", describe(command), failures.told());
    }
    Ok(())
}

/// What failed tests said, gathered from the output of the test harness.
#[derive(Default)]
struct Failures {
    told: Vec<Vec<String>>,
    within: bool,
}

impl Failures {
    /// Lines kept of one test: the last ones before the backtrace, where the panic is.
    const LINES: usize = 30;

    fn read(&mut self, line: &str) {
        if line.starts_with("---- ") {
            self.within = true;
            self.told.push(Vec::new());
        }
        if ["failures:", "stack backtrace:"].contains(&line.trim()) || line.starts_with("test result:") {
            self.within = false;
        }
        if let (true, Some(test)) = (self.within, self.told.last_mut()) {
            test.push(line.to_owned());
        }
    }

    /// One paragraph a test.
    fn told(&self) -> String {
        let mut told = String::new();
        for test in &self.told {
            let (name, said) = test.split_first().map_or(("", &[] as &[_]), |(name, said)| (name.as_str(), said));
            told.push_str(&format!("\n\n{name}"));
            for line in said.iter().skip(said.len().saturating_sub(Self::LINES)) {
                told.push('\n');
                told.push_str(line);
            }
        }
        told
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_tests_said_is_gathered_and_cut_to_its_end() {
        let mut failures = Failures::default();
        let long: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let output = format!(
            "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n{long}panicked\nstack backtrace:\n   0: main\n\n---- c stdout ----\nshort\n\nfailures:\n    b\n    c\n\ntest result: FAILED\n"
        );
        output.lines().for_each(|line| failures.read(line));
        let told = failures.told();
        assert!(told.starts_with("\n\n---- b stdout ----\nline 71\n"), "{told}");
        assert!(told.ends_with("panicked\n\n---- c stdout ----\nshort\n"), "{told}");
    }
}
