//! What a process of a sandbox says, in the service's JSON.

use super::error::E2bError;
use crate::sandbox::provider::ExitStatus;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

/// A message of the streams `Start` and `Connect`.
#[derive(Debug, Deserialize)]
struct Message {
    event: RawEvent,
}

#[derive(Debug, Deserialize)]
struct RawEvent {
    start: Option<Started>,
    data: Option<Data>,
    end: Option<Ended>,
}

#[derive(Debug, Deserialize)]
struct Started {
    pid: u32,
}

#[derive(Debug, Deserialize)]
struct Data {
    stdout: Option<String>,
    stderr: Option<String>,
    pty: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ended {
    exit_code: i32,
    exited: bool,
    status: String,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It runs under this pid.
    Started(u32),
    /// It wrote; a terminal's output counts as stdout.
    Stdout(Bytes),
    /// It wrote to stderr.
    Stderr(Bytes),
    /// It ended.
    End(ExitStatus),
    /// Nothing happened, or nothing that is known here.
    Nothing,
}

impl Event {
    /// Reads one message.
    pub fn read(message: &[u8]) -> Result<Self, E2bError> {
        let message: Message =
            serde_json::from_slice(message).map_err(|error| E2bError::Protocol(error.to_string()))?;
        let event = message.event;
        Ok(match (event.start, event.data, event.end) {
            (Some(started), _, _) => Self::Started(started.pid),
            (_, Some(Data { stdout: Some(text), .. } | Data { pty: Some(text), .. }), _) => {
                Self::Stdout(decode(&text)?)
            }
            (_, Some(Data { stderr: Some(text), .. }), _) => Self::Stderr(decode(&text)?),
            (_, _, Some(ended)) => Self::End(status(&ended)),
            _ => Self::Nothing,
        })
    }
}

fn decode(text: &str) -> Result<Bytes, E2bError> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| E2bError::Protocol(error.to_string()))
}

fn status(ended: &Ended) -> ExitStatus {
    if ended.exited {
        return ExitStatus { code: Some(ended.exit_code), ..ExitStatus::default() };
    }
    let words = ended.status.strip_prefix("signal: ").unwrap_or(&ended.status);
    match signal(words.trim_end_matches(" (core dumped)")) {
        Some(signal) => ExitStatus { signal: Some(signal), ..ExitStatus::default() },
        None => ExitStatus { reason: Some(ended.status.clone()), ..ExitStatus::default() },
    }
}

/// The number of a signal by the words of the language that envd is written in.
fn signal(words: &str) -> Option<i32> {
    Some(match words {
        "hangup" => 1,
        "interrupt" => 2,
        "quit" => 3,
        "illegal instruction" => 4,
        "trace/breakpoint trap" => 5,
        "aborted" => 6,
        "bus error" => 7,
        "floating point exception" => 8,
        "killed" => 9,
        "user defined signal 1" => 10,
        "segmentation fault" => 11,
        "user defined signal 2" => 12,
        "broken pipe" => 13,
        "alarm clock" => 14,
        "terminated" => 15,
        "CPU time limit exceeded" => 24,
        "file size limit exceeded" => 25,
        "bad system call" => 31,
        _ => return words.strip_prefix("signal ")?.parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Event {
        Event::read(text.as_bytes()).unwrap()
    }

    fn code(code: i32) -> Event {
        Event::End(ExitStatus { code: Some(code), ..ExitStatus::default() })
    }

    #[test]
    fn events_of_a_real_envd_are_understood() {
        assert_eq!(read(r#"{"event":{"start":{"pid":19728}}}"#), Event::Started(19728));
        assert_eq!(read(r#"{"event":{"data":{"stdout":"aGkK"}}}"#), Event::Stdout(Bytes::from_static(b"hi\n")));
        assert_eq!(read(r#"{"event":{"data":{"stderr":"ZXJyCg=="}}}"#), Event::Stderr(Bytes::from_static(b"err\n")));
        assert_eq!(
            read(r#"{"event":{"data":{"pty":"MzAgOTANCg=="}}}"#),
            Event::Stdout(Bytes::from_static(b"30 90\r\n"))
        );
        assert_eq!(read(r#"{"event":{"keepalive":{}}}"#), Event::Nothing);
        assert_eq!(read(r#"{"event":{"end":{"exited":true,"status":"exit status 0"}}}"#), code(0));
        let failed =
            r#"{"event":{"end":{"exitCode":3,"exited":true,"status":"exit status 3","error":"exit status 3"}}}"#;
        assert_eq!(read(failed), code(3));
        let killed = r#"{"event":{"end":{"exitCode":-1,"status":"signal: killed","error":"signal: killed"}}}"#;
        assert_eq!(read(killed), Event::End(ExitStatus { signal: Some(9), ..ExitStatus::default() }));
    }

    #[test]
    fn an_event_of_a_later_version_is_passed_over_and_nonsense_is_an_error() {
        assert_eq!(read(r#"{"event":{"paused":{}}}"#), Event::Nothing);
        assert!(Event::read(b"{}").is_err());
        assert!(Event::read(br#"{"event":{"data":{"stdout":"?"}}}"#).is_err());
    }
}
