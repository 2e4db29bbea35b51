//! What was planned: each step is looked at in the way the model named for it, a page of the app, a file or a command.

use super::{ANSWER, SelfCheck, SelfCheckInput, check, cut};
use crate::domain::{CheckKind, Checked, ProjectId, StepCheck};
use crate::sandbox::{CommandSpec, LogFrom, SandboxError};
use crate::workflow::TaskContext;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Steps that are looked at.
const STEPS_MAX: usize = 20;
/// All of them together may take so long, without the browser.
const TOTAL: Duration = Duration::from_secs(240);
/// A command may take so long.
const COMMAND: Duration = Duration::from_secs(60);
/// Bytes of a command's output in which a text is looked for.
const OUTPUT: u64 = 64 * 1024;
/// Of the output, so many lines are evidence.
const LINES: usize = 6;
/// Characters of a page that are evidence.
const BEGINNING: usize = 200;

/// What was found of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Whether it is as it should be, and the evidence.
    Settled(bool, String),
    /// It was not looked at, for this reason.
    Skipped(String),
    /// A text is not in the page as it comes, but a browser may show it.
    Undrawn {
        /// The page.
        path: String,
        /// The text.
        text: String,
        /// How the page answered.
        came: String,
        /// Whether it has scripts, without which there is nothing more to come.
        scripts: bool,
    },
}

impl SelfCheck {
    /// What is found of each step before a browser has looked. The same check is made once.
    pub(super) async fn steps(&self, ctx: &TaskContext, input: &SelfCheckInput) -> Result<Vec<Finding>, SandboxError> {
        let until = Instant::now() + TOTAL;
        let mut known: Vec<(&StepCheck, Finding)> = Vec::new();
        let mut found = Vec::new();
        for step in input.steps.iter().take(STEPS_MAX) {
            let Some(check) = &step.check else {
                found.push(Finding::Skipped("not checked".to_owned()));
                continue;
            };
            if let Some((_, finding)) = known.iter().find(|(have, _)| *have == check) {
                found.push(finding.clone());
                continue;
            }
            let finding = self.find(ctx, input, check, until).await?;
            known.push((check, finding.clone()));
            found.push(finding);
        }
        Ok(found)
    }

    async fn find(
        &self,
        ctx: &TaskContext,
        input: &SelfCheckInput,
        check: &StepCheck,
        until: Instant,
    ) -> Result<Finding, SandboxError> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Finding::Skipped("not checked: the checks before it took too long".to_owned()));
        }
        // Whoever replays a run may have changed it.
        let check = match check.clone().cleaned() {
            Ok(check) => check,
            Err(error) => return Ok(Finding::Settled(false, error.to_string())),
        };
        let found = match check.kind {
            CheckKind::Page => self.ask(ctx, input, &check, left.min(ANSWER)).await,
            CheckKind::File => self.read(&input.project, &check).await,
            CheckKind::Command => self.run_line(ctx, &input.project, &check, left.min(COMMAND)).await,
        };
        match found {
            Err(error) if is_the_apps(&error) => Ok(Finding::Settled(false, cut(&error.to_string()))),
            found => found,
        }
    }

    async fn ask(
        &self,
        ctx: &TaskContext,
        input: &SelfCheckInput,
        check: &StepCheck,
        patience: Duration,
    ) -> Result<Finding, SandboxError> {
        let Some(port) = input.port else {
            let why = "no preview is open, so there is no page to ask for. Start the app and call get_sandbox_url";
            return Ok(Finding::Settled(false, why.to_owned()));
        };
        let (status, body) = self.service.get_page(&input.project, port, &check.target, patience, &ctx.cancel).await?;
        Ok(judge_page(check, status, &body))
    }

    async fn read(&self, project: &ProjectId, check: &StepCheck) -> Result<Finding, SandboxError> {
        let file = self.service.read_file(project, &check.target).await?;
        let there = format!("{}: {} bytes", file.path, file.size);
        let (ok, said) = judge(there, true, &file.text.unwrap_or_default(), check.contains.as_deref());
        Ok(Finding::Settled(ok, said))
    }

    async fn run_line(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        check: &StepCheck,
        patience: Duration,
    ) -> Result<Finding, SandboxError> {
        let spec = CommandSpec {
            line: check.target.clone(),
            timeout: Some(patience),
            run: Some(ctx.run.clone()),
            ..CommandSpec::default()
        };
        let command = self.service.start_command(project, spec).await?;
        let exit = self.service.wait_command(project, &command, &ctx.cancel).await?;
        let log = self.service.read_log(project, &command, LogFrom::Tail(OUTPUT), OUTPUT).await?;
        let ended = format!("{}: {}", check.target, exit.describe());
        let (ok, said) = judge(ended, exit.success(), &log.text, check.contains.as_deref());
        Ok(Finding::Settled(ok, cut(&format!("{said}\n{}", last_lines(&log.text)))))
    }
}

impl Finding {
    /// The page a browser is to look at, if this waits for one.
    pub(super) fn page(&self) -> Option<&str> {
        match self {
            Self::Undrawn { path, .. } => Some(path),
            Self::Settled(..) | Self::Skipped(_) => None,
        }
    }

