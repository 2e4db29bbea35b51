//! What each step of a recipe does inside the sandbox it is built in.

use super::super::command::Command;
use super::super::hub::Hub;
use super::super::output::{Seen, Source, Viewer};
use super::super::ready::{shell, until_ready};
use super::build::Build;
use super::recipe::Step;
use crate::sandbox::fleet::Level;
use crate::sandbox::provider::{ExitStatus, Instance, ProcessConfig};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the start command has until it must be ready.
const READY_IN: Duration = Duration::from_secs(300);
/// Where an archive is unpacked before its files go to their place.
const SCRATCH: &str = "/var/user/.layer";
/// Bytes of an archive that are sent in one go.
const CHUNK: usize = 256 * 1024;
/// A longer line of output is cut into several.
const LINE_MAX: usize = 4096;
/// What to know where something could not be written.
const HINT: &str = "a template of this server holds what is in /home/user and /var/user; nothing else can be written, \
                    and there is no root";

/// Programs that are of use to root only.
const ROOTS_OWN: [&str; 7] = ["apt", "apt-get", "dpkg", "apk", "dnf", "yum", "sudo"];

/// Moves what was unpacked to its place, as `COPY` of a Dockerfile does: a folder's content into the target, a file to
/// the target or, if that is a folder or ends in a slash, into it.
const PLACE: &str = r#"
set -e
from=$1 target=$2 mode=$3
if [ -n "$mode" ]; then chmod -R -- "$mode" "$from"; fi
if [ -d "$from" ] && [ ! -L "$from" ]; then
  mkdir -p -- "$target"
  cp -a -- "$from/." "$target/"
elif [ -e "$from" ] || [ -L "$from" ]; then
  case $target in
    */) mkdir -p -- "$target" ;;
    *) mkdir -p -- "$(dirname -- "$target")" ;;
  esac
  cp -a -- "$from" "$target"
else
  echo "the files that were sent do not contain ${from#/var/user/.layer/}" >&2
  exit 1
fi
"#;

/// The state between two steps.
pub(super) struct Builder<'a> {
    pub(super) build: &'a Build,
    pub(super) hub: Arc<Hub>,
    pub(super) envs: BTreeMap<String, String>,
    pub(super) workdir: Option<String>,
}

