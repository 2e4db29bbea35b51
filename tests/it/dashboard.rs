//! The runs dashboard over HTTP, as a person without scripts uses it: links, forms, and the stream that says "changed".

use crate::fake_model::{FakeModel, calls, says};
use crate::history::{app_with, until};
use crate::support::{PATIENCE, TestApp, answer};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Method, RequestBuilder, StatusCode};
use sandcastle::domain::{LogLevel, ProjectId, RunId, RunStatus};
use sandcastle::workflow::{RunFilter, RunRequest, Task, TaskContext, TaskError};
use serde_json::json;
use std::time::Duration;

/// A run that reads a file that is not there, or one that waits for an hour.
async fn submit(app: &TestApp, project: &ProjectId, path: &str, delay: Option<Duration>) -> RunId {
    let request = RunRequest {
        task: "readFile".to_owned(),
        title: format!("reads {path}"),
        payload: json!({"project": project, "path": path}),
        project: Some(project.clone()),
        delay,
        ..RunRequest::default()
    };
    let workflow = &app.services().workflow;
    let id = workflow.submit(request).await.unwrap();
    if delay.is_none() {
        let _ended = workflow.wait(&id).await;
    }
    id
}

async fn page(app: &TestApp, path: &str) -> (StatusCode, String) {
    let answer = app.get(path).header(ACCEPT, "text/html").send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// Only what is drawn, without the copy for hydration.
fn drawn(html: &str) -> &str {
    html.split_once("id=\"page-data\"").map_or(html, |(drawn, _)| drawn)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_what_fits_and_escapes_what_it_shows() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let failed = submit(&app, &project, "<script>x</script>", None).await;
    let waiting = submit(&app, &project, "later", Some(Duration::from_secs(3_600))).await;
    let (status, html) = page(&app, "/runs").await;
    assert_eq!(status, StatusCode::OK);
    assert!(drawn(&html).contains(failed.as_str()) && drawn(&html).contains(waiting.as_str()));
    assert!(!html.contains("<script>x") && drawn(&html).contains("reads &lt;script&gt;x"));
    let (_, html) = page(&app, "/runs?status=failures&task=readFile&period=1h").await;
    assert!(drawn(&html).contains(failed.as_str()) && !drawn(&html).contains(waiting.as_str()));
    let (_, html) = page(&app, "/runs?text=no-such-run").await;
    assert!(drawn(&html).contains("No run fits"));
    let (_, html) = page(&app, "/runs?view=errors").await;
    assert!(drawn(&html).contains("/runs?error="), "{}", drawn(&html));
    let (status, html) = page(&app, "/runs?status=LOST").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(html.contains("there is no status"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_back_and_forth() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let mut ids = Vec::new();
    for n in 0..52 {
        ids.push(submit(&app, &project, &format!("file-{n}"), None).await);
    }
    let shows = |html: &str, id: &RunId| drawn(html).contains(&format!("/runs/{id}"));
    let (_, first) = page(&app, "/runs").await;
    assert!(shows(&first, &ids[51]) && shows(&first, &ids[2]) && !shows(&first, &ids[1]));
    assert!(drawn(&first).contains(">Older<") && !drawn(&first).contains(">Newer<"));
    let (_, second) = page(&app, &format!("/runs?before={}", ids[2])).await;
    assert!(shows(&second, &ids[1]) && shows(&second, &ids[0]) && !shows(&second, &ids[2]));
    assert!(!drawn(&second).contains(">Older<") && drawn(&second).contains(">Newer<"));
    let (_, back) = page(&app, &format!("/runs?after={}", ids[1])).await;
    assert!(shows(&back, &ids[51]) && !shows(&back, &ids[1]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_shown_with_its_neighbours_and_canceled_by_its_form() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let older = submit(&app, &project, "a", None).await;
    let id = submit(&app, &project, "b", Some(Duration::from_secs(3_600))).await;
    let newer = submit(&app, &project, "c", None).await;
    let (_, html) = page(&app, &format!("/runs/{id}?task=readFile")).await;
    for want in [older.as_str(), newer.as_str(), "data-key=\"c\"", "queue time", "Delayed"] {
        assert!(drawn(&html).contains(want), "{want} is not in {}", drawn(&html));
    }
    let sent = post(&app, &format!("/runs/{id}/cancel"), "").send().await.unwrap();
    assert_eq!(sent.headers()[LOCATION], format!("/runs/{id}"));
    let workflow = &app.services().workflow;
    let _ended = workflow.wait(&id).await;
    assert_eq!(workflow.get(&id).await.unwrap().summary.status, RunStatus::Canceled);
    let (status, _) = page(&app, "/runs/run_none").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let log = app.get(&format!("/api/runs/{older}/log")).send().await.unwrap().text().await.unwrap();
    assert!(log.contains("attempt 1 failed"), "{log}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_takes_the_edited_payload_and_refuses_what_is_not_json() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let id = submit(&app, &project, "a", None).await;
    let payload = json!({"project": project, "path": "edited"}).to_string();
    let form = form(&[("payload", &payload)]);
    let sent = post(&app, &format!("/runs/{id}/replay"), &form).send().await.unwrap();
    let to = sent.headers()[LOCATION].to_str().unwrap();
    let new = to.trim_start_matches("/runs/").split('?').next().unwrap();
    let new = RunId::parse(new.to_owned()).unwrap();
    let run = app.services().workflow.get(&new).await.unwrap();
    assert_eq!((run.replay_of.as_ref(), &run.payload["path"]), (Some(&id), &json!("edited")));
    let (_, html) = page(&app, to).await;
    assert!(drawn(&html).contains("submitted once more"));
    let refused = post(&app, &format!("/runs/{id}/replay"), "payload=%7B%22mine").header(ACCEPT, "text/html");
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let html = refused.text().await.unwrap();
    assert!(drawn(&html).contains("The payload is not JSON") && drawn(&html).contains("{&quot;mine"), "{html}");
    let whole = app.get(&format!("/runs/{new}/payload")).send().await.unwrap();
    assert_eq!(whole.json::<serde_json::Value>().await.unwrap()["path"], "edited");
    let (status, _) = page(&app, &format!("/runs/{new}/secrets")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_sent_twice_is_made_once_and_a_changed_one_is_another() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let id = submit(&app, &project, "a", None).await;
    let send = async |path: &str| {
        let payload = json!({"project": project, "path": path}).to_string();
        let body = form(&[("once", "mark"), ("payload", &payload)]);
        let sent = post(&app, &format!("/runs/{id}/replay"), &body).send().await.unwrap();
        sent.headers()[LOCATION].to_str().unwrap().to_owned()
    };
    let (one, two) = tokio::join!(send("b"), send("b"));
    assert_eq!(one, two);
    assert_ne!(send("c").await, one);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_leads_to_its_answer_in_the_chat_and_its_sandbox_to_what_runs_in_it() {
    let fake = FakeModel::start(vec![calls(&[("run_command", r#"{"command":"true"}"#)]), says("done")]).await;
    let app = app_with(&fake).await;
    let (project, _) = app.services().create_project(None, Some("do it"), &[], None).await.unwrap();
    let state = until(&app, &project, |s| s.turn.is_none() && s.messages.len() == 2).await;
    let answer = &state.messages[1];
    let of = |task: &str| state.runs.iter().find(|run| run.task == task).unwrap().id.clone();
    let (_, html) = page(&app, &format!("/runs/{}", of("agentTurn"))).await;
    assert!(drawn(&html).contains(&format!("/p/{project}#{}", answer.id)), "{}", drawn(&html));
    assert!(drawn(&html).contains(&format!("/p/{project}?pane=logs")) && !drawn(&html).contains("/api/sandboxes/"));
    let (_, html) = page(&app, &format!("/runs/{}", of("runCommand"))).await;
    assert!(drawn(&html).contains(&format!("/p/{project}#call_")), "{}", drawn(&html));
    // A run of the turn that no call asked for leads there as well.
    let (_, html) = page(&app, &format!("/runs/{}", of("checkpoint"))).await;
    assert!(drawn(&html).contains(&format!("/p/{project}#{}", answer.id)));
    let (_, html) = page(&app, &format!("/p/{project}?pane=logs")).await;
    assert!(drawn(&html).contains(&format!("id=\"{}\"", answer.id)), "{}", drawn(&html));
    let tab = drawn(&html).split("id=\"tab-logs\"").nth(1).unwrap();
    assert!(tab.split('>').next().unwrap().contains("aria-selected=\"true\""), "{tab}");
    app.stop().await;
}

/// Says much, and starts another of its kind that says one thing.
struct Talks;

#[async_trait::async_trait]
impl Task for Talks {
    const NAME: &'static str = "talks";
    type Input = u32;
    type Output = ();

    async fn run(&self, ctx: TaskContext, lines: u32) -> Result<(), TaskError> {
        if lines > 1 {
            let child = RunRequest { parent: Some(ctx.run.clone()), ..talk(1) };
            let child = ctx.workflow().submit(child).await.map_err(|error| TaskError::Fatal(error.into()))?;
            ctx.wait(&child).await.map_err(TaskError::Fatal)?;
        }
        for n in 1..=lines {
            ctx.log(LogLevel::Info, format!("line {n} of {lines}")).await;
        }
        ctx.step("the last", async { Ok(()) }).await
    }
}

fn talk(lines: u32) -> RunRequest {
    RunRequest { task: "talks".to_owned(), payload: json!(lines), ..RunRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_run_is_whole_and_tells_of_the_runs_it_started() {
    let app = TestApp::start().await;
    let workflow = &app.services().workflow;
    workflow.register(Talks);
    let id = workflow.submit(talk(5_200)).await.unwrap();
    workflow.wait(&id).await.unwrap();
    let child = workflow.get(&id).await.unwrap().children[0].id.clone();
    let log = app.get(&format!("/api/runs/{id}/log")).send().await.unwrap().text().await.unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].ends_with("+0 ms  submitted talks") && lines.last().unwrap().ends_with("  completed"),
        "{lines:?}"
    );
    for n in 1..=5_200 {
        assert!(log.contains(&format!("  [info] line {n} of 5200\n")), "{n}");
    }
    for told in ["submitted talks", "attempt 1 began", "[info] line 1 of 1", "step the last done", "completed"] {
        assert_eq!(log.matches(&format!("  talks {child}: {told}\n")).count(), 1, "{told}");
    }
    // Both runs: submission, attempt, step and end, each with its lines.
    assert_eq!(lines.len(), 2 * 6 + 5_200 + 1);
    let times: Vec<u64> = lines.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted());
    let (status, _) = answer(app.get("/api/runs/run_none/log")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_replayed_offers_no_replay_and_says_what_to_do_instead() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let restore = RunRequest {
        task: "restoreCheckpoint".to_owned(),
        payload: json!({"project": project, "commit": "none"}),
        project: Some(project.clone()),
        ..RunRequest::default()
    };
    let workflow = &app.services().workflow;
    let id = workflow.submit(restore).await.unwrap();
    let _failed = workflow.wait(&id).await;
    let (_, html) = page(&app, &format!("/runs/{id}")).await;
    assert!(!drawn(&html).contains("/replay") && drawn(&html).contains("Go back in the chat"), "{}", drawn(&html));
    let (status, refused) = answer(app.post(&format!("/api/runs/{id}/replay"), &json!({}))).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refused["message"].as_str().unwrap().contains("Go back in the chat"), "{refused}");
    let all = form(&[("action", "replay"), ("which", "all")]);
    let sent = post(&app, "/runs/bulk", &all).send().await.unwrap();
    let to = sent.headers()[LOCATION].to_str().unwrap();
    assert_eq!(to, "/runs?done=replayed-0-0-1");
    assert!(drawn(&page(&app, to).await.1).contains("1 left out: "));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_form_cancels_all_that_fit_and_replays_the_chosen() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let ended = submit(&app, &project, "a", None).await;
    for n in 0..3 {
        submit(&app, &project, &format!("later {n}"), Some(Duration::from_secs(3_600))).await;
    }
    let all = form(&[("action", "cancel"), ("which", "all"), ("status", "active")]);
    let asked = post(&app, "/runs/bulk", &all).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::OK);
    let html = asked.text().await.unwrap();
    assert!(html.contains("Cancel 3 runs") && html.contains("href=\"/runs?status=active\""), "{html}");
    let field = |name: &str| {
        let (_, rest) = html.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    // Nobody was asked about this one.
    let after = submit(&app, &project, "after the question", Some(Duration::from_secs(3_600))).await;
    let sure = format!("{all}&sure={}&until={}", field("sure"), field("until"));
    let sent = post(&app, "/runs/bulk", &sure).send().await.unwrap();
    assert_eq!(sent.headers()[LOCATION], "/runs?status=active&done=canceled-3-0-0");
    assert_eq!(app.services().workflow.get(&after).await.unwrap().summary.status, RunStatus::Delayed);
    let chosen = form(&[("action", "replay"), ("which", "chosen"), ("run", ended.as_str()), ("run", "run_gone")]);
    let sent = post(&app, "/runs/bulk", &chosen).send().await.unwrap();
    assert_eq!(sent.headers()[LOCATION], "/runs?done=replayed-1-1-0");
    let sent = post(&app, "/runs/bulk", &form(&[("action", "replay"), ("which", "chosen")])).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::BAD_REQUEST);
    let all = app.services().workflow.list(RunFilter::default()).await.unwrap();
    assert_eq!(all.iter().filter(|run| run.status == RunStatus::Canceled).count(), 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_is_told_that_runs_changed_also_what_was_missed() {
    let app = TestApp::start().await;
    let project = ProjectId::parse(app.project().await).unwrap();
    let changed = "data: changed";
    // What a stream says until it says this.
    let until = async |last: &str, word: &str| {
        let request = app.get("/api/runs/events");
        let request = if last.is_empty() { request } else { request.header("last-event-id", last) };
        let mut answer = request.send().await.unwrap();
        let mut said = String::new();
        let read = async {
            while !said.contains(word) {
                said.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
                if said == "id: 0\n\n" {
                    submit(&app, &project, "a", None).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap();
        said
    };
    let said = until("", changed).await;
    assert!(said.starts_with("id: 0\n\nid: "), "{said}");
    // A page drawn before that run ended opens its stream only now.
    let said = until("", "\n\n").await;
    assert!(said.ends_with("data: changed\n\n"), "{said}");
    // A stream that broke off and missed nothing, and one that missed something.
    let seen = app.services().workflow.store().changed_at();
    assert_eq!(until(&seen.to_string(), "\n\n").await, format!("id: {seen}\n\n"));
    submit(&app, &project, "b", None).await;
    assert!(until(&seen.to_string(), "\n\n").await.ends_with("data: changed\n\n"));
    app.stop().await;
}

/// What a form sends.
fn post(app: &TestApp, path: &str, body: &str) -> RequestBuilder {
    let form = "application/x-www-form-urlencoded";
    app.request(Method::POST, path).header(CONTENT_TYPE, form).body(body.to_owned())
}

fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |all, byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => all + &char::from(byte).to_string(),
            other => all + &format!("%{other:02X}"),
        })
    };
    fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}
