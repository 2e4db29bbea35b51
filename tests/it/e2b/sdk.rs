//! Both SDKs unmodified, in their current versions and one about a year older each.

use super::Server;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

impl Server {
    /// Runs a program of `tests/sdk` to its end; it must succeed.
    async fn drive(self, mut program: Command) {
        let run = program
            .env("E2B_API_URL", self.url())
            .env("E2B_SANDBOX_URL", self.url())
            .env("E2B_API_KEY", &self.key)
            .env_remove("E2B_DEBUG")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(300), run).await.expect("the SDK hangs").unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        self.app.stop().await;
    }
}

/// Where a version of an SDK is installed, once; `install` fills the folder.
async fn installed(name: &str, install: impl AsyncFnOnce(&Path)) -> PathBuf {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    let folder = Path::new(ROOT).join("target/sdk").join(name);
    let done = folder.join(".installed");
    if !done.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        install(&folder).await;
        std::fs::write(done, "").unwrap();
    }
    folder
}

async fn run(program: &mut Command) {
    let output = program.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn javascript(version: &str, program: &str, age: &str) {
    let folder = installed(&format!("js-{version}"), async |folder: &Path| {
        std::fs::write(folder.join("package.json"), "{\"private\": true}").unwrap();
        let install = ["install", "--no-audit", "--no-fund", "--silent"];
        run(Command::new("npm").args(install).arg(format!("e2b@{version}")).current_dir(folder)).await;
    })
    .await;
    let mut node = Command::new("node");
    node.arg(Path::new(ROOT).join("tests/sdk").join(program));
    node.arg(folder.join("node_modules/e2b/dist/index.mjs")).arg(age);
    Server::start().await.drive(node).await;
}

async fn python(version: &str, program: &str, age: &str) {
    let folder = installed(&format!("py-{version}"), async |folder: &Path| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder)).await;
        let install = ["install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(folder.join("bin/pip")).args(install).arg(format!("e2b=={version}"))).await;
    })
    .await;
    let mut python = Command::new(folder.join("bin/python"));
    python.arg(Path::new(ROOT).join("tests/sdk").join(program)).arg(age);
    Server::start().await.drive(python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_works_unmodified() {
    javascript("2.51.0", "drive.mjs", "current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_of_a_year_ago_works_unmodified() {
    javascript("2.7.0", "drive.mjs", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_unmodified() {
    python("2.63.0", "drive.py", "current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_of_a_year_ago_works_unmodified() {
    python("2.7.0", "drive.py", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_builds_templates() {
    javascript("2.51.0", "templates.mjs", "current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_builds_templates() {
    python("2.63.0", "templates.py", "current").await;
}
