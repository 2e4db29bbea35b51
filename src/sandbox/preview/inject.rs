//! The small script in an app's pages: it reports errors and navigation to the work pane and obeys its buttons.
//!
//! It goes in while the page streams by: nothing is held back but the few bytes before `<head>` ends.

use super::{BoxError, ProxyBody};
use crate::sandbox::base64;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

/// The script's text.
const SCRIPT: &str = include_str!("inject.js");
/// A page that has no `<head>` by then has none.
const SEARCH_MAX: usize = 32 * 1024;

/// The script's hash as a content security policy names it, without the algorithm.
pub(super) fn script_hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| base64::encode(&Sha256::digest(SCRIPT.as_bytes())));
    &HASH
}

/// The page with the script in it.
pub(super) fn inject(body: ProxyBody) -> ProxyBody {
    Injected { body, pending: BytesMut::new(), done: false, ended: false }.boxed_unsync()
}

struct Injected {
    body: ProxyBody,
    pending: BytesMut,
    done: bool,
    ended: bool,
}

impl Injected {
    /// The bytes held back with the script in the right place.
    fn release(&mut self, place: usize) -> Frame<Bytes> {
        self.done = true;
        let mut page = std::mem::take(&mut self.pending);
        let rest = page.split_off(place);
        page.extend_from_slice(b"<script data-sandcastle>");
        page.extend_from_slice(SCRIPT.as_bytes());
        page.extend_from_slice(b"</script>");
        page.unsplit(rest);
        Frame::data(page.freeze())
    }
}

impl Body for Injected {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let frame = match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.ended = true;
                    if this.done || this.pending.is_empty() {
                        return Poll::Ready(None);
                    }
                    let place = place(&this.pending, true).unwrap_or(0);
                    return Poll::Ready(Some(Ok(this.release(place))));
                }
            };
            if this.done {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Ok(data) = frame.into_data() else { continue };
            this.pending.extend_from_slice(&data);
            let last_chance = this.pending.len() >= SEARCH_MAX;
            if let Some(place) = place(&this.pending, last_chance) {
                return Poll::Ready(Some(Ok(this.release(place))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Where the script goes: after `<head>`. A page without one gets it after `<html>` or the doctype, else in front;
/// never before the doctype, which would change how the page is laid out.
fn place(page: &[u8], last_chance: bool) -> Option<usize> {
    if let Some(after) = after_tag(page, b"<head") {
        return Some(after);
    }
    let body_begins = after_tag(page, b"<body").is_some();
    if !last_chance && !body_begins {
        return None;
    }
    after_tag(page, b"<html").or_else(|| after_tag(page, b"<!doctype")).or(Some(0))
}

/// The position after a start tag, which may carry attributes. `<header>` is no `<head>`.
fn after_tag(page: &[u8], tag: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = page.get(from..)?.windows(tag.len()).position(|w| w.eq_ignore_ascii_case(tag)) {
        let end = from + at + tag.len();
        match page.get(end) {
            Some(b'>') => return Some(end + 1),
            Some(next) if next.is_ascii_whitespace() => {
                return page.get(end..)?.iter().position(|b| *b == b'>').map(|close| end + close + 1);
            }
            _ => from = end,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;

    async fn page(pieces: &[&str]) -> String {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece.as_bytes())))).collect();
        let body = inject(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        text.replace(&format!("<script data-sandcastle>{SCRIPT}</script>"), "[S]")
    }

    #[tokio::test]
    async fn the_script_goes_after_the_head_tag_once() {
        assert_eq!(page(&["<!doctype html><html><head><title>"]).await, "<!doctype html><html><head>[S]<title>");
        assert_eq!(page(&["<html><he", "ad lang", "=x><b>"]).await, "<html><head lang=x>[S]<b>");
        assert_eq!(page(&["<HEAD >", "<head>"]).await, "<HEAD >[S]<head>");
    }

    #[tokio::test]
    async fn a_page_without_a_head_gets_it_after_the_doctype() {
        assert_eq!(page(&["<!doctype html><header>x"]).await, "<!doctype html>[S]<header>x");
        assert_eq!(page(&["<html lang=en><body>x"]).await, "<html lang=en>[S]<body>x");
        assert_eq!(page(&["<h1>hi</h1>"]).await, "[S]<h1>hi</h1>");
        assert_eq!(page(&[]).await, "");
    }

    #[test]
    fn the_script_cannot_end_itself() {
        assert!(!SCRIPT.to_ascii_lowercase().contains("</script"));
        assert_eq!(script_hash().len(), 44);
    }
}
