//! Reads the sandbox's own `/proc`: who is whose child, and what all of it uses.

use std::collections::{HashMap, HashSet};

/// Sums over the sandbox.
#[derive(Default)]
pub struct Usage {
    /// Anonymous memory in bytes; files and shared pages are the host's cache.
    pub memory: u64,
    /// Processes and threads, without init.
    pub processes: u64,
    /// CPU time of live processes and of those they reaped.
    pub cpu_ms: u64,
}

struct Process {
    pid: i32,
    parent: i32,
    threads: u64,
    ticks: u64,
}

/// What all processes but init use.
pub fn measure() -> Usage {
    // SAFETY: plain numbers.
    let (page, hertz) = unsafe { (libc::sysconf(libc::_SC_PAGESIZE), libc::sysconf(libc::_SC_CLK_TCK)) };
    let (page, hertz) = (u64::try_from(page).unwrap_or(4096), u64::try_from(hertz).unwrap_or(100).max(1));
    let mut usage = Usage::default();
    for process in processes().filter(|process| process.pid != 1) {
        usage.processes += process.threads;
        usage.cpu_ms += process.ticks * 1000 / hertz;
        usage.memory += anonymous_pages(process.pid) * page;
    }
    usage
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

fn anonymous_pages(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields = statm.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(shared)
}
