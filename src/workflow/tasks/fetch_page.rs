//! `fetchPage`: a web page as text, fetched inside the sandbox, so that its rules for going out hold.

use crate::domain::ProjectId;
use crate::sandbox::{CommandSpec, LogFrom, SandboxError, Service};
use crate::workflow::{Task, TaskContext, TaskError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The page may take so long.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Bytes of the page that are read.
const PAGE_MAX: u64 = 1 << 20;

/// Whatever is there fetches: each writes the page and nothing else to standard output.
const SCRIPT: &str = r#"if command -v curl >/dev/null 2>&1; then exec curl -sSL --fail-with-body --compressed --max-time 30 --max-redirs 5 -A 'Mozilla/5.0 (compatible; Sandcastle)' -- "$PAGE_URL"; fi
if command -v node >/dev/null 2>&1; then exec node -e 'fetch(process.env.PAGE_URL).then(async r => { process.stdout.write(await r.text()); if (!r.ok) { process.stderr.write("HTTP " + r.status); process.exitCode = 22 } }).catch(e => { console.error(String(e.cause || e)); process.exit(6) })'; fi
if command -v python3 >/dev/null 2>&1; then exec python3 -c 'import os,sys,urllib.request as u; sys.stdout.buffer.write(u.urlopen(os.environ["PAGE_URL"], timeout=30).read())'; fi
echo 'no program in this sandbox can fetch a page' >&2; exit 127"#;

/// The task.
pub struct FetchPage {
    service: Service,
}

/// What `fetchPage` is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchPageInput {
    /// The project.
    pub project: ProjectId,
    /// An http or https address.
    pub url: String,
}

/// What `fetchPage` returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchPageOutput {
    /// The page as it came, at most 1 MiB.
    pub body: String,
    /// Whether there was more.
    pub truncated: bool,
}

impl FetchPage {
    /// The task over this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Task for FetchPage {
    const NAME: &'static str = "fetchPage";
    const IN_SANDBOX: bool = true;
    type Input = FetchPageInput;
    type Output = FetchPageOutput;

    async fn run(&self, ctx: TaskContext, input: FetchPageInput) -> Result<FetchPageOutput, TaskError> {
        let spec = CommandSpec {
            line: SCRIPT.to_owned(),
            env: [("PAGE_URL".to_owned(), input.url.clone())].into(),
            timeout: Some(TIMEOUT),
            run: Some(ctx.run.clone()),
            ..CommandSpec::default()
        };
        let command = self.service.start_command(&input.project, spec).await?;
        let exit = self.service.wait_command(&input.project, &command, &ctx.cancel).await?;
        let log = self.service.read_log(&input.project, &command, LogFrom::Offset(0), PAGE_MAX).await?;
        if !exit.success() {
            let end: String = log.text.chars().rev().take(400).collect::<Vec<_>>().into_iter().rev().collect();
            let message = format!("{} could not be fetched ({}): {}", input.url, exit.describe(), end.trim());
            return Err(SandboxError::Invalid(message).into());
        }
        Ok(FetchPageOutput { truncated: log.total > log.end, body: log.text })
    }
}
