//! Connect's protocol with its JSON codec: unary calls, and streams of framed messages.
//!
//! Knows no service. A message of a stream is a flag byte, a big-endian length and JSON; the last one has flag 2.

use super::answer::{empty, full, json};
use super::body::{BodyError, whole};
use super::{Answer, Incoming, text};
use crate::sandbox::preview::ProxyBody;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::Stream;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// The largest message accepted.
pub(super) const MESSAGE_MAX: usize = 4 << 20;
/// A caller that is willing to wait longer may wait so long.
const DEADLINE_MAX: Duration = Duration::from_secs(10_000_000);
const STREAM: &str = "application/connect+json";
const LAST: u8 = 2;

/// An error in Connect's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RpcError {
    pub(super) code: Code,
    pub(super) message: String,
}

/// Connect's error codes, as far as they occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }
}

impl RpcError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn json(&self) -> Value {
        json!({ "code": self.code.name(), "message": self.message })
    }
}

/// Whether a method is called as it must be; else the answer that says so.
pub(super) fn check_call(request: &Incoming, streams: bool) -> Result<(), Answer> {
    if request.method() != Method::POST {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Err(response);
    }
    let wanted = if streams { STREAM } else { "application/json" };
    let kind = text(request.headers(), header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let (kind, charset) = kind.split_once(';').unwrap_or((kind, ""));
    let charset = charset.trim().to_ascii_lowercase();
    if kind.trim() != wanted || !matches!(charset.as_str(), "" | "charset=utf-8") {
        let mut response = empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        response.headers_mut().insert("accept-post", HeaderValue::from_static(wanted));
        return Err(response);
    }
    Ok(())
}

/// How long the caller is willing to wait, if it says so.
pub(super) fn deadline(request: &Incoming) -> Result<Option<Duration>, RpcError> {
    let Some(given) = request.headers().get("connect-timeout-ms") else { return Ok(None) };
    // Connect says an integer; the Python SDK of 2025 sends `300.0`.
    let number = given.to_str().ok().filter(|text| text.len() <= 20).and_then(|text| text.parse::<f64>().ok());
    number
        .and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok())
        .map(|limit| Some(limit.min(DEADLINE_MAX)))
        .ok_or_else(|| RpcError::new(Code::InvalidArgument, "Connect-Timeout-Ms is not a number of milliseconds"))
}

/// A unary call's message.
pub(super) async fn read_unary<T: DeserializeOwned>(request: Incoming) -> Result<T, RpcError> {
    refuse_compression(&request, "content-encoding")?;
    let bytes = whole(request.into_body(), MESSAGE_MAX).await.map_err(|failed| match failed {
        BodyError::TooLarge => too_large(),
        BodyError::CutOff => RpcError::new(Code::InvalidArgument, "the request was cut off"),
    })?;
    parse(&bytes)
}

/// A unary call's answer.
pub(super) fn unary(result: Result<Value, RpcError>) -> Answer {
    match result {
        Ok(value) => json(StatusCode::OK, &value),
        Err(error) => json(error.code.status(), &error.json()),
    }
}

fn too_large() -> RpcError {
    RpcError::new(Code::ResourceExhausted, format!("the message is larger than {MESSAGE_MAX} bytes"))
}

