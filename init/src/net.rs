//! The sandbox's own network: loopback, the route that makes every address local, and the listeners the server serves.
//!
//! There is no way out of it but those listeners, which the server accepts on, outside. Knows no policy.

use crate::sys::{check, socket};
use crate::wire::{DNS_ADDRESS, HTTP_PORT, HTTPS_PORT};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Brings loopback up and makes every IPv4 destination local, so that a connection to any address meets a listener here.
pub fn bring_up() -> io::Result<()> {
    let netlink = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    loopback_up()?;
    request(&netlink, &everything_is_local())
}

/// The DNS, HTTP and HTTPS sockets, in this order.
pub fn egress_sockets() -> io::Result<[OwnedFd; 3]> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let dns = socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0)?;
    bind(&dns, DNS_ADDRESS, 53)?;
    let http = socket(libc::AF_INET, kind, 0)?;
    let https = socket(libc::AF_INET, kind, 0)?;
    for (listener, port) in [(&http, HTTP_PORT), (&https, HTTPS_PORT)] {
        bind(listener, [0, 0, 0, 0], port)?;
        // SAFETY: a bound socket and a number.
        check(unsafe { libc::listen(listener.as_raw_fd(), 512) }.into())?;
    }
    Ok([dns, http, https])
}

fn bind(socket: &OwnedFd, address: [u8; 4], port: u16) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address) },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is alive and of the length given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) }.into()).map(drop)
}

fn loopback_up() -> io::Result<()> {
    let any = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: an all-zero ifreq is valid.
    let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
    interface.ifr_name[0] = b'l' as libc::c_char;
    interface.ifr_name[1] = b'o' as libc::c_char;
    interface.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request wants a pointer to an ifreq, which this is.
    check(unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut interface) }.into()).map(drop)
}

/// `ip route add local 0.0.0.0/0 dev lo table local`, as rtnetlink wants it.
fn everything_is_local() -> Vec<u8> {
    const FLAGS: i32 = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    const RT_SCOPE_HOST: u8 = 254;
    const RTN_LOCAL: u8 = 2;
    const RTPROT_STATIC: u8 = 4;
    const RT_TABLE_LOCAL: u8 = 255;
    const LOOPBACK: u32 = 1;
    let mut message = Vec::with_capacity(36);
    message.extend_from_slice(&36u32.to_ne_bytes());
    message.extend_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
    message.extend_from_slice(&(FLAGS as u16).to_ne_bytes());
    message.extend_from_slice(&1u32.to_ne_bytes());
    message.extend_from_slice(&0u32.to_ne_bytes());
    // family, prefix lengths of destination and source, type of service, table, protocol, scope, type, flags.
    message.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL]);
    message.extend_from_slice(&0u32.to_ne_bytes());
    // One attribute: the outgoing interface.
    message.extend_from_slice(&8u16.to_ne_bytes());
    message.extend_from_slice(&libc::RTA_OIF.to_ne_bytes());
    message.extend_from_slice(&LOOPBACK.to_ne_bytes());
    message
}

fn request(netlink: &OwnedFd, message: &[u8]) -> io::Result<()> {
    let mut answer = [0u8; 1024];
    // SAFETY: both buffers are alive and of the lengths given.
    let length = unsafe {
        check(libc::send(netlink.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) as libc::c_long)?;
        check(libc::recv(netlink.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) as libc::c_long)?
    };
    // The answer is a header (16 bytes) and, for an acknowledgement, an error number that is 0 or negative.
    match answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) if length >= 20 => Ok(()),
        Some(code) if length >= 20 => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::from_raw_os_error(libc::EPROTO)),
    }
}
