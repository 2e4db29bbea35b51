//! The workspace's files from outside, while the inside is hostile.

use super::support::*;
use bytes::Bytes;
use sandcastle::domain::FileKind;
use sandcastle::sandbox::SandboxError;
use sandcastle::sandbox::provider::*;

fn options(depth: u32) -> ListOptions {
    ListOptions { depth, max_entries: 1000, skip: vec!["node_modules".to_owned()] }
}

#[tokio::test]
async fn both_sides_see_and_may_change_each_others_files() {
    let sandbox = Fixture::new().await;
    sandbox.write("src/app/page.tsx", "one").await;
    let run = sandbox.sh("cat src/app/page.tsx && echo two > src/app/page.tsx && touch src/new && rm -r src/app").await;
    assert_eq!((run.stdout.as_str(), run.status.code), ("one", Some(0)), "{run:?}");
    assert!(matches!(sandbox.files.stat("src/app/page.tsx").await, Err(SandboxError::NotFound(_))));
    let info = sandbox.files.write("run.sh", Bytes::from_static(b"#!/bin/sh\necho ran"), true).await.unwrap();
    assert_eq!((info.kind, info.size, info.mode), (FileKind::File, 18, 0o755));
    assert_eq!(sandbox.sh("./run.sh").await.stdout, "ran\n");
    sandbox.write("run.sh", "#!/bin/sh\necho again").await;
    assert_eq!(sandbox.sh("./run.sh").await.stdout, "again\n", "an overwritten script stays executable");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_listing_names_what_it_did_not_enter() {
    let sandbox = Fixture::new().await;
    for path in ["a/b/c.txt", "node_modules/x/index.js", "z.txt"] {
        sandbox.write(path, "1").await;
    }
    let listing = sandbox.files.list("", options(2)).await.unwrap();
    let paths: Vec<_> = listing.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["a", "a/b", "node_modules", "z.txt"]);
    assert_eq!(listing.truncated, ["a/b", "node_modules"]);
    sandbox.files.rename("z.txt", "a/y.txt").await.unwrap();
    assert_eq!(sandbox.files.read("a/y.txt", 0, 10).await.unwrap(), "1");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_workspace() {
    let sandbox = Fixture::new().await;
    let made = "ln -s /etc/passwd link; ln -s / root; ln -s ../../.. up; ln -s /proc/self/environ magic; mkfifo pipe; \
                mkdir inner; ln -s inner ok; echo in > inner/file";
    assert_eq!(sandbox.sh(made).await.status.code, Some(0));
    for path in ["link", "root/etc/passwd", "up/etc/passwd", "magic", "root/etc", "up"] {
        assert!(sandbox.files.read(path, 0, 100).await.is_err(), "{path} was read");
    }
    for path in ["root/tmp/x", "up/tmp/x", "../x", "/tmp/x"] {
        let written = sandbox.files.write(path, Bytes::from_static(b"x"), false).await;
        assert!(matches!(written, Err(SandboxError::Path(_))), "{path}: {written:?}");
    }
    assert!(matches!(sandbox.files.read("pipe", 0, 10).await, Err(SandboxError::Invalid(_))));
    assert!(matches!(sandbox.files.read("inner", 0, 10).await, Err(SandboxError::Invalid(_))));
    assert!(sandbox.files.list("root", options(1)).await.is_err());
    assert_eq!(sandbox.files.read("ok/file", 0, 10).await.unwrap(), "in\n");
    let link = sandbox.files.stat("link").await.unwrap();
    assert_eq!((link.kind, link.symlink_target.as_deref()), (FileKind::Symlink, Some("/etc/passwd")));
    sandbox.files.write("link", Bytes::from_static(b"mine"), false).await.unwrap();
    assert_eq!(sandbox.files.stat("link").await.unwrap().kind, FileKind::File, "a link is replaced, never followed");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn odd_names_are_listed_and_removed_without_harm() {
    let sandbox = Fixture::new().await;
    let made = "mkdir odd && cd odd && touch -- -rf \"$(printf 'a\\nb')\" \"$(printf '\\377\\376')\" && \
                ln -s /etc evil && i=0 && while [ $i -lt 200 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done";
    let run = sandbox.sh(made).await;
    assert_eq!(run.status.code, Some(0), "{run:?}");
    let listing = sandbox.files.list("odd", options(1)).await.unwrap();
    assert_eq!(listing.entries.len(), 5);
    assert!(!sandbox.files.list("", options(100)).await.unwrap().truncated.is_empty());
    sandbox.files.remove("odd").await.unwrap();
    sandbox.files.remove("odd").await.unwrap();
    assert_eq!(sandbox.files.list("", options(1)).await.unwrap().entries, []);
    assert!(std::path::Path::new("/etc/passwd").exists());
    sandbox.live.shutdown().await;
}
