//! Rows 27 and 28: a workspace made to harm whoever works on it from outside.

use super::super::support::*;
use bytes::Bytes;
use sandcastle::config::SandboxConfig;
use sandcastle::domain::ProjectId;
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::{ListOptions, Provider};
use sandcastle::sandbox::{CommandSpec, LogFrom, PreviewAddress, Service};
use sandcastle::store::Store;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Row 27. Every file that some tool would run or obey, each leaving a mark, then all the server does with a workspace.
#[tokio::test]
async fn nothing_of_a_workspace_is_run_on_the_host() {
    let sandbox = Fixture::new().await;
    let mark = std::env::temp_dir().join(format!("sandcastle-mark-{}", std::process::id()));
    let run = format!("touch {}", mark.display());
    for hook in ["post-checkout", "pre-commit", "post-index-change", "fsmonitor"] {
        let script = Bytes::from(format!("#!/bin/sh\n{run}\n"));
        sandbox.files.write(&format!(".git/hooks/{hook}"), script, true).await.unwrap();
    }
    let files = [
        (".git/HEAD", "ref: refs/heads/main\n".to_owned()),
        (".git/config", format!("[core]\n fsmonitor = {run}\n hooksPath = .git/hooks\n sshCommand = {run}\n")),
        (".npmrc", format!("node-options=--require ./evil.js\nscript-shell=./evil.sh\ngit={run}\n")),
        (
            "package.json",
            format!("{{\"name\": \"x\", \"scripts\": {{\"preinstall\": \"{run}\", \"prepare\": \"{run}\"}}}}"),
        ),
        ("evil.js", format!("require('child_process').execSync('{run}')")),
        (".envrc", run.clone()),
        ("sitecustomize.py", format!("import os; os.system('{run}')")),
        ("Makefile", format!("all:\n\t{run}\n")),
        ("node", run.clone()),
    ];
    for (path, content) in files {
        sandbox.write(path, &content).await;
    }
    let options = ListOptions { depth: 8, max_entries: 1000, skip: Vec::new() };
    sandbox.files.list("", options).await.unwrap();
    sandbox.files.rename("Makefile", "GNUmakefile").await.unwrap();
    let tools = sandbox.provider.tools();
    assert!(!tools.is_empty());
    sandbox.live.shutdown().await;
    let again = sandbox.provider.start(sandbox.spec.clone()).await.unwrap();
    again.shutdown().await;
    assert!(!mark.exists(), "something of the workspace was run on the host");
}

/// Row 27, in the sources: there is no third place that could run anything in a workspace.
#[test]
fn the_server_starts_programs_of_the_host_in_two_places_only() {
    let Some(found) = starters(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) else {
        // As another user the sources may be out of reach; the first pass has read them.
        assert!(!rustix::process::geteuid().is_root());
        return;
    };
    let names: Vec<String> = found.iter().map(|path| path.file_name().unwrap().display().to_string()).collect();
    assert_eq!(names, ["launch.rs", "toolchain.rs"], "{found:?}");
}

fn starters(folder: &Path) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        if path.is_dir() {
            found.extend(starters(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).ok()?;
            // What a test runs comes last in its file and is no part of the server.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            if text.contains("process::Command") || text.contains("process::{Command") {
                found.push(path);
            }
        }
    }
    found.sort();
    Some(found)
}

/// A project over a real sandbox.
struct World {
    service: Service,
    project: ProjectId,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let config = SandboxConfig::default();
        let hook = Arc::new(Silent::default());
        let provider = Arc::new(LocalProvider::new(config.clone(), folder.path().to_owned(), hook));
        let address = PreviewAddress { scheme: "http".to_owned(), domain: "localhost".to_owned(), port: 3000 };
        let project = store.events().create_project("attack").await.unwrap();
        let service = Service::new(config, address, provider, store, folder.path().to_owned());
        Self { service, project, _folder: folder }
    }

    async fn run(&self, line: &str) -> String {
        let spec = CommandSpec { line: line.to_owned(), ..CommandSpec::default() };
        let command = self.service.start_command(&self.project, spec).await.unwrap();
        self.service.wait_command(&self.project, &command, &CancellationToken::new()).await.unwrap();
        self.service.read_log(&self.project, &command, LogFrom::Offset(0), 1 << 20).await.unwrap().text
    }
}

/// Row 28, the way out: links stay links, a file that is mostly holes is left out, a deep tree ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_downloaded_archive_holds_nothing_of_the_host_and_is_bounded() {
    let world = World::new().await;
    let made = "ln -s /etc/passwd passwd; ln -s / root; ln -s . loop; ln -s ../../../../etc up; mkfifo pipe; \
                truncate -s 3G holes; echo kept > kept; mkdir 'a\\..\\b'; touch 'a\\..\\b/c'; \
                i=0; while [ $i -lt 120 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; touch deep; echo made";
    assert_eq!(world.run(made).await, "made\n");
    let mut zip = Vec::new();
    world.service.archive(&world.project, &mut zip).await.unwrap();
    assert!(zip.len() < 1 << 20, "{} bytes", zip.len());
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut entries = std::collections::BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        assert!(file.enclosed_name().is_some(), "{} leads out", file.name());
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        entries.insert(file.name().to_owned(), (file.is_symlink(), content));
    }
    for (link, to) in [("passwd", "/etc/passwd"), ("root", "/"), ("loop", "."), ("up", "../../../../etc")] {
        assert_eq!(entries.get(link), Some(&(true, to.to_owned())), "{link}");
    }
    assert_eq!(entries.get("kept"), Some(&(false, "kept\n".to_owned())));
    assert!(!entries.contains_key("holes") && !entries.contains_key("pipe"));
    let note = &entries["ARCHIVE-INCOMPLETE.txt"].1;
    assert!(note.contains("holes") && note.contains("d/d/d"), "{note}");
    world.service.shutdown().await;
}

/// Row 28, the way in: a file that is sent lands in the workspace or nowhere, whatever lies in its way.
#[tokio::test]
async fn an_uploaded_file_does_not_follow_links() {
    let sandbox = Fixture::new().await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    std::fs::write(&target, "before").unwrap();
    std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let folder = outside.path().display();
    let made = format!("ln -s {folder}/target file; ln -s {folder} folder; ln -s file again; mkfifo pipe; echo made");
    assert_eq!(sandbox.sh(&made).await.stdout, "made\n");
    for path in ["file", "again", "pipe"] {
        sandbox.write(path, "mine").await;
    }
    for path in ["folder/target", "folder/new", "../target", "/etc/passwd", "a/../../b", "nul\0", "line\nfeed"] {
        let written = sandbox.files.write(path, Bytes::from_static(b"evil"), false).await;
        assert!(written.is_err(), "{path:?} was written");
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "before");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(sandbox.sh("cat file again pipe").await.stdout, "mineminemine", "links and pipes are replaced");
    sandbox.live.shutdown().await;
}
