//! Where browsers reach a server that stands behind a reverse proxy. It must not know requests.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The address of the front page as browsers have it: scheme, host, port. A server is always at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Whether it is `https`.
    pub https: bool,
    /// The name or address, in small letters; an IPv6 address in brackets.
    pub host: String,
    /// The port, also where it is the scheme's own.
    pub port: u16,
}

impl PublicUrl {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Whether other machines may reach it.
    pub fn is_open(&self) -> bool {
        self.host != "localhost" && !self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// The domain of previews unless another is named: names below its own. An address has none.
    pub fn preview_domain(&self) -> String {
        if self.ip().is_some() { "localhost".to_owned() } else { self.host.clone() }
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
    }
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected the address browsers use, such as https://sandcastle.example.org, without a path";
        let uri: http::Uri = text.parse().map_err(|_| expected)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(expected),
        };
        let authority = uri.authority().ok_or(expected)?;
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") || authority.as_str().contains('@') {
            return Err(expected);
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // What stands there is no number.
            None if authority.as_str() != authority.host() => return Err(expected),
            None if https => 443,
            None => 80,
        };
        Ok(Self { https, host: authority.host().trim_end_matches('.').to_ascii_lowercase(), port })
    }
}

/// The origin, as browsers write it.
impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.host)?;
        match (self.https, self.port) {
            (true, 443) | (false, 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written_as_browsers_write_it() {
        for (given, origin, domain, open) in [
            ("https://Castle.Example.org/", "https://castle.example.org", "castle.example.org", true),
            ("https://castle.example.org:8443", "https://castle.example.org:8443", "castle.example.org", true),
            ("http://localhost:80", "http://localhost", "localhost", false),
            ("http://192.0.2.7:8080", "http://192.0.2.7:8080", "localhost", true),
            ("http://[::1]:8080", "http://[::1]:8080", "localhost", false),
        ] {
            let url: PublicUrl = given.parse().unwrap();
            assert_eq!(
                (url.to_string().as_str(), url.preview_domain().as_str(), url.is_open()),
                (origin, domain, open)
            );
        }
        for wrong in
            ["", "castle.example.org", "ftp://x", "https://x/path", "https://x?q", "https://a@x", "https://x:0x"]
        {
            assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
        }
    }
}
