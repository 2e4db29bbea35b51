//! Tests of the guard: what it lets in and what it refuses. They must not know any route behind it.

use super::*;

fn config(addr: &str, token: Option<&str>) -> ServerConfig {
    let mut config = crate::config::Config::defaults("/nowhere".into()).server;
    config.addr = addr.parse().unwrap();
    config.access_token = token.map(Secret::new);
    config.allowed_hosts = vec!["build.example.org".to_owned()];
    config
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = axum::http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn status(guard: &Guard, request: &Request) -> u16 {
    match admit(guard, [127, 0, 0, 1].into(), request) {
        Ok(()) => 200,
        Err(Refusal::SignIn(_)) => 303,
        Err(Refusal::Failure(failure)) => failure.status.as_u16(),
    }
}

#[test]
fn only_known_host_names_are_answered() {
    let guard = Guard::new(&config("127.0.0.1:3000", None));
    let ask = |host| status(&guard, &request("GET", "/", &[("host", host)]));
    for host in ["localhost:3000", "127.0.0.1", "[::1]:3000", "LOCALHOST", "build.example.org", "build.example.org:80"]
    {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1:3000", "3000-x.localhost:3000", ""] {
        assert_eq!(ask(host), 421, "{host}");
    }
    assert_eq!(status(&guard, &request("GET", "/", &[])), 400);
    let public = Guard::new(&config("0.0.0.0:3000", Some("correct horse battery")));
    assert_eq!(status(&public, &request("GET", "/healthz", &[("host", "10.0.0.1:3000")])), 200);
    assert_eq!(status(&public, &request("GET", "/healthz", &[("host", "rebound.example")])), 421);
}

#[test]
fn another_origin_may_change_nothing_and_not_read_the_api() {
    let guard = Guard::new(&config("127.0.0.1:3000", None));
    let host = ("host", "localhost:3000");
    let ask =
        |method, path, headers: &[(&str, &str)]| status(&guard, &request(method, path, &[&[host], headers].concat()));
    assert_eq!(ask("POST", "/api/projects", &[]), 200);
    assert_eq!(ask("POST", "/api/projects", &[("origin", "http://localhost:3000")]), 200);
    assert_eq!(ask("POST", "/api/projects", &[("origin", "http://evil.example")]), 403);
    assert_eq!(ask("POST", "/api/projects", &[("origin", "null")]), 403);
    assert_eq!(ask("DELETE", "/api/projects/x", &[("origin", "http://3000-x.localhost:3000")]), 403);
    assert_eq!(ask("POST", "/api/fn/send", &[("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(ask("POST", "/api/fn/send", &[("sec-fetch-site", "same-site")]), 403);
    assert_eq!(ask("GET", "/api/projects", &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]), 403);
    assert_eq!(ask("GET", "/", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]), 200);
    assert_eq!(ask("POST", "/new", &[("sec-fetch-site", "same-origin")]), 200);
}

#[test]
fn the_token_comes_by_header_or_cookie_and_pages_lead_to_the_sign_in() {
    let token = "correct horse battery";
    let guard = Guard::new(&config("0.0.0.0:3000", Some(token)));
    let host = ("host", "127.0.0.1:3000");
    assert_eq!(status(&guard, &request("GET", "/api/projects", &[host])), 401);
    assert_eq!(status(&guard, &request("GET", "/p/x", &[host, ("accept", "text/html")])), 303);
    assert_eq!(status(&guard, &request("GET", "/pkg/x.js", &[host])), 200);
    let bearer = format!("Bearer {token}");
    assert_eq!(status(&guard, &request("GET", "/api/projects", &[host, ("authorization", &bearer)])), 200);
    let set = guard.sign_in([127, 0, 0, 1].into(), token, false).unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains(token));
    let cookie = format!("a=b; {}", set.split(';').next().unwrap());
    assert_eq!(status(&guard, &request("GET", "/p/x", &[host, ("cookie", &cookie)])), 200);
    let raw = format!("{TOKEN_COOKIE}={token}");
    assert_eq!(status(&guard, &request("GET", "/api/projects", &[host, ("cookie", &raw)])), 401);
}

#[test]
fn guessing_is_slowed_down_per_address() {
    let guard = Guard::new(&config("0.0.0.0:3000", Some("correct horse battery")));
    let from = IpAddr::from([10, 0, 0, 9]);
    for _ in 0..FAILURES_ALLOWED {
        assert_eq!(guard.sign_in(from, "guess", false).unwrap_err().status, 401);
    }
    assert_eq!(guard.sign_in(from, "correct horse battery", false).unwrap_err().status, 429);
    assert!(guard.sign_in([10, 0, 0, 8].into(), "correct horse battery", false).is_ok());
}

#[test]
fn guesses_in_the_cookie_count_and_one_that_is_only_stale_locks_nobody_out() {
    let guard = Guard::new(&config("0.0.0.0:3000", Some("correct horse battery")));
    let ask = |cookie: &str| {
        let headers = [("host", "127.0.0.1:3000"), ("cookie", cookie)];
        status(&guard, &request("GET", "/api/projects", &headers))
    };
    let own = guard.cookie.clone().unwrap();
    for _ in 0..3 * FAILURES_ALLOWED {
        assert_eq!(ask("sandcastle_token=of-last-year"), 401);
    }
    // What a page of another host below the same domain has set beside it takes nobody's sign-in away.
    assert_eq!(ask(&format!("sandcastle_token=tossed; sandcastle_token={own}")), 200);
    for guess in 1..FAILURES_ALLOWED {
        assert_eq!(ask(&format!("sandcastle_token=guess-{guess}")), 401);
    }
    assert_eq!(ask(&format!("sandcastle_token={own}")), 429);
    assert_eq!(guard.sign_in([127, 0, 0, 1].into(), "correct horse battery", false).unwrap_err().status, 429);
}

#[test]
fn behind_a_trusted_proxy_each_caller_is_counted_alone_and_nobody_chooses_who_he_is() {
    let mut config = config("127.0.0.1:3000", Some("correct horse battery"));
    let sender = |config: &ServerConfig, peer: &str, told: &[&str]| {
        let headers: Vec<_> = told.iter().map(|told| ("x-forwarded-for", *told)).collect();
        Guard::new(config).sender(peer.parse().unwrap(), request("GET", "/", &headers).headers()).to_string()
    };
    assert_eq!(sender(&config, "127.0.0.1", &["203.0.113.5"]), "127.0.0.1");
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()];
    for (peer, told, from) in [
        ("127.0.0.1", &[][..], "127.0.0.1"),
        ("127.0.0.1", &["203.0.113.5"], "203.0.113.5"),
        ("::ffff:127.0.0.1", &["203.0.113.5"], "203.0.113.5"),
        // What stood there before the first proxy was sent by the caller.
        ("127.0.0.1", &["198.51.100.9, 203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", &["198.51.100.9", "203.0.113.5, 10.1.2.3"], "203.0.113.5"),
        ("127.0.0.1", &["someone"], "127.0.0.1"),
        ("127.0.0.1", &["203.0.113.5, unknown"], "127.0.0.1"),
        ("203.0.113.5", &["127.0.0.1"], "203.0.113.5"),
    ] {
        assert_eq!(sender(&config, peer, told), from, "{peer} {told:?}");
    }
}

#[test]
fn a_public_address_is_answered_and_its_origin_is_our_own_whatever_the_proxy_calls_us() {
    let mut config = config("127.0.0.1:3000", Some("correct horse battery"));
    config.public_url = Some("https://castle.example.org".parse().unwrap());
    let guard = Guard::new(&config);
    let ask = |headers: &[(&str, &str)]| status(&guard, &request("POST", "/login", headers));
    let origin = ("origin", "https://castle.example.org");
    assert_eq!(ask(&[("host", "castle.example.org"), origin]), 200);
    assert_eq!(ask(&[("host", "127.0.0.1:3000"), origin]), 200);
    assert_eq!(ask(&[("host", "castle.example.org"), ("origin", "https://3000-x.castle.example.org")]), 403);
    assert_eq!(ask(&[("host", "127.0.0.1:3000"), ("origin", "https://evil.example.org")]), 403);
    assert_eq!(ask(&[("host", "3000-x.castle.example.org"), origin]), 421);
}

#[test]
fn only_local_paths_follow_a_sign_in() {
    assert_eq!(local_path("/p/prj_1?x=1"), "/p/prj_1?x=1");
    for bad in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb"] {
        assert_eq!(local_path(bad), "/");
    }
}
