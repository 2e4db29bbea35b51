//! Trigger.dev's own SDK, from its registry and pinned, as the judge of the API that is compatible with it.

use crate::support::TestApp;
use sandcastle::store::KeyKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Installs the SDK into the build folder, once for each lock file.
async fn install() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trigger-sdk");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/trigger-sdk");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = std::fs::read_to_string(source.join("package-lock.json")).unwrap();
    let installed = std::fs::read_to_string(folder.join("installed")).unwrap_or_default();
    for file in ["package.json", "package-lock.json", "oracle.mjs"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    if installed != lock {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .env("SCARF_ANALYTICS", "false");
        let output = npm.output().await.expect("npm is needed: it comes with Node");
        assert!(output.status.success(), "npm ci failed:\n{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(folder.join("installed"), lock).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmodified_sdk_of_trigger_dev_works_against_this_server() {
    let folder = install().await;
    let app = TestApp::start().await;
    let keys = app.services().store.keys();
    let (_, key) = keys.create(KeyKind::Trigger, "sdk").await.unwrap();
    let (_, other) = keys.create(KeyKind::Trigger, "other").await.unwrap();
    let url = format!("http://{}", app.app().addr());
    let node = Command::new("node")
        .arg("oracle.mjs")
        .current_dir(&folder)
        .env("TRIGGER_API_URL", &url)
        .env("TRIGGER_STREAM_URL", &url)
        .env("TRIGGER_SECRET_KEY", key)
        .env("OTHER_SECRET_KEY", other)
        .env("TRIGGER_TELEMETRY_DISABLED", "1")
        .env("DO_NOT_TRACK", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = node.await.expect("Node is needed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 14, "{said}");
    app.stop().await;
}
