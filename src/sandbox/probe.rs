//! Waiting until an app answers HTTP on a port.

use super::SandboxError;
use super::entry::{Entry, Live};
use super::output::LogFrom;
use super::service::Service;
use crate::domain::{AnsiStyle, CommandView, EventBody, ProjectId, ProjectState, spans};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two tries.
const RETRY: Duration = Duration::from_millis(100);
/// How long nothing may run in the background before waiting is pointless. A daemon started by a foreground command
/// may still open its port in that time.
const NOTHING_RUNS: Duration = Duration::from_secs(5);
/// The same, if a background command ended meanwhile.
const CRASHED: Duration = Duration::from_millis(500);
/// Bytes of a page that are read.
const PAGE: u64 = 64 * 1024;
/// What comes behind is heard out up to so many bytes and so long.
const REST: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(1);
/// How much of a command's output an error carries, in bytes.
const OUTPUT: u64 = 3000;

/// An app that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlProbe {
    /// Where the browser reaches it.
    pub url: String,
    /// The status of its answer to `GET /`.
    pub status: u16,
}

impl Service {
    /// Waits until something answers HTTP on the port inside, and records that the preview is ready. Gives up early
    /// if nothing runs that could answer. The error carries the last output of the background commands.
    pub async fn wait_for_url(
        &self,
        project: &ProjectId,
        port: u16,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<UrlProbe, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let live = self.up(&entry).await?;
        let answer = tokio::select! {
            () = cancel.cancelled() => return Err(SandboxError::Cancelled),
            answer = answer(&entry, &live, port, Instant::now() + timeout) => answer,
        };
        match answer {
            Ok(status) => {
                let url = self.inner.preview.url(&entry.id, port);
                self.inner.emit(project, vec![EventBody::PreviewReady { port, url: url.clone(), status }]).await?;
                Ok(UrlProbe { url, status })
            }
            Err(why) => {
                let output = self.last_output(project).await?;
                Err(SandboxError::Unanswered(format!("nothing answers on port {port}: {why}.{output}")))
            }
        }
    }

