//! What changes in headers on the way to an app and back.
//!
//! Towards the app the world is `http://localhost:{port}`, which development servers trust; towards the browser it is
//! the preview's origin.

use super::{POLL, csp};
use crate::config::Secret;
use crate::domain::SandboxId;
use crate::sandbox::PreviewAddress;
use crate::sandbox::hop::remove_hop_by_hop;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;

/// Cookies of the platform begin with this.
const PLATFORM_COOKIE: &str = "sandcastle_";

/// Where a request or an answer belongs.
pub(super) struct Route<'a> {
    pub(super) address: &'a PreviewAddress,
    pub(super) sandbox: &'a SandboxId,
    pub(super) port: u16,
}

/// Makes a browser's headers the app's. `navigation` asks for an uncompressed answer, so that the script goes in.
pub(super) fn to_app(headers: &mut HeaderMap, route: &Route<'_>, token: Option<&Secret>, navigation: bool) {
    remove_hop_by_hop(headers);
    headers.remove(POLL);
    headers.remove(header::EXPECT);
    strip_platform_credentials(headers, token);
    let cross_origin_aware = rewrite(headers, header::ORIGIN, |origin| to_localhost(origin, route));
    rewrite(headers, header::REFERER, |referer| to_localhost(referer, route));
    insert(headers, header::HOST, &format!("localhost:{}", route.port));
    if cross_origin_aware {
        // Next.js up to 14 compares Origin with X-Forwarded-Host before it accepts a server action.
        headers.remove("x-forwarded-host");
    } else {
        insert(headers, X_FORWARDED_HOST, &route.address.authority(route.sandbox, route.port));
    }
    insert(headers, X_FORWARDED_PROTO, &route.address.scheme);
    if navigation {
        insert(headers, header::ACCEPT_ENCODING, "identity");
    }
}

/// Makes the app's headers the browser's. `script` is the hash of the injected script, if one will be.
pub(super) fn to_browser(headers: &mut HeaderMap, route: &Route<'_>, script: Option<&str>) {
    remove_hop_by_hop(headers);
    headers.remove(header::X_FRAME_OPTIONS);
    for name in [header::LOCATION, header::CONTENT_LOCATION, header::ACCESS_CONTROL_ALLOW_ORIGIN] {
        rewrite(headers, name, |url| from_localhost(url, route));
    }
    let policies: Vec<HeaderValue> = headers
        .get_all(header::CONTENT_SECURITY_POLICY)
        .iter()
        .filter_map(|policy| csp::relax(policy.to_str().ok()?, script))
        .filter_map(|policy| HeaderValue::from_str(&policy).ok())
        .collect();
    replace_all(headers, header::CONTENT_SECURITY_POLICY, policies);
    own_cookies(headers, route.address.scheme == "https" || is_loopback_name(&route.address.domain));
}

/// Makes the cookies that an app sets those of its own host, and none of them the platform's. With `framed` they work
/// in a frame of another site, for which they must be secure ones.
pub(in crate::sandbox) fn own_cookies(headers: &mut HeaderMap, framed: bool) {
    let cookies: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|cookie| set_cookie(cookie.to_str().ok()?, framed))
        .filter_map(|cookie| HeaderValue::from_str(&cookie).ok())
        .collect();
    replace_all(headers, header::SET_COOKIE, cookies);
}

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn replace_all(headers: &mut HeaderMap, name: HeaderName, values: Vec<HeaderValue>) {
    headers.remove(&name);
    for value in values {
        headers.append(name.clone(), value);
    }
}

/// Rewrites a header where the function has a new value. Says whether it had.
fn rewrite(headers: &mut HeaderMap, name: HeaderName, change: impl FnOnce(&str) -> Option<String>) -> bool {
    let changed = headers.get(&name).and_then(|value| value.to_str().ok()).and_then(change);
    match changed {
        Some(value) => {
            insert(headers, name, &value);
            true
        }
        None => false,
    }
}

fn strip_platform_credentials(headers: &mut HeaderMap, token: Option<&Secret>) {
    let ours = |value: &HeaderValue| {
        let bearer = value.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        let given = value.as_bytes().get(7..).unwrap_or_default();
        bearer && token.is_some_and(|token| bool::from(token.expose().as_bytes().ct_eq(given)))
    };
    if headers.get(header::AUTHORIZATION).is_some_and(ours) {
        headers.remove(header::AUTHORIZATION);
    }
    let cookies: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|cookie| !cookie.is_empty() && !is_platform_cookie(cookie))
        .map(str::to_owned)
        .collect();
    headers.remove(header::COOKIE);
    if !cookies.is_empty() {
        insert(headers, header::COOKIE, &cookies.join("; "));
    }
}

/// Whether a cookie, with whatever follows its name, has a name of the platform.
pub(in crate::sandbox) fn is_platform_cookie(cookie: &str) -> bool {
    cookie.trim_start().get(..PLATFORM_COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(PLATFORM_COOKIE))
}

/// A cookie of the app as the browser gets it: for the preview's host alone. The preview is a frame of another site,
/// where only `SameSite=None; Secure` cookies work; a secure context is needed for that, and `*.localhost` is one.
fn set_cookie(cookie: &str, secure: bool) -> Option<String> {
    if is_platform_cookie(cookie) {
        return None;
    }
    let mut parts = cookie.split(';').map(str::trim);
    let mut kept = vec![parts.next()?.to_owned()];
    for part in parts {
        let name = part.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        let dropped = match name.as_str() {
            "domain" => true,
            "samesite" | "secure" => secure,
            _ => part.is_empty(),
        };
        if !dropped {
            kept.push(part.to_owned());
        }
    }
    if secure {
        kept.extend(["SameSite=None".to_owned(), "Secure".to_owned()]);
    }
    Some(kept.join("; "))
}

