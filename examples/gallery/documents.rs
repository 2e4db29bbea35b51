//! The documents of the gallery.

use crate::script::{START, id, model};
use sandcastle::documents::{
    ChangesPage, Check, Document, EditPage, EndpointRow, FaultRow, FaultsPage, ImportPage, KeyRow, KeysPage, ModelRow,
    ModelsPage, NewKey, ProjectSettings, SettingsPage, SurePage, TrialRow, Typed,
};
use sandcastle::domain::{
    ApiError, Checkpoint, Fault, FaultKind, FaultState, FaultView, ModelRef, NetworkPolicy, Usage,
};
use sandcastle::llm::{ModelInfo, ModelSource};
use sandcastle::sandbox::{ChangeKind, FileChange, Hunk};

/// Addresses of all documents.
pub const NAMES: [&str; 15] = [
    "settings",
    "settings-demo",
    "keys",
    "keys-made",
    "models",
    "import",
    "project-settings",
    "changes",
    "faults",
    "faults-none",
    "edit",
    "edit-refused",
    "sure",
    "login",
    "not-found",
];

/// A document by its name.
pub fn document(name: &str) -> Option<Document> {
    Some(match name {
        "settings" => settings(false),
        "settings-demo" => settings(true),
        "keys" => keys(false),
        "keys-made" => keys(true),
        "models" => models(),
        "import" => Document::Import(ImportPage::default()),
        "project-settings" => project(),
        "changes" => changes(),
        "faults" => faults(vec![
            fault(FaultState::GivenUp, 3, "ReferenceError: recipes is not defined"),
            fault(FaultState::Gone, 1, "GET /api/recipes answered 500"),
        ]),
        "faults-none" => faults(Vec::new()),
        "edit" | "edit-refused" => Document::Edit(EditPage {
            project: id("prj_live"),
            message: id("msg_1"),
            text: "A page to search recipes.\n\nShow the time each one takes.".into(),
            files: true,
        }),
        "sure" => Document::Sure(SurePage {
            replay: false,
            count: 312,
            more: false,
            fields: Vec::new(),
            list: "/runs?status=active".into(),
        }),
        "login" => Document::Login { next: "/".into() },
        "not-found" => Document::Error {
            error: ApiError::not_found("There is no project prj_01k9. It may have been deleted."),
            status: 404,
            back: Some("/".into()),
        },
        _ => return None,
    })
}

/// Why a document's form has changed nothing.
pub fn problem(name: &str) -> Option<String> {
    (name == "edit-refused").then(|| "The agent is at work; wait for it or stop it first.".into())
}

fn settings(demo: bool) -> Document {
    let check = |name: &str, ok: bool, detail: &str| Check { name: name.into(), ok, detail: detail.into() };
    let memory = match demo {
        true => "No writable cgroup. Run the server under systemd with Delegate=yes, or as root.",
        false => "cgroup v2",
    };
    Document::Settings(SettingsPage {
        version: "0.1.0".into(),
        model_endpoint: (!demo).then(|| "ai-gateway.vercel.sh".into()),
        default_model: "anthropic/claude-sonnet-4.6".into(),
        demo,
        key_set: !demo,
        checks: vec![
            check("Namespaces", true, "user, pid, mount, network, ipc, uts"),
            check("A sandbox", true, "created, ran a command and removed in 6 ms"),
            check("Memory limit", !demo, memory),
            check("Node", true, "22.14.0"),
        ],
        preview_domain: "localhost".into(),
    })
}

fn keys(made: bool) -> Document {
    let key = |name: &str, kind, sandboxes| KeyRow {
        id: format!("key_{name}"),
        name: name.into(),
        hint: "7c4e".into(),
        kind,
        created_at: START,
        sandboxes,
    };
    let made = made.then(|| NewKey {
        name: "laptop".into(),
        variable: "E2B_API_KEY",
        secret: "e2b_0123456789abcdef0123456789abcdef01237c4e".into(),
    });
    let keys = vec![key("laptop", "e2b", Some(2)), key("nightly jobs of the shop", "trigger", None)];
    Document::Keys(KeysPage { keys, made, typed: String::new() })
}

