//! A turn told event by event: folded whole for the finished states, cut short for the others, streamed for the live one.

use axum::response::sse::Event as SseEvent;
use sandcastle::domain::{
    CallId, CommandExit, Event, EventBody, Limits, MessageId, ModelRef, OutputChunk, ProjectId, ProjectState, RunId,
    RunStatus, RunSummary, SandboxId, SandboxPhase, SandboxView, TurnOutcome, Usage,
};
use sandcastle::render::markdown_to_html;

/// When the stories begin (Unix ms).
pub const START: u64 = 1_795_345_200_000;

/// The model of all stories.
pub fn model() -> ModelRef {
    ModelRef { id: "anthropic/claude-sonnet-4.6".into(), label: "Claude Sonnet 4.6".into(), demo: false }
}

/// Wraps a text that is known to be valid.
pub fn id<T: TryFrom<String>>(text: &str) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{error:?}"))
}

/// A sandbox in a phase.
pub fn sandbox(phase: SandboxPhase, detail: Option<&str>) -> SandboxView {
    SandboxView {
        id: id::<SandboxId>("i1234567890abcdefghi"),
        phase,
        detail: detail.map(str::to_owned),
        provider: "local".into(),
        limits: Limits {
            memory_mib: 2048,
            processes: 512,
            disk_mib: 4096,
            cpu_percent: 0,
            files: 500_000,
            open_files: 65_536,
            output_mib: 6,
            mechanism: "memory and CPU by cgroup v2, disk by a watcher".into(),
        },
    }
}

/// The first prompt.
pub const PROMPT: &str =
    "A booking page for a small yoga studio: this week's classes, free places, and a form that keeps bookings.";
/// What the dev server printed.
pub const NPM: &str = "\u{1b}[2mnpm\u{1b}[22m \u{1b}[33mwarn\u{1b}[39m deprecated inflight@1.0.6: use lru-cache\n\nadded 312 packages, and audited 313 packages in 14s\n\n132 packages are looking for funding\n  run `npm fund` for details\n\nfound \u{1b}[32m\u{1b}[1m0\u{1b}[22m\u{1b}[39m vulnerabilities\n";
/// What the install printed.
pub const NEXT: &str = "\n> yoga@0.1.0 dev\n> next dev\n\n   \u{1b}[1m\u{1b}[38;2;173;127;168m▲ Next.js 16.0.3\u{1b}[39m\u{1b}[22m\n   - Local:        http://localhost:3000\n\n \u{1b}[32m\u{1b}[1m✓\u{1b}[22m\u{1b}[39m Starting...\n \u{1b}[32m\u{1b}[1m✓\u{1b}[22m\u{1b}[39m Ready in 1141ms\n \u{1b}[37m\u{1b}[1m○\u{1b}[22m\u{1b}[39m Compiling / ...\n GET / \u{1b}[32m200\u{1b}[39m in 1874ms\n GET /api/classes \u{1b}[32m200\u{1b}[39m in 96ms\n \u{1b}[31m⨯\u{1b}[39m \u{1b}[31mError\u{1b}[39m: boom is handled at app/page.tsx:12\n";

/// Files of the story, with what is in them.
pub const FILES: [(&str, &str); 5] = [
    (
        "package.json",
        "{\n  \"name\": \"yoga\",\n  \"private\": true,\n  \"scripts\": { \"dev\": \"next dev\" },\n  \"dependencies\": { \"next\": \"16.0.3\", \"react\": \"19.2.0\" }\n}\n",
    ),
    (
        "app/layout.tsx",
        "import \"./globals.css\";\n\nexport const metadata = { title: \"Morning Yoga\" };\n\nexport default function Layout({ children }: { children: React.ReactNode }) {\n  return (\n    <html lang=\"en\">\n      <body>{children}</body>\n    </html>\n  );\n}\n",
    ),
    (
        "app/globals.css",
        "body {\n  margin: 0;\n  font: 16px/1.6 Georgia, serif;\n  background: #fbf7f1; /* sand */\n}\n",
    ),
    (
        "app/page.tsx",
        "import { classes } from \"./classes\";\n\n// The list and the form share one state.\nexport default async function Page() {\n  const week = await classes();\n  const open = week.filter((lesson) => lesson.free > 0);\n  return (\n    <main>\n      <h1>Morning Yoga</h1>\n      <p>{open.length} of {week.length} classes have free places.</p>\n      <ul>\n        {week.map((lesson) => (\n          <li key={lesson.id}>\n            {lesson.day} {lesson.time} · {lesson.name}\n          </li>\n        ))}\n      </ul>\n    </main>\n  );\n}\n",
    ),
    (
        "app/classes.ts",
        "export type Lesson = { id: number; day: string; time: string; name: string; free: number };\n\nexport async function classes(): Promise<Lesson[]> {\n  return [\n    { id: 1, day: \"Mon\", time: \"7:30\", name: \"Slow flow\", free: 4 },\n    { id: 2, day: \"Wed\", time: \"7:30\", name: \"Breath and balance\", free: 0 },\n  ];\n}\n",
    ),
];

