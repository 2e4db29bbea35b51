//! When a sandbox was last used, so that an idle one can be put to sleep.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The last use of a sandbox. Cheap to clone and to touch.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    since: Instant,
    last: Arc<AtomicU64>,
}

impl Activity {
    /// Used just now.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), last: Arc::new(AtomicU64::new(0)) }
    }

    /// Notes a use.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// How long ago it was used.
    pub(super) fn idle_for(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// A number that changes with every use more than a millisecond apart.
    pub(super) fn mark(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// A connection whose bytes count as use.
pub(super) struct Tracked<C> {
    pub(super) inner: C,
    pub(super) activity: Activity,
}

impl<C: AsyncRead + Unpin> AsyncRead for Tracked<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Tracked<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
