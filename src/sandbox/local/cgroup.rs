//! Control groups, the kernel's own limits on memory, processes and CPU time, where this host lets us make them.
//!
//! Version 2 in a delegated or root-owned tree, else version 1 as root. Without either the caller falls back to limits
//! a process can be given, and watches the sum.

use crate::config::SandboxConfig;
use crate::domain::SandboxId;
use crate::sandbox::SandboxError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MOUNT: &str = "/sys/fs/cgroup";
/// The folder that holds our groups.
const FOLDER: &str = "sandcastle";
/// In a delegated tree the server moves here, because a group with processes cannot have limited children.
const SERVER_LEAF: &str = "sandcastle-server";
/// Init and its shims come on top of what a person may run.
const SPARE_PROCESSES: u64 = 32;
/// The time over which a share of the CPU is counted, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// What this host offers.
pub struct Cgroups {
    kind: Option<Kind>,
}

enum Kind {
    V2 { parent: PathBuf, cpu: bool },
    V1 { memory: PathBuf, pids: Option<PathBuf>, cpu: Option<PathBuf> },
}

/// One sandbox's groups. Dropping it leaves them; see [`Group::remove`].
#[derive(Clone, Debug)]
pub struct Group {
    memory: PathBuf,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    v2: bool,
}

impl Cgroups {
    /// Finds out by trying.
    pub fn detect() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let v2 = v2_parent(&own).map(|parent| Kind::V2 { cpu: has_controller(&parent, "cpu"), parent });
        let kind = v2.or_else(|| {
            let memory = v1_parent(&own, "memory")?;
            Some(Kind::V1 { memory, pids: v1_parent(&own, "pids"), cpu: v1_parent(&own, "cpu") })
        });
        Self { kind }
    }

    /// Its name for people, if there is one.
    pub fn mechanism(&self) -> Option<&'static str> {
        self.kind.as_ref().map(|kind| match kind {
            Kind::V2 { .. } => "cgroup v2",
            Kind::V1 { .. } => "cgroup v1",
        })
    }

    /// Whether it holds CPU time too.
    pub fn holds_cpu(&self) -> bool {
        matches!(&self.kind, Some(Kind::V2 { cpu: true, .. } | Kind::V1 { cpu: Some(_), .. }))
    }

    /// Makes a sandbox's groups. `None` where the host has none to offer.
    pub fn create(&self, id: &SandboxId, config: &SandboxConfig) -> Result<Option<Group>, SandboxError> {
        let Some(kind) = &self.kind else { return Ok(None) };
        let group = match kind {
            Kind::V2 { parent, cpu } => {
                let own = parent.join(id.as_str());
                Group { cpu: cpu.then(|| own.clone()), memory: own, pids: None, v2: true }
            }
            Kind::V1 { memory, pids, cpu } => {
                let below = |parent: &Option<PathBuf>| parent.as_ref().map(|parent| parent.join(id.as_str()));
                Group { memory: memory.join(id.as_str()), pids: below(pids), cpu: below(cpu), v2: false }
            }
        };
        let limited = group.limit(config);
        limited.map_err(|error| SandboxError::Io(format!("cannot make the sandbox's control group: {error}")))?;
        Ok(Some(group))
    }
}