/// A step of the story: how long after the one before (ms), and what.
pub enum Step {
    /// An event of the log.
    Event(EventBody),
    /// Output of a command.
    Output(OutputChunk),
}

/// The story of one turn, in order, for the app at `app`.
pub fn turn(app: &str) -> Vec<(u64, Step)> {
    let m = || id::<MessageId>("msg_2");
    let call = |n: u32| id::<CallId>(&format!("call_{n}"));
    let run = |n: u32| id::<RunId>(&format!("run_{n}"));
    let mut steps: Vec<(u64, Step)> = Vec::new();
    let mut e = |wait: u64, body: EventBody| steps.push((wait, Step::Event(body)));
    e(0, EventBody::ProjectCreated { project: id::<ProjectId>("prj_live"), name: "Yoga booking".into() });
    e(10, EventBody::UserMessage { message: id("msg_1"), text: PROMPT.into(), attachments: Vec::new(), model: None });
    e(40, EventBody::TurnStarted { turn: run(1), message: m(), model: model(), waiting: 0 });
    e(
        900,
        EventBody::ReasoningDelta {
            message: m(),
            part: 0,
            text:
                "A list of classes, a form and somewhere to keep bookings. Next.js fits: one route handler, one page."
                    .into(),
        },
    );
    for word in
        ["I'll build this ", "with Next.js: ", "a page with this week's classes ", "and a small **booking API**."]
    {
        e(180, EventBody::TextDelta { message: m(), part: 1, text: word.into() });
    }
    let text = "I'll build this with Next.js: a page with this week's classes and a small **booking API**.";
    e(20, EventBody::PartRendered { message: m(), part: 1, html: markdown_to_html(text) });
    started(&mut e, &m(), 2, call(2), "create_sandbox");
    e(150, EventBody::SandboxChanged { sandbox: sandbox(SandboxPhase::Creating, None) });
    e(60, EventBody::ToolCallSubmitted { call: call(2), run: Some(run(2)), title: String::new() });
    e(12, EventBody::SandboxChanged { sandbox: sandbox(SandboxPhase::Running, None) });
    e(
        2,
        EventBody::ToolCallFinished {
            call: call(2),
            ok: true,
            summary: String::new(),
            output: "Sandbox is ready. Node 22, Python 3.12.".into(),
            duration_ms: 12,
        },
    );
    started(&mut e, &m(), 3, call(3), "generate_files");
    for (path, text) in FILES {
        for line in text.split_inclusive('\n') {
            e(25, EventBody::FileDelta { call: call(3), path: path.into(), text: line.into() });
        }
        e(10, EventBody::FileWritten { path: path.into(), bytes: text.len() as u64, call: Some(call(3)) });
    }
    e(10, EventBody::ToolCallSubmitted { call: call(3), run: Some(run(3)), title: "5 files".into() });
    e(
        30,
        EventBody::ToolCallFinished {
            call: call(3),
            ok: true,
            summary: String::new(),
            output: "Wrote 5 files.".into(),
            duration_ms: 2140,
        },
    );
    command(&mut steps, &m(), 4, "npm install", NPM, false);
    let mut e = |wait: u64, body: EventBody| steps.push((wait, Step::Event(body)));
    e(
        10,
        EventBody::CommandExited {
            command: id("cmd_4"),
            exit: CommandExit { code: Some(0), ..Default::default() },
            duration_ms: 14_200,
            bytes: NPM.len() as u64,
        },
    );
    e(10, EventBody::FilesChanged);
    e(
        10,
        EventBody::ToolCallFinished {
            call: call(4),
            ok: true,
            summary: "added 312 packages".into(),
            output: NPM.into(),
            duration_ms: 14_240,
        },
    );
    command(&mut steps, &m(), 5, "npm run dev", NEXT, true);
    let mut e = |wait: u64, body: EventBody| steps.push((wait, Step::Event(body)));
    e(
        10,
        EventBody::ToolCallFinished {
            call: call(5),
            ok: true,
            summary: "in the background".into(),
            output: NEXT.into(),
            duration_ms: 1300,
        },
    );
    started(&mut e, &m(), 6, call(6), "get_sandbox_url");
    e(400, EventBody::PortOpened { port: 3000, url: app.into() });
    e(400, EventBody::PreviewReady { port: 3000, url: app.into(), status: 200 });
    e(
        10,
        EventBody::ToolCallFinished {
            call: call(6),
            ok: true,
            summary: "port 3000".into(),
            output: app.into(),
            duration_ms: 1900,
        },
    );
    let text = "The booking page runs. It shows:\n\n- this week's classes with free places\n- a form that keeps bookings in `data/bookings.json`\n\nAsk for a change, for instance *make it dark*.\n\n```ts\nexport const places = 12; // per class\n```";
    for word in text.split_inclusive(' ') {
        e(30, EventBody::TextDelta { message: m(), part: 7, text: word.into() });
    }
    e(10, EventBody::PartRendered { message: m(), part: 7, html: markdown_to_html(text) });
    e(
        10,
        EventBody::TurnFinished {
            turn: run(1),
            outcome: TurnOutcome::Completed,
            usage: Some(Usage { input_tokens: 18_400, output_tokens: 2_950, cached_tokens: 12_000, cost: Some(8_000) }),
        },
    );
    for n in 1..=6 {
        e(1, EventBody::RunChanged { run: Box::new(summary(n)) });
    }
    steps
}

