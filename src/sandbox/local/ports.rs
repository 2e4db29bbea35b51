//! Which ports are open inside, read from the kernel's tables, and connections to them by sockets that init made.

use super::wire::{HTTP_PORT, HTTPS_PORT};
use crate::sandbox::SandboxError;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// A connection inside one machine is instant; a full backlog is the only thing to wait for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listening TCP ports in the network of the process whose `/proc` directory this is.
pub fn listening(proc_dir: &OwnedFd) -> Result<Vec<u16>, SandboxError> {
    let mut ports = BTreeSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        ports.extend(parse_table(&read_at(proc_dir, table)?));
    }
    // Programs inside cannot bind these two: they are the way out.
    ports.retain(|port| ![HTTP_PORT, HTTPS_PORT].contains(port));
    Ok(ports.into_iter().collect())
}

fn read_at(directory: &OwnedFd, name: &str) -> Result<String, SandboxError> {
    use rustix::fs::{Mode, OFlags, openat};
    use std::io::Read;
    let dead = |error: std::io::Error| SandboxError::Dead(format!("its network cannot be read ({error})"));
    let fd = openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| dead(e.into()))?;
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).map_err(dead)?;
    Ok(text)
}

/// Ports of the lines in state LISTEN (0A) that a program can have opened: on loopback or on every address. Those at
/// other addresses are the way out's.
fn parse_table(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (address, port) = local.rsplit_once(':')?;
        // In the kernel's order the first byte of an IPv4 address comes last.
        let own = address.len() > 8 || address == "00000000" || address.ends_with("7F");
        (own && state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    })
}

/// Whether init really sent a TCP socket that does not block. What is something else could hold up a thread of ours.
pub fn is_fresh_socket(fd: &OwnedFd, v6: bool) -> bool {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    sockopt::socket_domain(fd) == Ok(family)
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && rustix::io::ioctl_fionbio(fd, true).is_ok()
}

/// Connects a socket that init made. `Ok(None)` when nothing listens there.
pub async fn connect(socket: OwnedFd, v6: bool, port: u16) -> Result<Option<TcpStream>, SandboxError> {
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    let address = if v6 { SocketAddr::from((Ipv6Addr::LOCALHOST, port)) } else { (Ipv4Addr::LOCALHOST, port).into() };
    match tokio::time::timeout(PATIENCE, socket.connect(address)).await {
        Ok(Ok(stream)) => {
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(None),
        Ok(Err(error)) => Err(SandboxError::Io(format!("cannot connect to port {port}: {error}"))),
        Err(_) => Err(SandboxError::Io(format!("port {port} does not take connections"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 1 1 0 100 0 0 10 0\n\
             1: 0100007F:0BB9 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000 0 2 1 0 100 0 0 10 0\n\
             garbage\n";
        assert_eq!(parse_table(table).collect::<Vec<_>>(), [3000]);
    }
}
