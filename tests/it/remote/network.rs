//! What may leave a remote sandbox, held by the service that has it.

use super::{Far, Near};
use sandcastle::domain::{NetworkMode, NetworkPolicy};
use serde_json::{Value, json};

async fn rules(far: &Far) -> Value {
    let id = far.sandboxes().await[0].0.clone();
    far.api(reqwest::Method::GET, &format!("/sandboxes/{id}")).await["network"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projects_rules_are_the_services_from_the_start_and_at_once() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    let policy = |mode, allow: &[&str]| NetworkPolicy {
        mode,
        allow: allow.iter().map(|rule| (*rule).to_owned()).collect(),
        deny: Vec::new(),
    };
    let first = policy(NetworkMode::Allowlist, &["registry.npmjs.org"]);
    near.service().set_network_policy(&project, first).await.unwrap();
    near.service().ensure(&project).await.unwrap();
    let held = json!({
        "allowOut": ["registry.npmjs.org"],
        "denyOut": ["0.0.0.0/0"],
        "allowPublicTraffic": false,
        "maskRequestHost": "localhost:${PORT}",
    });
    assert_eq!(rules(&far).await, held);

    near.service().set_network_policy(&project, policy(NetworkMode::Off, &[])).await.unwrap();
    assert_eq!(rules(&far).await["denyOut"], json!(["0.0.0.0/0"]));
    assert_eq!(rules(&far).await["allowOut"], Value::Null);

    let kept = rules(&far).await;
    assert_eq!(kept["allowPublicTraffic"], json!(false), "its ports stay closed to others: {kept}");

    let ports = policy(NetworkMode::Allowlist, &["db.example.com:5432"]);
    let error = near.service().set_network_policy(&project, ports).await.unwrap_err();
    assert!(error.to_string().contains("db.example.com:5432") && error.to_string().contains("e2b cannot"), "{error}");
    let kept = near.service().network(&project).await.unwrap().policy;
    assert_eq!(kept.mode, NetworkMode::Off, "what cannot be held is not recorded");

    near.service().sleep(&project).await.unwrap();
    near.service().set_network_policy(&project, NetworkPolicy::default()).await.unwrap();
    near.service().ensure(&project).await.unwrap();
    assert_eq!(rules(&far).await["denyOut"], Value::Null, "rules changed in its sleep hold when it wakes");
    near.app.stop().await;
    far.app.stop().await;
}