    /// The line of the receipt, once a browser has looked or not. `drawn` has the words it showed of each page.
    pub(super) fn line(self, title: &str, drawn: &HashMap<String, String>) -> Checked {
        match self {
            Self::Settled(ok, detail) => check(title, ok, detail),
            Self::Skipped(why) => Checked { skipped: true, ..check(title, true, why) },
            Self::Undrawn { path, text, came, scripts } => match drawn.get(&path) {
                Some(shown) if holds(shown, &text) => check(title, true, format!("{came}, a browser shows \"{text}\"")),
                Some(shown) => {
                    let shows = beginning(shown);
                    check(title, false, format!("{came}, but a browser does not show \"{text}\". It shows: {shows}"))
                }
                None if !scripts => check(title, false, format!("{came}, but \"{text}\" is not in it")),
                None => {
                    let why = format!("{came}; \"{text}\" is not in the page as it comes, and no browser looked at it");
                    Checked { skipped: true, ..check(title, true, why) }
                }
            },
        }
    }
}

fn judge_page(check: &StepCheck, status: u16, body: &str) -> Finding {
    let came = format!("GET {}: HTTP {status}", check.target);
    let lower = body.to_ascii_lowercase();
    let html = ["<html", "<body", "<!doctype", "<script"].iter().any(|tag| lower.contains(tag));
    // Where it leads elsewhere, only a browser follows.
    let leads_on = (300..400).contains(&status);
    match &check.contains {
        Some(text) if (leads_on || status < 300 && html) && !holds(body, text) => Finding::Undrawn {
            path: check.target.clone(),
            text: text.clone(),
            came,
            scripts: leads_on || lower.contains("<script"),
        },
        contains => match judge(came, status < 400, body, contains.as_deref()) {
            (true, said) => Finding::Settled(true, said),
            (false, said) => Finding::Settled(false, format!("{said}. It begins: {}", beginning(body))),
        },
    }
}

/// Whether something is there and has a text, if it is to have one, and the evidence. `came` says how it is there.
fn judge(came: String, there: bool, text: &str, contains: Option<&str>) -> (bool, String) {
    match contains.filter(|_| there) {
        Some(wanted) if holds(text, wanted) => (true, format!("{came}, contains \"{wanted}\"")),
        Some(wanted) => (false, format!("{came}, but \"{wanted}\" is not in it")),
        None => (there, came),
    }
}

/// Whether a text has these words. Case and space are matters of style, which a page may change.
fn holds(text: &str, words: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    plain(text).contains(&plain(words))
}

fn beginning(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() { "(nothing)".to_owned() } else { words.chars().take(BEGINNING).collect() }
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Whether a failure says something of the app, and not of the machine under it.
fn is_the_apps(error: &SandboxError) -> bool {
    matches!(
        error,
        SandboxError::Path(_)
            | SandboxError::NotFound(_)
            | SandboxError::Invalid(_)
            | SandboxError::PortClosed(_)
            | SandboxError::Unanswered(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(contains: Option<&str>) -> StepCheck {
        StepCheck { kind: CheckKind::Page, target: "/a".to_owned(), contains: contains.map(str::to_owned) }
    }

    fn line(finding: Finding, drawn: &[(&str, &str)]) -> (bool, bool, String) {
        let drawn = drawn.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let Checked { ok, skipped, detail, .. } = finding.line("x", &drawn);
        (ok, skipped, detail)
    }

    #[test]
    fn an_answer_is_judged_by_its_status_and_its_text() {
        for (contains, status, body, ok, words) in [
            (None, 204, "", true, "GET /a: HTTP 204"),
            (None, 302, "", true, "GET /a: HTTP 302"),
            (None, 404, "Not found", false, "GET /a: HTTP 404. It begins: Not found"),
            (Some("buy  MILK"), 200, "[\"Buy\n milk\"]", true, "GET /a: HTTP 200, contains \"buy  MILK\""),
            (Some("Milk"), 200, "[]", false, "GET /a: HTTP 200, but \"Milk\" is not in it. It begins: []"),
            (Some("Milk"), 500, "Milk", false, "GET /a: HTTP 500. It begins: Milk"),
        ] {
            let finding = judge_page(&page(contains), status, body);
            assert_eq!(finding, Finding::Settled(ok, words.to_owned()));
        }
    }

    #[test]
    fn a_text_that_scripts_may_draw_is_left_to_a_browser_and_not_held_against_a_page_without_one() {
        let drawn_by_script = judge_page(&page(Some("Milk")), 200, "<!doctype html><script src=a.js></script>");
        assert_eq!(drawn_by_script.page(), Some("/a"));
        let (ok, skipped, detail) = line(drawn_by_script.clone(), &[("/a", "1 task\nbuy milk")]);
        assert!(ok && !skipped && detail == "GET /a: HTTP 200, a browser shows \"Milk\"", "{detail}");
        let (ok, _, detail) = line(drawn_by_script.clone(), &[("/a", "0 tasks")]);
        assert!(!ok && detail.contains("does not show \"Milk\". It shows: 0 tasks"), "{detail}");
        let (_, skipped, detail) = line(drawn_by_script, &[("/", "buy milk")]);
        assert!(skipped && detail.contains("no browser looked"), "{detail}");
        let still = judge_page(&page(Some("Milk")), 200, "<!doctype html><p>Bread");
        assert!(!line(still, &[]).0, "there is no script that could draw it");
    }

    #[test]
    fn of_what_a_command_says_the_last_lines_are_evidence() {
        let output: String = (0..1000).map(|n| format!("line {n}\n\n")).collect();
        assert_eq!(last_lines(&output).lines().count(), LINES);
        assert!(last_lines(&output).ends_with("line 999"));
        assert_eq!(last_lines(""), "");
    }
}
