//! Connect's streams with the JSON codec, from the caller's side: a flag byte, a big-endian length, JSON.
//!
//! Knows no service and does no I/O.

use super::error::E2bError;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;

/// The largest message accepted.
const MESSAGE_MAX: usize = 16 << 20;
const COMPRESSED: u8 = 1;
const LAST: u8 = 2;

/// One frame of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Bytes),
    /// The end: nothing follows.
    End(Result<(), E2bError>),
}

/// A request's only frame.
pub fn encode(message: &Value) -> Bytes {
    let json = message.to_string();
    let mut frame = BytesMut::with_capacity(json.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(json.len()).unwrap_or(u32::MAX));
    frame.put_slice(json.as_bytes());
    frame.freeze()
}

/// Puts frames together from pieces of any size.
#[derive(Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes what has come.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole frame, if it is there.
    pub fn next(&mut self) -> Result<Option<Frame>, E2bError> {
        let Some(header) = self.buffer.first_chunk::<5>() else { return Ok(None) };
        let (flag, length) = (header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize);
        if length > MESSAGE_MAX {
            return Err(E2bError::Protocol(format!("a message of {length} bytes")));
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        let message = self.buffer.split_to(length).freeze();
        if flag & COMPRESSED != 0 {
            return Err(E2bError::Protocol("a compressed message, which was not asked for".to_owned()));
        }
        Ok(Some(if flag & LAST != 0 { Frame::End(end(&message)?) } else { Frame::Message(message) }))
    }
}

#[derive(Deserialize)]
struct EndMessage {
    error: Option<EndError>,
}

#[derive(Deserialize)]
struct EndError {
    code: String,
    #[serde(default)]
    message: String,
}

fn end(message: &[u8]) -> Result<Result<(), E2bError>, E2bError> {
    let end: EndMessage = serde_json::from_slice(message).map_err(|error| E2bError::Protocol(error.to_string()))?;
    Ok(match end.error {
        None => Ok(()),
        Some(EndError { code, message }) => Err(E2bError::Rpc { code, message }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn frame(flag: u8, json: &str) -> Vec<u8> {
        let mut bytes = encode(&serde_json::from_str(json).unwrap()).to_vec();
        bytes[0] = flag;
        bytes
    }

    #[test]
    fn the_frames_of_a_real_envd_are_read_in_pieces_of_any_size() {
        let sent = [
            frame(0, r#"{"event":{"start":{"pid":19728}}}"#),
            frame(0, r#"{"event":{"data":{"stdout":"aGkK"}}}"#),
            frame(2, r#"{"error":{"code":"deadline_exceeded","message":"context deadline exceeded"}}"#),
        ]
        .concat();
        for size in [1, 4, 7, sent.len()] {
            let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
            for piece in sent.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    frames.push(frame);
                }
            }
            let error =
                E2bError::Rpc { code: "deadline_exceeded".to_owned(), message: "context deadline exceeded".to_owned() };
            assert_eq!(frames.len(), 3, "{size}");
            assert_eq!(frames[0], Frame::Message(Bytes::from(json!({"event":{"start":{"pid":19728}}}).to_string())));
            assert_eq!(frames[2], Frame::End(Err(error)));
        }
    }

    #[test]
    fn a_length_that_nobody_would_send_is_refused_before_it_is_waited_for() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 255, 255, 255, 255]);
        assert!(matches!(decoder.next(), Err(E2bError::Protocol(_))));
    }

    mod fuzz {
        use super::*;

        proptest! {
            #[test]
            fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
                let mut decoder = Decoder::default();
                decoder.push(&bytes);
                while let Ok(Some(_)) = decoder.next() {}
            }
        }
    }
}
