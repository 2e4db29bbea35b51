//! Control groups, the kernel's own limits on memory and processes, where this host lets us make them.
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

/// What this host offers.
pub struct Cgroups {
    kind: Option<Kind>,
}

enum Kind {
    V2 { parent: PathBuf },
    V1 { memory: PathBuf, pids: Option<PathBuf> },
}

/// One sandbox's groups. Dropping it leaves them; see [`Group::remove`].
#[derive(Debug)]
pub struct Group {
    memory: PathBuf,
    pids: Option<PathBuf>,
    v2: bool,
}

impl Cgroups {
    /// Finds out by trying.
    pub fn detect() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let kind = v2_parent(&own).map(|parent| Kind::V2 { parent }).or_else(|| {
            let memory = v1_parent(&own, "memory")?;
            Some(Kind::V1 { memory, pids: v1_parent(&own, "pids") })
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

    /// Makes a sandbox's groups. `None` where the host has none to offer.
    pub fn create(&self, id: &SandboxId, config: &SandboxConfig) -> Result<Option<Group>, SandboxError> {
        let Some(kind) = &self.kind else { return Ok(None) };
        let group = match kind {
            Kind::V2 { parent } => Group { memory: parent.join(id.as_str()), pids: None, v2: true },
            Kind::V1 { memory, pids } => Group {
                memory: memory.join(id.as_str()),
                pids: pids.as_ref().map(|pids| pids.join(id.as_str())),
                v2: false,
            },
        };
        let limited = group.limit(config.memory_mib << 20, config.processes + SPARE_PROCESSES);
        limited.map_err(|error| SandboxError::Io(format!("cannot make the sandbox's control group: {error}")))?;
        Ok(Some(group))
    }
}

impl Group {
    fn limit(&self, memory: u64, processes: u64) -> io::Result<()> {
        for folder in [Some(&self.memory), self.pids.as_ref()].into_iter().flatten() {
            match std::fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let memory = memory.to_string();
        let (limit, swap) = if self.v2 {
            ("memory.max", ("memory.swap.max", "0"))
        } else {
            ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", memory.as_str()))
        };
        std::fs::write(self.memory.join(limit), &memory)?;
        // Hosts without swap accounting have no such file, and need none.
        let _ = std::fs::write(self.memory.join(swap.0), swap.1);
        let pids = self.pids.as_ref().unwrap_or(&self.memory);
        match std::fs::write(pids.join("pids.max"), processes.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Puts a process in, and with it all its future children.
    pub fn adopt(&self, pid: u32) -> io::Result<()> {
        for folder in [Some(&self.memory), self.pids.as_ref()].into_iter().flatten() {
            std::fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Bytes in use, page cache included.
    pub fn memory(&self) -> Option<u64> {
        let file = if self.v2 { "memory.current" } else { "memory.usage_in_bytes" };
        std::fs::read_to_string(self.memory.join(file)).ok()?.trim().parse().ok()
    }

    /// How often the kernel killed something in here for want of memory.
    pub fn ooms(&self) -> u64 {
        let file = if self.v2 { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.memory.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the groups once they are empty. The kernel may take a moment to notice that they are.
    pub async fn remove(&self) {
        for folder in [Some(&self.memory), self.pids.as_ref()].into_iter().flatten() {
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
    std::fs::write(group.join("cgroup.subtree_control"), "+memory +pids").is_ok()
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
}
