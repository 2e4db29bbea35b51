//! What whoever answered a request has left of its body.
//!
//! A connection with an unread body is closed behind the answer. A client that is still sending sees it break, often
//! before it has read why it was refused; one that sends its next request at that moment sees that fail. So a refusal,
//! which needs no body, still takes it. Knows no routes.

use super::preview::{BoxError, ProxyBody};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes, and time, spent on the rest of a body that nobody wanted.
const REST_MAX: usize = 64 << 20;
const REST_TIME: Duration = Duration::from_secs(10);

/// A body of which a [`Rest`] remains when it is dropped half read.
struct Lent(Arc<Mutex<ProxyBody>>);

/// What whoever answered has left of a body.
pub struct Rest(Arc<Mutex<ProxyBody>>);

/// Lends a body to whoever answers.
pub fn lend(body: ProxyBody) -> (ProxyBody, Rest) {
    let shared = Arc::new(Mutex::new(body));
    (Lent(Arc::clone(&shared)).boxed_unsync(), Rest(shared))
}

impl Rest {
    /// Reads what is left, within reason, unless the body is still in use.
    pub async fn take(self) {
        let Some(body) = Arc::into_inner(self.0) else { return };
        let body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !body.is_end_stream() {
            // A caller who sends more than that, or nothing for so long, loses the connection.
            let _ = tokio::time::timeout(REST_TIME, whole_or_not(body)).await;
        }
    }
}

async fn whole_or_not(mut body: ProxyBody) {
    let mut left = REST_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return;
        }
        left -= length;
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use http_body_util::StreamBody;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn counted(chunks: usize, read: &Arc<AtomicUsize>) -> ProxyBody {
        let read = Arc::clone(read);
        let frames = futures::stream::iter(0..chunks).then(move |_| {
            read.fetch_add(1, Ordering::Relaxed);
            async { Ok(Frame::data(Bytes::from_static(&[0; 1024]))) }
        });
        StreamBody::new(frames).boxed_unsync()
    }

    #[tokio::test]
    async fn a_refused_body_is_read_to_its_end_within_reason() {
        let read = Arc::default();
        let (body, rest) = lend(counted(3, &read));
        drop(body);
        rest.take().await;
        assert_eq!(read.load(Ordering::Relaxed), 3);
        let (body, rest) = lend(counted(10_000_000, &read));
        drop(body);
        rest.take().await;
        assert!(read.load(Ordering::Relaxed) < 70_000);
    }

    #[tokio::test]
    async fn a_body_in_use_is_left_alone() {
        let read = Arc::default();
        let (mut body, rest) = lend(counted(2, &read));
        rest.take().await;
        assert_eq!(read.load(Ordering::Relaxed), 0);
        assert!(body.frame().await.is_some() && body.frame().await.is_some() && body.frame().await.is_none());
    }
}
