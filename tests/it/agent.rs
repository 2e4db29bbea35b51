//! The turn's promises, with the real store, workflow and model client, a scripted model and fake sandbox tasks.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::agent_bench::{Bench, Sandbox, bench, outcome};
use crate::fake_model::{Act, FakeModel, calls, chunk, http, says, stream_head};
use sandcastle::domain::{ErrorCode, EventBody, Part, PlanState, ToolState, TurnOutcome};
use sandcastle::workflow::{Replay, RunRequest};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

fn tool_outputs(request: &Value) -> Vec<&str> {
    let messages = request["messages"].as_array().unwrap();
    messages.iter().filter(|m| m["role"] == "tool").map(|m| m["content"].as_str().unwrap()).collect()
}

const FILES: &str = r#"{"files":[{"path":"./a.txt","content":"hello\nthere"}]}"#;

#[tokio::test]
async fn a_turn_runs_its_calls_and_shows_files_while_they_are_written() {
    let scripts = vec![calls(&[("create_sandbox", ""), ("generate_files", FILES)]), says("**Done.**")];
    let (_dir, bench, project) = bench(scripts).await;
    bench.agent.send(&project, "build it", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    assert_eq!(outcome(&state), TurnOutcome::Completed);
    assert_eq!(bench.sandbox.asked(), ["createSandbox", "writeFiles"]);
    assert_eq!(
        bench.sandbox.asked.lock().unwrap()[1].1["files"],
        json!([{"path": "a.txt", "content": "hello\nthere"}])
    );

    let parts = &state.messages[1].parts;
    let [Part::Tool(create), Part::Tool(files), Part::Text { html, .. }] = parts.as_slice() else {
        panic!("{parts:#?}")
    };
    assert_eq!((create.state, files.state, files.title.as_str()), (ToolState::Done, ToolState::Done, "a.txt"));
    assert!(files.run.is_some() && create.run.is_some());
    assert_eq!(html.as_deref(), Some("<p><strong>Done.</strong></p>\n"));
    let events = bench.store.events().after(&project, 0, 1000).await.unwrap();
    let streamed: String = events
        .iter()
        .filter_map(|e| match &e.body {
            EventBody::FileDelta { path, text, .. } if path == "a.txt" => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(streamed, "hello\nthere");
    let requests = bench.fake.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0]["messages"][0]["content"].as_str().unwrap().contains("Sandcastle"));
    assert_eq!(requests[0]["tools"].as_array().unwrap().len(), 12);
    let run = bench.store.runs().detail(state.messages[1].turn.as_ref().unwrap()).await.unwrap();
    let steps: Vec<(&str, bool)> = run.steps.iter().map(|s| (s.name.as_str(), s.finished_at.is_some())).collect();
    assert_eq!(steps, [("ask test-model (1)", true), ("ask test-model (2)", true)]);
}

#[tokio::test]
async fn a_refused_key_is_shown_in_the_providers_words_and_retry_goes_on() {
    let refused =
        http("401 Unauthorized", "application/json", "", "{\"error\":{\"message\":\"key expired yesterday\"}}");
    let (_dir, bench, project) = bench(vec![vec![Act::Send(refused)], says("now it works")]).await;
    bench.agent.send(&project, "hi", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    let TurnOutcome::Failed { error } = outcome(&state) else { panic!("{state:#?}") };
    assert_eq!(error.code, ErrorCode::Model);
    assert!(error.message.contains("key expired yesterday"), "{error}");
    bench.agent.retry(&project).await.unwrap();
    assert_eq!(outcome(&*bench.turns(&project, 2).await), TurnOutcome::Completed);
    assert_eq!(bench.agent.retry(&project).await.unwrap_err().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn unknown_tools_and_malformed_arguments_are_told_to_the_model() {
    let scripts = vec![calls(&[("fly", "{}"), ("run_command", "{\"command\": \"ls")]), says("sorry")];
    let (_dir, bench, project) = bench(scripts).await;
    bench.agent.send(&project, "x", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    assert_eq!(outcome(&state), TurnOutcome::Completed);
    assert!(bench.sandbox.asked().is_empty());
    let requests = bench.fake.requests();
    let outputs = tool_outputs(&requests[1]);
    assert!(outputs[0].contains("no tool \"fly\"") && outputs[0].contains("run_command"), "{outputs:?}");
    assert!(outputs[1].contains("not valid JSON"), "{outputs:?}");
    assert!(state.messages[1].parts.iter().take(2).all(|p| matches!(p, Part::Tool(c) if c.state == ToolState::Failed)));
}

#[tokio::test]
async fn stopping_in_mid_answer_ends_the_turn_and_the_next_message_is_answered() {
    let mut half = stream_head();
    half.extend(chunk(json!({"content": "I begin"}), None));
    let (_dir, bench, project) = bench(vec![vec![Act::Send(half), Act::Hang], says("ok")]).await;
    bench.agent.send(&project, "a", None).await.unwrap();
    bench.until(&project, |s| s.messages.last().is_some_and(|m| m.text().contains("I begin"))).await;
    bench.agent.stop(&project).await.unwrap();
    let state = bench.state(&project).await;
    assert!(state.turn.is_none());
    assert_eq!(outcome(&state), TurnOutcome::Stopped);
    bench.agent.send(&project, "b", None).await.unwrap();
    assert_eq!(outcome(&*bench.turns(&project, 2).await), TurnOutcome::Completed);
}

#[tokio::test]
async fn stopping_in_mid_call_cancels_its_run_and_leaves_a_valid_conversation() {
    let scripts = vec![calls(&[("run_command", "{\"command\":\"hang\"}"), ("create_sandbox", "{}")]), says("ok")];
    let (_dir, bench, project) = bench(scripts).await;
    bench.agent.send(&project, "a", None).await.unwrap();
    bench.sandbox.hanging.notified().await;
    bench.agent.stop(&project).await.unwrap();
    let state = bench.until(&project, |s| s.runs.len() == 2 && s.runs.iter().all(|r| r.status.is_final())).await;
    assert_eq!(outcome(&state), TurnOutcome::Stopped);
    bench.agent.send(&project, "b", None).await.unwrap();
    assert_eq!(outcome(&*bench.turns(&project, 2).await), TurnOutcome::Completed);
    let requests = bench.fake.requests();
    assert!(
        tool_outputs(&requests[1]).iter().all(|o| o.contains("stopped by the user")),
        "{:?}",
        tool_outputs(&requests[1])
    );
    assert_eq!(bench.sandbox.asked(), ["runCommand"]);
}

#[tokio::test]
async fn messages_sent_meanwhile_are_answered_by_the_next_turn() {
    let go = Arc::new(Notify::new());
    let mut first = vec![Act::Wait(Arc::clone(&go))];
    first.extend(says("one"));
    let (_dir, bench, project) = bench(vec![first, says("two")]).await;
    for text in ["a", "b", "c"] {
        bench.agent.send(&project, text, None).await.unwrap();
    }
    go.notify_one();
    bench.turns(&project, 2).await;
    let requests = bench.fake.requests();
    let said: Vec<&str> =
        requests[1]["messages"].as_array().unwrap().iter().skip(1).map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["a", "one", "b", "c"]);
}

#[tokio::test]
async fn messages_that_wait_for_different_models_are_answered_in_turns_of_their_own() {
    let go = Arc::new(Notify::new());
    let mut first = vec![Act::Wait(Arc::clone(&go))];
    first.extend(says("one"));
    let (_dir, bench, project) = bench(vec![first, says("two"), says("three"), says("four")]).await;
    for (text, model) in
        [("a", None), ("b", Some("other")), ("c", Some("other")), ("d", Some("test-model")), ("e", Some("other"))]
    {
        bench.agent.send(&project, text, model).await.unwrap();
    }
    go.notify_one();
    let state = bench.turns(&project, 4).await;
    let said: Vec<String> = state.messages.iter().map(|m| m.text()).collect();
    assert_eq!(said, ["a", "one", "b", "c", "two", "d", "three", "e", "four"]);
    let requests = bench.fake.requests();
    let asked: Vec<&str> = requests.iter().map(|r| r["model"].as_str().unwrap()).collect();
    assert_eq!(asked, ["test-model", "other", "test-model", "other"]);
    let last = |request: &Value| request["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert_eq!(requests.iter().map(last).collect::<Vec<_>>(), ["a", "c", "d", "e"]);
}

#[tokio::test]
async fn a_message_that_a_stop_left_waiting_is_answered_before_the_next_one_by_its_own_model() {
    let asked = Arc::new(Notify::new());
    let hangs = vec![Act::Tell(Arc::clone(&asked)), Act::Hang];
    let (_dir, bench, project) = bench(vec![hangs, says("one"), says("two")]).await;
    bench.agent.send(&project, "a", None).await.unwrap();
    asked.notified().await;
    bench.agent.send(&project, "b", Some("other")).await.unwrap();
    bench.agent.stop(&project).await.unwrap();
    assert_eq!(bench.state(&project).await.unanswered().count(), 1);
    bench.agent.send(&project, "c", Some("test-model")).await.unwrap();
    let state = bench.turns(&project, 3).await;
    let said: Vec<String> = state.messages.iter().map(|m| m.text()).collect();
    assert_eq!(said, ["a", "", "b", "one", "c", "two"]);
    let asked: Vec<Value> = bench.fake.requests().iter().map(|r| r["model"].clone()).collect();
    assert_eq!(asked, ["test-model", "other", "test-model"]);
}

#[tokio::test]
async fn a_message_that_waits_is_answered_by_the_model_it_was_sent_with_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let asked = Arc::new(Notify::new());
    let first = FakeModel::start(vec![vec![Act::Tell(Arc::clone(&asked)), Act::Hang]]).await;
    let bench = Bench::start(dir.path(), first, Sandbox::default(), 10).await;
    let project = bench.store.events().create_project("test").await.unwrap();
    bench.agent.send(&project, "a", None).await.unwrap();
    asked.notified().await;
    bench.agent.send(&project, "b", Some("other")).await.unwrap();
    bench.workflow.shutdown(Duration::ZERO).await;
    bench.store.close().await;
    drop(bench);

    let again = FakeModel::start(vec![says("one"), says("two")]).await;
    let bench = Bench::start(dir.path(), again, Sandbox::default(), 10).await;
    let state = bench.turns(&project, 2).await;
    let asked: Vec<Value> = bench.fake.requests().iter().map(|r| r["model"].clone()).collect();
    assert_eq!(asked, ["test-model", "other"]);
    assert_eq!(state.messages.last().unwrap().model.as_ref().unwrap().id, "other");
}

#[tokio::test]
async fn after_a_crash_the_turn_goes_on_and_no_finished_call_runs_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut cut = stream_head();
    cut.extend(chunk(json!({"content": "half a sen"}), None));
    let first = FakeModel::start(vec![calls(&[("create_sandbox", "{}")]), vec![Act::Send(cut), Act::Hang]]).await;
    let bench = Bench::start(dir.path(), first, Sandbox::default(), 10).await;
    let project = bench.store.events().create_project("test").await.unwrap();
    bench.agent.send(&project, "build", None).await.unwrap();
    bench.until(&project, |s| s.messages.last().is_some_and(|m| m.text().contains("half a sen"))).await;
    // Cut off without being asked to stop, as by a kill.
    bench.workflow.shutdown(Duration::ZERO).await;
    assert!(bench.state(&project).await.turn.is_some());
    let sandbox = bench.sandbox.clone();
    bench.store.close().await;
    drop(bench);

    let bench = Bench::start(dir.path(), FakeModel::start(vec![says("a whole sentence")]).await, sandbox, 10).await;
    let state = bench.turns(&project, 1).await;
    assert_eq!(outcome(&state), TurnOutcome::Completed);
    assert_eq!(bench.sandbox.asked(), ["createSandbox"]);
    let requests = bench.fake.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(tool_outputs(&requests[0]).len(), 1);
    let parts = &state.messages[1].parts;
    assert!(
        matches!(parts.as_slice(), [Part::Tool(_), Part::Text { text, .. }] if text == "a whole sentence"),
        "{parts:#?}"
    );
}

#[tokio::test]
async fn a_long_answer_is_formatted_passage_by_passage_while_it_is_written() {
    let answer = "It has **two** pages:\n\n- one\n- two\n\n```js\nlet a = 1\n\nlet b = 2\n```\n\nThat is all.";
    let mut bytes = stream_head();
    for word in answer.split_inclusive([' ', '\n']) {
        bytes.extend(chunk(json!({"content": word}), None));
    }
    bytes.extend(chunk(json!({}), Some("stop")));
    let (_dir, bench, project) = bench(vec![vec![Act::Send(bytes)]]).await;
    bench.agent.send(&project, "a", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    let html: Vec<&str> = state.messages[1]
        .parts
        .iter()
        .map(|part| match part {
            Part::Text { html: Some(html), .. } => html.as_str(),
            other => panic!("{other:#?}"),
        })
        .collect();
    assert_eq!(html[0], "<p>It has <strong>two</strong> pages:</p>\n");
    assert_eq!(html[1].matches("<li>").count(), 2);
    assert!(html[2].starts_with("<pre>") && html[2].contains("let") && html[2].ends_with("</pre>"), "{}", html[2]);
    assert_eq!(html[3..], ["<p>That is all.</p>\n"]);
    assert_eq!(state.messages[1].text(), answer);

    let events = bench.store.events().after(&project, 0, 1000).await.unwrap();
    let first = |wanted: &dyn Fn(&EventBody) -> bool| events.iter().position(|e| wanted(&e.body)).unwrap();
    let formatted = first(&|body| matches!(body, EventBody::PartRendered { part: 0, .. }));
    let next = first(&|body| matches!(body, EventBody::TextDelta { part: 1, .. }));
    assert!(formatted < next, "a passage is formatted when the next begins");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_taken_back_and_asked_for_once_more() {
    let mut cut = stream_head();
    cut.extend(chunk(json!({"content": "half"}), None));
    let (_dir, bench, project) = bench(vec![vec![Act::Send(cut)], says("whole")]).await;
    bench.agent.send(&project, "a", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    assert_eq!((outcome(&state), state.messages[1].text()), (TurnOutcome::Completed, "whole".to_owned()));
}

#[tokio::test]
async fn the_same_failing_call_again_and_again_ends_the_turn() {
    let again = || calls(&[("run_command", "{\"command\":\"false\"}")]);
    let (_dir, bench, project) = bench((0..9).map(|_| again()).collect()).await;
    *bench.sandbox.exit.lock().unwrap() = 1;
    bench.agent.send(&project, "a", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    assert!(matches!(outcome(&state), TurnOutcome::Failed { error } if error.message.contains("5 times")));
    assert_eq!(bench.sandbox.asked().len(), 5);
    let requests = bench.fake.requests();
    assert!(tool_outputs(&requests[3])[2].contains("Do not repeat it"));
}

#[tokio::test]
async fn the_step_limit_is_told_and_can_be_gone_past() {
    let dir = tempfile::tempdir().unwrap();
    let call = || calls(&[("create_sandbox", "{}")]);
    let fake = FakeModel::start(vec![call(), call(), says("done")]).await;
    let bench = Bench::start(dir.path(), fake, Sandbox::default(), 2).await;
    let project = bench.store.events().create_project("test").await.unwrap();
    bench.agent.send(&project, "a", None).await.unwrap();
    assert_eq!(outcome(&*bench.turns(&project, 1).await), TurnOutcome::StepLimit { steps: 2 });
    bench.agent.retry(&project).await.unwrap();
    assert_eq!(outcome(&*bench.turns(&project, 2).await), TurnOutcome::Completed);
}

#[tokio::test]
async fn empty_huge_and_binary_messages_are_refused_and_change_nothing() {
    let (_dir, bench, project) = bench(Vec::new()).await;
    let before = bench.state(&project).await.seq;
    for (text, code) in [
        (" \n ".to_owned(), ErrorCode::InvalidInput),
        ("x".repeat(1 << 20), ErrorCode::TooLarge),
        ("a\0b".to_owned(), ErrorCode::InvalidInput),
    ] {
        assert_eq!(bench.agent.send(&project, &text, None).await.unwrap_err().code, code);
    }
    assert_eq!(bench.state(&project).await.seq, before);
}

/// An answer with what it used.
fn says_for(text: &str, input: u64, cost: f64) -> Vec<Act> {
    let mut bytes = stream_head();
    bytes.extend(chunk(json!({"content": text}), Some("stop")));
    let usage = json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": 10, "cost": cost}});
    bytes.extend(format!("data: {usage}\n\ndata: [DONE]\n\n").into_bytes());
    vec![Act::Send(bytes)]
}

#[tokio::test]
async fn tokens_and_money_are_counted_for_message_and_project_and_a_used_up_budget_stops_the_agent() {
    let (_dir, bench, project) =
        bench(vec![says_for("one", 1000, 0.25), says_for("two", 2000, 0.5), says("never")]).await;
    bench.store.events().append(&project, vec![EventBody::BudgetSet { limit: Some(700_000) }]).await.unwrap();
    bench.agent.send(&project, "a", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    assert_eq!(state.messages[1].usage.unwrap().cost, Some(250_000));
    bench.agent.send(&project, "b", None).await.unwrap();
    let state = bench.turns(&project, 2).await;
    assert_eq!((state.spent.cost, state.spent.input_tokens), (Some(750_000), 3000));
    bench.agent.send(&project, "c", None).await.unwrap();
    let state = bench.turns(&project, 3).await;
    let TurnOutcome::Failed { error } = outcome(&state) else { panic!("{state:#?}") };
    assert!(error.message.contains("budget of $0.70 is used up ($0.75 spent)"), "{error}");
    assert_eq!(bench.fake.requests().len(), 2);
    bench.store.events().append(&project, vec![EventBody::BudgetSet { limit: None }]).await.unwrap();
    bench.agent.retry(&project).await.unwrap();
    assert_eq!(outcome(&*bench.turns(&project, 4).await), TurnOutcome::Completed);
}

#[tokio::test]
async fn a_conversation_too_long_for_the_model_is_shortened_and_sent_again() {
    let too_long = || {
        let body = "{\"error\":{\"message\":\"maximum context length is 8192 tokens\"}}";
        vec![Act::Send(http("400 Bad Request", "application/json", "", body))]
    };
    let (_dir, bench, project) = bench(vec![says("first"), too_long(), says("second")]).await;
    bench.agent.send(&project, &format!("remember heron {}", "sand ".repeat(20_000)), None).await.unwrap();
    bench.turns(&project, 1).await;
    bench.agent.send(&project, "go on", None).await.unwrap();
    assert_eq!(outcome(&*bench.turns(&project, 2).await), TurnOutcome::Completed);
    let sizes: Vec<usize> = bench.fake.requests().iter().map(|r| r["messages"].to_string().len()).collect();
    assert!(sizes[2] < sizes[1] / 2, "{sizes:?}");
    let last = bench.fake.requests()[2]["messages"].to_string();
    assert!(last.contains("heron") && last.contains("go on"), "{last}");
}

#[tokio::test]
async fn messages_that_wait_can_be_moved_up_and_withdrawn() {
    let go = Arc::new(Notify::new());
    let mut first = vec![Act::Wait(Arc::clone(&go))];
    first.extend(says("one"));
    let (_dir, bench, project) = bench(vec![first, says("two")]).await;
    bench.agent.send(&project, "a", None).await.unwrap();
    let mut waiting = Vec::new();
    for text in ["b", "c", "d"] {
        waiting.push(bench.agent.send(&project, text, None).await.unwrap());
    }
    bench.agent.move_up(&project, &waiting[2]).await.unwrap();
    bench.agent.withdraw(&project, &waiting[0]).await.unwrap();
    go.notify_one();
    let state = bench.turns(&project, 2).await;
    let said: Vec<String> = state.messages.iter().map(|m| m.text()).collect();
    assert_eq!(said, ["a", "one", "d", "c", "two"]);
    let late = bench.agent.withdraw(&project, &waiting[1]).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::Conflict);
}

#[tokio::test]
async fn a_secret_reaches_commands_but_never_the_model() {
    let (_dir, bench, project) = bench(vec![calls(&[("run_command", "{\"command\":\"env\"}")]), says("ok")]).await;
    bench.store.secrets().set(&project, "API_TOKEN", &sandcastle::config::Secret::new("out")).await.unwrap();
    bench.store.secrets().set(&project, "LONG", &sandcastle::config::Secret::new("code 0")).await.unwrap();
    bench.agent.send(&project, "a", None).await.unwrap();
    bench.turns(&project, 1).await;
    let requests = bench.fake.requests();
    let note = requests[0]["messages"][1]["content"].as_str().unwrap();
    assert!(note.contains("API_TOKEN, LONG"), "{note}");
    // The fake command answers "exit code 0 … out".
    assert!(tool_outputs(&requests[1])[0].contains("exit [value of LONG]"), "{:?}", tool_outputs(&requests[1]));
    assert!(!requests[1].to_string().contains("code 0"));
}

#[tokio::test]
async fn a_plan_is_shown_as_one_list_that_advances_and_is_no_run() {
    let plan = |first: &str, second: &str| {
        let steps = json!([{"step": "The list", "status": first}, {"step": "The form", "status": second}]);
        calls(&[("update_plan", &json!({"plan": steps}).to_string())])
    };
    let scripts = vec![plan("in_progress", "pending"), plan("completed", "completed"), says("both are there")];
    let (_dir, bench, project) = bench(scripts).await;
    bench.agent.send(&project, "a list and a form", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    let steps: Vec<(&str, PlanState)> =
        state.messages[1].plan.iter().map(|step| (step.title.as_str(), step.state)).collect();
    assert_eq!(steps, [("The list", PlanState::Done), ("The form", PlanState::Done)]);
    assert_eq!(state.runs.len(), 1, "only the turn itself is a run");
    let events = bench.store.events().after(&project, 0, 1000).await.unwrap();
    let seen: Vec<usize> = events
        .iter()
        .filter_map(|e| match &e.body {
            EventBody::PlanChanged { steps, .. } => Some(steps.iter().filter(|s| s.state == PlanState::Done).count()),
            _ => None,
        })
        .collect();
    assert_eq!(seen, [0, 2]);
}

#[tokio::test]
async fn a_check_that_cannot_be_made_is_answered_and_the_plan_is_shown() {
    let steps = json!([
        {"step": "The list", "status": "pending", "check": {"page": "http://evil.example.com/"}},
        {"step": "The form", "status": "pending", "check": {"command": "x".repeat(1_000_000)}},
        {"step": "The rest", "status": "pending", "check": {"file": "a.txt"}},
    ]);
    let plan = calls(&[("update_plan", &json!({"plan": steps}).to_string())]);
    let many = json!({"plan": vec![json!({"step": "x", "status": "pending"}); 1_000]}).to_string();
    let (_dir, bench, project) = bench(vec![plan, calls(&[("update_plan", &many)]), says("planned")]).await;
    bench.agent.send(&project, "a list and a form", None).await.unwrap();
    let state = bench.turns(&project, 1).await;
    let checked: Vec<bool> = state.messages[1].plan.iter().map(|step| step.check.is_some()).collect();
    assert_eq!(checked, [false, false, true]);
    let requests = bench.fake.requests();
    let told = tool_outputs(&requests[2]);
    assert!(told[0].contains("The check of \"The list\" was left out: \"page\" must be a path of the app"), "{told:?}");
    assert!(told[0].contains("\"The form\" was left out: \"command\" is longer than 1000"), "{told:?}");
    assert!(told[1].contains("1 to 20 steps, not 1000"), "{told:?}");
}

#[tokio::test]
async fn a_project_has_one_turn_at_a_time_whatever_is_replayed_or_submitted() {
    let go = Arc::new(Notify::new());
    let mut second = vec![Act::Wait(Arc::clone(&go))];
    second.extend(says("two"));
    let (_dir, bench, project) = bench(vec![says("one"), second]).await;
    bench.agent.send(&project, "a", None).await.unwrap();
    let first = bench.turns(&project, 1).await.runs[0].id.clone();
    bench.agent.send(&project, "b", None).await.unwrap();
    let refused = bench.workflow.replay(&first, Replay::default()).await.unwrap_err().to_string();
    assert!(refused.contains("Use Retry in the chat"), "{refused}");
    let payload = bench.workflow.record_of(&first).await.unwrap().payload;
    let turn = RunRequest {
        task: "agentTurn".to_owned(),
        payload: Value::clone(&payload),
        project: Some(project.clone()),
        ..RunRequest::default()
    };
    let uninvited = bench.workflow.submit(turn).await.unwrap();
    let error = bench.workflow.wait(&uninvited).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Conflict, "Another turn is at work in this project."));
    go.notify_one();
    let state = bench.turns(&project, 2).await;
    assert_eq!((outcome(&state), state.messages.len()), (TurnOutcome::Completed, 4));
    assert_eq!(bench.fake.requests().len(), 2);
}
