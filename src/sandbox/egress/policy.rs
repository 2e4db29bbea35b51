//! Which addresses a sandbox may never reach: this host, its networks, and everything that is not the internet.

use super::networks::HostNetworks;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that are never reached. Not "everything that is not global": documentation ranges are in real use where
/// traffic is intercepted.
const DENIED_V4: [(Ipv4Addr, u8, &str); 12] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private network"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's network"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "the loopback network"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's own services"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "the link-local network"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private network"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a reserved network"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private network"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "the sandbox's own invented addresses"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast network"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved network"),
];

/// Why an address may not be reached; none if it may.
pub(super) fn denied(address: IpAddr, host: &HostNetworks) -> Option<&'static str> {
    if host.contain(address) {
        return Some("a network of the host itself");
    }
    match address {
        IpAddr::V4(v4) => denied_v4(v4),
        IpAddr::V6(v6) => denied_v6(v6, host),
    }
}

fn denied_v4(address: Ipv4Addr) -> Option<&'static str> {
    DENIED_V4
        .iter()
        .find(|(network, prefix, _)| address.to_bits() >> (32 - prefix) == network.to_bits() >> (32 - prefix))
        .map(|(_, _, what)| *what)
}

fn denied_v6(address: Ipv6Addr, host: &HostNetworks) -> Option<&'static str> {
    if let Some(inner) = address.to_ipv4_mapped() {
        return denied(IpAddr::V4(inner), host);
    }
    let segments = address.segments();
    let low = Ipv4Addr::from_bits((u32::from(segments[6]) << 16) | u32::from(segments[7]));
    match segments {
        [0, 0, 0, 0, 0, 0, ..] => Some("a reserved network"),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => denied(IpAddr::V4(low), host),
        [0x64, 0xff9b, 1, ..] => Some("a private network"),
        [0x2002, ..] => Some("an obsolete kind of tunnel"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("a private network"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some("the link-local network"),
        [first, ..] if first & 0xffc0 == 0xfec0 => Some("a private network"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("a multicast network"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_denied(address: &str) -> bool {
        let host = HostNetworks::fixed(vec![("192.0.2.2".parse().unwrap(), 24), ("2001:db8::2".parse().unwrap(), 64)]);
        denied(address.parse().unwrap(), &host).is_some()
    }

    #[test]
    fn private_reserved_and_the_hosts_own_addresses_are_denied_in_every_spelling() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.7",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "feff::1",
            "ff02::1",
            "2001:db8::77",
        ] {
            assert!(is_denied(address), "{address} must be denied");
        }
    }

    #[test]
    fn the_internet_is_reachable_and_so_are_documentation_ranges_in_use() {
        for address in [
            "1.1.1.1",
            "100.128.0.1",
            "168.63.129.17",
            "172.32.0.1",
            "203.0.113.80",
            "2606:4700::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(!is_denied(address), "{address} must be reachable");
        }
    }
}
