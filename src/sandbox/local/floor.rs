//! Who has to stop when the host's disk is nearly full: whose workspace grew, the one that grew most first.
//!
//! It goes by rounds. In each, every sandbox in which something runs is measured; those that grew about as much as the one
//! that grew most end, and all begin anew from what they have now. So one that fills the disk takes no other with it,
//! and one that goes on growing afterwards is the next. It must not know how a sandbox is measured or ended.

use crate::domain::SandboxId;
use crate::sandbox::entry::lock;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Growth, in bytes, that ends nobody: logs, and what an editor saves.
const HARMLESS: u64 = 1 << 20;
/// A round does not wait longer than this for those whose workspaces take long to measure.
const PATIENCE: Duration = Duration::from_secs(3);

/// All sandboxes whose commands may fill the disk.
#[derive(Default)]
pub struct Floor(Mutex<Round>);

#[derive(Default)]
struct Round {
    /// When this round began; none while there is space.
    since: Option<Instant>,
    known: HashMap<SandboxId, Growth>,
}

struct Growth {
    /// Bytes of its workspace when growth began to count, and as last measured.
    before: u64,
    now: u64,
    at: Instant,
    /// Whether something runs in it.
    runs: bool,
    /// Whether it has to stop and was not told yet.
    ends: bool,
}

impl Floor {
    /// Says whether space is scarce. To be called before what is measured because of that.
    pub fn is_scarce(&self, scarce: bool) {
        let mut round = lock(&self.0);
        if scarce {
            round.since.get_or_insert_with(Instant::now);
        } else if round.since.take().is_some() {
            round.known.values_mut().for_each(|growth| growth.ends = false);
        }
    }

    /// Takes note of what a workspace holds.
    pub fn measured(&self, id: &SandboxId, bytes: u64) {
        let mut round = lock(&self.0);
        let (at, scarce) = (Instant::now(), round.since.is_some());
        let new = || Growth { before: bytes, now: bytes, at, runs: true, ends: false };
        let growth = round.known.entry(id.clone()).or_insert_with(new);
        (growth.now, growth.at, growth.runs) = (bytes, at, true);
        if !scarce {
            growth.before = bytes;
        }
    }

    /// Whether a sandbox has to stop now. Answers yes once for each time.
    pub fn must_end(&self, id: &SandboxId) -> bool {
        let mut round = lock(&self.0);
        round.judge();
        round.known.get_mut(id).is_some_and(|growth| std::mem::take(&mut growth.ends))
    }

    /// Nothing runs in a sandbox any more. What it grew by still counts if something does again.
    pub fn rests(&self, id: &SandboxId) {
        if let Some(growth) = lock(&self.0).known.get_mut(id) {
            (growth.runs, growth.ends) = (false, false);
        }
    }

    /// Forgets a sandbox that has ended.
    pub fn forget(&self, id: &SandboxId) {
        lock(&self.0).known.remove(id);
    }
}

impl Round {
    fn judge(&mut self) {
        let Some(since) = self.since else { return };
        let measured = self.known.values().all(|growth| !growth.runs || growth.at >= since);
        if !measured && since.elapsed() < PATIENCE {
            return;
        }
        let most = self.known.values().filter(|growth| growth.runs).map(Growth::bytes).max().unwrap_or(0);
        for growth in self.known.values_mut().filter(|growth| growth.runs && growth.bytes() >= HARMLESS) {
            growth.ends |= growth.bytes() >= most / 2;
            growth.before = growth.now;
        }
        self.since = Some(Instant::now());
    }
}

impl Growth {
    fn bytes(&self) -> u64 {
        self.now.saturating_sub(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: char) -> SandboxId {
        SandboxId::parse(format!("i{}", letter.to_string().repeat(19))).unwrap()
    }

    const MIB: u64 = 1 << 20;

    /// Measures each in MiB, and tells who has to stop.
    fn round(floor: &Floor, sizes: &[(char, u64)]) -> Vec<char> {
        for (letter, mib) in sizes {
            floor.measured(&id(*letter), mib * MIB);
        }
        sizes.iter().map(|(letter, _)| *letter).filter(|letter| floor.must_end(&id(*letter))).collect()
    }

    fn full(sizes: &[(char, u64)]) -> Floor {
        let floor = Floor::default();
        assert!(round(&floor, sizes).is_empty(), "there is space");
        floor.is_scarce(true);
        floor
    }

    #[test]
    fn who_grew_most_stops_and_the_others_go_on() {
        let floor = full(&[('a', 900), ('b', 10), ('c', 10)]);
        assert_eq!(round(&floor, &[('a', 900), ('b', 300), ('c', 30)]), ['b']);
        assert!(round(&floor, &[('a', 900), ('b', 300), ('c', 30)]).is_empty(), "nobody grows any more");
        assert_eq!(round(&floor, &[('a', 900), ('b', 300), ('c', 40)]), ['c'], "it grew although the disk was full");
    }

    #[test]
    fn several_that_fill_the_disk_together_stop_together() {
        let floor = full(&[('a', 10), ('b', 10), ('c', 10)]);
        assert_eq!(round(&floor, &[('a', 300), ('b', 200), ('c', 30)]), ['a', 'b']);
    }

    #[test]
    fn nobody_is_judged_before_all_are_measured_or_took_too_long() {
        let floor = full(&[('a', 10), ('b', 10)]);
        assert!(round(&floor, &[('b', 30)]).is_empty());
        floor.rests(&id('a'));
        assert!(floor.must_end(&id('b')), "where nothing runs nothing is measured");
        let floor = full(&[('a', 10), ('b', 10)]);
        lock(&floor.0).since = Instant::now().checked_sub(PATIENCE);
        assert_eq!(round(&floor, &[('b', 30)]), ['b']);
    }

    #[test]
    fn slow_growth_adds_up_and_a_verdict_does_not_outlive_its_cause() {
        let floor = full(&[('a', 10)]);
        for (bytes, ends) in [(700_000, false), (1_400_000, true), (2_800_000, false)] {
            floor.measured(&id('a'), 10 * MIB + bytes);
            if bytes > 2_000_000 {
                // Judged when another asks, and then there is space again.
                assert!(!floor.must_end(&id('b')));
                floor.is_scarce(false);
            }
            assert_eq!(floor.must_end(&id('a')), ends, "{bytes}");
        }
    }
}
