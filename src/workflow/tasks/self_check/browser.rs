//! The app in a browser without a screen, inside the sandbox, where the host has one.
//!
//! It runs under the sandbox's walls, limits and rules for going out like any command, and reads the app from inside, so
//! what the app's scripts do stays in there. Its own sandbox is off: it needs namespaces that ours does not give, and
//! the walls around it are ours already. It is led over its stdin and stdout and opens no port, so nobody meets it among
//! the app's.

use super::look::{Look, Seen};
use super::messages::Messages;
use super::route::Route;
use super::{SelfCheck, check, cut};
use crate::domain::{Checked, CommandExit, CommandId, ProjectId};
use crate::sandbox::{CommandSpec, Piped, SandboxError};
use crate::workflow::TaskContext;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Starting, loading and drawing the first page may take so long.
const LOOK: Duration = Duration::from_secs(30);
/// And each page behind it so long.
const PAGE: Duration = Duration::from_secs(8);
/// Then the browser has so long to end by itself, and takes its profile away.
const CLOSE: Duration = Duration::from_secs(5);
/// The command's limit is so much more, for when nobody is there to end it.
const UNATTENDED: Duration = Duration::from_secs(15);
/// Bytes of a picture that is kept.
const PICTURE_MAX: usize = 4 << 20;
/// What the shell answers when there is no browser.
const NO_BROWSER: i32 = 127;

/// Of what the browser itself says, only the page's console is logged. The programs themselves are tried first: what
/// distributions put on the path are scripts that read the host's `/etc`, which is not inside.
const SCRIPT: &str = r#"# Looks at the app in a browser without a screen.
for name in /usr/lib/chromium/chromium /usr/lib64/chromium-browser/chromium-browser \
  /usr/lib/chromium-browser/chromium-browser /opt/google/chrome/chrome \
  chromium chromium-browser google-chrome-stable google-chrome; do
  browser=$(command -v "$name") && break
done
[ -n "$browser" ] || exit 127
profile=$(mktemp -d)
exec 5>&1
"$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
  --hide-scrollbars --disable-extensions --disable-background-networking --disable-component-update --disable-sync \
  --no-pings --disable-domain-reliability --disable-features=OptimizationHints,MediaRouter,Translate \
  --user-data-dir="$profile" --window-size=1280,800 --enable-logging=stderr --v=0 --remote-debugging-pipe \
  about:blank 3<&0 4>&5 5>&- 2>&1 >/dev/null | grep CONSOLE | grep -v 'source: chrome:' >&2
rm -rf "$profile""#;

impl SelfCheck {
    /// What a browser sees of the app: a picture and the errors of its scripts. And the words of these pages, as far as
    /// it came to them.
    pub(super) async fn look(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        port: u16,
        pages: &[&str],
    ) -> Result<(Checked, Vec<(String, String)>), SandboxError> {
        let route = Route::new(port, pages);
        let patience = (0..route.left()).fold(LOOK, |sum, _| sum + PAGE);
        let spec = CommandSpec {
            line: SCRIPT.to_owned(),
            timeout: Some(patience + UNATTENDED),
            run: Some(ctx.run.clone()),
            ..CommandSpec::default()
        };
        let Piped { command, stdin, stdout } = self.service.start_piped(project, spec).await?;
        let seen = tokio::select! {
            seen = watch(stdin, stdout, route, patience) => seen,
            () = ctx.cancel.cancelled() => Err("stopped".to_owned()),
        };
        let exit = self.close(ctx, project, &command).await?;
        let skipped =
            |why: String| (Checked { skipped: true, ..check("Not looked at in a browser", true, why) }, Vec::new());
        if exit.code == Some(NO_BROWSER) {
            return Ok(skipped("there is no Chromium on this machine".to_owned()));
        }
        let Seen { errors, picture, words } = match seen {
            Ok(seen) => seen,
            // The browser's own trouble is not the app's.
            Err(why) => return Ok(skipped(format!("the browser showed nothing: {why} ({})", exit.describe()))),
        };
        let detail = if errors.is_empty() { "no error from its scripts".to_owned() } else { errors.join("\n") };
        let image = match picture.filter(|picture| picture.len() <= PICTURE_MAX) {
            Some(picture) => self.attachments.put(picture).await.ok(),
            None => None,
        };
        Ok((Checked { image, ..check("A browser runs it", errors.is_empty(), cut(&detail)) }, words))
    }

    /// Waits for the end of a browser whose stdin has ended. Whoever cancels does not wait for that.
    async fn close(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        command: &CommandId,
    ) -> Result<CommandExit, SandboxError> {
        match timeout(CLOSE, self.service.wait_command(project, command, &ctx.cancel)).await {
            Ok(exit) => exit,
            Err(_) => self.service.stop_command(project, command).await,
        }
    }
}

/// Leads a browser through the app. What was seen counts also where the browser fails later.
async fn watch(
    stdin: mpsc::Sender<Bytes>,
    stdout: mpsc::Receiver<Bytes>,
    route: Route,
    patience: Duration,
) -> Result<Seen, String> {
    let began = Instant::now();
    let mut look = Look::new(route, began);
    let led = lead(&mut look, stdin, stdout, began + patience).await;
    let seen = look.into_seen();
    match led {
        Err(why) if seen.errors.is_empty() && seen.picture.is_none() => Err(why),
        _ => Ok(seen),
    }
}

/// Says and hears until there is no more to see.
async fn lead(
    look: &mut Look,
    stdin: mpsc::Sender<Bytes>,
    mut stdout: mpsc::Receiver<Bytes>,
    deadline: Instant,
) -> Result<(), String> {
    let late = || "it was not done in time".to_owned();
    let ended = || "it ended".to_owned();
    let mut messages = Messages::default();
    loop {
        for message in look.unsent() {
            timeout_at(deadline, stdin.send(message)).await.map_err(|_| late())?.map_err(|_| ended())?;
        }
        if look.is_done() {
            return Ok(());
        }
        tokio::select! {
            said = stdout.recv() => for message in messages.take(&said.ok_or_else(ended)?)? {
                look.hear(&message, Instant::now())?;
            },
            () = until(look.due()) => look.draw(),
            () = sleep_until(deadline) => return Err(late()),
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_browser_that_ends_or_floods_has_shown_nothing() {
        let watch = |stdin, stdout| watch(stdin, stdout, Route::new(3000, &[]), LOOK);
        let (stdin, _said) = mpsc::channel(16);
        let (_, stdout) = mpsc::channel(1);
        assert_eq!(watch(stdin, stdout).await.unwrap_err(), "it ended");

        let (stdin, _said) = mpsc::channel(16);
        let (flood, stdout) = mpsc::channel(1);
        let flooding = async move { while flood.send(vec![0; 32 * 1024].into()).await.is_ok() {} };
        let (seen, ()) = tokio::join!(watch(stdin, stdout), flooding);
        assert_eq!(seen.unwrap_err(), "it said too much");
    }
}
