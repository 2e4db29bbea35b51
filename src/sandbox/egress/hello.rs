//! The name a program itself sends at the beginning of a connection: TLS server name, or the Host header.
//!
//! Read without taking it from the stream. It must hold for any bytes a hostile program sends.

use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The most that is looked at. A ClientHello with post-quantum keys is below 4 KiB.
const HELLO_MAX: usize = 16 * 1024;
/// A program that says nothing for so long has no name to compare.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found so far.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Name(String),
    /// It is complete and there is none.
    Nothing,
    /// More bytes are needed.
    Unfinished,
}

/// The name of the first request, in lower case and without port or last dot. None if there is none to be read.
pub(super) async fn name(stream: &TcpStream, port: u16) -> Option<String> {
    let mut buffer = vec![0; HELLO_MAX];
    let read = async {
        let mut seen = 0;
        loop {
            stream.readable().await.ok()?;
            let length = stream.peek(&mut buffer).await.ok()?;
            if length == seen {
                // At its end, or full: nothing more will come that could be looked at.
                if length == 0 || length == HELLO_MAX {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            seen = length;
            let bytes = buffer.get(..length)?;
            let found = if port == 80 { host_header(bytes) } else { server_name(bytes) };
            match found {
                Found::Name(name) => return Some(name.trim_end_matches('.').to_ascii_lowercase()),
                Found::Nothing => return None,
                Found::Unfinished => {}
            }
        }
    };
    timeout(PATIENCE, read).await.ok().flatten()
}

/// The `Host` of an HTTP/1 request. Two of them are none.
fn host_header(bytes: &[u8]) -> Found {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() >= HELLO_MAX { Found::Nothing } else { Found::Unfinished };
    };
    let Some(Ok(head)) = bytes.get(..end).map(std::str::from_utf8) else { return Found::Nothing };
    let mut hosts = head.split("\r\n").skip(1).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let name =
                host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
            Found::Name(name.to_owned())
        }
        _ => Found::Nothing,
    }
}

/// The server name of a TLS ClientHello.
fn server_name(bytes: &[u8]) -> Found {
    match hello(bytes) {
        Ok(body) => extension(body).map_or(Found::Nothing, Found::Name),
        Err(found) => found,
    }
}

/// The body of the ClientHello, put together from its records.
fn hello(bytes: &[u8]) -> Result<Vec<u8>, Found> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    let (mut rest, mut message) = (bytes, Vec::new());
    loop {
        let [kind, 3, _, high, low, ..] = rest else {
            let odd =
                rest.first().is_some_and(|kind| *kind != HANDSHAKE) || rest.get(1).is_some_and(|major| *major != 3);
            return Err(if odd { Found::Nothing } else { Found::Unfinished });
        };
        if *kind != HANDSHAKE {
            return Err(Found::Nothing);
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(fragment) = rest.get(5..5 + length) else { return Err(Found::Unfinished) };
        message.extend_from_slice(fragment);
        if let [CLIENT_HELLO, a, b, c, body @ ..] = message.as_slice() {
            let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            if let Some(body) = body.get(..length) {
                return Ok(body.to_vec());
            }
        } else if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Found::Nothing);
        }
        rest = rest.get(5 + length..).unwrap_or_default();
    }
}

/// The first host name of the server name extension.
fn extension(body: Vec<u8>) -> Option<String> {
    const SERVER_NAME: u16 = 0;
    // Version and random, then session, ciphers and compressions, each behind its length.
    let mut rest = body.get(34..)?;
    rest = skip(rest, 1)?;
    rest = skip(rest, 2)?;
    rest = skip(rest, 1)?;
    let (mut extensions, _) = take(rest, 2)?;
    while let [a, b, after @ ..] = extensions {
        let (content, next) = take(after, 2)?;
        if u16::from_be_bytes([*a, *b]) == SERVER_NAME {
            let (list, _) = take(content, 2)?;
            let [0, after @ ..] = list else { return None };
            let (name, _) = take(after, 2)?;
            return String::from_utf8(name.to_vec()).ok();
        }
        extensions = next;
    }
    None
}

/// What is behind a length of so many bytes, and the rest.
fn take(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

fn skip(bytes: &[u8], width: usize) -> Option<&[u8]> {
    take(bytes, width).map(|(_, rest)| rest)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A ClientHello with this name, in records of at most `piece` bytes.
    pub(crate) fn client_hello(name: &str, piece: usize) -> Vec<u8> {
        let behind = |width: usize, bytes: &[u8]| {
            let length = (bytes.len() as u64).to_be_bytes();
            [&length[8 - width..], bytes].concat()
        };
        let entry = [&[0], behind(2, name.as_bytes()).as_slice()].concat();
        let sni = [&[0, 0], behind(2, &behind(2, &entry)).as_slice()].concat();
        let other = [&[0, 43], behind(2, &[2, 3, 4]).as_slice()].concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &behind(1, &[9; 32]),
            &behind(2, &[0x13, 1]),
            &behind(1, &[0]),
            &behind(2, &[other, sni].concat()),
        ]
        .concat();
        let message = [&[1], behind(3, &body).as_slice()].concat();
        message.chunks(piece).flat_map(|part| [&[22, 3, 1][..], &behind(2, part)].concat()).collect()
    }

    #[test]
    fn the_server_name_is_found_in_one_piece_or_many() {
        for piece in [10_000, 40, 1] {
            let hello = client_hello("cdn.example.com", piece);
            assert_eq!(server_name(&hello), Found::Name("cdn.example.com".to_owned()), "{piece}");
            for cut in 0..hello.len() {
                assert_eq!(server_name(&hello[..cut]), Found::Unfinished, "cut at {cut} of {piece}");
            }
        }
        assert_eq!(server_name(b"SSH-2.0-x\r\n"), Found::Nothing);
        assert_eq!(server_name(&[22, 3, 1, 0, 1, 2]), Found::Nothing, "a server's hello");
    }

    #[test]
    fn the_host_header_is_found_once_or_not_at_all() {
        let of = |head: &str| host_header(head.as_bytes());
        assert_eq!(of("GET / HTTP/1.1\r\nhost: a.example:80\r\n\r\n"), Found::Name("a.example".to_owned()));
        assert_eq!(of("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), Found::Nothing);
        assert_eq!(of("GET / HTTP/1.0\r\n\r\n"), Found::Nothing);
        assert_eq!(of("GET / HTTP/1.1\r\nHost: a.exa"), Found::Unfinished);
    }
}

#[cfg(test)]
mod fuzz {
    use super::tests::client_hello;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            host_header(&bytes);
            server_name(&bytes);
        }

        #[test]
        fn a_hello_with_damage_is_read_without_a_panic(at in 0usize..200, byte: u8) {
            let mut hello = client_hello("cdn.example.com", 50);
            let at = at % hello.len();
            hello[at] = byte;
            server_name(&hello);
        }
    }
}
