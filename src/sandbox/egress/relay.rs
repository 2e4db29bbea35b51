//! Copies bytes between a sandbox and the internet, counts them, and turns away what may not pass.

use super::dial::Refusal;
use super::ledger::Account;
use crate::sandbox::activity::{Activity, Tracked};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection on which nothing passes either way for so long is ended.
const IDLE_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Bytes copied at a time.
const PIECE: usize = 16 * 1024;
/// How long a refused HTTP request is waited for.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

/// Copies both ways until both sides are done, one is broken, or nothing passes any more.
pub(super) async fn copy(sandbox: TcpStream, internet: TcpStream, account: &Account) {
    // Small writes matter to interactive protocols; failing to say so costs only latency.
    let _ = sandbox.set_nodelay(true);
    let _ = internet.set_nodelay(true);
    let activity = Activity::new();
    let sandbox = Tracked { inner: sandbox, activity: activity.clone() };
    let (mut from_sandbox, mut to_sandbox) = tokio::io::split(sandbox);
    let (mut from_internet, mut to_internet) = internet.into_split();
    let both = async {
        tokio::try_join!(
            one_way(&mut from_sandbox, &mut to_internet, &account.sent),
            one_way(&mut from_internet, &mut to_sandbox, &account.received),
        )
    };
    tokio::select! {
        // A broken side breaks the other by being dropped here.
        _ = both => {}
        () = idle(&activity) => {}
    }
}

async fn idle(activity: &Activity) {
    loop {
        let rest = IDLE_LIMIT.saturating_sub(activity.idle_for());
        if rest.is_zero() {
            return;
        }
        tokio::time::sleep(rest).await;
    }
}

/// Copies until the reader ends, and then tells the writer's side, which may go on answering.
async fn one_way(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = reader.read(&mut piece).await?;
        if length == 0 {
            return writer.shutdown().await;
        }
        writer.write_all(piece.get(..length).unwrap_or_default()).await?;
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Turns a connection away. On the HTTP port in words; elsewhere by a reset, which programs report at once.
pub(super) async fn refuse(mut stream: TcpStream, port: u16, refusal: &Refusal) {
    if port == 80 {
        let status = if matches!(refusal, Refusal::Denied { .. } | Refusal::Forbidden { .. }) {
            "403 Forbidden"
        } else {
            "502 Bad Gateway"
        };
        let answer = async {
            let mut head = Vec::new();
            let mut piece = [0; 1024];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < PIECE {
                match stream.read(&mut piece).await? {
                    0 => break,
                    n => head.extend_from_slice(piece.get(..n).unwrap_or_default()),
                }
            }
            let body = format!("{refusal}\n");
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        };
        // It is turned away in any case; the words are a courtesy.
        let _ = timeout(REFUSAL_LIMIT, answer).await;
    } else {
        reset(&stream);
    }
}

/// Makes the drop of a connection a reset.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is broken already.
    let _ = stream.set_zero_linger();
}
