//! The guard in front of the real server.

use crate::support::{TestApp, answer};
use reqwest::{Method, StatusCode};
use sandcastle::config::Secret;
use serde_json::json;

const TOKEN: &str = "correct horse battery staple";

async fn with_token() -> TestApp {
    TestApp::start_with(|config| config.server.access_token = Some(Secret::new(TOKEN))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebound_host_name_is_refused_everywhere() {
    let app = TestApp::start().await;
    for path in ["/", "/api/projects", "/healthz", "/pkg/x.js", "/nothing"] {
        let (status, body) = answer(app.get(path).header("host", "evil.example")).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{path}");
        assert_eq!(body["code"], "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_changes_nothing() {
    let app = TestApp::start().await;
    let create = || app.post("/api/projects", &json!({"name": "x"}));
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(answer(create().header(name, value)).await.0, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    for path in ["/new", "/api/fn/create_project", "/login"] {
        let form = app.request(Method::POST, path).header("origin", "http://evil.example");
        let form = form.header("content-type", "application/x-www-form-urlencoded").body("prompt=x");
        assert_eq!(answer(form).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    let own = format!("http://{}", app.app().addr());
    assert_eq!(answer(create().header("origin", own)).await.0, StatusCode::CREATED);
    let (_, list) = answer(app.get("/api/projects")).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_host_reaches_no_route_of_the_platform() {
    let app = TestApp::start().await;
    let port = app.app().addr().port();
    for path in ["/", "/api/projects", "/healthz", "/api/openapi.json", "/login"] {
        let host = format!("3000-i0000000000000000000.localhost:{port}");
        let response = app.get(path).header("host", host).send().await.unwrap();
        assert!(!response.status().is_success(), "{path}");
        assert!(!response.headers().contains_key("set-cookie"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_cookie_is_taken_away_and_a_right_one_is_not() {
    let app = with_token().await;
    let set = app.get("/api/projects").header("cookie", "sandcastle_token=stale").send().await.unwrap();
    assert_eq!(set.status(), StatusCode::UNAUTHORIZED);
    let cleared = set.headers()["set-cookie"].to_str().unwrap();
    assert!(cleared.starts_with("sandcastle_token=;") && cleared.contains("Max-Age=0"), "{cleared}");
    for request in [app.get("/api/projects"), app.get("/api/projects").bearer_auth("wrong")] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(!response.headers().contains_key("set-cookie"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_set_nothing_is_told_without_it() {
    let app = with_token().await;
    for path in ["/api/projects", "/api/openapi.json", "/metrics", "/readyz", "/nothing", "/runs"] {
        let (status, body) = answer(app.get(path)).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")), "{path}");
    }
    assert_eq!(app.get("/healthz").send().await.unwrap().status(), StatusCode::OK);
    let page = app.get("/runs").header("accept", "text/html").send().await.unwrap();
    assert_eq!(
        (page.status(), page.headers()["location"].to_str().unwrap()),
        (StatusCode::SEE_OTHER, "/login?next=/runs")
    );
    let (status, _) = answer(app.get("/api/projects").bearer_auth(TOKEN)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer(app.get("/api/projects").bearer_auth("wrong")).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_sets_a_cookie_that_opens_the_pages_and_leads_only_to_local_addresses() {
    let app = with_token().await;
    let sign_in = |token: &str, next: &str| {
        let body = format!("token={}&next={next}", token.replace(' ', "+"));
        let form = app.request(Method::POST, "/login").header("content-type", "application/x-www-form-urlencoded");
        form.body(body).send()
    };
    assert_eq!(sign_in("wrong", "/").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let response = sign_in(TOKEN, "//evil.example").await.unwrap();
    assert_eq!((response.status(), &response.headers()["location"]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(!cookie.contains("correct") && cookie.contains("HttpOnly"));
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(answer(app.get("/api/projects").header("cookie", cookie)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_headers_that_fence_it_in() {
    let app = TestApp::start().await;
    for path in ["/", "/api/projects", "/nothing", "/api/projects/x"] {
        let response = app.get(path).header("accept", "text/html").send().await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert!(headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"), "{path}");
        assert!(headers.contains_key("x-request-id"), "{path}");
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_nowhere() {
    let app = TestApp::start_with(|config| {
        config.model.configured = true;
        // Nothing listens there, so the list of models fails and its error is shown too.
        config.model.base_url = "http://127.0.0.1:9/v1".to_owned();
        config.model.api_key = Some(Secret::new("sk-very-secret"));
    })
    .await;
    assert!(!format!("{:?}", app.services().config).contains("very-secret"));
    for path in ["/", "/settings", "/api/models", "/metrics", "/runs", "/api/runs"] {
        let text = app.get(path).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("very-secret"), "{path}");
    }
}
