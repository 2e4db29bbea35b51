//! Keys in the settings, and what their end means.

use super::{Server, eventually};
use crate::support::answer;
use reqwest::{Method, StatusCode};
use serde_json::json;

async fn post(server: &Server, fields: &str) -> (StatusCode, String) {
    let request = server.request(Method::POST, "/settings/keys").body(fields.to_owned());
    let response = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn page(server: &Server) -> String {
    server.request(Method::GET, "/settings/keys").send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_in_the_settings_is_shown_once_works_and_is_revoked() {
    let mut server = Server::start().await;
    let (status, html) = post(&server, "set=create&name=my+laptop%3Cb%3E&kind=e2b").await;
    assert_eq!(status, StatusCode::OK);
    let key = html.split("E2B_API_KEY=").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(key.len() == 44 && key.starts_with("e2b_"), "{key}");
    assert!(html.contains("my laptop&lt;b&gt;") && !html.contains("<script"), "{html}");
    server.key = key.clone();
    server.sandbox().await;
    let html = page(&server).await;
    assert!(!html.contains(&key) && html.contains(&key[40..]) && html.contains("1 sandbox"), "{html}");
    let (status, html) = post(&server, "set=create&name=jobs&kind=trigger").await;
    assert!(status == StatusCode::OK && html.contains("TRIGGER_SECRET_KEY=tr_dev_sk_"), "{html}");
    let keys = server.app.services().store.keys().list().await.unwrap();
    let id = &keys.iter().find(|found| found.hint == key[40..]).unwrap().id;
    assert_eq!(post(&server, &format!("set=revoke&name={id}")).await.0, StatusCode::SEE_OTHER);
    assert_eq!(answer(server.api(Method::GET, "/v2/sandboxes")).await.0, StatusCode::UNAUTHORIZED);
    assert!(!page(&server).await.contains("my laptop"));
    for wrong in ["set=create&name=+&kind=e2b", "set=create&name=x&kind=aws", "set=nothing&name=x", "set=create"] {
        assert!(post(&server, wrong).await.0.is_client_error(), "{wrong}");
    }
    let gone = post(&server, &format!("set=revoke&name={id}")).await;
    assert_eq!(gone.0, StatusCode::NOT_FOUND);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_takes_its_sandboxes_snapshots_and_templates_with_it() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let made = server.ask(Method::POST, &format!("/sandboxes/{}/snapshots", sandbox.0), &json!({}), 201).await;
    let fleet = server.app.services().fleet.clone();
    let keys = server.app.services().store.keys().clone();
    let (other, _) = keys.create(sandcastle::store::KeyKind::E2b, "other").await.unwrap();
    let own = keys.list().await.unwrap().into_iter().find(|key| key.name == "test").unwrap();
    assert_eq!((fleet.records(&own.id).len(), fleet.images(&own.id).len()), (1, 1), "{made}");
    // As the command line does it, beside the server.
    keys.revoke(&own.id).await.unwrap();
    let (found, id) = (&fleet, own.id.as_str());
    eventually("all of it is gone", || async move { found.records(id).is_empty() && found.images(id).is_empty() })
        .await;
    let health = server.inside(&sandbox, Method::GET, "/health").send().await.unwrap().status();
    assert_eq!(health, StatusCode::BAD_GATEWAY);
    assert!(keys.list().await.unwrap().contains(&other));
    let folder = server.dir.path().join("data/fleet");
    let folder = folder.as_path();
    eventually("the files are removed", || async move {
        std::fs::read_dir(folder).is_ok_and(|entries| entries.count() == 0)
    })
    .await;
    server.app.stop().await;
}
