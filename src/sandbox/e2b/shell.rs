//! Small commands of our own inside a sandbox: run to the end, with their output in memory.

use super::envd::{Envd, User};
use super::error::E2bError;
use super::event::Event;
use crate::sandbox::provider::{ExitStatus, Signal};
use serde_json::json;
use std::time::Duration;

/// Every process we start carries this variable, and so does all that it starts: by it they are found and ended. The
/// service's own signals reach a single process.
pub const MARK: &str = "SANDCASTLE_COMMAND";
/// A small command may take so long.
pub const SHORT: Duration = Duration::from_secs(20);

/// What a command said.
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Output {
    /// Its standard output, if it succeeded.
    pub fn successful(self) -> Result<Vec<u8>, E2bError> {
        if self.status.code == Some(0) {
            return Ok(self.stdout);
        }
        let message = format!("a command of ours failed inside: {}", self.stderr.trim());
        Err(E2bError::Rpc { code: "internal".to_owned(), message })
    }
}

impl Envd {
    /// Runs a script of `/bin/sh` with arguments. Output beyond `max` bytes is an error.
    pub async fn shell(
        &self,
        script: &str,
        args: &[String],
        user: User,
        limit: Duration,
        max: usize,
    ) -> Result<Output, E2bError> {
        let args: Vec<&str> = ["-c", script, "sh"].into_iter().chain(args.iter().map(String::as_str)).collect();
        let body = json!({ "process": { "cmd": "/bin/sh", "args": args, "cwd": "/" }, "stdin": false });
        let mut frames = self.stream("process.Process/Start", &body, user, Some(limit)).await?;
        let mut output = Output { stdout: Vec::new(), stderr: String::new(), status: ExitStatus::default() };
        while let Some(message) = frames.next().await? {
            match Event::read(&message)? {
                Event::Stdout(bytes) => output.stdout.extend_from_slice(&bytes),
                Event::Stderr(bytes) if output.stderr.len() < 4096 => {
                    output.stderr.push_str(&String::from_utf8_lossy(&bytes));
                }
                Event::End(status) => {
                    output.status = status;
                    return Ok(output);
                }
                _ => {}
            }
            if output.stdout.len() > max {
                let message = format!("a command of ours said more than {max} bytes inside");
                return Err(E2bError::Rpc { code: "resource_exhausted".to_owned(), message });
            }
        }
        Err(E2bError::Protocol("a process without an end".to_owned()))
    }

    /// Leaves a file in the machine's memory, by which it is known later whether it is still the same run of it. Where
    /// that is not possible, it is not known.
    pub async fn mark_boot(&self) -> Result<(), E2bError> {
        let mark = format!("/dev/shm/sandcastle-{}", ulid::Ulid::new());
        let left = self.shell(": > \"$1\"", std::slice::from_ref(&mark), User::Normal, SHORT, 4096).await?;
        if left.status.code == Some(0) {
            self.boot_mark().get_or_init(|| mark);
        }
        Ok(())
    }

    /// Notices that the machine was started again, so that everything that ran is lost.
    pub async fn check_boot(&self) {
        let Some(mark) = self.boot_mark().get() else { return };
        let looked = self.shell("[ -e \"$1\" ]", std::slice::from_ref(mark), User::Normal, SHORT, 4096).await;
        if looked.is_ok_and(|output| output.status.code == Some(1)) {
            self.life().die("e2b started its machine again");
        }
    }

    /// Signals all processes that carry a mark, or any mark. Those that ended are no error.
    pub async fn signal_marked(&self, mark: Option<&str>, signal: Signal) -> Result<(), E2bError> {
        // Looked for again until none is left: something may be starting others meanwhile.
        const SCRIPT: &str = r#"
for round in 1 2 3 4 5; do
  found=
  for file in $(grep -lzs "$2" /proc/[0-9]*/environ 2>/dev/null); do
    pid=${file#/proc/}; kill -"$1" "${pid%/environ}" 2>/dev/null && found=1
  done
  [ "$1" = KILL ] && [ -n "$found" ] || break
done
exit 0"#;
        let signal = match signal {
            Signal::Interrupt => "INT",
            Signal::Terminate => "TERM",
            Signal::Kill => "KILL",
        };
        let pattern = mark.map_or_else(|| format!("^{MARK}="), |mark| format!("^{MARK}={mark}$"));
        let args = [signal.to_owned(), pattern];
        self.shell(SCRIPT, &args, User::Root, SHORT, 4096).await.map(drop)
    }
}
