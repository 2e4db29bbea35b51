//! Invented addresses: each name a sandbox asks for gets one of its own in 198.18.0.0/15.

use crate::domain::SandboxId;
use crate::sandbox::entry::lock;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

/// The network of invented addresses.
const BASE: u32 = Ipv4Addr::new(198, 18, 0, 0).to_bits();
/// Its size.
const SIZE: u32 = 1 << 17;
/// The first addresses are kept free, for the name server itself.
const RESERVED: u32 = 256;
/// Names remembered; the oldest are forgotten first.
const NAMES_MAX: usize = 8192;

/// The names of one sandbox. The same name gets the same address each time, as far as no other name has it.
pub(super) struct FakeNames {
    key: String,
    map: Mutex<Map>,
}

#[derive(Default)]
struct Map {
    names: HashMap<u32, String>,
    addresses: HashMap<String, u32>,
    order: VecDeque<u32>,
}

impl FakeNames {
    pub(super) fn new(id: &SandboxId) -> Self {
        Self { key: id.to_string(), map: Mutex::default() }
    }

    /// The address for a name that was checked and is in lower case.
    pub(super) fn address_of(&self, name: &str) -> Ipv4Addr {
        let mut map = lock(&self.map);
        if let Some(offset) = map.addresses.get(name) {
            return Ipv4Addr::from_bits(BASE + offset);
        }
        if map.names.len() >= NAMES_MAX
            && let Some(oldest) = map.order.pop_front()
            && let Some(forgotten) = map.names.remove(&oldest)
        {
            map.addresses.remove(&forgotten);
        }
        let mut offset = self.preferred(name);
        // There are many more addresses than names, so a free one is near.
        while map.names.contains_key(&offset) {
            offset = if offset + 1 == SIZE { RESERVED } else { offset + 1 };
        }
        map.names.insert(offset, name.to_owned());
        map.addresses.insert(name.to_owned(), offset);
        map.order.push_back(offset);
        Ipv4Addr::from_bits(BASE + offset)
    }

    /// The name an address was invented for.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<String> {
        let IpAddr::V4(address) = address else { return None };
        let offset = address.to_bits().checked_sub(BASE)?;
        lock(&self.map).names.get(&offset).cloned()
    }

    fn preferred(&self, name: &str) -> u32 {
        let digest = Sha256::new().chain_update(&self.key).chain_update([0]).chain_update(name).finalize();
        let number = digest.iter().take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        RESERVED + number % (SIZE - RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> FakeNames {
        FakeNames::new(&SandboxId::parse("i1234567890abcdefghi").unwrap())
    }

    #[test]
    fn a_name_keeps_its_address_and_leads_back() {
        let (first, second) = (names(), names());
        let address = first.address_of("example.com");
        assert_eq!(first.address_of("example.com"), address);
        assert_eq!(second.address_of("example.com"), address);
        assert_eq!(first.name_of(address.into()).as_deref(), Some("example.com"));
        assert_eq!(first.name_of("1.1.1.1".parse().unwrap()), None);
        assert_eq!(first.name_of("198.18.0.1".parse().unwrap()), None);
    }

    #[test]
    fn every_name_has_an_address_of_its_own_and_old_names_are_forgotten() {
        let names = names();
        for n in 0..NAMES_MAX + 10 {
            let name = format!("n{n}.example.com");
            let address = names.address_of(&name);
            assert_eq!(names.name_of(address.into()), Some(name));
            let octets = address.octets();
            assert!(octets[0] == 198 && (octets[1] == 18 || octets[1] == 19) && address.to_bits() - BASE >= RESERVED);
        }
        let map = lock(&names.map);
        assert_eq!((map.names.len(), map.addresses.len(), map.order.len()), (NAMES_MAX, NAMES_MAX, NAMES_MAX));
        assert!(!map.addresses.contains_key("n0.example.com"));
    }
}