impl Group {
    /// Every folder, each once.
    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        let others = [&self.pids, &self.cpu].into_iter().flatten().filter(|folder| **folder != self.memory);
        std::iter::once(&self.memory).chain(others)
    }

    fn limit(&self, config: &SandboxConfig) -> io::Result<()> {
        for folder in self.folders() {
            match std::fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let memory = (config.memory_mib << 20).to_string();
        let (limit, swap) = if self.v2 {
            ("memory.max", ("memory.swap.max", "0"))
        } else {
            ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", memory.as_str()))
        };
        std::fs::write(self.memory.join(limit), &memory)?;
        if self.v2 {
            // Slowed down near the limit, the largest process is ended and named before the kernel ends one unnamed.
            let near = (config.memory_mib << 20) / 16 * 15;
            let _ = std::fs::write(self.memory.join("memory.high"), near.to_string());
        }
        // Hosts without swap accounting have no such file, and need none.
        let _ = std::fs::write(self.memory.join(swap.0), swap.1);
        self.limit_cpu(config.cpu_percent)?;
        let pids = self.pids.as_ref().unwrap_or(&self.memory);
        match std::fs::write(pids.join("pids.max"), (config.processes + SPARE_PROCESSES).to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// A share of half the usual weight, so that the server itself stays quick, and a quota if one is wanted.
    fn limit_cpu(&self, percent: u64) -> io::Result<()> {
        let Some(cpu) = &self.cpu else { return Ok(()) };
        let quota = percent * CPU_PERIOD / 100;
        if self.v2 {
            std::fs::write(cpu.join("cpu.weight"), "50")?;
            return if percent == 0 {
                Ok(())
            } else {
                std::fs::write(cpu.join("cpu.max"), format!("{quota} {CPU_PERIOD}"))
            };
        }
        std::fs::write(cpu.join("cpu.shares"), "512")?;
        if percent == 0 {
            return Ok(());
        }
        std::fs::write(cpu.join("cpu.cfs_period_us"), CPU_PERIOD.to_string())?;
        std::fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string())
    }

    /// Puts a process in, and with it all its future children.
    pub fn adopt(&self, pid: u32) -> io::Result<()> {
        for folder in self.folders() {
            std::fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Bytes in use, page cache included.
    pub fn memory(&self) -> Option<u64> {
        let file = if self.v2 { "memory.current" } else { "memory.usage_in_bytes" };
        std::fs::read_to_string(self.memory.join(file)).ok()?.trim().parse().ok()
    }

    /// Whether what runs out of memory can be stopped instead of killed.
    pub fn stops_at_oom(&self) -> bool {
        !self.v2
    }

    /// The group that holds memory.
    pub fn memory_folder(&self) -> &Path {
        &self.memory
    }

    /// Whether something waits for memory now. Under version 2 it never waits for good, but grows slower and slower: that
    /// counts once nothing is left that could be taken from caches.
    pub fn is_out_of_memory(&self) -> bool {
        let text = |file: &str| std::fs::read_to_string(self.memory.join(file)).unwrap_or_default();
        if !self.v2 {
            return text("memory.oom_control").lines().any(|line| line == "under_oom 1");
        }
        let Ok(near) = text("memory.high").trim().parse::<u64>() else { return false };
        // Of the two only the total follows the end of a process at once.
        let full = |bytes: u64| bytes > near / 32 * 31;
        full(self.memory().unwrap_or(0)) && full(held(&text("memory.stat")))
    }

    /// The host's ids of all processes inside.
    pub fn pids(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.memory.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Processes and threads inside, init and its shims among them.
    pub fn processes(&self) -> Option<u64> {
        let pids = self.pids.as_ref().unwrap_or(&self.memory);
        std::fs::read_to_string(pids.join("pids.current")).ok()?.trim().parse().ok()
    }

    /// How often the kernel killed something in here for want of memory.
    pub fn ooms(&self) -> u64 {
        let file = if self.v2 { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.memory.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the groups once they are empty. The kernel may take a moment to notice that they are.
    pub async fn remove(&self) {
        for folder in self.folders() {
            for _ in 0..50 {
                match std::fs::remove_dir(folder) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Bytes that cannot be taken back, by a group's `memory.stat`: there is no swap.
fn held(stat: &str) -> u64 {
    const HELD: [&str; 5] = ["anon", "shmem", "slab_unreclaimable", "kernel_stack", "pagetables"];
    let values = stat.lines().filter_map(|line| line.split_once(' '));
    values.filter(|(name, _)| HELD.contains(name)).filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum()
}

fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/'))
    })
}

/// Below our own group, so that a limit on the server holds for its sandboxes too.
fn v1_parent(own: &str, controller: &str) -> Option<PathBuf> {
    let mount = Path::new(MOUNT).join(controller);
    let own = own_path(own, controller)?;
    // In a container the path may name something outside what is mounted.
    let base = [mount.join(own), mount].into_iter().find(|base| base.join("cgroup.procs").exists())?;
    let parent = base.join(FOLDER);
    match std::fs::create_dir(&parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
        _ => Some(parent).filter(|parent| is_writable(&parent.join("cgroup.procs"))),
    }
}

fn v2_parent(own: &str) -> Option<PathBuf> {
    let mount = Path::new(MOUNT);
    let own = mount.join(own_path(own, "")?);
    // A hybrid host has the files of version 1 here.
    if !has_controllers(&mount.join("cgroup.controllers")) {
        return None;
    }
    if own.ends_with(SERVER_LEAF) {
        return own.parent().filter(|parent| enable(parent)).map(Path::to_owned);
    }
    delegated(&own).or_else(|| {
        // Root without a delegated tree: a tree of our own.
        let parent = mount.join(FOLDER);
        let _ = std::fs::create_dir(&parent);
        enable(&parent).then_some(parent)
    })
}

/// Makes room in our own group by moving into a leaf of it; moves back if others are in the way.
fn delegated(own: &Path) -> Option<PathBuf> {
    if !has_controllers(&own.join("cgroup.controllers")) || !is_writable(&own.join("cgroup.subtree_control")) {
        return None;
    }
    let leaf = own.join(SERVER_LEAF);
    let _ = std::fs::create_dir(&leaf);
    std::fs::write(leaf.join("cgroup.procs"), "0").ok()?;
    if enable(own) {
        return Some(own.to_owned());
    }
    let _ = std::fs::write(own.join("cgroup.procs"), "0");
    let _ = std::fs::remove_dir(&leaf);
    None
}

fn enable(group: &Path) -> bool {
    let control = group.join("cgroup.subtree_control");
    // Not every host delegates the CPU; what is needed are the other two.
    let _ = std::fs::write(&control, "+cpu");
    std::fs::write(control, "+memory +pids").is_ok()
}

/// Whether the children of a group can be limited by this controller.
fn has_controller(group: &Path, name: &str) -> bool {
    let enabled = std::fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
    enabled.split_ascii_whitespace().any(|enabled| enabled == name)
}

fn has_controllers(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    ["memory", "pids"].iter().all(|wanted| text.split_ascii_whitespace().any(|name| name == *wanted))
}

fn is_writable(file: &Path) -> bool {
    std::fs::OpenOptions::new().write(true).open(file).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_either_version() {
        let text = "9:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/c\n0::/user.slice\n";
        assert_eq!(own_path(text, "memory"), Some("a/b"));
        assert_eq!(own_path(text, "cpuacct"), Some("c"));
        assert_eq!(own_path(text, ""), Some("user.slice"));
        assert_eq!(own_path(text, "pids"), None);
    }

    #[test]
    fn what_files_have_cached_is_not_held() {
        let stat = "anon 1000\nfile 70000\nkernel_stack 20\npagetables 3\nshmem 400\nfile_mapped 60000\nslab_reclaimable 9000\n\
                    slab_unreclaimable 5\nslab 9005\n";
        assert_eq!(held(stat), 1428);
    }
}