fn started(e: &mut impl FnMut(u64, EventBody), message: &MessageId, part: u32, call: CallId, tool: &str) {
    e(300, EventBody::ToolCallStarted { message: message.clone(), part, call, tool: tool.into() });
}

fn command(steps: &mut Vec<(u64, Step)>, message: &MessageId, n: u32, line: &str, output: &str, background: bool) {
    let mut e = |wait: u64, body: EventBody| steps.push((wait, Step::Event(body)));
    let call = || id::<CallId>(&format!("call_{n}"));
    started(&mut e, message, n, call(), "run_command");
    e(200, EventBody::ToolCallSubmitted { call: call(), run: Some(id(&format!("run_{n}"))), title: line.into() });
    e(
        10,
        EventBody::CommandStarted {
            command: id(&format!("cmd_{n}")),
            line: line.into(),
            cwd: String::new(),
            background,
            call: Some(call()),
            run: Some(id(&format!("run_{n}"))),
        },
    );
    let mut offset = 0;
    for piece in output.split_inclusive('\n') {
        let len = piece.len() as u64;
        steps.push((
            160,
            Step::Output(OutputChunk { command: id(&format!("cmd_{n}")), offset, text: piece.into(), len }),
        ));
        offset += len;
    }
}

/// One of the story's runs.
pub fn summary(n: u64) -> RunSummary {
    let tasks = ["agentTurn", "createSandbox", "writeFiles", "runCommand", "runCommand", "getSandboxUrl"];
    let titles = [PROMPT, "", "5 files", "npm install", "npm run dev", "port 3000"];
    let at = n as usize - 1;
    RunSummary {
        id: id::<RunId>(&format!("run_{n}")),
        task: tasks.get(at).copied().unwrap_or("runCommand").into(),
        title: titles.get(at).copied().unwrap_or_default().into(),
        status: RunStatus::Completed,
        project: Some(id("prj_live")),
        parent: (n > 1).then(|| id("run_1")),
        call: None,
        attempt: 1,
        max_attempts: 3,
        created_at: START + n * 900,
        started_at: Some(START + n * 900 + 2),
        finished_at: Some(START + n * 900 + 2 + n * 640),
        error: None,
    }
}

/// Folds the first `count` events of the story; output windows are left to the caller.
pub fn folded(app: &str, count: usize) -> ProjectState {
    let mut state = ProjectState::empty(id("prj_still"));
    let mut at = START;
    let events = turn(app).into_iter().filter_map(|(wait, step)| match step {
        Step::Event(body) => Some((wait, body)),
        Step::Output(_) => None,
    });
    for (seq, (wait, body)) in (1..).zip(events.take(count)) {
        at += wait;
        state.apply(&Event { seq, at, body });
    }
    state
}

/// The story after event `after` as SSE frames with their waits.
pub fn story(after: u64) -> Vec<(u64, SseEvent)> {
    let mut seq = 0;
    let mut at = START;
    let mut frames = Vec::new();
    for (wait, step) in turn("http://localhost:4400/fixture-app/") {
        at += wait;
        match step {
            Step::Event(body) => {
                seq += 1;
                if seq > after {
                    let json = serde_json::to_string(&Event { seq, at, body }).unwrap_or_default();
                    frames.push((wait, SseEvent::default().id(seq.to_string()).data(json)));
                }
            }
            Step::Output(chunk) => {
                let json = serde_json::to_string(&chunk).unwrap_or_default();
                frames.push((wait, SseEvent::default().event("output").data(json)));
            }
        }
    }
    frames
}
