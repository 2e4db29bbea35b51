//! Reads the sandbox's own `/proc`: who is whose child, and what all of it uses.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;

/// Sums over the sandbox.
#[derive(Default)]
pub struct Usage {
    /// Anonymous and shared memory in bytes; files are the host's cache.
    pub memory: u64,
    /// Processes and threads, without init.
    pub processes: u64,
    /// CPU time of all that ran, init's own included.
    pub cpu_ms: u64,
    /// Name of the program with the most memory; empty if nothing runs.
    pub largest: Vec<u8>,
}

/// Shared memory below this is taken as it is mapped; above, it is worth to find out who shares it.
const SHARED_WORTH_ASKING: u64 = 16 << 20;

struct Process {
    pid: i32,
    parent: i32,
    threads: u64,
    ticks: u64,
}

/// What all processes but init use, and the time they took.
pub fn measure() -> Usage {
    // SAFETY: plain numbers.
    let hertz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let hertz = u64::try_from(hertz).unwrap_or(100).max(1);
    let mut usage = Usage::default();
    let mut largest = (0, 0);
    let mut ticks = 0;
    for process in processes() {
        ticks += process.ticks;
        // Of init only the time counts: that of every command that has ended is there.
        if process.pid == 1 {
            continue;
        }
        let memory = memory(process.pid);
        usage.processes += process.threads;
        usage.memory += memory;
        largest = largest.max((memory, process.pid));
    }
    usage.cpu_ms = ticks * 1000 / hertz;
    usage.largest = program(largest.1).unwrap_or_default();
    usage
}

/// The name of the program a process runs. Its own word for itself (`comm`) often is a thread's or a made-up one.
pub fn program(pid: i32) -> Option<Vec<u8>> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.as_bytes().to_owned())
}

/// The processes whose parent is `parent`.
pub fn children(parent: i32) -> HashSet<i32> {
    processes().filter(|process| process.parent == parent).map(|process| process.pid).collect()
}

/// All processes below `root`, without it.
pub fn descendants(root: i32) -> HashSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in processes() {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = HashSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    found
}

fn processes() -> impl Iterator<Item = Process> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        parse_stat(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    })
}

/// The name is in parentheses and may hold anything, so fields are counted from the last one.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(name_end + 2..)?).ok()?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let ticks = (11..=14).filter_map(number).sum();
    Some(Process { pid, parent: fields.get(1)?.parse().ok()?, threads: number(17).unwrap_or(1), ticks })
}

/// What goes with the process: its own pages, and its part of those it shares without a file.
fn memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let (own, shared) = (kilobytes(&status, "RssAnon:"), kilobytes(&status, "RssShmem:"));
    if shared < SHARED_WORTH_ASKING {
        return own + shared;
    }
    let parts = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    own + kilobytes(&parts, "Pss_Shmem:")
}

/// The value of a line like `RssAnon:   120 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok());
    value.unwrap_or(0u64) << 10
}
