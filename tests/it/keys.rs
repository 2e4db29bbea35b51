//! Keys of programs, in the store and on the command line.

use sandcastle::store::{KeyKind, KeyStore, Store};
use std::process::Command;

fn run(folder: &std::path::Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sandcastle"))
        .args(["keys"])
        .args(args)
        .args(["--data-dir".as_ref(), folder.as_os_str()])
        .current_dir(folder.parent().unwrap())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap().trim().to_owned())
}

#[tokio::test]
async fn a_key_opens_its_own_kind_of_api_until_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let keys = store.keys();
    let (e2b, text) = keys.create(KeyKind::E2b, "laptop").await.unwrap();
    assert!(text.len() == 44 && text.starts_with("e2b_") && text[4..].bytes().all(|b| b.is_ascii_hexdigit()));
    let (_, trigger) = keys.create(KeyKind::Trigger, "jobs").await.unwrap();
    assert!(trigger.len() == 34 && trigger.starts_with("tr_dev_sk_"), "{trigger}");
    assert_eq!(keys.authenticate(KeyKind::E2b, &text).await.unwrap(), Some(e2b.clone()));
    assert_eq!(keys.authenticate(KeyKind::Trigger, &text).await.unwrap(), None);
    assert_eq!(keys.authenticate(KeyKind::E2b, &trigger).await.unwrap(), None);
    assert_eq!(keys.authenticate(KeyKind::E2b, "").await.unwrap(), None);
    keys.revoke(&e2b.id).await.unwrap();
    assert_eq!(keys.authenticate(KeyKind::E2b, &text).await.unwrap(), None);
    assert_eq!(keys.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_is_stored_as_a_digest_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let (key, text) = store.keys().create(KeyKind::E2b, "laptop").await.unwrap();
    assert!(!format!("{key:?}").contains(&text));
    store.close().await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()));
    }
}

#[tokio::test]
async fn two_keys_of_one_name_are_revoked_by_id_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let (first, _) = store.keys().create(KeyKind::E2b, "ci").await.unwrap();
    store.keys().create(KeyKind::E2b, "ci").await.unwrap();
    let error = store.keys().revoke("ci").await.unwrap_err();
    assert_eq!(error.to_string(), "several keys are called \"ci\"; revoke one by its id");
    store.keys().revoke(&first.id).await.unwrap();
    store.keys().revoke("ci").await.unwrap();
    assert_eq!(store.keys().revoke("ci").await.unwrap_err().to_string(), "there is no key with the id ci");
    assert!(store.keys().create(KeyKind::E2b, " ").await.is_err());
    assert!(store.keys().create(KeyKind::E2b, "a\nb").await.is_err());
}

#[tokio::test]
async fn the_command_line_makes_keys_beside_a_running_server() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    // Alone first, in a folder that does not exist yet.
    let (good, first) = run(&folder, &["create", "alone"]);
    assert!(good && first.starts_with("e2b_"), "{first}");
    let server = Store::open(&folder).await.unwrap();
    assert!(server.keys().authenticate(KeyKind::E2b, &first).await.unwrap().is_some());
    let (good, second) = run(&folder, &["create", "beside", "--kind", "trigger"]);
    assert!(good && second.starts_with("tr_dev_"), "{second}");
    assert!(server.keys().authenticate(KeyKind::Trigger, &second).await.unwrap().is_some());
    let (_, list) = run(&folder, &["list"]);
    assert!(list.contains("alone") && list.contains("beside") && !list.contains(&first), "{list}");
    let (good, said) = run(&folder, &["revoke", "alone"]);
    assert!(good, "{said}");
    assert!(server.keys().authenticate(KeyKind::E2b, &first).await.unwrap().is_none());
    let (good, said) = run(&folder, &["revoke", "alone"]);
    assert!(!good && said == "error: there is no key with the id alone", "{said}");
    assert!(!run(&folder, &["create", "x", "--kind", "aws"]).0);
    drop(server);
    KeyStore::open(&folder).await.unwrap();
}
