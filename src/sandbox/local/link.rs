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

#[cfg(test)]
mod fuzz {
    use super::*;
    use crate::sandbox::local::wire::{File, Mount, Setup, Text};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn texts() -> impl Strategy<Value = Vec<Text>> {
        vec(vec(any::<u8>(), 0..40).prop_map(Text), 0..6)
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_refused(bytes in vec(any::<u8>(), 0..300)) {
            // What is read is exactly what was sent, so that no two packets mean the same.
            if let Ok(event) = Event::decode(&bytes) {
                prop_assert_eq!(event.encode(), bytes.clone());
            }
            if let Ok(request) = Request::decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes.clone());
            }
            if let Ok(setup) = Setup::decode(&bytes) {
                prop_assert_eq!(setup.encode(), bytes);
            }
        }

        #[test]
        fn a_damaged_message_is_refused_or_read_whole(argv in texts(), env in texts(), at: usize, byte: u8, cut: usize) {
            let request = Request::Exec { id: 1, argv, env, cwd: "/home/user".into(), terminal: false };
            let mut bytes = request.encode();
            prop_assert_eq!(Request::decode(&bytes), Ok(request));
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut % 3);
            if let Ok(other) = Request::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
            }
        }

        #[test]
        fn a_setup_of_any_content_arrives(paths in texts(), number: u64, privileged: bool) {
            let mounts = paths.iter().cloned().map(|source| Mount { source, ..Mount::default() }).collect();
            let files = paths.iter().cloned().map(|content| File { content, ..File::default() }).collect();
            let setup = Setup { mounts, files, tmp_bytes: number, privileged, ..Setup::default() };
            prop_assert_eq!(Setup::decode(&setup.encode()), Ok(setup));
        }
    }
}
