//! Limits of a live sandbox that are near or were hit: who had the memory, and what a person is told.

use super::cgroup;
use super::live::Live;
use super::wire::Text;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What is known of one sandbox.
#[derive(Default)]
pub struct News {
    /// What all processes had when last asked, and which program had most of it.
    memory: Mutex<(u64, String)>,
    /// The program that was ended for want of memory last, and how often that happened.
    victim: Mutex<Option<String>>,
    victims: AtomicU64,
    notice: watch::Sender<Option<String>>,
}

impl News {
    /// Remembers what all processes have now, and the program that has most of it.
    pub fn measured(&self, memory: u64, largest: &Text) {
        *self.memory() = (memory, shown(largest));
    }

    /// What all processes had when last asked.
    pub fn last_memory(&self) -> u64 {
        self.memory().0
    }

    /// Remembers whom memory ran out for.
    pub fn ended_for_memory(&self, program: String) {
        *self.victim() = Some(program);
        self.victims.fetch_add(1, Ordering::Relaxed);
    }

    /// Says which limit is near or was hit, or that none is.
    pub fn tell(&self, notice: Option<String>) {
        self.notice.send_if_modified(|known| {
            let changed = *known != notice;
            *known = notice;
            changed
        });
    }

    /// Which limit is near or was hit, now and whenever that changes.
    pub fn notice(&self) -> watch::Receiver<Option<String>> {
        self.notice.subscribe()
    }

    fn memory(&self) -> MutexGuard<'_, (u64, String)> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn victim(&self) -> MutexGuard<'_, Option<String>> {
        self.victim.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// How often something inside was killed for want of memory.
    pub fn ooms(&self) -> u64 {
        self.group.as_ref().map_or(0, cgroup::Group::ooms) + self.news.victims.load(Ordering::Relaxed)
    }

    /// That, for people.
    pub fn memory_reason(&self) -> String {
        let limit = format!("out of memory: {} MiB limit", self.shared.config.memory_mib);
        let victim = self.news.victim().clone();
        match victim.unwrap_or_else(|| self.news.memory().1.clone()).as_str() {
            "" => limit,
            largest => format!("{limit}, largest process {largest}"),
        }
    }
}

/// A program's name as something inside says it: not to be trusted with more than a short line.
pub fn shown(name: &Text) -> String {
    String::from_utf8_lossy(&name.0).chars().filter(|c| !c.is_control()).take(64).collect()
}