impl Builder<'_> {
    /// Does a step, whose files are in `layer`. The error says what is wrong in words for the caller.
    pub(super) async fn step(&mut self, number: &str, step: &Step, layer: Option<&Path>) -> Result<(), String> {
        match step {
            Step::Run { command, user } => {
                known_user(user.as_deref().unwrap_or_default())?;
                let done = self.shell(number, command).await;
                let words = command.split(|c: char| !c.is_alphanumeric() && c != '-');
                let wants_root = words.into_iter().any(|word| ROOTS_OWN.contains(&word));
                done.map_err(
                    |error| if wants_root && !error.contains(HINT) { format!("{error} ({HINT})") } else { error },
                )
            }
            Step::User(name) => known_user(name),
            Step::Env(envs) => {
                for (name, value) in envs {
                    let value = self.expand(value).await?;
                    self.envs.insert(name.clone(), value);
                }
                Ok(())
            }
            Step::Workdir(path) => {
                let path = self.absolute(path)?;
                let made = self.program(number, "mkdir", &["-p", "--", &path]).await;
                made.map_err(|error| format!("WORKDIR {path}: {error}"))?;
                self.workdir = Some(path);
                Ok(())
            }
            Step::Copy { source, target, owner, mode, .. } => {
                for name in owner.as_deref().unwrap_or_default().split(':') {
                    known_user(name)?;
                }
                let layer = layer.ok_or("the step names no files")?;
                self.copy(number, layer, source, target, mode.as_deref().unwrap_or_default()).await
            }
        }
    }

    /// Starts what the template starts, and waits until that is ready.
    pub(super) async fn finish(
        &self,
        instance: &dyn Instance,
        start: Option<&str>,
        ready: Option<&str>,
    ) -> Result<(), String> {
        const STEP: &str = "finalize";
        let started = async {
            let Some(line) = start else { return Ok(()) };
            self.build.say(Level::Info, STEP, format!("Starting: {line}"));
            self.shell(STEP, line).await.map_err(|error| format!("the start command ended: {error}"))
        };
        let Some(ready) = ready else {
            // Whether it can be started is all there is to see.
            return if start.is_some() {
                self.hub
                    .start(self.config(start.unwrap_or_default()), None)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            } else {
                Ok(())
            };
        };
        let waited = async {
            self.build.say(Level::Info, STEP, format!("Waiting until ready: {ready}"));
            let waited = until_ready(&self.hub, instance, self.config(ready), READY_IN).await;
            waited.map_err(|last| format!("not ready within {} seconds: {ready}{last}", READY_IN.as_secs()))
        };
        let mut waited = std::pin::pin!(waited);
        // One that ends well has left something behind that runs.
        tokio::select! {
            biased;
            ended = started => ended?,
            ready = &mut waited => return ready,
        }
        waited.await
    }

    async fn shell(&self, number: &str, line: &str) -> Result<(), String> {
        self.run(number, self.config(line), None).await
    }

    async fn program(&self, number: &str, program: &str, args: &[&str]) -> Result<(), String> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.run(number, ProcessConfig { cmd: program.to_owned(), args, ..self.config("") }, None).await
    }

    fn config(&self, line: &str) -> ProcessConfig {
        shell(line, self.workdir.as_deref(), self.envs.clone())
    }

    /// Runs a command to its end, its output in the log.
    async fn run(&self, number: &str, config: ProcessConfig, input: Option<std::fs::File>) -> Result<(), String> {
        let config = ProcessConfig { stdin: input.is_some(), ..config };
        let (command, viewer) = self.hub.start(config, None).await.map_err(|error| error.to_string())?;
        let feed = async {
            let Some(file) = input else { return Ok(()) };
            let file = Arc::new(file);
            let mut offset = 0;
            loop {
                let (source, at) = (Arc::clone(&file), offset);
                let chunk = tokio::task::spawn_blocking(move || read_at(&source, at)).await;
                let chunk = chunk.map_err(std::io::Error::other).flatten()?;
                offset += chunk.len() as u64;
                // A program that reads no more has ended or knows enough.
                if chunk.is_empty() || !command.input(chunk).await {
                    break;
                }
            }
            command.close_stdin();
            Ok::<(), std::io::Error>(())
        };
        let (fed, (status, last)) = tokio::join!(feed, self.tell(number, &command, viewer));
        fed.map_err(|error| format!("the files that were sent cannot be read: {error}"))?;
        let why = match (&status.reason, status.code, status.signal) {
            (Some(reason), ..) => reason.clone(),
            (None, Some(0), _) => return Ok(()),
            (None, Some(code), _) => format!("exit status {code}"),
            (None, None, signal) => format!("signal {}", signal.unwrap_or(0)),
        };
        let denied = ["Permission denied", "Read-only file system", "EACCES", "EROFS"];
        let hint = if denied.iter().any(|words| last.contains(words)) { format!(" ({HINT})") } else { String::new() };
        let last = if last.is_empty() { last } else { format!(": {last}") };
        Err(format!("{why}{last}{hint}"))
    }

    /// Puts output into the log until the end; the status and the last line of it.
    async fn tell(&self, number: &str, command: &Command, mut viewer: Viewer) -> (ExitStatus, String) {
        let mut lines = Lines::default();
        let status = loop {
            match viewer.next().await {
                Seen::Output(source, bytes) => {
                    lines.add(source, &bytes, |level, line| self.build.say(level, number, line))
                }
                Seen::End(status) => break status,
                Seen::Lost => {
                    self.build.say(Level::Warn, number, "some output is missing here");
                    viewer = command.view(0);
                }
            }
        };
        lines.end(|level, line| self.build.say(level, number, line));
        (status, lines.last)
    }

    /// What a variable's value means: other variables in it are those of the steps before.
    async fn expand(&self, value: &str) -> Result<String, String> {
        if !value.contains('$') {
            return Ok(value.to_owned());
        }
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('`', "\\`").replace("$(", "\\$(");
        let config = ProcessConfig { stdin: false, ..self.config(&format!("printf %s \"{quoted}\"")) };
        let (_, mut viewer) = self.hub.start(config, None).await.map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        loop {
            match viewer.next().await {
                Seen::Output(Source::Stdout, bytes) => text.extend_from_slice(&bytes),
                Seen::Output(..) => {}
                Seen::End(ExitStatus { code: Some(0), .. }) => break,
                Seen::End(_) | Seen::Lost => return Err(format!("ENV: the value {value:?} cannot be read")),
            }
        }
        String::from_utf8(text).map_err(|_| format!("ENV: the value {value:?} is not UTF-8"))
    }

    fn absolute(&self, path: &str) -> Result<String, String> {
        super::super::paths::absolute(self.workdir.as_deref().unwrap_or(super::super::paths::HOME), path)
    }

    async fn copy(&self, number: &str, layer: &Path, source: &str, target: &str, mode: &str) -> Result<(), String> {
        if !mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) || mode.len() > 4 {
            return Err("COPY: the permissions are not octal digits".to_owned());
        }
        let place = self.absolute(target)?;
        if !super::super::paths::is_writable(&place) {
            return Err(format!("COPY {source} {target}: {HINT}"));
        }
        if place == "/tmp" || place.starts_with("/tmp/") {
            self.build.say(Level::Warn, number, "/tmp is there while the template is built and not kept in it");
        }
        let slash = if target.ends_with('/') && place != "/" { "/" } else { "" };
        let file = std::fs::File::open(layer).map_err(|_| "COPY: its files were not sent".to_owned())?;
        let packed = read_at(&file, 0).is_ok_and(|start| start.starts_with(&[0x1f, 0x8b]));
        self.program(number, "rm", &["-rf", "--", SCRATCH]).await?;
        self.program(number, "mkdir", &["-p", "--", SCRATCH]).await?;
        let unpack = if packed { "-xz" } else { "-x" };
        let args = [unpack, "--no-same-owner", "-f", "-", "-C", SCRATCH].map(str::to_owned).to_vec();
        let tar = ProcessConfig { cmd: "tar".to_owned(), args, ..self.config("") };
        self.run(number, tar, Some(file)).await.map_err(|error| format!("COPY {source}: unpacking: {error}"))?;
        let from = format!("{SCRATCH}/{}", plain_part(source));
        let place = format!("{place}{slash}");
        let placed = self.program(number, "/bin/bash", &["-c", PLACE, "copy", &from, &place, mode]).await;
        placed.map_err(|error| format!("COPY {source} {target}: {error}"))?;
        self.program(number, "rm", &["-rf", "--", SCRATCH]).await
    }
}

