//! The demo's recordings, carried out for real: sandbox, files, commands and preview.

use reqwest::header::HOST;
use sandcastle::boot::App;
use sandcastle::config::Config;
use sandcastle::domain::{Part, ProjectId, ProjectState, Role, TurnOutcome};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A first build by a cold compiler takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

struct Demo {
    app: App,
    _dir: TempDir,
}

impl Demo {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(dir.path().join("data"));
        config.server.addr = ([127, 0, 0, 1], 0).into();
        Self { app: App::start(config).await.unwrap(), _dir: dir }
    }

    async fn ask(&self, prompt: &str) -> ProjectId {
        let (id, _) = self.app.services().create_project(None, Some(prompt), &[], None).await.unwrap();
        id
    }

    /// The project once no turn runs.
    async fn settled(&self, id: &ProjectId) -> Arc<ProjectState> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.app.services().store.events().state(id).await.unwrap();
            let answered = state.messages.last().is_some_and(|message| message.role == Role::Assistant);
            if answered && state.turn.is_none() {
                return state;
            }
            assert!(Instant::now() < deadline, "the turn does not end: {state:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the project's preview answers to a path.
    async fn preview(&self, state: &ProjectState, path: &str) -> String {
        let preview = state.preview.as_ref().expect("there is a preview");
        let sandbox = state.sandbox.as_ref().unwrap();
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let host = format!("{}-{}.localhost:{}", preview.port, sandbox.id, self.app.addr().port());
        let request = reqwest::Client::new().get(format!("http://{}{path}", self.app.addr())).header(HOST, host);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.text().await.unwrap()
    }
}

fn said(state: &ProjectState) -> String {
    let texts = state.messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn has_go() -> bool {
    std::process::Command::new("go").arg("version").output().is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_server_is_built_and_answers_where_go_is_and_its_absence_is_named_where_it_is_not() {
    let demo = Demo::start().await;
    let id = demo.ask("Create a golang server that responds with \"Hello World\" to any request").await;
    let state = demo.settled(&id).await;
    assert_eq!(state.messages.last().unwrap().outcome, Some(TurnOutcome::Completed));
    if has_go() {
        assert!(demo.preview(&state, "/").await.contains("Hello World"), "{}", said(&state));
    } else {
        assert!(said(&state).contains("Go is not on this machine") && state.preview.is_none(), "{}", said(&state));
    }
    demo.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_is_planned_and_its_receipt_has_evidence_for_each_step() {
    let demo = Demo::start().await;
    let id = demo.ask("A calm kanban board for a small team").await;
    let state = demo.settled(&id).await;
    let checks = &state.messages.last().unwrap().checks;
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    // Cards are drawn by a script: without a browser nobody has seen them.
    let cards = of("A page with four lanes and sample cards");
    let looked = checks.iter().any(|check| check.name == "A browser runs it");
    assert_eq!(cards.detail.contains("a browser shows \"Interview five harbour masters\""), looked, "{cards:?}");
    assert_eq!(cards.skipped, !looked);
    assert_eq!(of("A server that keeps the board").detail, "GET /api/board: HTTP 200");
    assert!(of("Light and dark colours").detail.contains("contains \"light-dark(\""), "{checks:?}");
    assert!(of("Moving cards by hand and by arrow keys").skipped, "nobody tried");
    demo.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_dashboard_is_served_and_turns_dark_when_asked() {
    let demo = Demo::start().await;
    let id = demo.ask("A sales dashboard in Python for a small coffee roastery").await;
    let state = demo.settled(&id).await;
    let light = demo.preview(&state, "/style.css").await;
    demo.app.services().send_message(&id, "Make it dark", &[], None).await.unwrap();
    let state = demo.settled(&id).await;
    assert_eq!(state.messages.last().unwrap().outcome, Some(TurnOutcome::Completed));
    assert!(light.contains("color-scheme: light;"), "{light}");
    assert!(demo.preview(&state, "/style.css").await.contains("color-scheme: dark;"));
    demo.app.stop().await;
}
