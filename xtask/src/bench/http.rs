//! An HTTP/1.1 client for one kept-alive connection, so that what is measured is the server and not a client library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longer means that the server hangs.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
pub struct Client {
    addr: SocketAddr,
    stream: BufReader<TcpStream>,
}

/// An answer, read to its end.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as sent, compressed if it was.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { addr, stream: BufReader::new(stream) })
    }

    /// Fetches a path. `encoding` is the `Accept-Encoding` to send.
    pub fn get(&mut self, path: &str, encoding: &str) -> Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nAccept-Encoding: {encoding}\r\nAccept: text/html"), b"")?;
        self.answer()
    }

    /// Fetches JSON.
    pub fn json(&mut self, path: &str) -> Result<serde_json::Value> {
        let answer = self.get(path, "identity")?;
        answer.expect_success(path)?;
        serde_json::from_slice(&answer.body).with_context(|| format!("{path} is not JSON"))
    }

    /// Posts JSON and returns the answer's.
    pub fn post(&mut self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nOrigin: http://{}\r\nContent-Type: application/json\r\nContent-Length: {}",
            self.addr,
            body.len()
        );
        self.send(&head, body.as_bytes())?;
        let answer = self.answer()?;
        answer.expect_success(path)?;
        serde_json::from_slice(&answer.body).with_context(|| format!("the answer of {path} is not JSON"))
    }

    /// Asks for an event stream and reads its head; [`Client::event`] reads on.
    pub fn subscribe(mut self, path: &str) -> Result<Events> {
        self.send(&format!("GET {path} HTTP/1.1\r\nAccept: text/event-stream"), b"")?;
        let head = self.head()?;
        if head.status != 200 {
            bail!("{path} answered {}", head.status);
        }
        Ok(Events(self.stream))
    }

    fn send(&mut self, head: &str, body: &[u8]) -> Result<()> {
        let mut request = format!("{head}\r\nHost: {}\r\n\r\n", self.addr).into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).context("cannot send")
    }

    fn answer(&mut self) -> Result<Answer> {
        let head = self.head()?;
        let mut body = Vec::new();
        if head.chunked {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).context("bad chunk size")?;
                let start = body.len();
                body.resize(start + size, 0);
                self.stream.read_exact(&mut body[start..])?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            body.resize(head.length, 0);
            self.stream.read_exact(&mut body)?;
        }
        Ok(Answer { status: head.status, body })
    }

    fn head(&mut self) -> Result<Head> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
        let mut head = Head { status, length: 0, chunked: false };
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.trim_end().split_once(':') {
                None => return Ok(head),
                Some(("content-length", value)) => head.length = value.trim().parse()?,
                Some(("transfer-encoding", value)) => head.chunked = value.contains("chunked"),
                Some(_) => {}
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line)
    }
}

struct Head {
    status: u16,
    length: usize,
    chunked: bool,
}

impl Answer {
    /// An error that shows the body unless the status is a success.
    pub fn expect_success(&self, path: &str) -> Result<()> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        bail!("{path} answered {}: {}", self.status, String::from_utf8_lossy(&self.body));
    }
}

/// A server-sent event stream.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// Waits for the next line that carries data.
    pub fn next_data(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                bail!("the event stream ended");
            }
            if let Some(data) = line.strip_prefix("data:") {
                return Ok(data.trim().to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A server that answers its first request with `answer`.
    fn serving(answer: &'static [u8]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        Client::connect(addr).unwrap()
    }

    #[test]
    fn a_chunked_answer_is_put_together() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        let answer = serving(answer).get("/", "identity").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"abc0123456789".as_slice()));
    }

    #[test]
    fn a_refusal_is_an_error_with_the_servers_words() {
        let answer = serving(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope").get("/", "identity").unwrap();
        assert_eq!(answer.expect_success("/").unwrap_err().to_string(), "/ answered 403: nope");
    }
}