    /// Waits like [`Service::wait_for_url`], records nothing, and reads the page: its status and its beginning.
    pub async fn read_page(
        &self,
        project: &ProjectId,
        port: u16,
        path: &str,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<(u16, String), SandboxError> {
        let entry = self.inner.entry(project).await?;
        let live = self.up(&entry).await?;
        let deadline = Instant::now() + timeout;
        tokio::select! {
            () = cancel.cancelled() => return Err(SandboxError::Cancelled),
            answer = answer(&entry, &live, port, deadline) => answer.map_err(SandboxError::Unanswered)?,
        };
        get_page(&live, port, path, deadline.saturating_duration_since(Instant::now()), cancel).await
    }

    /// Reads a page of an app that is known to answer: its status and its beginning.
    pub async fn get_page(
        &self,
        project: &ProjectId,
        port: u16,
        path: &str,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<(u16, String), SandboxError> {
        let entry = self.inner.entry(project).await?;
        get_page(&self.up(&entry).await?, port, path, timeout, cancel).await
    }

    /// The last output of the background commands, newest first, for people and models.
    async fn last_output(&self, project: &ProjectId) -> Result<String, SandboxError> {
        let state = self.inner.state(project).await?;
        let mut text = String::new();
        for command in interesting(&state) {
            let slice = self.read_log(project, &command.id, LogFrom::Tail(OUTPUT), OUTPUT).await?;
            let how = command.exit.as_ref().map_or_else(|| "running".to_owned(), |exit| exit.describe());
            let output = plain(&slice.text);
            let output = if output.trim().is_empty() { "(no output)" } else { output.trim_end() };
            text.push_str(&format!("\n\n$ {} ({how})\n{output}", command.line));
        }
        if text.is_empty() {
            text.push_str(" No command is running in the background: start the server first.");
        }
        Ok(text)
    }
}

/// The background commands that tell why a port is closed: those that run, or else the last one.
pub(super) fn interesting(state: &ProjectState) -> Vec<&CommandView> {
    let background = || state.commands.iter().rev().filter(|command| command.background);
    let running: Vec<&CommandView> = background().filter(|command| command.exit.is_none()).take(3).collect();
    if running.is_empty() { background().take(1).collect() } else { running }
}

/// Output without colours and control sequences.
pub(super) fn plain(text: &str) -> String {
    let mut style = AnsiStyle::default();
    let lines = text.lines().map(|line| spans(line, &mut style).into_iter().map(|span| span.text).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

async fn answer(entry: &Entry, live: &Live, port: u16, deadline: Instant) -> Result<u16, String> {
    let mut nothing_runs_since: Option<Instant> = None;
    let began_with = entry.running().1;
    loop {
        entry.activity.touch();
        let failure = match tokio::time::timeout_at(deadline, ask(live, port)).await {
            Ok(Ok(status)) => return Ok(status),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Silent("it accepts connections, but did not answer in time".to_owned()),
        };
        if live.instance.closed().is_cancelled() {
            return Err(live.why());
        }
        let background = entry.running().1;
        if background > 0 || matches!(failure, Failure::Silent(_)) {
            nothing_runs_since = None;
        } else {
            let since = *nothing_runs_since.get_or_insert_with(Instant::now);
            let patience = if began_with > background { CRASHED } else { NOTHING_RUNS };
            if since.elapsed() >= patience {
                return Err("nothing listens there, and no background command is running".to_owned());
            }
        }
        if Instant::now() + RETRY >= deadline {
            return Err(match failure {
                Failure::Closed => "nothing listens there yet".to_owned(),
                Failure::Silent(why) => why,
            });
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Why a try failed.
enum Failure {
    /// Nothing listens.
    Closed,
    /// Something listens but gave no HTTP answer.
    Silent(String),
}

/// A request for a page of the app. Version 1.0 is answered without chunks.
fn get(port: u16, path: &str, version: &str) -> String {
    format!(
        "GET {path} HTTP/{version}\r\nHost: localhost:{port}\r\nAccept: text/html,*/*\r\nUser-Agent: sandcastle-probe\r\n\
         Connection: close\r\n\r\n"
    )
}

/// A page: its status and its beginning.
async fn get_page(
    live: &Live,
    port: u16,
    path: &str,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<(u16, String), SandboxError> {
    let read = async {
        let mut connection = live.instance.connect(port).await.map_err(|_| SandboxError::PortClosed(port))?;
        connection.write_all(get(port, path, "1.0").as_bytes()).await?;
        let mut page = Vec::new();
        (&mut connection).take(PAGE).read_to_end(&mut page).await?;
        hear_out(&mut connection).await;
        Ok::<_, SandboxError>(page)
    };
    let page = tokio::select! {
        () = cancel.cancelled() => return Err(SandboxError::Cancelled),
        page = tokio::time::timeout(timeout, read) => page,
    };
    let page = page.map_err(|_| SandboxError::Unanswered(format!("port {port} did not send its page in time")))??;
    let status =
        status_of(&page).ok_or_else(|| SandboxError::Unanswered(format!("port {port} does not speak HTTP")))?;
    let text = String::from_utf8_lossy(&page).into_owned();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

/// One `GET /`: its status.
async fn ask(live: &Live, port: u16) -> Result<u16, Failure> {
    let mut connection = live.instance.connect(port).await.map_err(|_| Failure::Closed)?;
    let request = get(port, "/", "1.1");
    let broken = |error: std::io::Error| Failure::Silent(format!("the connection broke ({error})"));
    connection.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::with_capacity(256);
    let mut byte = [0u8; 64];
    while !head.contains(&b'\n') && head.len() < 1024 {
        match connection.read(&mut byte).await.map_err(broken)? {
            0 => break,
            n => head.extend_from_slice(byte.get(..n).unwrap_or_default()),
        }
    }
    hear_out(&mut connection).await;
    status_of(&head).ok_or_else(|| Failure::Silent("it does not speak HTTP".to_owned()))
}

/// Takes what is still sent, within limits: servers log an error if one hangs up in the middle of a page.
async fn hear_out(connection: &mut (impl AsyncRead + Unpin)) {
    let (mut rest, mut nowhere) = (connection.take(REST), tokio::io::sink());
    // Nothing of it is wanted, and it may be a stream without an end.
    let _ = tokio::time::timeout(PATIENCE, tokio::io::copy(&mut rest, &mut nowhere)).await;
}

fn status_of(head: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(head);
    let mut words = line.lines().next()?.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_http_status_line_is_an_answer() {
        assert_eq!(status_of(b"HTTP/1.1 404 Not Found\r\nx: y"), Some(404));
        assert_eq!(status_of(b"HTTP/1.0 200\r\n"), Some(200));
        assert_eq!(status_of(b"+OK redis\r\n"), None);
        assert_eq!(status_of(b"HTTP/1.1 abc\r\n"), None);
        assert_eq!(status_of(b""), None);
    }

    #[test]
    fn output_is_shown_without_control_sequences() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\n10%\r100%"), "red\n100%");
    }
}
