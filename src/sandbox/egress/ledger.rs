//! What a sandbox connected to: names, ports and bytes, in memory while it lives.

use crate::sandbox::entry::lock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Lines kept; those not used for longest go first.
const LINES_MAX: usize = 500;

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Name, or address where no name was looked up.
    pub target: String,
    /// The port.
    pub port: u16,
    /// Whether connections were made.
    pub allowed: bool,
    /// Connections, or attempts.
    pub connections: u64,
    /// Bytes the sandbox sent.
    pub sent: u64,
    /// Bytes it received.
    pub received: u64,
    /// When it last connected (Unix ms).
    pub last_at: u64,
}

/// The destinations of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lines: Mutex<HashMap<(String, u16, bool), Arc<Account>>>,
}

/// One destination's counters.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    connections: AtomicU64,
    last_at: AtomicU64,
}

impl Ledger {
    /// Notes a connection, or an attempt.
    pub(super) fn open(&self, target: &str, port: u16, allowed: bool) -> Arc<Account> {
        let mut lines = lock(&self.lines);
        let key = (target.to_owned(), port, allowed);
        if !lines.contains_key(&key) && lines.len() >= LINES_MAX {
            let oldest = lines.iter().min_by_key(|(_, line)| line.last_at.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                lines.remove(&oldest);
            }
        }
        let account = Arc::clone(lines.entry(key).or_default());
        account.connections.fetch_add(1, Ordering::Relaxed);
        account.last_at.store(crate::store::now_ms(), Ordering::Relaxed);
        account
    }

    /// Every line, the latest first.
    pub(super) fn entries(&self) -> Vec<LedgerEntry> {
        let lines = lock(&self.lines);
        let mut entries: Vec<LedgerEntry> = lines
            .iter()
            .map(|((target, port, allowed), account)| LedgerEntry {
                target: target.clone(),
                port: *port,
                allowed: *allowed,
                connections: account.connections.load(Ordering::Relaxed),
                sent: account.sent.load(Ordering::Relaxed),
                received: account.received.load(Ordering::Relaxed),
                last_at: account.last_at.load(Ordering::Relaxed),
            })
            .collect();
        entries.sort_by(|a, b| b.last_at.cmp(&a.last_at).then_with(|| a.target.cmp(&b.target)));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_add_up_and_the_ledger_stays_bounded() {
        let ledger = Ledger::default();
        ledger.open("a.example", 443, true).sent.fetch_add(5, Ordering::Relaxed);
        ledger.open("a.example", 443, true).sent.fetch_add(6, Ordering::Relaxed);
        let entries = ledger.entries();
        assert_eq!((entries.len(), entries[0].connections, entries[0].sent), (1, 2, 11));
        for n in 0..LINES_MAX + 50 {
            ledger.open(&format!("n{n}.example"), 80, false);
        }
        assert_eq!(ledger.entries().len(), LINES_MAX);
    }
}
