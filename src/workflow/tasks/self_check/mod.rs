//! `selfCheck`: what can be checked about the app without a person: it answers, it is not blank, a browser can run it, its
//! types fit or it builds, and what was planned can be seen.

mod browser;
mod look;
mod messages;
mod project;
mod route;
mod steps;
mod traffic;

use crate::domain::{Checked, PlanStep, ProjectId};
use crate::sandbox::{SandboxError, Service};
use crate::store::Attachments;
use crate::workflow::{RetryPolicy, Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// The app may take so long to answer: a development server compiles a page when it is first asked for.
const ANSWER: Duration = Duration::from_secs(30);
/// Characters of evidence.
const EVIDENCE: usize = 1_200;

/// The task.
pub struct SelfCheck {
    service: Service,
    attachments: Attachments,
}

/// What `selfCheck` is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfCheckInput {
    /// The project.
    pub project: ProjectId,
    /// The port of the app; none if there is no app to be seen.
    pub port: Option<u16>,
    /// The steps of the plan that are to be looked at, of which the first 20 are.
    #[serde(default)]
    pub steps: Vec<PlanStep>,
}

/// What `selfCheck` returns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfCheckOutput {
    /// What was checked of the app, in order.
    pub checks: Vec<Checked>,
    /// What was found of each step, in order.
    #[serde(default)]
    pub steps: Vec<Checked>,
}

impl SelfCheck {
    /// The task over this service; pictures go to the attachments.
    pub fn new(service: Service, attachments: Attachments) -> Self {
        Self { service, attachments }
    }

    async fn page(&self, ctx: &TaskContext, project: &ProjectId, port: u16) -> Result<Vec<Checked>, SandboxError> {
        let answered = self.service.read_page(project, port, "/", ANSWER, &ctx.cancel).await;
        let (status, body) = match answered {
            Ok(page) => page,
            Err(SandboxError::Cancelled) => return Err(SandboxError::Cancelled),
            Err(error) => return Ok(vec![check("The app answers", false, cut(&error.to_string()))]),
        };
        let answers = check("The app answers", status < 400, format!("GET / on port {port}: HTTP {status}"));
        let shows = shows_something(&body);
        let detail =
            if shows { format!("{} bytes", body.len()) } else { "no text, picture or script in it".to_owned() };
        Ok(vec![answers, check("The page is not blank", shows, detail)])
    }
}

#[async_trait]
impl Task for SelfCheck {
    const NAME: &'static str = "selfCheck";
    const IN_SANDBOX: bool = true;
    type Input = SelfCheckInput;
    type Output = SelfCheckOutput;

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(&self, ctx: TaskContext, input: SelfCheckInput) -> Result<SelfCheckOutput, TaskError> {
        let project = &input.project;
        let mut checks = match input.port {
            Some(port) => self.page(&ctx, project, port).await?,
            None => self.not_shown(project).await?.into_iter().collect(),
        };
        let found = self.steps(&ctx, &input).await?;
        let mut drawn = HashMap::new();
        // There is nothing to look at where nothing answers.
        if let Some(port) = input.port
            && checks.iter().all(|check| check.ok)
        {
            let pages: Vec<&str> = found.iter().filter_map(steps::Finding::page).collect();
            let (look, words) = self.look(&ctx, project, port, &pages).await?;
            checks.push(look);
            drawn.extend(words);
        }
        checks.extend(self.compiles(&ctx, project).await?);
        let steps = input.steps.iter().zip(found).map(|(step, found)| found.line(&step.title, &drawn)).collect();
        Ok(SelfCheckOutput { checks, steps })
    }
}

/// Whether a page has words, pictures, fields or a script that may draw them. What is no HTML shows itself.
fn shows_something(body: &str) -> bool {
    let lower = body.to_ascii_lowercase();
    if !lower.contains("<html") && !lower.contains("<body") && !lower.contains("<!doctype") {
        return !body.trim().is_empty();
    }
    let inner = lower.find("<body").and_then(|at| lower.get(at..)).unwrap_or(&lower);
    let inner = inner.find('>').and_then(|at| inner.get(at + 1..)).unwrap_or_default();
    let drawn = ["<script", "<img", "<svg", "<canvas", "<video", "<iframe", "<input", "<button"];
    if drawn.iter().any(|tag| inner.contains(tag)) || lower.contains("<script") {
        return true;
    }
    let mut inside = false;
    inner.chars().any(|c| {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            _ => {}
        }
        !inside && c != '>' && !c.is_whitespace()
    })
}

fn check(name: &str, ok: bool, detail: String) -> Checked {
    Checked { name: name.to_owned(), ok, detail, skipped: false, image: None }
}

fn cut(text: &str) -> String {
    text.chars().take(EVIDENCE).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_page_is_told_from_one_that_shows_something() {
        assert!(!shows_something(
            "<!doctype html><html><head><title>t</title></head><body> <div></div>\n</body></html>"
        ));
        assert!(!shows_something("  "));
        assert!(shows_something("<!doctype html><body><div id=root></div><script src=a.js></script></body>"));
        assert!(shows_something("<html><body><h1>Hi</h1></body></html>"));
        assert!(shows_something("{\"ok\":true}"));
    }
}
