//! The app in a browser without a screen, inside the sandbox, where the host has one.
//!
//! It runs under the sandbox's walls, limits and rules for going out like any command, and reads the app from inside, so
//! what the app's scripts do stays in there. Its own sandbox is off: it needs namespaces that ours does not give, and
//! the walls around it are ours already.

use super::{SelfCheck, check, cut};
use crate::domain::{Checked, ProjectId};
use crate::sandbox::{CommandSpec, LogFrom, SandboxError};
use crate::workflow::TaskContext;
use std::time::Duration;

/// Loading and drawing may take so long.
const LOOK: Duration = Duration::from_secs(45);
/// Where the picture lies: a folder that no checkpoint and no archive has.
const PICTURE: &str = ".cache/sandcastle/look.png";
/// Bytes of a picture that is kept.
const PICTURE_MAX: u64 = 4 << 20;
/// Errors that are told.
const ERRORS: usize = 5;
/// What the shell answers when there is no browser.
const NO_BROWSER: i32 = 127;

/// Loads the page, lets it be for some seconds of its own time, and takes a picture. A page with a stream of events
/// never comes to the end of those seconds, so the second look is at the page as it has just been loaded. The programs themselves are tried first: what
/// distributions put on the path are scripts that read the host's `/etc`, which is not inside.
const SCRIPT: &str = r#"# Looks at the app in a browser without a screen.
for name in /usr/lib/chromium/chromium /usr/lib64/chromium-browser/chromium-browser \
  /usr/lib/chromium-browser/chromium-browser /opt/google/chrome/chrome \
  chromium chromium-browser google-chrome-stable google-chrome; do
  browser=$(command -v "$name") && break
done
[ -n "$browser" ] || exit 127
mkdir -p .cache/sandcastle && rm -f "$PICTURE"
profile=$(mktemp -d)
look() {
  seconds=$1 && shift
  timeout "$seconds" "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
    --hide-scrollbars --disable-extensions --disable-background-networking --disable-component-update --disable-sync \
    --no-pings --disable-domain-reliability --disable-features=OptimizationHints,MediaRouter,Translate \
    --user-data-dir="$profile" --window-size=1280,800 --enable-logging=stderr --v=0 --screenshot="$PICTURE" "$@" \
    "$PAGE" 2>&1 | grep CONSOLE
}
look 6 --virtual-time-budget=5000
[ -s "$PICTURE" ] || look 30
rm -rf "$profile"
[ -s "$PICTURE" ]"#;

impl SelfCheck {
    /// What a browser sees of the app: a picture and the errors of its scripts.
    pub(super) async fn look(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        port: u16,
    ) -> Result<Checked, SandboxError> {
        let name = "A browser runs it";
        let skipped = |why: String| Checked { skipped: true, ..check("Not looked at in a browser", true, why) };
        let spec = CommandSpec {
            line: SCRIPT.to_owned(),
            env: [("PICTURE".to_owned(), PICTURE.to_owned()), ("PAGE".to_owned(), format!("http://localhost:{port}/"))]
                .into(),
            timeout: Some(LOOK),
            run: Some(ctx.run.clone()),
            ..CommandSpec::default()
        };
        let command = self.service.start_command(project, spec).await?;
        let exit = self.service.wait_command(project, &command, &ctx.cancel).await?;
        if exit.code == Some(NO_BROWSER) {
            return Ok(skipped("there is no Chromium on this machine".to_owned()));
        }
        let log = self.service.read_log(project, &command, LogFrom::Tail(64 * 1024), 64 * 1024).await?;
        if !exit.success() {
            // The browser's own trouble is not the app's.
            return Ok(skipped(format!("the browser drew nothing ({})", exit.describe())));
        }
        let errors = uncaught(&log.text);
        let detail = if errors.is_empty() { "no error from its scripts".to_owned() } else { errors.join("\n") };
        let image = match self.service.read_bytes(project, PICTURE, PICTURE_MAX).await {
            Ok(picture) => self.attachments.put(picture.to_vec()).await.ok(),
            Err(_) => None,
        };
        Ok(Checked { image, ..check(name, errors.is_empty(), cut(&detail)) })
    }
}

/// Errors nobody caught, each once. What a page says in its console by itself is not told apart by its level here, so
/// it is left to the preview's own script.
fn uncaught(log: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in log.lines() {
        let message = line.split_once("CONSOLE").and_then(|(_, rest)| rest.split_once("] \"")).map(|(_, rest)| rest);
        let Some(message) = message.filter(|message| message.starts_with("Uncaught")) else { continue };
        let message = message.replacen("\", source: ", " at ", 1);
        if found.len() < ERRORS && !found.contains(&message) {
            found.push(message);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_nobody_caught_are_told() {
        let log = "[1:1:1125/1.2:INFO:CONSOLE:1] \"an error object\", source: http://localhost:3000/ (1)\n\
                   [1:1:1125/1.2:INFO:CONSOLE:1] \"Uncaught ReferenceError: f is not defined\", source: http://localhost:3000/a.js (7)\n\
                   [1:1:1125/1.2:INFO:CONSOLE(1)] \"Uncaught ReferenceError: f is not defined\", source: http://localhost:3000/a.js (7)\n\
                   6054 bytes written";
        assert_eq!(uncaught(log), ["Uncaught ReferenceError: f is not defined at http://localhost:3000/a.js (7)"]);
    }
}
