//! Pages as a browser without JavaScript gets them.

use crate::support::TestApp;
use reqwest::{Method, StatusCode};

async fn page(app: &TestApp, path: &str) -> (StatusCode, reqwest::header::HeaderMap, String) {
    let response = app.get(path).header("accept", "text/html").send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_live_page_has_its_own_nonce_in_header_and_body() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let mut seen = Vec::new();
    for path in ["/".to_owned(), format!("/p/{project}"), "/runs".to_owned()] {
        let (status, headers, html) = page(&app, &path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(html.starts_with("<!DOCTYPE html>"), "{path}");
        assert!(html.contains("id=\"page-data\""), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert!(html.contains(&format!("nonce=\"{nonce}\"")), "{path}");
        let scripts = html.matches("<script").count();
        let fenced = html.matches(&format!("nonce=\"{nonce}\"")).count() + html.matches("application/json").count();
        assert!(fenced >= scripts, "{path}: a script without nonce");
        assert!(!html.contains(" style=\""), "{path}: the policy forbids style attributes");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        seen.push(nonce.to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "a nonce is used once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_a_page_for_people() {
    let app = TestApp::start().await;
    for path in ["/p/prj_0", "/p/nonsense", "/runs/run_0", "/nothing"] {
        let (status, headers, html) = page(&app, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        assert!(html.starts_with("<!DOCTYPE html>"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_form_works_without_javascript() {
    let app = TestApp::start().await;
    let form = |body: &str| {
        let request = app.request(Method::POST, "/new").header("content-type", "application/x-www-form-urlencoded");
        request.header("accept", "text/html").body(body.to_owned()).send()
    };
    let created = form("prompt=A+small+shop&model=").await.unwrap();
    assert_eq!(created.status(), StatusCode::SEE_OTHER);
    let location = created.headers()["location"].to_str().unwrap();
    let (status, _, html) = page(&app, location).await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains("A small shop"));
    let refused = form("prompt=++").await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(refused.text().await.unwrap().contains("The message is empty"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hashed_files_are_kept_forever_and_sent_precompressed() {
    let app = TestApp::start().await;
    let pkg = app.dir().join("site/pkg");
    std::fs::create_dir_all(&pkg).unwrap();
    let name = "sandcastle.0123456789abcdefABCDEF.js";
    std::fs::write(pkg.join(name), "plain").unwrap();
    std::fs::write(pkg.join(format!("{name}.br")), "brotli").unwrap();
    std::fs::write(app.dir().join("site/favicon.svg"), "<svg/>").unwrap();
    let get = |accept: &str| app.get(&format!("/pkg/{name}")).header("accept-encoding", accept.to_owned()).send();
    let plain = get("identity").await.unwrap();
    assert_eq!(plain.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(plain.text().await.unwrap(), "plain");
    let packed = get("br").await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "br");
    assert_eq!(packed.text().await.unwrap(), "brotli");
    let icon = app.get("/favicon.svg").send().await.unwrap();
    assert_eq!(icon.headers()["cache-control"], "no-cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pages_are_compressed() {
    let app = TestApp::start().await;
    for _ in 0..20 {
        app.project().await;
    }
    let response = app.get("/").header("accept-encoding", "br, gzip").send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_projects_are_found_by_their_words_and_shown_page_by_page() {
    let app = TestApp::start().await;
    let events = app.services().store.events().clone();
    for n in 0..130 {
        events.create_project(&format!("Shop {n} <b>")).await.unwrap();
    }
    events.create_project("Éclairs & more").await.unwrap();
    let cards = |html: &str| html.matches("class=\"project-link\"").count();
    let (_, _, html) = page(&app, "/").await;
    assert_eq!(cards(&html), 60);
    assert!(html.contains("href=\"/?q=&amp;show=120\""), "{html}");
    let (_, _, html) = page(&app, "/?q=&show=120").await;
    assert_eq!(cards(&html), 120);
    let (_, _, html) = page(&app, "/?q=&show=180").await;
    assert_eq!(cards(&html), 131);
    assert!(!html.contains("More projects"));
    let (_, _, html) = page(&app, "/?q=%C3%A9clairs+MORE").await;
    assert_eq!(cards(&html), 1);
    assert!(html.contains("value=\"éclairs MORE\""), "{html}");
    let (_, _, html) = page(&app, "/?q=nothing+has+this").await;
    assert!(cards(&html) == 0 && html.contains("No project has these words"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_leads_back_to_the_page_it_came_from_and_to_no_other_site() {
    let app = TestApp::start().await;
    let own = format!("http://{}/runs?task=x", app.app().addr());
    for (from, back) in [(own.as_str(), true), ("http://evil.example/runs", false)] {
        let answer = app.get("/p/prj_0").header("accept", "text/html").header("referer", from).send().await.unwrap();
        let html = answer.text().await.unwrap();
        assert_eq!(html.contains("href=\"/runs?task=x\""), back, "{html}");
        assert_eq!(html.contains("Back to where you were"), back, "{html}");
    }
}
