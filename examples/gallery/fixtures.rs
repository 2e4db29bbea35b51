//! The pages of the gallery.

use crate::dashboard;
use crate::script::{FILES, NEXT, NPM, PROMPT, START, folded, id, model, sandbox};
use sandcastle::domain::{
    ApiError, CommandExit, ErrorCode, Event, EventBody, FileKind, FileNode, OutputWindow, ProjectState, ProjectSummary,
    SandboxPhase, TurnOutcome, build_tree,
};
use sandcastle::render::{highlight, language_of, markdown_to_html};
use sandcastle::ui::{FileBody, FileView, Layout, ModelOption, PageData, ProjectList, ProjectPage, Sample};

/// Addresses of all live pages.
pub const NAMES: [&str; 17] = [
    "home",
    "home-empty",
    "home-demo",
    "project-new",
    "project-streaming",
    "project-writing",
    "project-done",
    "project-live",
    "project-error",
    "project-limit",
    "project-queued",
    "project-asleep",
    "project-failed",
    "project-huge",
    "runs",
    "run",
    "run-failed",
];

/// A page by its name, its app served at `app`.
pub fn page(name: &str, app: &str) -> Option<PageData> {
    Some(match name {
        "home" => home(projects(), false),
        "home-empty" => home(Vec::new(), false),
        "home-demo" => home(projects().split_off(3), true),
        "project-new" => project(folded(app, 2), Vec::new()),
        "project-streaming" => project(folded(app, 7), Vec::new()),
        "project-writing" => project(folded(app, 48), files()),
        "project-done" => project(folded(app, usize::MAX), files()),
        "project-live" => {
            let mut state = folded(app, 2);
            state.id = id("prj_live");
            project(state, Vec::new())
        }
        "project-error" => project(ended(app, TurnOutcome::Failed { error: model_error() }), files()),
        "project-limit" => project(ended(app, TurnOutcome::StepLimit { steps: 40 }), files()),
        "project-queued" => {
            let mut state = folded(app, 48);
            push(
                &mut state,
                EventBody::UserMessage {
                    message: id("msg_8"),
                    text: "And make it dark, please.".into(),
                    attachments: Vec::new(),
                    model: None,
                },
            );
            project(state, files())
        }
        "project-asleep" => asleep(app, SandboxPhase::Asleep, "idle for 30 minutes"),
        "project-failed" => asleep(
            app,
            SandboxPhase::Failed,
            "The sandbox was ended by the system: out of memory (2048 MiB limit). Its files are kept; the next message starts it again.",
        ),
        "project-huge" => huge(app),
        "runs" => dashboard::list(),
        "run" => dashboard::run(false),
        "run-failed" => dashboard::run(true),
        _ => return None,
    })
}

fn home(projects: Vec<ProjectSummary>, demo: bool) -> PageData {
    let sample = |title: &str, stack: &str| Sample {
        title: title.into(),
        stack: stack.into(),
        prompt: format!("Build: {title}"),
    };
    let samples = vec![
        sample("Kanban board", "no install"),
        sample("Recipe search", "Next.js"),
        sample("Sales dashboard", "Python"),
        sample("Hello server", "Go"),
    ];
    let models = if demo { vec![ModelOption { demo: true, ..option("demo", "Recorded demo", "") }] } else { models() };
    let more = (projects.len() > 3).then(|| "/?show=120".to_owned());
    let projects = ProjectList { total: projects.len() * 4, shown: projects, search: String::new(), more };
    PageData::Home { projects, models, effort: String::new(), samples, demo }
}

fn option(id: &str, label: &str, group: &str) -> ModelOption {
    ModelOption { id: id.into(), label: label.into(), group: group.into(), blind: false, demo: false, untried: false }
}

fn models() -> Vec<ModelOption> {
    vec![
        option("anthropic/claude-sonnet-4.6", "Claude Sonnet 4.6", "Anthropic"),
        option("anthropic/claude-opus-4.6", "Claude Opus 4.6", "Anthropic"),
        option("openai/gpt-5.3-codex", "GPT-5.3 Codex", "OpenAI"),
        ModelOption { untried: true, ..option("qwen3-coder:30b", "qwen3-coder:30b", "On this machine") },
    ]
}

fn projects() -> Vec<ProjectSummary> {
    let one = |n: u64, name: &str, prompt: &str, working: bool, phase: Option<SandboxPhase>| ProjectSummary {
        id: id(&format!("prj_{}", n * 7919)),
        name: name.into(),
        created_at: START - n * 86_400_000,
        updated_at: START - n * n * 3_600_000,
        working,
        sandbox: phase,
        preview_url: None,
        prompt: prompt.into(),
    };
    vec![
        one(1, "Yoga booking", PROMPT, true, Some(SandboxPhase::Running)),
        one(
            2,
            "Recipe search",
            "Search recipes by what is in the fridge, with pictures and a shopping list.",
            false,
            Some(SandboxPhase::Running),
        ),
        one(3, "Tide table", "Tides of the next week for a harbour, as a curve.", false, Some(SandboxPhase::Asleep)),
        one(
            5,
            "Invoice maker with a very long name that cannot fit",
            "Invoices as PDF",
            false,
            Some(SandboxPhase::Failed),
        ),
        one(9, "hello go", "Create a golang server that answers Hello World to any request", false, None),
    ]
}

