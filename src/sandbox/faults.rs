//! Faults of apps on their way to whoever repairs them: ended processes, errors in their output, failed pages.
//!
//! Owns what counts as an error in output. It must not know who listens; reporting never waits and never fails.

use super::entry::lock;
use super::service::Service;
use crate::domain::{FaultKind, ProjectId};
use regex::Regex;
use std::sync::{LazyLock, Mutex};
use tokio::sync::mpsc;

/// Faults under way at most; an app that fails faster has long been noticed.
const UNDER_WAY: usize = 256;
/// Bytes of detail.
const DETAIL: usize = 4096;
/// Characters of a title.
const TITLE: usize = 200;

/// A fault as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFault {
    /// Whose app.
    pub project: ProjectId,
    /// Where it showed.
    pub kind: FaultKind,
    /// One line.
    pub title: String,
    /// What was seen.
    pub detail: String,
    /// When the page it showed in was loaded (Unix ms), if that page stays as it was when files change: there is nothing
    /// new about the app in what an old page says again.
    pub page_at: Option<u64>,
}

impl SeenFault {
    /// A fault of what runs now.
    pub fn new(project: &ProjectId, kind: FaultKind, title: &str, detail: &str) -> Self {
        let (title, detail) = (title.to_owned(), detail.to_owned());
        Self { project: project.clone(), kind, title, detail, page_at: None }
    }
}

/// The way from those who see faults to the one who repairs them.
pub(super) struct Faults {
    sender: mpsc::Sender<SeenFault>,
    receiver: Mutex<Option<mpsc::Receiver<SeenFault>>>,
}

impl Default for Faults {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(UNDER_WAY);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Faults {
    /// Passes a fault on.
    pub(super) fn report(&self, seen: SeenFault) {
        let project = seen.project.clone();
        let title: String = super::probe::plain(&seen.title).trim().chars().take(TITLE).collect();
        let detail = super::probe::plain(&seen.detail);
        let cut = (0..=DETAIL.min(detail.len())).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
        let detail = detail.get(..cut).unwrap_or_default().trim().to_owned();
        let fault = SeenFault { title, detail, ..seen };
        if let Err(error) = self.sender.try_send(fault) {
            tracing::warn!(%project, %error, "an app fails faster than faults are taken; one was not counted");
        }
    }
}

impl Service {
    /// The faults of all apps; only the first caller gets them.
    pub fn take_faults(&self) -> Option<mpsc::Receiver<SeenFault>> {
        lock(&self.inner.faults.receiver).take()
    }

    /// Reports a fault seen from outside, such as by a page's script.
    pub fn report_fault(&self, seen: SeenFault) {
        self.inner.faults.report(seen);
    }
}

/// Whether a line of a server's output tells of an error.
pub(super) fn looks_wrong(line: &str) -> bool {
    static WRONG: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?x)
            \b[A-Z]\w*(Error|Exception)\b | (?i:^\s*(\S+\s+)?(fatal\s+)?error\b) | (?i:\bunhandled\b) | ^Traceback\ \(most
            | ^panic: | \bpanicked\ at\b | (?i:cannot\ find\ (module|package)) | (?i:module\ not\ found)
            | (?i:failed\ to\ (compile|load|resolve|start)) | \bEADDRINUSE\b | (?i:segmentation\ fault) | \bSyntaxError\b",
        )
        .ok()
    });
    static FINE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)\b(0|no|without) errors?\b|deprecat|experimental|\bwarn(ing)?\b").ok());
    let hit = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|pattern| pattern.is_match(line));
    hit(&WRONG) && !hit(&FINE)
}

/// The line that names the error whose output begins with `line`; none if it says only that a visitor has left, which
/// Python's servers tell as if it were their own failure.
pub(super) fn named<'a>(line: &'a str, output: &'a str) -> Option<&'a str> {
    if !line.starts_with("Traceback") {
        return Some(line);
    }
    let unindented = |line: &&str| !line.trim().is_empty() && !line.starts_with(char::is_whitespace);
    let Some(name) = output.lines().skip(1).find(unindented) else { return Some(line) };
    let left = ["BrokenPipeError", "ConnectionResetError", "ConnectionAbortedError"];
    let visitor = left.iter().any(|error| name.starts_with(error)) && output.contains("socketserver.py");
    (!visitor).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceback_is_named_by_its_error_and_a_visitor_who_left_is_none() {
        let first = "Traceback (most recent call last):";
        let trace = |files: &str, error: &str| {
            format!("{first}\n  File \"{files}\", line 7\n    go()\n{error}\n127.0.0.1 - GET /\n")
        };
        let missing = trace("/home/user/app.py", "KeyError: 'name'");
        assert_eq!(named(first, &missing), Some("KeyError: 'name'"));
        assert_eq!(
            named(first, &trace("/usr/lib/python3/socketserver.py", "BrokenPipeError: [Errno 32] Broken pipe")),
            None
        );
        let database = trace("/home/user/db.py", "ConnectionResetError: [Errno 104] Connection reset by peer");
        assert!(named(first, &database).is_some_and(|name| name.starts_with("ConnectionResetError")));
        assert_eq!(named(first, first), Some(first));
        assert_eq!(named("TypeError: x", "TypeError: x\n    at y"), Some("TypeError: x"));
    }

    #[test]
    fn errors_are_told_from_chatter() {
        for line in [
            "TypeError: x is not a function",
            "Error: listen EADDRINUSE: address already in use :::3000",
            " \u{2a2f} Failed to compile",
            "Traceback (most recent call last):",
            "panic: runtime error: index out of range",
            "thread 'main' panicked at src/main.rs:2:5:",
            "[vite] error while updating",
            "Module not found: Can't resolve './x'",
        ] {
            assert!(looks_wrong(line), "{line}");
        }
        for line in [
            "compiled with 0 errors",
            "GET /error-page 200",
            "no errors found",
            "DeprecationWarning: Error is old",
            "ready in 300 ms",
            "errors.css 3 kB",
        ] {
            assert!(!looks_wrong(line), "{line}");
        }
    }
}
