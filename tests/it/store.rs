//! The store's promises: what is appended is numbered, kept, folded and told; the data folder has one owner.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use sandcastle::domain::{Event, EventBody, ProjectId, ProjectState};
use sandcastle::store::{Store, StoreError, new_message_id, new_run_id};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

async fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    (folder, store)
}

fn message(text: &str) -> EventBody {
    EventBody::UserMessage { message: new_message_id(), text: text.to_owned(), attachments: Vec::new(), model: None }
}

fn refold(id: &ProjectId, events: &[Event]) -> ProjectState {
    let mut state = ProjectState::empty(id.clone());
    state.apply_all(events);
    state
}

#[tokio::test]
async fn events_are_numbered_without_gaps_folded_and_told_to_watchers() {
    let (_folder, store) = open().await;
    let log = store.events();
    let id = log.create_project("Yoga").await.unwrap();
    let mut watch = log.watch(&id).await.unwrap();
    assert_eq!(*watch.borrow_and_update(), 1);
    let appended = log.append(&id, vec![message("a"), EventBody::FilesChanged]).await.unwrap();
    assert_eq!(appended.iter().map(|e| e.seq).collect::<Vec<_>>(), [2, 3]);
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), 3);
    assert_eq!(log.after(&id, 1, 100).await.unwrap(), appended);
    assert_eq!(log.after(&id, 1, 1).await.unwrap().len(), 1);
    assert!(log.after(&id, 3, 100).await.unwrap().is_empty());
    assert!(log.after(&id, u64::MAX, 100).await.unwrap().is_empty());
    let all = log.after(&id, 0, 100).await.unwrap();
    assert_eq!(*log.state(&id).await.unwrap(), refold(&id, &all));
    assert!(log.append(&id, Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn appends_from_many_tasks_keep_one_order() {
    let (_folder, store) = open().await;
    let id = store.events().create_project("Busy").await.unwrap();
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let (log, id) = (store.events().clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    log.append(&id, vec![EventBody::FilesChanged, EventBody::FilesChanged]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let events = store.events().after(&id, 0, 10_000).await.unwrap();
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=801).collect::<Vec<_>>());
    assert_eq!(store.events().state(&id).await.unwrap().files_rev, 800);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_memory_and_disk_alike() {
    let (_folder, store) = open().await;
    let id = store.events().create_project("Gone").await.unwrap();
    for _ in 0..50 {
        let (log, project) = (store.events().clone(), id.clone());
        let writer = tokio::spawn(async move { log.append(&project, vec![EventBody::FilesChanged]).await });
        tokio::task::yield_now().await;
        writer.abort();
    }
    let last = store.events().append(&id, vec![EventBody::FilesChanged]).await.unwrap();
    let events = store.events().after(&id, 0, 1_000).await.unwrap();
    assert_eq!(events.last().unwrap().seq, last[0].seq);
    assert_eq!(*store.events().state(&id).await.unwrap(), refold(&id, &events));
}

#[tokio::test]
async fn a_store_opened_again_has_the_same_state_with_and_without_snapshot() {
    let (folder, store) = open().await;
    let id = store.events().create_project("Long").await.unwrap();
    for n in 0..1_203 {
        let body = if n % 7 == 0 { message(&n.to_string()) } else { EventBody::FilesChanged };
        store.events().append(&id, vec![body]).await.unwrap();
    }
    let before = store.events().state(&id).await.unwrap();
    let all = store.events().after(&id, 0, 10_000).await.unwrap();
    store.close().await;
    assert!(matches!(store.events().append(&id, vec![message("late")]).await, Err(StoreError::Closed)));
    drop(store);
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.events().state(&id).await.unwrap(), before);
    assert_eq!(*before, refold(&id, &all));
}

#[tokio::test]
async fn the_list_shows_every_project_newest_first_with_its_present() {
    let (folder, store) = open().await;
    let first = store.events().create_project("First").await.unwrap();
    let second = store.events().create_project("Second").await.unwrap();
    store.events().append(&first, vec![message("a page"), EventBody::FilesChanged]).await.unwrap();
    store.events().append(&second, vec![EventBody::ProjectRenamed { name: "Renamed".to_owned() }]).await.unwrap();
    drop(store);
    let store = Store::open(folder.path()).await.unwrap();
    let list = store.events().projects().await.unwrap();
    assert_eq!(list.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Renamed", "First"]);
    assert_eq!(list[1], store.events().state(&first).await.unwrap().summary());
    assert_eq!(list[1].prompt, "a page");
}

#[tokio::test]
async fn a_deleted_project_is_gone_and_its_watchers_learn_it() {
    let (_folder, store) = open().await;
    let id = store.events().create_project("Short").await.unwrap();
    store.transcript().append(&id, &new_run_id(), 0, &[json!({})]).await.unwrap();
    let mut watch = store.events().watch(&id).await.unwrap();
    store.events().delete_project(&id).await.unwrap();
    assert!(watch.changed().await.is_err());
    assert!(store.events().state(&id).await.unwrap_err().is_not_found());
    assert!(store.events().append(&id, vec![message("x")]).await.unwrap_err().is_not_found());
    assert!(store.events().delete_project(&id).await.unwrap_err().is_not_found());
    assert!(store.events().projects().await.unwrap().is_empty());
    assert!(store.transcript().load(&id).await.unwrap().is_empty());
}

#[tokio::test]
async fn more_projects_than_are_kept_in_memory_all_stay_reachable() {
    let (_folder, store) = open().await;
    let mut ids = Vec::new();
    for n in 0..230 {
        ids.push(store.events().create_project(&n.to_string()).await.unwrap());
    }
    let mut watch = store.events().watch(&ids[0]).await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        store.events().append(id, vec![message("hello")]).await.unwrap();
        assert_eq!(store.events().state(id).await.unwrap().name, n.to_string());
    }
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow(), 2);
}

#[tokio::test]
async fn a_step_of_the_transcript_is_kept_once_and_in_order() {
    let (_folder, store) = open().await;
    let id = store.events().create_project("Talk").await.unwrap();
    let turn = new_run_id();
    let transcript = store.transcript();
    transcript.append(&id, &turn, 1, &[json!({"role": "user"}), json!({"role": "assistant"})]).await.unwrap();
    transcript.append(&id, &turn, 1, &[json!({"role": "again"})]).await.unwrap();
    transcript.append(&id, &turn, 2, &[json!({"role": "tool"})]).await.unwrap();
    let entries = transcript.load(&id).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.step).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(entries[2].message, json!({"role": "tool"}));
    let unknown = sandcastle::store::new_project_id();
    assert!(transcript.append(&unknown, &turn, 1, &[json!({})]).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_until_the_first_ends() {
    let (folder, store) = open().await;
    let error = Store::open(folder.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains("--data-dir"));
    drop(store);
    Store::open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    std::fs::write(&file, "a file").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Store::open(&path).await.err().unwrap();
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
        assert!(error.to_string().contains("--data-dir"));
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("db.sqlite"), vec![7u8; 8_192]).unwrap();
    assert!(matches!(Store::open(folder.path()).await.err().unwrap(), StoreError::Corrupt(_)));
}

#[tokio::test]
async fn the_data_folder_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/sandcastle");
    let store = Store::open(&path).await.unwrap();
    store.check().await.unwrap();
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{entry:?}");
    }
}