fn models() -> Document {
    let info = |id: &str, source: ModelSource, price: Option<(f64, f64)>| ModelInfo {
        model: ModelRef { id: id.into(), label: id.into(), demo: false },
        source,
        default: false,
        effort: None,
        free: price.is_none(),
        context: Some(200_000),
        price,
        images: Some(price.is_some()),
    };
    let router = || ModelSource::Endpoint { name: "OpenRouter".into() };
    let sonnet = info("openrouter/anthropic/claude-sonnet-4.6", router(), Some((3.0, 15.0)));
    let small = info("openrouter/a-very-long-name/of-a-model-that-nobody-has-heard-of-instruct-2507", router(), None);
    let local = info("ollama/qwen3:4b", ModelSource::Local { name: "Ollama".into() }, None);
    Document::Models(ModelsPage {
        endpoints: vec![EndpointRow {
            prefix: "openrouter".into(),
            name: "OpenRouter".into(),
            base_url: "https://openrouter.ai/api/v1".into(),
            key_set: true,
        }],
        problem: Some("my-gateway could not be asked for its models: connection refused.".into()),
        trials: vec![TrialRow {
            id: "ollama/qwen3-coder:30b".into(),
            words: "calls a tool ✓, two at once ✗".into(),
            running: true,
        }],
        following: false,
        search: String::new(),
        models: vec![
            ModelRow { info: sonnet, favourite: true, badge: Some("apps and edits") },
            ModelRow { info: small, favourite: false, badge: None },
            ModelRow { info: local, favourite: false, badge: Some("small apps: writes files, edits may fail") },
        ],
        more: 41,
        typed: Default::default(),
    })
}

fn project() -> Document {
    let spent = Usage { input_tokens: 182_340, output_tokens: 12_480, cached_tokens: 150_200, cost: Some(412_000) };
    let policy = NetworkPolicy {
        allow: vec!["registry.npmjs.org".into(), "db.example.com:5432".into()],
        deny: vec!["ads.example.com".into()],
        ..NetworkPolicy::default()
    };
    Document::Project(ProjectSettings {
        project: id("prj_live"),
        name: "Tide table".to_owned(),
        spent,
        unpriced: None,
        budget: Some(2_500_000),
        auto_fix: true,
        secrets: vec!["API_TOKEN".into(), "DATABASE_URL".into()],
        policy,
        typed: Typed::default(),
    })
}

fn changes() -> Document {
    let hunk = |at, lines: &[(char, &str)]| Hunk {
        at,
        lines: lines.iter().map(|(sign, line)| (*sign, (*line).to_owned())).collect(),
    };
    let file =
        |path: &str, kind, (added, removed), hunks| FileChange { path: path.into(), kind, added, removed, hunks };
    let search = hunk(
        (3, 3),
        &[
            (' ', "export default function Search() {"),
            ('-', "  const found = recipes.filter((r) => r.name.includes(word))"),
            ('+', "  const wanted = word.trim().toLowerCase()"),
            (
                '+',
                "  const found = recipes.filter((recipe) => recipe.name.toLowerCase().includes(wanted) || recipe.tags.some((tag) => tag.includes(wanted)))",
            ),
            (' ', ""),
            (' ', "  return ("),
        ],
    );
    let list = hunk(
        (1, 1),
        &[('+', "export const recipes = ["), ('+', "  { name: 'Tomato soup', minutes: 25 },"), ('+', "]")],
    );
    Document::Changes(ChangesPage {
        project: id("prj_live"),
        message: id("msg_2"),
        checkpoint: Checkpoint {
            commit: "4f2a91c07be3d5".into(),
            files: 3,
            added: 5,
            removed: 1,
            left_out: Vec::new(),
        },
        last: false,
        files: vec![
            file("app/search.tsx", ChangeKind::Changed, (2, 1), vec![search]),
            file("lib/recipes.ts", ChangeKind::Added, (3, 0), vec![list]),
            file("public/logo.png", ChangeKind::Added, (0, 0), Vec::new()),
        ],
        clone_url: "http://localhost:3000/api/projects/prj_live/repo.git".into(),
        once: String::new(),
    })
}

fn faults(faults: Vec<FaultRow>) -> Document {
    let last_change = Some(id("msg_2"));
    Document::Faults(FaultsPage { project: id("prj_live"), faults, last_change, models: vec![model()] })
}

fn fault(state: FaultState, tries: u32, title: &str) -> FaultRow {
    let fault = Fault {
        id: title.into(),
        kind: if title.starts_with("GET") { FaultKind::Http } else { FaultKind::Browser },
        title: title.into(),
        detail: format!(
            "{title}\n    at Search (http://5173-sbx.localhost:3000/src/app/search.tsx:12:21)\n    at main.tsx:7:3"
        ),
    };
    let view = FaultView { fault, state, seen: 4, tries, cost: 31_000, tokens: 9_120, first_at: START, last_at: START };
    FaultRow { view, last_good: Some(id("msg_2")) }
}
