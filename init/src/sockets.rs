//! Whose socket a connection is: from its ports to its inode to the process that has it open.

use crate::usage;
use std::path::Path;

/// The program that holds the TCP socket with these ports.
pub fn owner(local: u16, remote: u16) -> Option<Vec<u8>> {
    let inode = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .find_map(|table| inode(&std::fs::read_to_string(table).ok()?, local, remote))?;
    let wanted = format!("socket:[{inode}]");
    let holds = |pid: &i32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == Path::new(&wanted)))
    };
    usage::descendants(1).iter().find(|pid| holds(pid)).and_then(|pid| usage::program(*pid))
}

/// The inode of the line with these ports. It is 0 for a socket that nobody holds any more.
fn inode(table: &str, local: u16, remote: u16) -> Option<u64> {
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let ports = (port(fields.get(1)?)?, port(fields.get(2)?)?);
        let inode = fields.get(9)?.parse().ok()?;
        (ports == (local, remote) && inode != 0).then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_found_by_its_two_ports() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:01BB 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000 0 77 1 0 100 0 0 10 0\n\
             1: 0100007F:D431 0100007F:01BB 01 00000000:00000000 00:00000000 00000000  1000 0 78 1 0 100 0 0 10 0\n";
        assert_eq!(inode(table, 0xd431, 443), Some(78));
        assert_eq!(inode(table, 1, 443), None);
    }
}
