//! Commands, files and ports of a well-behaved sandbox.

use super::support::*;

#[tokio::test]
async fn a_command_runs_in_the_workspace_as_an_ordinary_user() {
    let sandbox = Fixture::new().await;
    let run = sandbox.sh("pwd; id -u; echo error >&2; exit 3").await;
    assert_eq!(run.stdout, "/home/user\n1000\n");
    assert_eq!(run.stderr, "error\n");
    assert_eq!(run.status.code, Some(3));
    sandbox.live.shutdown().await;
}