fn project(state: ProjectState, files: Vec<FileNode>) -> PageData {
    let window = |command: &str, text: &str| OutputWindow {
        command: id(command),
        start: 0,
        end: text.len() as u64,
        text: text.into(),
    };
    let outputs = [window("cmd_4", NPM), window("cmd_5", NEXT)];
    let outputs = outputs.into_iter().filter(|w| state.command(&w.command).is_some()).collect();
    let open_file = state.preview.as_ref().map(|_| {
        let text = source("app/page.tsx");
        let shown = highlight("app/page.tsx", text);
        FileView {
            path: "app/page.tsx".into(),
            size: text.len() as u64,
            language: language_of("app/page.tsx").into(),
            body: FileBody::Text { lines: shown.lines, truncated: false },
        }
    });
    let layout = Layout::default();
    let model = model().id;
    PageData::Project(Box::new(ProjectPage {
        state,
        files,
        outputs,
        models: models(),
        model,
        effort: "high".into(),
        layout,
        open_file,
    }))
}

fn push(state: &mut ProjectState, body: EventBody) {
    state.apply(&Event { seq: state.seq + 1, at: state.updated_at + 900, body });
}

fn ended(app: &str, outcome: TurnOutcome) -> ProjectState {
    let mut state = folded(app, 60);
    let exit = CommandExit { code: Some(1), ..Default::default() };
    push(&mut state, EventBody::CommandExited { command: id("cmd_4"), exit, duration_ms: 4100, bytes: 212 });
    push(&mut state, EventBody::TurnFinished { turn: id("run_1"), outcome, usage: None });
    state
}

fn model_error() -> ApiError {
    ApiError {
        code: ErrorCode::Model,
        message: "401 from ai-gateway.vercel.sh: Incorrect API key provided: vck_…9f2c. Set AI_GATEWAY_API_KEY to a valid key.".into(),
        request_id: Some("01k9x4c2".into()),
    }
}

fn asleep(app: &str, phase: SandboxPhase, detail: &str) -> PageData {
    let mut state = folded(app, usize::MAX);
    push(&mut state, EventBody::SandboxChanged { sandbox: sandbox(phase, Some(detail)) });
    project(state, files())
}

fn huge(app: &str) -> PageData {
    let mut state = folded(app, usize::MAX);
    let text =
        "A longer answer with **bold**, `code` and a list:\n\n1. one\n2. two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";
    for n in 10..60u32 {
        push(
            &mut state,
            EventBody::UserMessage {
                message: id(&format!("msg_{n}u")),
                text: format!(
                    "Change number {n}: a somewhat longer request that wraps over more than one line of the bubble."
                ),
                attachments: Vec::new(),
                model: None,
            },
        );
        let (message, turn) = (id(&format!("msg_{n}a")), id(&format!("run_{n}a")));
        push(&mut state, EventBody::TurnStarted { turn, message, model: model(), waiting: 0 });
        push(&mut state, EventBody::TextDelta { message: id(&format!("msg_{n}a")), part: 0, text: text.into() });
        push(
            &mut state,
            EventBody::PartRendered { message: id(&format!("msg_{n}a")), part: 0, html: markdown_to_html(text) },
        );
        let call = id(&format!("call_{n}"));
        push(
            &mut state,
            EventBody::ToolCallStarted { message: id(&format!("msg_{n}a")), part: 1, call, tool: "edit_file".into() },
        );
        push(
            &mut state,
            EventBody::ToolCallFinished {
                call: id(&format!("call_{n}")),
                ok: n % 7 != 0,
                summary: "1 change".into(),
                output: "ok".into(),
                duration_ms: 40,
            },
        );
        push(
            &mut state,
            EventBody::TurnFinished { turn: id(&format!("run_{n}a")), outcome: TurnOutcome::Completed, usage: None },
        );
    }
    let page = project(state, files());
    match page {
        PageData::Project(mut page) => {
            let line = "\u{1b}[2m12:00:00\u{1b}[22m \u{1b}[36minfo\u{1b}[39m request served in 3 ms with a rather long line of text\n";
            let text = line.repeat(2000);
            page.outputs = vec![OutputWindow { command: id("cmd_5"), start: 900, end: 900 + text.len() as u64, text }];
            PageData::Project(page)
        }
        other => other,
    }
}

/// The workspace of the story.
pub fn files() -> Vec<FileNode> {
    let written = FILES.map(|(path, text)| (path.to_owned(), FileKind::File, text.len() as u64));
    let more = [
        ("node_modules", FileKind::Directory, 0),
        (".gitignore", FileKind::File, 34),
        ("public/logo.png", FileKind::File, 18_230),
        ("data/empty.json", FileKind::File, 0),
    ];
    let mut tree = build_tree(written.into_iter().chain(more.map(|(p, kind, size)| (p.to_owned(), kind, size))));
    for node in &mut tree {
        node.truncated = node.name == "node_modules";
    }
    tree
}

/// A file of the story.
pub fn source(path: &str) -> &'static str {
    FILES.into_iter().find(|(have, _)| *have == path).map_or("", |(_, text)| text)
}
