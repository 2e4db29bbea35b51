//! A process on a terminal of its sandbox: our side of it, read and written without blocking.

use super::link::poll;
use super::process::BACKLOG;
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{ExitStatus, ProcessEvent, Terminal, TerminalSize};
use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The most a terminal holds for one read.
const CHUNK: usize = 16 * 1024;
/// Reads after the process ended: a terminal holds a page or two, unless something else goes on writing.
const LAST_READS: usize = BACKLOG;

/// The server's side of a terminal.
pub struct PseudoTerminal {
    side: AsyncFd<OwnedFd>,
}

impl PseudoTerminal {
    /// Takes the side that init sent.
    pub fn new(side: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&side, fcntl_getfl(&side)? | OFlags::NONBLOCK)?;
        Ok(Self { side: poll(side)? })
    }

    /// Forwards output until the process ends, then what is left, then the end. Something it started may keep the
    /// terminal; what that writes later is not read, as on a terminal whose window was closed.
    pub async fn pump(
        self: Arc<Self>,
        exit: oneshot::Receiver<ExitStatus>,
        events: mpsc::Sender<ProcessEvent>,
        closed: CancellationToken,
    ) {
        let mut buffer = vec![0; CHUNK];
        let mut open = true;
        tokio::pin!(exit);
        let status = loop {
            let length = tokio::select! {
                status = &mut exit => break status.unwrap_or_default(),
                length = self.read(&mut buffer), if open => length,
            };
            // A terminal that nobody has open any more is read as an error; it may be opened again only by us.
            open = length > 0;
            self.tell(&buffer, length, &events, &closed).await;
        };
        for _ in 0..LAST_READS {
            let length = rustix::io::read(self.side.get_ref(), &mut buffer[..]).unwrap_or(0);
            if length == 0 {
                break;
            }
            self.tell(&buffer, length, &events, &closed).await;
        }
        tokio::select! {
            _ = events.send(ProcessEvent::End(status)) => {}
            () = closed.cancelled() => {}
        }
    }

    async fn tell(
        &self,
        buffer: &[u8],
        length: usize,
        events: &mpsc::Sender<ProcessEvent>,
        closed: &CancellationToken,
    ) {
        let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else { return };
        tokio::select! {
            _ = events.send(ProcessEvent::Stdout(Bytes::copy_from_slice(chunk))) => {}
            () = closed.cancelled() => {}
        }
    }

    /// 0 at the end.
    async fn read(&self, buffer: &mut [u8]) -> usize {
        let read = |side: &OwnedFd| Ok(rustix::io::read(side, &mut *buffer)?);
        self.side.async_io(Interest::READABLE, read).await.unwrap_or(0)
    }

    /// Types what the caller sends.
    pub async fn feed(self: Arc<Self>, mut input: mpsc::Receiver<Bytes>, closed: CancellationToken) {
        loop {
            let bytes = tokio::select! {
                () = closed.cancelled() => return,
                bytes = input.recv() => bytes,
            };
            let Some(mut bytes) = bytes else { return };
            while !bytes.is_empty() {
                let written = tokio::select! {
                    () = closed.cancelled() => return,
                    written = self.side.async_io(Interest::WRITABLE, |side| Ok(rustix::io::write(side, &bytes)?)) => written,
                };
                match written {
                    Ok(length) => drop(bytes.split_to(length)),
                    Err(_) => return,
                }
            }
        }
    }
}

impl Terminal for PseudoTerminal {
    fn resize(&self, size: TerminalSize) -> Result<(), SandboxError> {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.side.get_ref(), size).map_err(io::Error::from)?)
    }
}
