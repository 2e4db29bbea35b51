//! Files of a remote sandbox: both ways, while it sleeps, and after it is gone.

use super::{Far, Near};
use sandcastle::domain::{FileNode, SandboxPhase};
use sandcastle::sandbox::{Edit, Search};
use std::os::unix::fs::PermissionsExt as _;

fn paths(nodes: &[FileNode]) -> Vec<String> {
    nodes.iter().flat_map(|node| [vec![node.path.clone()], paths(&node.children)].concat()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_both_ways_with_what_they_are() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    near.service().ensure(&project).await.unwrap();
    near.write(&project, &[("src/a b.txt", "one\n"), ("run.sh", "#!/bin/sh\necho ran\n"), ("empty", "")]).await;
    let (exit, output) = near.run(&project, "cat 'src/a b.txt'; ./run.sh; wc -c < empty").await;
    assert!(exit.success() && output == "one\nran\n0\n", "{exit:?} {output}");

    let line = "mkdir -p made/deep node_modules/x && echo two > made/deep/é.txt && ln -s ../run.sh made/link && \
                rm empty && chmod -x run.sh && echo three > node_modules/x/index.js && mkfifo pipe && \
                head -c 40000000 /dev/zero > large.bin && sed -i s/one/ONE/ 'src/a b.txt'";
    let (exit, output) = near.run(&project, line).await;
    assert!(exit.success(), "{output}");
    let tree = near.service().list_files(&project).await.unwrap();
    let found = paths(&tree);
    for path in ["made/deep/é.txt", "made/link", "node_modules", "large.bin", "run.sh", "src/a b.txt"] {
        assert!(found.iter().any(|have| have == path), "{path}: {found:?}");
    }
    assert!(!found.iter().any(|path| path == "empty" || path == "pipe" || path == "node_modules/x"), "{found:?}");
    let copy = near.dir.path().join("data/projects").join(project.as_str()).join("workspace/run.sh");
    assert_eq!(std::fs::metadata(copy).unwrap().permissions().mode() & 0o111, 0);
    assert_eq!(near.text(&project, "src/a b.txt").await.as_deref(), Some("ONE\n"));
    assert_eq!(near.text(&project, "made/deep/é.txt").await.as_deref(), Some("two\n"));
    assert_eq!(near.text(&project, "node_modules/x/index.js").await.as_deref(), Some("three\n"));
    let large = near.service().read_file(&project, "large.bin").await.unwrap();
    assert_eq!((large.size, large.truncated), (40_000_000, true));
    let search = Search { pattern: "ONE".to_owned(), ..Search::default() };
    assert_eq!(near.service().search_files(&project, search).await.unwrap().lines.len(), 1);
    let edit = Edit { search: "ONE".to_owned(), replace: "1".to_owned() };
    near.service().edit_file(&project, None, "src/a b.txt", vec![edit]).await.unwrap();
    assert_eq!(near.run(&project, "cat 'src/a b.txt'").await.1, "1\n");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_while_it_sleeps_is_there_when_it_wakes() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    near.run(
        &project,
        "mkdir -p node_modules/kept old && echo x > node_modules/kept/x && echo y > old/y && echo z > z",
    )
    .await;
    let before = near.service().checkpoint(&project, "before").await.unwrap();
    near.service().sleep(&project).await.unwrap();
    assert_eq!(far.sandboxes().await[0].1, "paused");

    assert_eq!(near.text(&project, "old/y").await.as_deref(), Some("y\n"), "read without waking it");
    near.write(&project, &[("z", "changed\n"), ("new/file", "new\n")]).await;
    near.service().checkpoint(&project, "asleep").await.unwrap();
    assert_eq!(far.sandboxes().await[0].1, "paused", "nothing of this wakes it");
    let (exit, output) = near.run(&project, "cat z new/file node_modules/kept/x old/y").await;
    assert!(exit.success() && output == "changed\nnew\nx\ny\n", "{output}");

    near.service().sleep(&project).await.unwrap();
    near.service().restore(&project, &before.commit).await.unwrap();
    let (_, output) = near.run(&project, "cat z node_modules/kept/x; ls new").await;
    assert_eq!(output, "z\nx\n", "going back removes what came later");
    assert_eq!(far.sandboxes().await.len(), 1, "one sandbox all the time");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_was_deleted_comes_back_with_its_files_and_says_so() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    near.write(&project, &[("app/main.txt", "kept\n"), ("tool.sh", "#!/bin/sh\necho tool\n")]).await;
    near.run(
        &project,
        "ln -s main.txt app/link; mkdir -p app/void node_modules; echo gone > node_modules/x; rm tool.sh.bak; true",
    )
    .await;
    near.service().checkpoint(&project, "all").await.unwrap();
    let first = far.sandboxes().await[0].0.clone();

    far.kill(&first).await;
    let state = near.until(&project, |s| s.sandbox.as_ref().is_some_and(|s| s.phase == SandboxPhase::Failed)).await;
    let said = state.sandbox.as_ref().unwrap().detail.clone().unwrap();
    assert!(said.contains("e2b ended it"), "{said}");
    assert_eq!(near.text(&project, "app/main.txt").await.as_deref(), Some("kept\n"), "what is here stays readable");

    let (exit, output) =
        near.run(&project, "cat app/main.txt app/link; ./tool.sh; ls -d app/void; ls node_modules 2>&1").await;
    assert!(output.starts_with("kept\nkept\ntool\napp/void\n") && !output.contains("x\n"), "{exit:?} {output}");
    let again = far.sandboxes().await;
    assert!(again.len() == 1 && again[0].0 != first, "{again:?}");
    near.until(&project, |s| {
        let detail = s.sandbox.as_ref().and_then(|s| s.detail.as_deref()).unwrap_or_default();
        detail.contains("packages have to be installed again")
    })
    .await;
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_began_on_this_machine_goes_on_there_and_back() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    // As the embedded provider leaves it: a folder, with packages.
    let workspace = near.dir.path().join("data/projects").join(project.as_str()).join("workspace");
    std::fs::create_dir_all(workspace.join("node_modules/x")).unwrap();
    std::fs::write(workspace.join("node_modules/x/big.js"), "of this machine").unwrap();
    std::fs::write(workspace.join("start.sh"), "#!/bin/sh\necho moved\n").unwrap();
    std::fs::set_permissions(workspace.join("start.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (exit, output) = near.run(&project, "./start.sh; ls -A; echo made there > there.txt").await;
    assert!(exit.success() && output == "moved\nstart.sh\n", "packages are not sent: {output}");
    near.service().sleep(&project).await.unwrap();
    assert_eq!(std::fs::read_to_string(workspace.join("there.txt")).unwrap(), "made there\n");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_leaves_no_sandbox_behind() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    near.service().ensure(&project).await.unwrap();
    far.wire.set_down(true);
    let error = near.service().delete(&project).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("cannot reach e2b"), "{error}");
    far.wire.set_down(false);
    near.service().delete(&project).await.unwrap();
    assert_eq!(far.sandboxes().await, []);
    near.app.stop().await;
    far.app.stop().await;
}
