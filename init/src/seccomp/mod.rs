//! The system call filter: one program, made of a table.
//!
//! Only what the table allows runs. The program is a list of the calls whose arguments matter, then a list of ranges of
//! numbers that pass; a verdict that no argument decides costs nothing, because the kernel remembers it by number.

mod table;

use crate::sys::check;
use libc::{EAFNOSUPPORT, EPERM, EPROTONOSUPPORT, sock_filter};
use std::io;
use table::{ALLOWED, ARCH_ALLOWED, ARCH_RULES, DEFAULT, RULES, SET_ID_BITS, UNCOUNTED_MEMORY, Verdict};

/// `O_CREAT` or `O_TMPFILE`: only then does an opening call have a mode.
const CREATES: u32 = 0o100 | 0o20_000_000;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Installs the filter for this process and all its children, for ever. `memory_is_counted` says whether a control
/// group holds all memory, also what belongs to no process.
pub fn install(memory_is_counted: bool) -> io::Result<()> {
    let mut program = program(memory_is_counted);
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the program is alive and its length given.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) }).map(drop)
}

const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Where an argument's low 32 bits are in `seccomp_data`.
const fn low_half(argument: u32) -> u32 {
    16 + 8 * argument
}

fn program(memory_is_counted: bool) -> Vec<sock_filter> {
    let mut code = vec![
        load(ARCH),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        kill(),
        load(NUMBER),
        // x32 calls have bit 30 set and would pass by rules that compare numbers.
        jump(libc::BPF_JSET, 0x4000_0000, 0, 1),
        kill(),
    ];
    for (number, verdict) in RULES.iter().chain(ARCH_RULES) {
        let Ok(number) = u32::try_from(*number) else { continue };
        let block = block(*verdict);
        // Every block ends the program, so the call's number is still loaded where it is skipped.
        code.push(jump(libc::BPF_JEQ, number, 0, u8::try_from(block.len()).unwrap_or(u8::MAX)));
        code.extend(block);
    }
    for (first, last) in allowed_ranges(memory_is_counted) {
        code.extend([jump(libc::BPF_JGE, first, 0, 2), jump(libc::BPF_JGT, last, 1, 0), allow()]);
    }
    code.push(fail(DEFAULT));
    code
}

/// The numbers that pass, as few ranges as they make, in order. What a rule is about never gets here.
fn allowed_ranges(memory_is_counted: bool) -> Vec<(u32, u32)> {
    let uncounted = if memory_is_counted { UNCOUNTED_MEMORY } else { &[] };
    let mut numbers: Vec<u32> = [ALLOWED, ARCH_ALLOWED, uncounted]
        .concat()
        .into_iter()
        .filter_map(|number| u32::try_from(number).ok())
        .collect();
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number <= *last + 1 => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

fn block(verdict: Verdict) -> Vec<sock_filter> {
    match verdict {
        Verdict::Fail(errno) => vec![fail(errno)],
        Verdict::FailIfBits(argument, bits, errno) => {
            vec![load(low_half(argument)), jump(libc::BPF_JSET, bits, 0, 1), fail(errno), allow()]
        }
        Verdict::FailIfOneOf(argument, values, errno) => {
            let mut code = vec![load(low_half(argument))];
            for value in values {
                code.extend([jump(libc::BPF_JEQ, *value, 0, 1), fail(errno)]);
            }
            code.push(allow());
            code
        }
        Verdict::FailUnlessOneOf(argument, values, errno) => {
            let mut code = one_of(argument, values, errno);
            code.push(allow());
            code
        }
        Verdict::FailIfMakesSetId(flags, mode) => vec![
            load(low_half(flags)),
            jump(libc::BPF_JSET, CREATES, 0, 2),
            load(low_half(mode)),
            jump(libc::BPF_JSET, SET_ID_BITS, 1, 0),
            allow(),
            fail(EPERM),
        ],
        Verdict::Socket => {
            let mut code = one_of(0, &table::FAMILIES, EAFNOSUPPORT);
            let netlink = [one_of(2, &[0], EPROTONOSUPPORT), vec![allow()]].concat();
            code.push(load(low_half(0)));
            code.push(jump(libc::BPF_JEQ, table::NETLINK, 0, u8::try_from(netlink.len()).unwrap_or(u8::MAX)));
            code.extend(netlink);
            code.extend(one_of(2, &table::PROTOCOLS, EPROTONOSUPPORT));
            code.push(allow());
            code
        }
    }
}

/// Goes on behind itself if an argument is one of these values, else fails.
fn one_of(argument: u32, values: &[u32], errno: i32) -> Vec<sock_filter> {
    let mut code = vec![load(low_half(argument))];
    for (index, value) in values.iter().enumerate() {
        let to_end = u8::try_from(values.len() - index).unwrap_or(u8::MAX);
        code.push(jump(libc::BPF_JEQ, *value, to_end, 0));
    }
    code.push(fail(errno));
    code
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn allow() -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}

fn kill() -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS)
}

