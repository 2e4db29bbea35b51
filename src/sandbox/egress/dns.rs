//! The sandbox's name server. It invents an address for every well-formed name and never asks anyone, so that nothing
//! leaks out in queries.

use super::names::FakeNames;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Seconds an answer may be cached; names are remembered longer than that.
const TTL: u32 = 60;
/// After an error the socket rests.
const REST: Duration = Duration::from_millis(20);
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// Top-level names that are not of the internet.
const PRIVATE: [&str; 6] = ["local", "internal", "lan", "home", "intranet", "arpa"];

/// Response codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Ok = 0,
    FormatError = 1,
    NoSuchName = 3,
    NotImplemented = 4,
}

/// Answers queries for ever.
pub(super) async fn serve(socket: &UdpSocket, names: &FakeNames) {
    let mut query = vec![0; 4096];
    loop {
        let (length, from) = match socket.recv_from(&mut query).await {
            Ok(received) => received,
            // Mostly of an earlier answer, whose asker is gone.
            Err(error) => {
                tracing::debug!(%error, "a sandbox's name server");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        if let Some(response) = answer(query.get(..length).unwrap_or_default(), names) {
            // Lost answers are asked for again.
            let _ = socket.send_to(&response, from).await;
        }
    }
}

/// The answer to a query; none for what is no query at all.
fn answer(query: &[u8], names: &FakeNames) -> Option<Vec<u8>> {
    let header: &[u8; 12] = query.first_chunk()?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    if header[2] & 0x78 != 0 {
        return Some(response(header, Code::NotImplemented, &[], None));
    }
    let questions = u16::from_be_bytes([header[4], header[5]]);
    let question = if questions == 1 { Question::parse(query) } else { None };
    let Some(question) = question else { return Some(response(header, Code::FormatError, &[], None)) };
    if question.class != CLASS_IN {
        return Some(response(header, Code::NotImplemented, question.raw, None));
    }
    let Some(name) = question.name.as_deref().filter(|name| is_public(name)) else {
        let loopback = question.name.as_deref().is_some_and(is_localhost).then_some(Ipv4Addr::LOCALHOST);
        let code = if loopback.is_some() { Code::Ok } else { Code::NoSuchName };
        return Some(response(header, code, question.raw, loopback.filter(|_| question.kind == TYPE_A)));
    };
    // Other kinds of records, AAAA among them, exist for no name: the answer is empty, not an error.
    let address = (question.kind == TYPE_A).then(|| names.address_of(name));
    Some(response(header, Code::Ok, question.raw, address))
}

struct Question<'a> {
    /// In lower case; none if it is no host name.
    name: Option<String>,
    kind: u16,
    class: u16,
    /// As it stands in the query.
    raw: &'a [u8],
}

impl<'a> Question<'a> {
    fn parse(query: &'a [u8]) -> Option<Self> {
        let mut labels: Vec<&[u8]> = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            match length {
                0 => break,
                // Above 63 it would be a pointer, which has nothing to point to in a question.
                1..=63 => labels.push(query.get(at..at + length)?),
                _ => return None,
            }
            at += length;
            if at > 12 + 255 {
                return None;
            }
        }
        let tail: [u8; 4] = query.get(at..at + 4)?.try_into().ok()?;
        let name = labels.iter().all(|label| is_host_label(label)).then(|| {
            labels.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect::<Vec<_>>().join(".")
        });
        Some(Self {
            name: name.filter(|name| name.len() <= 253),
            kind: u16::from_be_bytes([tail[0], tail[1]]),
            class: u16::from_be_bytes([tail[2], tail[3]]),
            raw: query.get(12..at + 4)?,
        })
    }
}

/// Letters, digits and hyphens, which neither begin nor end it.
fn is_host_label(label: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') && edge(label.first()) && edge(label.last())
}

