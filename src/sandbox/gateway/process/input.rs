//! What callers send to a command's stdin or terminal, at once or as a stream.

use super::super::frame::{self, Code, Messages, RpcError};
use super::super::{Answer, Incoming};
use super::{Request, find_running, invalid};
use crate::sandbox::fleet::{Command, Live};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InputMessage {
    stdin: Option<String>,
    pty: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamInputRequest {
    start: Option<Request>,
    data: Option<Request>,
}

pub(super) fn closed() -> RpcError {
    RpcError::new(Code::FailedPrecondition, "stdin is not enabled or closed")
}

pub(super) async fn input(command: &Command, input: InputMessage) -> Result<(), RpcError> {
    let (text, for_terminal) = match input {
        InputMessage { stdin: Some(text), .. } => (text, false),
        InputMessage { pty: Some(text), .. } => (text, true),
        _ => return Err(invalid("the input is neither for stdin nor for a pty")),
    };
    if for_terminal != command.has_terminal {
        let message = if for_terminal { "tty not assigned to process" } else { "the process has a tty" };
        return Err(RpcError::new(Code::FailedPrecondition, message));
    }
    let bytes = STANDARD.decode(text).map_err(|_| invalid("the input is not base64"))?;
    if command.input(bytes.into()).await { Ok(()) } else { Err(closed()) }
}

pub(super) async fn stream_input(live: &Live, request: Incoming) -> Result<Answer, RpcError> {
    let mut messages = Messages::of(request)?;
    let mut command = None;
    while let Some(message) = messages.next::<StreamInputRequest>().await? {
        if let Some(start) = message.start {
            command = Some(find_running(live, start.process)?);
        } else if let Some(data) = message.data {
            let command = command.as_ref().ok_or_else(|| invalid("the first message names no process"))?;
            input(command, data.input.unwrap_or_default()).await?;
        }
    }
    Ok(frame::stream(futures::stream::once(async { Ok(Bytes::from_static(b"{}")) })))
}
