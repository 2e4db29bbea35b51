//! Tells whether the service can be used, by using it: a sandbox is made, does something, and is deleted.

use super::Shared;
use super::envd::{Envd, User};
use super::shell::SHORT;
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{Check, CheckState};
use std::time::Instant;

/// Where the check writes.
const FILE: &str = "/tmp/sandcastle-doctor";

/// Every check; after one that fails nothing else is tried.
pub async fn run(shared: &Shared) -> Vec<Check> {
    let config = shared.control.config();
    let (url, template) = (&config.api_url, &config.template);
    let started = Instant::now();
    let opens = shared.control.check_key().await.map_err(SandboxError::from);
    let mut checks = vec![check("e2b", opens.map(|()| format!("{url} accepts the key ({})", taken(started))), None)];
    if checks.iter().any(|check| check.state == CheckState::Failed) {
        return checks;
    }
    let started = Instant::now();
    let opened = shared.control.create("doctor", &serde_json::json!({})).await.map_err(SandboxError::from);
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let fix = format!("check E2B_TEMPLATE ({template}) and the limits of your e2b plan");
            checks.push(check("e2b sandbox", Err(error), Some(fix)));
            return checks;
        }
    };
    let envd = Envd::new(std::sync::Arc::clone(&shared.control), opened);
    checks.push(check("e2b sandbox", Ok(format!("made one from {template} in {}", taken(started))), None));
    let reach = "check E2B_DOMAIN and E2B_SANDBOX_URL: sandboxes have addresses of their own".to_owned();
    let started = Instant::now();
    let used = use_it(&envd).await;
    checks.push(check(
        "e2b command",
        used.map(|()| format!("ran one and wrote a file in {}", taken(started))),
        Some(reach),
    ));
    shared.template.learn(&envd).await;
    let tools = shared.template.tools();
    for name in ["node", "npm", "python3", "git"] {
        let found = tools.iter().find(|tool| tool.name == name);
        checks.push(Check {
            name: name.to_owned(),
            state: if found.is_some() { CheckState::Ok } else { CheckState::Degraded },
            detail: found.map_or_else(
                || format!("not in the template {template}"),
                |tool| format!("{} ({})", tool.version, tool.path.display()),
            ),
            fix: found.is_none().then(|| format!("name a template that has {name} in E2B_TEMPLATE")),
        });
    }
    let deleted = shared.control.kill(envd.id()).await.map_err(SandboxError::from);
    if let Err(error) = deleted {
        let fix = format!("delete the sandbox {} at e2b", envd.id());
        checks.push(check("e2b clean-up", Err(error), Some(fix)));
    }
    checks
}

async fn use_it(envd: &Envd) -> Result<(), SandboxError> {
    envd.write(FILE, bytes::Bytes::from_static(b"sandcastle")).await?;
    let output = envd.shell("cat \"$1\"", &[FILE.to_owned()], User::Normal, SHORT, 1024).await?.successful()?;
    if output == b"sandcastle" {
        Ok(())
    } else {
        Err(SandboxError::Io("a file that was written has another content inside".to_owned()))
    }
}

fn check(name: &str, result: Result<String, SandboxError>, fix: Option<String>) -> Check {
    let (state, detail) = match result {
        Ok(detail) => (CheckState::Ok, detail),
        Err(error) => (CheckState::Failed, error.to_string()),
    };
    Check { name: name.to_owned(), state, detail, fix: fix.filter(|_| state == CheckState::Failed) }
}

fn taken(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}
