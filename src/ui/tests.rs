//! What the server renders: readable without scripts, and allowed by the content security policy.

use super::chat::Choice;
use super::{Assets, Layout, ModelOption, PageData, ProjectList, ProjectPage, Sample, ShellOptions, Theme, shell};
use crate::domain::{
    CallId, Event, EventBody, FileKind, MessageId, ModelRef, OutputWindow, ProjectId, ProjectState, RunId, TurnOutcome,
    build_tree,
};
use leptos::prelude::Owner;

fn assets() -> Assets {
    Assets { css: "/a.css".into(), js: "/a.js".into(), wasm: "/a.wasm".into() }
}

fn options(assets: &Assets) -> ShellOptions<'_> {
    ShellOptions { nonce: "n0nce", assets, theme: Theme::System, reload_script: None }
}

fn html(page: PageData) -> String {
    shell(page, &options(&assets()))
}

fn body(page: PageData) -> String {
    let html = html(page);
    let (_, body) = html.split_once("<body>").unwrap();
    body.split_once(r#"<script type="application/json""#).unwrap().0.to_owned()
}

fn project(outcome: TurnOutcome) -> PageData {
    let mut state = ProjectState::empty(ProjectId::parse("prj_1").unwrap());
    let answer = || MessageId::parse("msg_2").unwrap();
    let turn = || RunId::parse("run_1").unwrap();
    let call = || CallId::parse("call_1").unwrap();
    let command = crate::domain::CommandId::parse("cmd_1").unwrap();
    let model = ModelRef { id: "m".into(), label: "Model M".into(), demo: false };
    let bodies = [
        EventBody::ProjectCreated { project: state.id.clone(), name: "Shop <b>".into() },
        EventBody::UserMessage {
            message: MessageId::parse("msg_1").unwrap(),
            text: "a <script> shop".into(),
            attachments: Vec::new(),
            model: None,
        },
        EventBody::TurnStarted { turn: turn(), message: answer(), model, waiting: 0 },
        EventBody::TextDelta { message: answer(), part: 0, text: "On it.".into() },
        EventBody::PartRendered { message: answer(), part: 0, html: "<p>On it.</p>".into() },
        EventBody::ToolCallStarted { message: answer(), part: 1, call: call(), tool: "run_command".into() },
        EventBody::ToolCallSubmitted { call: call(), run: Some(turn()), title: "npm install".into() },
        EventBody::CommandStarted {
            command: command.clone(),
            line: "npm install".into(),
            cwd: String::new(),
            background: false,
            call: Some(call()),
            run: None,
        },
        EventBody::TurnFinished { turn: turn(), outcome, usage: None },
    ];
    for (seq, body) in (1..).zip(bodies) {
        state.apply(&Event { seq, at: 1_795_345_200_000 + seq, body });
    }
    let text = "\u{1b}[32madded 312 packages\u{1b}[0m\n".to_owned();
    let page = ProjectPage {
        state,
        files: build_tree([("app/page.tsx".to_owned(), FileKind::File, 120)]),
        outputs: vec![OutputWindow { command, start: 0, end: text.len() as u64, text }],
        models: models(),
        model: "m".into(),
        effort: "high".into(),
        layout: Layout { chat: 500, ..Layout::default() },
        open_file: None,
    };
    PageData::Project(Box::new(page))
}

fn models() -> Vec<ModelOption> {
    let option = |id: &str, demo| ModelOption {
        id: id.into(),
        label: format!("Model {id}"),
        group: String::new(),
        blind: false,
        demo,
        untried: false,
    };
    vec![option("m", false), option("recorded", true)]
}

#[test]
fn conversation_files_and_logs_are_readable_without_scripts() {
    let body = body(project(TurnOutcome::Completed));
    for text in ["a &lt;script&gt; shop", "<p>On it.</p>", "npm install", "page.tsx", "added 312 packages", "Done in"] {
        assert!(body.contains(text), "{text} is missing in {body}");
    }
}

#[test]
fn a_failed_turn_shows_its_reason_and_a_way_on() {
    let error = crate::domain::ApiError::new(crate::domain::ErrorCode::Model, "401: invalid key");
    let body = body(project(TurnOutcome::Failed { error }));
    assert!(body.contains("401: invalid key") && body.contains("Retry"));
}

#[test]
fn nothing_rendered_needs_a_style_attribute_or_an_inline_handler() {
    let sample = Sample { title: "Board".into(), stack: "none".into(), prompt: "a board".into() };
    let home = PageData::Home {
        projects: ProjectList::default(),
        models: Vec::new(),
        effort: String::new(),
        samples: vec![sample],
        demo: true,
    };
    for html in [html(home), html(project(TurnOutcome::Completed))] {
        assert!(!html.contains(" style=\"") && !html.contains(" onclick="), "{html}");
        for (at, _) in html.match_indices("<script").chain(html.match_indices("<style")) {
            let tag = html[at..].split('>').next().unwrap();
            assert!(tag.contains("nonce=\"n0nce\"") || tag.contains("application/json"), "{tag}");
        }
    }
}

#[test]
fn sizes_from_the_layout_cookie_are_in_the_first_paint() {
    assert!(html(project(TurnOutcome::Completed)).contains("--chat:500px"));
}

/// The label of the choice of how much a model thinks: its tag, and what is in it.
fn effort_picker(html: &str) -> (&str, &str) {
    let (before, after) = html.split_once("class=\"model-picker effort\"").unwrap();
    (before.rsplit('<').next().unwrap(), after.split("</label>").next().unwrap())
}

#[test]
fn how_much_a_model_thinks_is_chosen_beside_it_and_stays_what_it_was() {
    let body = body(project(TurnOutcome::Completed));
    let (tag, picker) = effort_picker(&body);
    assert!(!tag.contains("hidden"), "{tag}");
    assert!(picker.contains("value=\"high\" selected") && picker.contains("Effort: default"), "{picker}");
}

#[test]
fn the_recorded_demo_has_no_choice_of_how_much_it_thinks() {
    let models: Vec<_> = models().into_iter().rev().collect();
    let effort = String::new();
    let home =
        html(PageData::Home { projects: ProjectList::default(), models, effort, samples: Vec::new(), demo: true });
    let (tag, _) = effort_picker(&home);
    assert!(tag.contains("hidden"), "{tag}");
}

#[test]
fn the_chosen_effort_is_part_of_the_id_that_is_sent() {
    let sent = |model: &str, effort: &str| Owner::new().with(|| Choice::new(model.into(), effort.into()).id());
    assert_eq!(sent("m", "high").as_deref(), Some("m:high"));
    assert_eq!(sent("m", "").as_deref(), Some("m"));
    assert_eq!(sent("", "high"), None);
}
