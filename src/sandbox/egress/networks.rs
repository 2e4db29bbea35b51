//! The host's own addresses and on-link networks, which lead to services bound to all interfaces, the platform's own
//! included.

use crate::sandbox::entry::lock;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a look at the interfaces holds.
const FRESH: Duration = Duration::from_secs(5);

/// An address and the length of its network's prefix.
type Network = (IpAddr, u8);

/// The networks of the host, looked at again now and then.
#[derive(Debug, Default)]
pub(super) struct HostNetworks {
    seen: Mutex<Option<(Instant, Vec<Network>)>>,
    fixed: bool,
}

impl HostNetworks {
    /// Networks that do not change, for tests.
    #[cfg(test)]
    pub(super) fn fixed(networks: Vec<Network>) -> Self {
        Self { seen: Mutex::new(Some((Instant::now(), networks))), fixed: true }
    }

    /// Whether the address is the host's own or on one of its links.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let mut seen = lock(&self.seen);
        let stale = seen.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH);
        if stale && !self.fixed {
            match interfaces() {
                Ok(networks) => *seen = Some((Instant::now(), networks)),
                Err(error) => tracing::error!(%error, "the host's own addresses are not known"),
            }
        }
        // Without knowing the host's addresses nothing is safe to reach.
        seen.as_ref().is_none_or(|(_, networks)| {
            networks.iter().any(|(network, prefix)| same_network(address, *network, *prefix))
        })
    }
}

/// Whether the address is in the network of that prefix length around the other.
pub(super) fn same_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}

/// Every address of every interface with the length of its prefix.
fn interfaces() -> std::io::Result<Vec<Network>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer, to a list that is ours until freeifaddrs.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut networks = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list, which is not freed yet.
        let interface = unsafe { &*next };
        // SAFETY: both are null or point to socket addresses of the family they name.
        let (address, mask) = unsafe { (ip(interface.ifa_addr), ip(interface.ifa_netmask)) };
        if let Some(address) = address {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            networks.push((address, mask.map_or(whole, prefix)));
        }
        next = interface.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(networks)
}

/// # Safety
/// `address` is null or points to a socket address that is as long as its family says.
unsafe fn ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: promised by the caller; the casts follow the family.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr))))
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

fn prefix(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_loopback_is_among_its_networks() {
        let host = HostNetworks::default();
        assert!(host.contain("127.0.0.1".parse().unwrap()));
        assert!(!host.contain("203.0.113.200".parse().unwrap()));
    }

    #[test]
    fn prefixes_of_any_length_compare() {
        let same = |a: &str, b: &str, prefix| same_network(a.parse().unwrap(), b.parse().unwrap(), prefix);
        assert!(same("10.0.0.1", "10.0.0.200", 24) && !same("10.0.1.1", "10.0.0.200", 24));
        assert!(same("1.2.3.4", "9.9.9.9", 0) && !same("1.2.3.4", "1.2.3.5", 32));
        assert!(same("fd00::1", "fd00::ffff", 64) && !same("fd00::1", "fd00:0:0:1::1", 64));
        assert!(!same("::1", "1.2.3.4", 0));
    }
}