/// Whether it is a name of the internet, well formed and in lower case.
pub(super) fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| label.len() <= 63 && is_host_label(label.as_bytes()))
        && is_public(name)
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether it can be a name of the internet: more than one label, and neither a private ending nor an address.
fn is_public(name: &str) -> bool {
    let Some((_, top)) = name.rsplit_once('.') else { return false };
    !PRIVATE.contains(&top) && top != "localhost" && top.bytes().any(|b| b.is_ascii_alphabetic())
}

fn response(header: &[u8; 12], code: Code, question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + question.len() + 16);
    out.extend_from_slice(&header[..2]);
    // A response, authoritative, recursion desired as asked, recursion available.
    out.extend_from_slice(&[0x84 | (header[2] & 0x79), 0x80 | code as u8]);
    let counts = [u16::from(!question.is_empty()), u16::from(address.is_some()), 0, 0];
    out.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    out.extend_from_slice(question);
    if let Some(address) = address {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&TYPE_A.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        out.extend_from_slice(&TTL.to_be_bytes());
        out.extend_from_slice(&4u16.to_be_bytes());
        out.extend_from_slice(&address.octets());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SandboxId;

    fn names() -> FakeNames {
        FakeNames::new(&SandboxId::parse("i1234567890abcdefghi").unwrap())
    }

    fn query(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            query.push(label.len() as u8);
            query.extend_from_slice(label);
        }
        query.push(0);
        query.extend(kind.to_be_bytes());
        query.extend(CLASS_IN.to_be_bytes());
        query
    }

    /// Response code, number of answers and the address.
    fn asked(labels: &[&[u8]], kind: u16) -> (u8, u8, Vec<u8>) {
        let answer = answer(&query(labels, kind), &names()).unwrap();
        (answer[3] & 15, answer[7], answer[answer.len() - 4..].to_vec())
    }

    #[test]
    fn a_name_gets_an_invented_address_and_nothing_else() {
        let (code, count, address) = asked(&[b"Example", b"com"], TYPE_A);
        assert_eq!((code, count), (0, 1));
        assert_eq!(address, names().address_of("example.com").octets());
        for kind in [28, 65, 16, 33] {
            assert_eq!((asked(&[b"example", b"com"], kind).0, asked(&[b"example", b"com"], kind).1), (0, 0));
        }
    }

    #[test]
    fn what_is_no_internet_name_does_not_exist() {
        let long = [b'a'; 63];
        for labels in [
            &[b"single".as_slice()][..],
            &[b"under_score", b"com"],
            &[b"nul\0", b"com"],
            &[b"-x", b"com"],
            &[b"printer", b"local"],
            &[b"1", b"2", b"3", b"4"],
            &[b"1", b"0", b"168", b"192", b"in-addr", b"arpa"],
            &[],
        ] {
            assert_eq!(asked(labels, TYPE_A).0, Code::NoSuchName as u8, "{labels:?}");
        }
        assert_eq!(asked(&[&long, &long, &long, &long], TYPE_A).0, Code::FormatError as u8);
        assert_eq!(asked(&[b"api", b"localhost"], TYPE_A).2, [127, 0, 0, 1]);
    }

    #[test]
    fn malformed_messages_are_refused_or_ignored() {
        let names = names();
        assert_eq!(answer(&[0; 5], &names), None);
        let mut response = query(&[b"a", b"b"], TYPE_A);
        response[2] |= 0x80;
        assert_eq!(answer(&response, &names), None);
        let mut update = query(&[b"a", b"b"], TYPE_A);
        update[2] = 0x28;
        assert_eq!(answer(&update, &names).unwrap()[3] & 15, Code::NotImplemented as u8);
        let mut pointer = query(&[b"a", b"b"], TYPE_A);
        pointer[12] = 0xc0;
        assert_eq!(answer(&pointer, &names).unwrap()[3] & 15, Code::FormatError as u8);
        let whole = query(&[b"a", b"b"], TYPE_A);
        assert_eq!(answer(&whole[..whole.len() - 2], &names).unwrap()[3] & 15, Code::FormatError as u8);
    }
}
