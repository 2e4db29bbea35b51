//! Where a browser reaches a port inside a sandbox: one origin per sandbox and port.

use crate::domain::SandboxId;

/// The public side of previews: `{scheme}://{port}-{sandbox}.{domain}:{port of the server}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewAddress {
    /// `http` or `https`.
    pub scheme: String,
    /// The wildcard domain, for instance `localhost`.
    pub domain: String,
    /// The port the browser connects to.
    pub port: u16,
}

impl PreviewAddress {
    /// The host with the port where it is not the scheme's own, as it stands in the `Host` header.
    pub fn authority(&self, sandbox: &SandboxId, port: u16) -> String {
        let usual = if self.scheme == "https" { 443 } else { 80 };
        let suffix = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{port}-{sandbox}.{}{suffix}", self.domain)
    }

    /// The origin, without a slash at the end.
    pub fn origin(&self, sandbox: &SandboxId, port: u16) -> String {
        format!("{}://{}", self.scheme, self.authority(sandbox, port))
    }

    /// The address of the app's root page.
    pub fn url(&self, sandbox: &SandboxId, port: u16) -> String {
        format!("{}/", self.origin(sandbox, port))
    }

    /// The sandbox and port a host names, with or without the server's port; none if it is no preview host.
    pub fn parse(&self, host: &str) -> Option<(SandboxId, u16)> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let label = name.strip_suffix(&self.domain.to_ascii_lowercase())?.strip_suffix('.')?;
        let (port, id) = label.split_once('-')?;
        if port.is_empty() || port.starts_with('0') || !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some((SandboxId::parse(id).ok()?, port.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_host_is_parsed_back_and_nothing_else_is_one() {
        let id = SandboxId::parse("i1234567890abcdefghi").unwrap();
        let address = PreviewAddress { scheme: "http".to_owned(), domain: "localhost".to_owned(), port: 3000 };
        assert_eq!(address.url(&id, 5173), "http://5173-i1234567890abcdefghi.localhost:3000/");
        assert_eq!(address.parse(&address.authority(&id, 5173)), Some((id.clone(), 5173)));
        assert_eq!(address.parse("80-I1234567890ABCDEFGHI.LOCALHOST."), Some((id, 80)));
        for host in [
            "localhost:3000",
            "3000-i1234567890abcdefghi.example.com",
            "3000-i1234567890abcdefghi.evillocalhost",
            "99999-i1234567890abcdefghi.localhost",
            "0-i1234567890abcdefghi.localhost",
            "-i1234567890abcdefghi.localhost",
            "x.3000-i1234567890abcdefghi.localhost",
            "3000-short.localhost",
        ] {
            assert_eq!(address.parse(host), None, "{host}");
        }
        let tls = PreviewAddress { scheme: "https".to_owned(), domain: "p.example.com".to_owned(), port: 443 };
        assert!(tls.url(&SandboxId::parse("i1234567890abcdefghi").unwrap(), 1).ends_with(".p.example.com/"));
    }
}
