//! The packet socket to one sandbox's init: sends requests, receives events with their descriptors.
//!
//! Treats init as hostile: packets that are too long, carry too many descriptors or do not decode end the sandbox.

use super::wire::{Event, MAX_FDS, MAX_MESSAGE, Request, Wire};
use crate::sandbox::SandboxError;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Our end.
pub struct Link {
    socket: AsyncFd<OwnedFd>,
}

impl Link {
    /// A link and the end that init gets as its standard input.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self { socket: poll(ours)? }, theirs))
    }

    /// Sends a request with its descriptors.
    pub async fn request(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        self.send(&request.encode(), fds).await
    }

    /// Sends one packet.
    pub async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(SandboxError::Invalid("the command and its environment are too long".to_owned()));
        }
        let send = |socket: &OwnedFd| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?)
        };
        match self.socket.async_io(Interest::WRITABLE, send).await {
            Ok(_) => Ok(()),
            Err(error) => Err(SandboxError::Dead(format!("its first process does not answer ({error})"))),
        }
    }

    /// Receives the next event. `None` at the end, or if what came is not an event. Safe to cancel.
    pub async fn receive(&self, buffer: &mut [u8]) -> Option<(Event, Vec<OwnedFd>)> {
        let (length, fds) =
            self.socket.async_io(Interest::READABLE, |socket| receive_now(socket, buffer)).await.ok()?;
        let event = Event::decode(buffer.get(..length)?).ok()?;
        Some((event, fds))
    }

    /// Ends the conversation, which ends init.
    pub fn close(&self) {
        // It may be closed by the other side already.
        let _ = rustix::net::shutdown(self.socket.get_ref(), Shutdown::Both);
    }
}

/// Registers a descriptor with the async runtime.
pub fn poll(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same for as long as the `AsyncFd` owns it.
    unsafe { AsyncFd::register(fd) }.map_err(|error| error.into_parts().1)
}

fn receive_now(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut fds = Vec::new();
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = ancillary {
            fds.extend(received);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok((message.bytes, fds))
}