/// The first bytes of a file from an offset on; empty at its end.
fn read_at(file: &std::fs::File, offset: u64) -> std::io::Result<Bytes> {
    use std::os::unix::fs::FileExt as _;
    let mut chunk = vec![0; CHUNK];
    let length = file.read_at(&mut chunk, offset)?;
    chunk.truncate(length);
    Ok(chunk.into())
}

/// The part of a source before its first pattern: what of the archive is meant.
fn plain_part(source: &str) -> String {
    let parts = source.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.take_while(|part| !part.contains(['*', '?', '[', '{'])).collect::<Vec<_>>().join("/")
}

fn known_user(name: &str) -> Result<(), String> {
    match name {
        "" | "user" | "root" => Ok(()),
        name => {
            Err(format!("there is no user {name:?}: a sandbox of this server has user and root, which are the same"))
        }
    }
}

/// Output cut into lines, each stream for itself.
#[derive(Default)]
struct Lines {
    out: Vec<u8>,
    err: Vec<u8>,
    last: String,
}

impl Lines {
    fn add(&mut self, source: Source, bytes: &[u8], mut say: impl FnMut(Level, String)) {
        let (level, waiting) = match source {
            Source::Stderr => (Level::Warn, &mut self.err),
            _ => (Level::Info, &mut self.out),
        };
        for &byte in bytes {
            if byte != b'\n' {
                waiting.push(byte);
            }
            if byte == b'\n' || waiting.len() >= LINE_MAX {
                let line = String::from_utf8_lossy(waiting).trim_end().to_owned();
                waiting.clear();
                if !line.is_empty() {
                    self.last.clone_from(&line);
                    say(level, line);
                }
            }
        }
    }

    fn end(&mut self, mut say: impl FnMut(Level, String)) {
        for source in [Source::Stdout, Source::Stderr] {
            self.add(source, b"\n", &mut say);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_source_counts_what_stands_before_its_pattern() {
        for (source, part) in
            [("a.txt", "a.txt"), ("./src/x", "src/x"), (".", ""), ("src/*.rs", "src"), ("**/*", ""), ("a/b?/c", "a")]
        {
            assert_eq!(plain_part(source), part, "{source}");
        }
    }

    #[test]
    fn output_becomes_lines_whatever_the_pieces() {
        let (mut lines, mut said) = (Lines::default(), Vec::new());
        let mut say = |level, line| said.push((level, line));
        lines.add(Source::Stdout, b"on", &mut say);
        lines.add(Source::Stderr, b"bad\n", &mut say);
        lines.add(Source::Stdout, b"e\n\ntwo", &mut say);
        lines.end(&mut say);
        let expected = [(Level::Warn, "bad"), (Level::Info, "one"), (Level::Info, "two")];
        assert_eq!(said, expected.map(|(level, line)| (level, line.to_owned())));
        assert_eq!(lines.last, "two");
    }
}
