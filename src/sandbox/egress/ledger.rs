//! What a sandbox connected to: names, ports, bytes and programs, in memory and bounded.

use crate::domain::NetworkLine;
use crate::sandbox::entry::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Lines kept; those not used for longest go first.
const LINES_MAX: usize = 500;

/// The destinations of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lines: Mutex<HashMap<(String, u16, bool), Arc<Account>>>,
    changed: watch::Sender<u64>,
}

/// One destination's counters.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    connections: AtomicU64,
    last_at: AtomicU64,
    why: Mutex<String>,
    program: Mutex<String>,
}

impl Account {
    /// Whether it is worth to find out who connects: at first, and ever more seldom.
    pub(super) fn wants_program(&self) -> bool {
        self.connections.load(Ordering::Relaxed).is_power_of_two()
    }

    /// Remembers who connected.
    pub(super) fn set_program(&self, program: String) {
        *lock(&self.program) = program;
    }
}

impl Ledger {
    /// Notes a connection, or an attempt and why it failed.
    pub(super) fn open(&self, target: &str, port: u16, refused: Option<String>) -> Arc<Account> {
        let account = self.account(target, port, refused.is_none());
        account.connections.fetch_add(1, Ordering::Relaxed);
        account.last_at.store(crate::store::now_ms(), Ordering::Relaxed);
        *lock(&account.why) = refused.unwrap_or_default();
        self.touch();
        account
    }

    /// Says that counts have changed.
    pub(super) fn touch(&self) {
        self.changed.send_modify(|number| *number += 1);
    }

    /// Grows with every change.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes up lines of an earlier server, below what is known already.
    pub(super) fn restore(&self, lines: &[NetworkLine]) {
        for line in lines {
            let account = self.account(&line.target, line.port, line.allowed);
            if account.connections.load(Ordering::Relaxed) == 0 {
                account.sent.store(line.sent, Ordering::Relaxed);
                account.received.store(line.received, Ordering::Relaxed);
                account.connections.store(line.connections, Ordering::Relaxed);
                account.last_at.store(line.last_at, Ordering::Relaxed);
                lock(&account.why).clone_from(&line.why);
                lock(&account.program).clone_from(&line.program);
            }
        }
    }

    fn account(&self, target: &str, port: u16, allowed: bool) -> Arc<Account> {
        let mut lines = lock(&self.lines);
        let key = (target.to_owned(), port, allowed);
        if !lines.contains_key(&key) && lines.len() >= LINES_MAX {
            let oldest = lines.iter().min_by_key(|(_, line)| line.last_at.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                lines.remove(&oldest);
            }
        }
        Arc::clone(lines.entry(key).or_default())
    }

    /// Every line, the latest first.
    pub(super) fn entries(&self) -> Vec<NetworkLine> {
        let lines = lock(&self.lines);
        let mut entries: Vec<NetworkLine> = lines
            .iter()
            .map(|((target, port, allowed), account)| NetworkLine {
                target: target.clone(),
                port: *port,
                allowed: *allowed,
                why: lock(&account.why).clone(),
                program: lock(&account.program).clone(),
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
        ledger.open("a.example", 443, None).sent.fetch_add(5, Ordering::Relaxed);
        ledger.open("a.example", 443, None).sent.fetch_add(6, Ordering::Relaxed);
        let entries = ledger.entries();
        assert_eq!((entries.len(), entries[0].connections, entries[0].sent), (1, 2, 11));
        for n in 0..LINES_MAX + 50 {
            ledger.open(&format!("n{n}.example"), 80, Some("not on the allowlist".to_owned()));
        }
        assert_eq!(ledger.entries().len(), LINES_MAX);
        assert_eq!(ledger.entries()[0].why, "not on the allowlist");
    }

    #[test]
    fn lines_of_an_earlier_server_go_on_and_do_not_undo_newer_ones() {
        let (old, new) = (Ledger::default(), Ledger::default());
        old.open("a.example", 443, None).sent.fetch_add(5, Ordering::Relaxed);
        new.restore(&old.entries());
        new.open("a.example", 443, None).sent.fetch_add(1, Ordering::Relaxed);
        new.restore(&old.entries());
        let entries = new.entries();
        assert_eq!((entries.len(), entries[0].connections, entries[0].sent), (1, 2, 6));
    }
}