fn is_loopback_name(domain: &str) -> bool {
    domain == "localhost" || domain.ends_with(".localhost")
}

/// `http://3000-{sandbox}.localhost:3000/x` as the app knows it: `http://localhost:3000/x`.
fn to_localhost(url: &str, route: &Route<'_>) -> Option<String> {
    let (authority, path) = split_url(url)?;
    let (sandbox, port) = route.address.parse(authority)?;
    (sandbox == *route.sandbox).then(|| format!("http://localhost:{port}{path}"))
}

/// `http://localhost:3000/x` as the browser knows it.
fn from_localhost(url: &str, route: &Route<'_>) -> Option<String> {
    let (authority, path) = split_url(url)?;
    let (host, port) = match authority.strip_prefix("[::1]") {
        Some(rest) => ("[::1]", rest.strip_prefix(':')),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if !matches!(host, "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]") {
        return None;
    }
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => route.port,
    };
    Some(format!("{}{path}", route.address.origin(route.sandbox, port)))
}

/// Authority and the rest of an absolute or scheme-relative http URL.
fn split_url(url: &str) -> Option<(&str, &str)> {
    let rest =
        url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).or_else(|| url.strip_prefix("//"))?;
    Some(rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "i1234567890abcdefghi";

    fn with_route<T>(test: impl FnOnce(&Route<'_>) -> T) -> T {
        let address = PreviewAddress { scheme: "http".to_owned(), domain: "localhost".to_owned(), port: 3000 };
        let sandbox = SandboxId::parse(ID).unwrap();
        test(&Route { address: &address, sandbox: &sandbox, port: 5173 })
    }

    fn map(entries: &[(&'static str, &str)]) -> HeaderMap {
        entries.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn sent(entries: &[(&'static str, &str)], token: Option<&Secret>) -> HeaderMap {
        let mut headers = map(entries);
        with_route(|route| to_app(&mut headers, route, token, false));
        headers
    }

    fn received(entries: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        with_route(|route| to_browser(&mut headers, route, None));
        headers
    }

    #[test]
    fn the_app_sees_localhost_and_where_the_browser_is() {
        let origin = format!("http://5173-{ID}.localhost:3000");
        let headers = sent(&[("host", "x"), ("referer", &format!("{origin}/a?b"))], None);
        assert_eq!(headers["host"], "localhost:5173");
        assert_eq!(headers["referer"], "http://localhost:5173/a?b");
        assert_eq!(headers["x-forwarded-host"], format!("5173-{ID}.localhost:3000"));
        assert_eq!(headers["x-forwarded-proto"], "http");
        let headers = sent(&[("origin", &origin), ("x-forwarded-host", "evil")], None);
        assert_eq!(headers["origin"], "http://localhost:5173");
        assert!(!headers.contains_key("x-forwarded-host"));
        assert_eq!(sent(&[("origin", "https://other.example")], None)["origin"], "https://other.example");
    }

    #[test]
    fn platform_cookies_and_token_never_reach_the_app() {
        let token = Secret::new("s3cret");
        let entries =
            [("cookie", "a=1; sandcastle_token=x;Sandcastle_theme=dark; b=2"), ("authorization", "Bearer s3cret")];
        let headers = sent(&entries, Some(&token));
        assert_eq!(headers["cookie"], "a=1; b=2");
        assert!(!headers.contains_key("authorization"));
        let headers = sent(&[("cookie", "sandcastle_layout=1"), ("authorization", "Bearer own")], Some(&token));
        assert!(!headers.contains_key("cookie"));
        assert_eq!(headers["authorization"], "Bearer own");
    }

    #[test]
    fn headers_of_the_connection_stay_on_their_side() {
        let headers =
            sent(&[("connection", "close, x-secret"), ("x-secret", "1"), ("transfer-encoding", "chunked")], None);
        assert!(!headers.contains_key("x-secret") && !headers.contains_key("connection"));
        assert!(!headers.contains_key("transfer-encoding"));
    }

    #[test]
    fn redirects_to_localhost_go_to_the_preview() {
        let location = |url: &str| received(&[("location", url)])["location"].to_str().unwrap().to_owned();
        assert_eq!(location("http://localhost:5173/login?x"), format!("http://5173-{ID}.localhost:3000/login?x"));
        assert_eq!(location("http://127.0.0.1:8000"), format!("http://8000-{ID}.localhost:3000"));
        assert_eq!(location("//0.0.0.0:8000/"), format!("http://8000-{ID}.localhost:3000/"));
        assert_eq!(location("/relative"), "/relative");
        assert_eq!(location("https://example.com/"), "https://example.com/");
        let cors = received(&[("access-control-allow-origin", "http://localhost:5173")]);
        assert_eq!(cors["access-control-allow-origin"], format!("http://5173-{ID}.localhost:3000"));
    }

    #[test]
    fn the_app_may_be_framed_and_its_cookies_stay_on_its_host() {
        let headers = received(&[
            ("x-frame-options", "DENY"),
            ("set-cookie", "a=1; Domain=localhost; Path=/; HttpOnly; SameSite=Lax"),
            ("set-cookie", "sandcastle_token=evil; Path=/"),
        ]);
        assert!(!headers.contains_key("x-frame-options"));
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1; Path=/; HttpOnly; SameSite=None; Secure"]);
    }
}