fn fail(errno: i32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs())
}

fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

fn jump(condition: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | condition | libc::BPF_K) as u16, jt: if_true, jf: if_false, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::ENOSYS;

    /// Runs the program as the kernel does, on a call with these arguments.
    fn verdict(arch: u32, number: u32, arguments: [u64; 6], counted: bool) -> u32 {
        let code = program(counted);
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCH => arch,
            offset => (arguments[(offset as usize - 16) / 8] >> (8 * (offset % 8))) as u32,
        };
        let (mut at, mut loaded) = (0usize, 0u32);
        loop {
            let step = code[at];
            at += 1;
            let condition = u32::from(step.code) & 0xf0;
            match u32::from(step.code) & 0x07 {
                libc::BPF_LD => loaded = word(step.k),
                libc::BPF_RET => return step.k,
                _ => {
                    let holds = match condition {
                        libc::BPF_JEQ => loaded == step.k,
                        libc::BPF_JGT => loaded > step.k,
                        libc::BPF_JGE => loaded >= step.k,
                        libc::BPF_JSET => loaded & step.k != 0,
                        other => panic!("unknown condition {other}"),
                    };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
            }
        }
    }

    fn native(number: libc::c_long, arguments: [u64; 6]) -> u32 {
        verdict(ARCHITECTURE, number as u32, arguments, true)
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const NONE: [u64; 6] = [0; 6];

    #[test]
    fn only_what_the_table_names_runs() {
        let ruled: Vec<u32> = RULES.iter().chain(ARCH_RULES).map(|(number, _)| *number as u32).collect();
        let listed = [ALLOWED, ARCH_ALLOWED, UNCOUNTED_MEMORY].concat();
        for number in 0..2000u32 {
            let expected = listed.contains(&i64::from(number));
            if !ruled.contains(&number) {
                let expected = if expected { ALLOW } else { fail(ENOSYS).k };
                assert_eq!(verdict(ARCHITECTURE, number, NONE, true), expected, "call {number}");
            }
        }
        assert!(ruled.iter().all(|number| !listed.contains(&i64::from(*number))), "a call stands in both lists");
    }

    #[test]
    fn other_architectures_are_killed() {
        assert_eq!(verdict(0x4000_0003, 20, NONE, true), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(verdict(ARCHITECTURE, 0x4000_0000 | 39, NONE, true), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn arguments_decide_where_the_table_says_so() {
        let namespaces = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
        assert_eq!(native(libc::SYS_clone, [namespaces, 0, 0, 0, 0, 0]), fail(EPERM).k);
        assert_eq!(native(libc::SYS_clone, [17, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_ioctl, [0, 0x1_0000_5412, 0, 0, 0, 0]), fail(EPERM).k, "the high half is ignored");
        assert_eq!(native(libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_socket, [40, 1, 0, 0, 0, 0]), fail(EAFNOSUPPORT).k);
        for (protocol, expected) in [(0, ALLOW), (15, fail(EPROTONOSUPPORT).k), (6, fail(EPROTONOSUPPORT).k)] {
            assert_eq!(native(libc::SYS_socket, [16, 3, protocol, 0, 0, 0]), expected, "netlink {protocol}");
        }
        assert_eq!(native(libc::SYS_socket, [2, 1, 6, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_openat, [0, 0, 0o101, 0o4755, 0, 0]), fail(EPERM).k);
        assert_eq!(native(libc::SYS_openat, [0, 0, 0o2, 0o4755, 0, 0]), ALLOW, "without creation there is no mode");
        assert_eq!(native(libc::SYS_personality, [0x40000, 0, 0, 0, 0, 0]), fail(EPERM).k);
        assert_eq!(native(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn memory_that_nothing_counts_cannot_be_had() {
        for number in UNCOUNTED_MEMORY {
            assert_eq!(verdict(ARCHITECTURE, *number as u32, NONE, false), fail(ENOSYS).k);
            assert_eq!(native(*number, NONE), ALLOW);
        }
    }
}
