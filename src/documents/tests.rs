//! What holds for every document.

use super::*;
use crate::domain::{Checkpoint, Fault, FaultKind, FaultState, FaultView, MessageId, NetworkPolicy, ProjectId, Usage};
use crate::sandbox::{ChangeKind, FileChange, Hunk};
use crate::ui::{Assets, Theme};

/// Ends an element or an attribute wherever it is not escaped.
const SLY: &str = "\"'></p><script>alert(1)</script>";

fn html(page: Document) -> String {
    let assets = Assets { css: "/a.css".into(), js: "/a.js".into(), wasm: "/a.wasm".into() };
    let options = ShellOptions { nonce: "n0nce", assets: &assets, theme: Theme::Dark, reload_script: None };
    document_html(page, None, &options)
}

fn project() -> ProjectId {
    ProjectId::parse("prj_1").unwrap()
}

fn message() -> MessageId {
    MessageId::parse("msg_1").unwrap()
}

fn keys(made: bool) -> Document {
    let key = KeyRow {
        id: "key_1".into(),
        name: SLY.into(),
        hint: "beef".into(),
        kind: "e2b",
        created_at: 1_795_345_200_000,
        sandboxes: Some(1),
    };
    let made = made.then(|| NewKey { name: SLY.into(), variable: "E2B_API_KEY", secret: "e2b_secret".into() });
    Document::Keys(KeysPage { keys: vec![key], made, typed: SLY.into() })
}

fn settings() -> Document {
    let policy = NetworkPolicy { allow: vec![SLY.into()], deny: vec!["b.example".into()], ..NetworkPolicy::default() };
    Document::Project(ProjectSettings {
        project: project(),
        name: "Tide table".to_owned(),
        spent: Usage::default(),
        unpriced: Some(SLY.into()),
        budget: Some(2_500_000),
        auto_fix: true,
        secrets: vec![SLY.into()],
        policy,
        typed: Typed { set: "secret".into(), name: SLY.into(), value: "never given back".into() },
    })
}

fn changes(last: bool) -> Document {
    let lines = vec![('-', "two".to_owned()), ('+', SLY.to_owned())];
    let hunks = vec![Hunk { at: (1, 1), lines }];
    let file = FileChange { path: SLY.into(), kind: ChangeKind::Changed, added: 1, removed: 1, hunks };
    Document::Changes(ChangesPage {
        project: project(),
        message: message(),
        checkpoint: Checkpoint {
            commit: "0123456789abcdef".into(),
            files: 1,
            added: 1,
            removed: 1,
            left_out: Vec::new(),
        },
        last,
        files: vec![file],
        clone_url: "http://h/repo.git".into(),
        once: SLY.into(),
    })
}

fn faults(state: FaultState) -> Document {
    let fault = Fault { id: "f1".into(), kind: FaultKind::Http, title: SLY.into(), detail: SLY.into() };
    let view = FaultView { fault, state, seen: 1, tries: 3, cost: 0, tokens: 7, first_at: 0, last_at: 0 };
    let faults = vec![FaultRow { view, last_good: Some(message()) }];
    Document::Faults(FaultsPage { project: project(), faults, last_change: None, models: Vec::new() })
}

fn edit(files: bool) -> Document {
    Document::Edit(EditPage { project: project(), message: message(), text: SLY.into(), files })
}

