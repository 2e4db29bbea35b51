//! Limits of a live sandbox that are near or were hit: who had the memory, and what a person is told.

use super::cgroup;
use super::live::Live;
use super::wire::Text;
use crate::sandbox::entry::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What is known of one sandbox.
#[derive(Default)]
pub struct News {
    /// What all processes had when last asked, and which program had most of it.
    memory: Mutex<(u64, String)>,
    /// The program that had most of it when it got scarce last.
    scarce: Mutex<Option<String>>,
    /// The program that was ended for want of memory last, and how often that happened.
    victim: Mutex<Option<String>>,
    victims: AtomicU64,
    notice: watch::Sender<Option<String>>,
}

impl News {
    /// Remembers what all processes have now, and the program that has most of it.
    pub fn measured(&self, memory: u64, largest: &Text) {
        *lock(&self.memory) = (memory, shown(largest));
    }

    /// What all processes had when last asked.
    pub fn last_memory(&self) -> u64 {
        lock(&self.memory).0
    }

    /// Remembers who had most of the memory when it got scarce: whom the kernel ends, if it has to.
    pub fn scarce(&self, program: String) {
        *lock(&self.scarce) = Some(program);
    }

    /// Remembers whom memory ran out for.
    pub fn ended_for_memory(&self, program: String) {
        *lock(&self.victim) = Some(program);
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
}

impl Live {
    /// How often something inside was killed for want of memory.
    pub fn ooms(&self) -> u64 {
        self.group.as_ref().map_or(0, cgroup::Group::ooms) + self.news.victims.load(Ordering::Relaxed)
    }

    /// That, for people.
    pub fn memory_reason(&self) -> String {
        let limit = format!("out of memory: {} MiB limit", self.shared.config.memory_mib);
        let known = lock(&self.news.victim).clone().or_else(|| lock(&self.news.scarce).clone());
        match known.unwrap_or_else(|| lock(&self.news.memory).1.clone()).as_str() {
            "" => limit,
            largest => format!("{limit}, largest process {largest}"),
        }
    }
}

/// A program's name as something inside says it: not to be trusted with more than a short line.
pub fn shown(name: &Text) -> String {
    String::from_utf8_lossy(&name.0).chars().filter(|c| !c.is_control()).take(64).collect()
}