fn refuse_compression(request: &Incoming, name: &str) -> Result<(), RpcError> {
    match text(request.headers(), name).unwrap_or("identity") {
        "identity" | "" => Ok(()),
        _ => Err(RpcError::new(Code::Unimplemented, "compressed messages are not accepted; supported: identity")),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RpcError> {
    super::body::json(bytes)
        .map_err(|error| RpcError::new(Code::InvalidArgument, format!("unmarshal message: {error}")))
}

/// The messages a caller streams, one after the other.
pub(super) struct Messages {
    body: ProxyBody,
    unread: BytesMut,
    ended: bool,
}

impl Messages {
    /// Reads a request's body as it comes.
    pub(super) fn of(request: Incoming) -> Result<Self, RpcError> {
        refuse_compression(&request, "connect-content-encoding")?;
        Ok(Self { body: request.into_body(), unread: BytesMut::new(), ended: false })
    }

    /// The next message; none at the end.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, RpcError> {
        loop {
            if let Some(message) = self.take()? {
                return parse(&message).map(Some);
            }
            if self.ended {
                return match self.unread.is_empty() {
                    true => Ok(None),
                    false => Err(RpcError::new(Code::InvalidArgument, "the last message was cut off")),
                };
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.unread.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(RpcError::new(Code::InvalidArgument, "the request was cut off")),
            }
        }
    }

    /// A whole message, if there is one.
    fn take(&mut self) -> Result<Option<Bytes>, RpcError> {
        let Some((head, _)) = self.unread.split_first_chunk::<5>() else { return Ok(None) };
        let [flag, length @ ..] = *head;
        let length = u32::from_be_bytes(length) as usize;
        if length > MESSAGE_MAX {
            return Err(too_large());
        }
        match flag {
            0 => {}
            LAST => {
                self.ended = true;
                self.unread.clear();
                return Ok(None);
            }
            1 => return Err(RpcError::new(Code::Unimplemented, "compressed messages are not accepted")),
            _ => return Err(RpcError::new(Code::InvalidArgument, format!("unknown flags {flag} of a message"))),
        }
        if self.unread.len() < 5 + length {
            return Ok(None);
        }
        self.unread.advance(5);
        Ok(Some(self.unread.split_to(length).freeze()))
    }
}

/// A streamed answer. Each item is a message; an error, or the end of the stream, is told in the last frame.
pub(super) fn stream(messages: impl Stream<Item = Result<Bytes, RpcError>> + Send + 'static) -> Answer {
    use futures::StreamExt as _;
    // The error of a message ends the stream: what comes after it is never polled.
    let frames = messages.map(Some).chain(futures::stream::once(async { None })).scan(false, |done, message| {
        let frame = match message {
            _ if *done => None,
            Some(Ok(message)) => Some(framed(0, &message)),
            Some(Err(error)) => {
                *done = true;
                Some(framed(LAST, json!({ "error": error.json() }).to_string().as_bytes()))
            }
            None => Some(framed(LAST, b"{}")),
        };
        futures::future::ready(frame)
    });
    streamed(StreamBody::new(frames.map(|frame| Ok(Frame::data(frame)))).boxed_unsync())
}

/// A streamed answer that is only an error.
pub(super) fn stream_error(error: &RpcError) -> Answer {
    streamed(full(framed(LAST, json!({ "error": error.json() }).to_string().as_bytes())))
}

fn streamed(body: ProxyBody) -> Answer {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(STREAM));
    response
}

fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(flag);
    // Our own messages are a few times larger than one read of output at most.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn messages(bytes: Vec<u8>) -> Messages {
        let request = http::Request::post("/").body(full(bytes)).unwrap();
        Messages::of(request).unwrap()
    }

    #[tokio::test]
    async fn framed_messages_are_read_back_and_cut_ones_refused() {
        let whole = [framed(0, b"{\"a\":1}"), framed(0, b"[]")].concat();
        let mut read = messages(whole.clone());
        assert_eq!(read.next::<Value>().await, Ok(Some(json!({"a": 1}))));
        assert_eq!(read.next::<Value>().await, Ok(Some(json!([]))));
        assert_eq!(read.next::<Value>().await, Ok(None));
        let mut cut = messages(whole[..whole.len() - 1].to_vec());
        assert!(cut.next::<Value>().await.unwrap().is_some());
        assert_eq!(cut.next::<Value>().await.unwrap_err().message, "the last message was cut off");
        let mut huge = messages(vec![0, 255, 255, 255, 255]);
        assert_eq!(huge.next::<Value>().await.unwrap_err().code, Code::ResourceExhausted);
        let mut packed = messages(framed(1, b"{}").to_vec());
        assert_eq!(packed.next::<Value>().await.unwrap_err().code, Code::Unimplemented);
    }
}

#[cfg(test)]
mod fuzz {
    use super::tests::messages;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_hang(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut read = messages(bytes.clone());
                // Each message takes at least its head, so there are fewer than bytes.
                for _ in 0..=bytes.len() {
                    if !matches!(read.next::<Value>().await, Ok(Some(_))) {
                        return;
                    }
                }
                panic!("more messages than bytes");
            });
        }
    }
}