#[test]
fn a_document_runs_no_code_and_escapes_what_it_says() {
    let endpoint = EndpointRow { prefix: "x".into(), name: SLY.into(), base_url: SLY.into(), key_set: true };
    let models = ModelsPage {
        endpoints: vec![endpoint],
        problem: Some(SLY.into()),
        trials: vec![TrialRow { id: SLY.into(), words: SLY.into(), running: true }],
        following: false,
        search: SLY.into(),
        models: Vec::new(),
        more: 0,
        typed: (SLY.into(), SLY.into()),
    };
    let pages = [
        Document::Settings(SettingsPage { default_model: SLY.into(), ..SettingsPage::default() }),
        keys(true),
        Document::Models(models),
        Document::Import(ImportPage { git: SLY.into(), once: SLY.into() }),
        Document::Sure(SurePage {
            replay: true,
            count: 2,
            more: true,
            fields: vec![("text".into(), SLY.into())],
            list: SLY.into(),
        }),
        settings(),
        changes(false),
        faults(FaultState::GivenUp),
        edit(true),
        Document::Login { next: SLY.into() },
        Document::Error { error: ApiError::not_found(SLY), status: 404, back: Some(SLY.into()) },
    ];
    for page in pages {
        let name = page.name();
        let html = html(page);
        assert!(html.contains("/a.css") && !html.contains("/a.wasm") && !html.contains("<script"), "{name}: {html}");
        assert!(!html.contains(" style=\"") && !html.contains(" onclick="), "{name}: the policy forbids it: {html}");
        assert_eq!(html.matches("<h1>").count(), 1, "{name}");
    }
}

#[test]
fn a_new_key_is_in_the_page_that_made_it_only() {
    assert!(html(keys(true)).contains("E2B_API_KEY=e2b_secret"));
    let later = html(keys(false));
    assert!(!later.contains("E2B_API_KEY") && later.contains("…beef") && later.contains("1 sandbox"), "{later}");
}

#[test]
fn going_back_is_offered_only_where_something_came_after() {
    assert!(html(changes(false)).contains("action=\"/p/prj_1/back\""));
    let last = html(changes(true));
    assert!(!last.contains("/p/prj_1/back") && last.contains("action=\"/p/prj_1/fork\""), "{last}");
}

#[test]
fn an_error_that_is_gone_or_being_fixed_offers_no_other_try() {
    assert!(html(faults(FaultState::GivenUp)).contains("Try again"));
    for state in [FaultState::Gone, FaultState::Trying] {
        assert!(!html(faults(state)).contains("Try again"));
    }
}

#[test]
fn a_budget_stands_in_its_field_as_it_is_typed() {
    assert!(html(settings()).contains("value=\"2.50\""));
}

#[test]
fn files_of_a_message_that_is_sent_again_are_mentioned() {
    assert!(html(edit(true)).contains("Its files go with it again."));
    assert!(!html(edit(false)).contains("Its files"));
}

#[test]
fn what_destroys_is_asked_about_with_what_will_be_lost() {
    let pages = [
        (keys(false), "/settings/keys", "Its sandboxes end"),
        (settings(), "/p/prj_1/settings", "Its value is deleted"),
        (changes(false), "/p/prj_1/back", "leave the conversation"),
        (faults(FaultState::GivenUp), "/p/prj_1/back", "leave the conversation"),
    ];
    for (page, action, loss) in pages {
        let html = html(page);
        let (_, question) = html.split_once("<details class=\"ask\"").unwrap();
        let (question, _) = question.split_once("</details>").unwrap();
        assert!(question.contains(&format!("action=\"{action}\"")) && question.contains(loss), "{question}");
    }
}

#[test]
fn a_page_that_is_drawn_again_says_why_and_gives_back_what_was_typed_but_no_secret() {
    let assets = Assets { css: "/a.css".into(), js: "/a.js".into(), wasm: "/a.wasm".into() };
    let options = ShellOptions { nonce: "n0nce", assets: &assets, theme: Theme::Dark, reload_script: None };
    let html = document_html(settings(), Some("It has no <name>.".into()), &options);
    assert!(html.contains("role=\"alert\"") && html.contains("It has no &lt;name&gt;."), "{html}");
    assert!(!html.contains("never given back"));
}

#[test]
fn the_theme_button_keeps_the_search() {
    let models = ModelsPage {
        endpoints: Vec::new(),
        problem: None,
        trials: Vec::new(),
        following: false,
        search: "qwen 3&".into(),
        models: Vec::new(),
        more: 0,
        typed: Default::default(),
    };
    assert!(html(Document::Models(models)).contains("value=\"/settings/models?q=qwen+3%26\""));
}
