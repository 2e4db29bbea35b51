//! Properties of the reducer that server and browser rely on: how events arrive must not matter.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;

fn message() -> impl Strategy<Value = MessageId> {
    (0..4u8).prop_map(|n| MessageId::parse(format!("msg_{n}")).unwrap())
}

fn call() -> impl Strategy<Value = CallId> {
    (0..4u8).prop_map(|n| CallId::parse(format!("call_{n}")).unwrap())
}

fn run() -> impl Strategy<Value = RunId> {
    (0..4u8).prop_map(|n| RunId::parse(format!("run_{n}")).unwrap())
}

fn command() -> impl Strategy<Value = CommandId> {
    (0..6u8).prop_map(|n| CommandId::parse(format!("cmd_{n}")).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    select(vec!["", "a", "é\n", "\u{1b}[1m", "two words", "\"}{\\", "\u{0}"]).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    select(vec!["a.txt", "src/b.rs", ""]).prop_map(str::to_owned)
}

fn outcome() -> impl Strategy<Value = TurnOutcome> {
    prop_oneof![
        Just(TurnOutcome::Completed),
        Just(TurnOutcome::Stopped),
        any::<u32>().prop_map(|steps| TurnOutcome::StepLimit { steps }),
        text().prop_map(|text| TurnOutcome::Failed { error: ApiError::invalid(text) }),
    ]
}

fn sandbox() -> impl Strategy<Value = SandboxView> {
    let phases = vec![SandboxPhase::Creating, SandboxPhase::Running, SandboxPhase::Asleep, SandboxPhase::Failed];
    (select(phases), proptest::option::of(text())).prop_map(|(phase, detail)| SandboxView {
        id: SandboxId::parse("i1234567890abcdefghi").unwrap(),
        phase,
        detail,
        provider: "local".to_owned(),
        limits: Limits::default(),
    })
}

fn summary() -> impl Strategy<Value = RunSummary> {
    let statuses = vec![RunStatus::Queued, RunStatus::Executing, RunStatus::Completed, RunStatus::Failed];
    (run(), select(statuses), text(), proptest::option::of(call())).prop_map(|(id, status, title, call)| RunSummary {
        id,
        task: "runCommand".to_owned(),
        title,
        status,
        project: None,
        parent: None,
        call,
        attempt: 1,
        max_attempts: 3,
        created_at: 1,
        started_at: Some(2),
        finished_at: None,
        error: None,
    })
}

fn conversation() -> impl Strategy<Value = EventBody> {
    let model = ModelRef { id: "demo".to_owned(), label: "Demo".to_owned(), demo: true };
    prop_oneof![
        text().prop_map(|name| EventBody::ProjectRenamed { name }),
        (message(), text()).prop_map(|(message, text)| EventBody::UserMessage {
            message,
            text,
            attachments: Vec::new(),
            model: None
        }),
        (run(), message(), 0..3u32).prop_map(move |(turn, message, waiting)| EventBody::TurnStarted {
            turn,
            message,
            model: model.clone(),
            waiting
        }),
        (message(), 0..6u32).prop_map(|(message, parts)| EventBody::TurnRewound { message, parts }),
        (message(), 0..6u32, text()).prop_map(|(message, part, text)| EventBody::TextDelta { message, part, text }),
        (message(), 0..6u32, text()).prop_map(|(message, part, text)| EventBody::ReasoningDelta {
            message,
            part,
            text
        }),
        (message(), 0..6u32, text()).prop_map(|(message, part, html)| EventBody::PartRendered { message, part, html }),
        (run(), outcome()).prop_map(|(turn, outcome)| EventBody::TurnFinished {
            turn,
            outcome,
            usage: Some(Usage::default()),
        }),
    ]
}

fn tools() -> impl Strategy<Value = EventBody> {
    prop_oneof![
        (message(), 0..6u32, call(), text()).prop_map(|(message, part, call, tool)| EventBody::ToolCallStarted {
            message,
            part,
            call,
            tool
        }),
        (call(), path(), text()).prop_map(|(call, path, text)| EventBody::FileDelta { call, path, text }),
        (call(), proptest::option::of(run()), text()).prop_map(|(call, run, title)| EventBody::ToolCallSubmitted {
            call,
            run,
            title
        }),
        (call(), any::<bool>(), text()).prop_map(|(call, ok, summary)| EventBody::ToolCallFinished {
            call,
            ok,
            output: summary.clone(),
            summary,
            duration_ms: 7,
        }),
        (path(), proptest::option::of(call())).prop_map(|(path, call)| EventBody::FileWritten { path, bytes: 3, call }),
        Just(EventBody::FilesChanged),
    ]
}

fn machine() -> impl Strategy<Value = EventBody> {
    prop_oneof![
        sandbox().prop_map(|sandbox| EventBody::SandboxChanged { sandbox }),
        (command(), text(), any::<bool>(), proptest::option::of(call())).prop_map(
            |(command, line, background, call)| EventBody::CommandStarted {
                command,
                line,
                cwd: String::new(),
                background,
                call,
                run: None,
            }
        ),
        (command(), any::<i32>()).prop_map(|(command, code)| EventBody::CommandExited {
            command,
            exit: CommandExit { code: Some(code), ..CommandExit::default() },
            duration_ms: 5,
            bytes: 9,
        }),
        (any::<u16>(), text()).prop_map(|(port, url)| EventBody::PortOpened { port, url }),
        any::<u16>().prop_map(|port| EventBody::PortClosed { port }),
        (any::<u16>(), text(), any::<u16>()).prop_map(|(port, url, status)| EventBody::PreviewReady {
            port,
            url,
            status
        }),
        summary().prop_map(|run| EventBody::RunChanged { run: Box::new(run) }),
    ]
}

fn fault() -> impl Strategy<Value = String> {
    select(vec!["f1", "f2", "f3"]).prop_map(str::to_owned)
}

fn seen() -> impl Strategy<Value = Fault> {
    let kinds = vec![FaultKind::Browser, FaultKind::Exit, FaultKind::Output, FaultKind::Blank];
    (fault(), select(kinds), text(), text()).prop_map(|(id, kind, title, detail)| Fault { id, kind, title, detail })
}

fn attachment() -> impl Strategy<Value = Attachment> {
    (select(vec!["0a", "1b"]), any::<bool>(), path()).prop_map(|(hex, image, path)| Attachment {
        id: AttachmentId::parse(hex.repeat(32)).unwrap(),
        name: "a file".to_owned(),
        bytes: 7,
        image,
        path,
    })
}

fn line() -> impl Strategy<Value = NetworkLine> {
    (select(vec!["a.example.com", "b.example.com"]), any::<bool>(), text(), any::<u32>()).prop_map(
        |(target, allowed, why, count)| NetworkLine {
            target: target.to_owned(),
            port: 443,
            allowed,
            why,
            program: "node".to_owned(),
            connections: u64::from(count),
            sent: 1,
            received: 2,
            last_at: u64::from(count),
        },
    )
}

fn check() -> impl Strategy<Value = StepCheck> {
    let kinds = vec![CheckKind::Page, CheckKind::File, CheckKind::Command];
    (select(kinds), text(), proptest::option::of(text())).prop_map(|(kind, target, contains)| StepCheck {
        kind,
        target,
        contains,
    })
}

fn history() -> impl Strategy<Value = EventBody> {
    let states = vec![PlanState::Todo, PlanState::Doing, PlanState::Done];
    let step = (text(), select(states), proptest::option::of(check())).prop_map(|(title, state, check)| PlanStep {
        title,
        state,
        check,
    });
    prop_oneof![
        (message(), text(), vec(attachment(), 0..3)).prop_map(|(message, text, attachments)| EventBody::UserMessage {
            message,
            text,
            attachments,
            model: Some("gpt-5".to_owned())
        }),
        (call(), vec(step, 0..4)).prop_map(|(call, steps)| EventBody::PlanChanged { call, steps }),
        proptest::option::of(any::<u64>()).prop_map(|limit| EventBody::BudgetSet { limit }),
        (run(), any::<u32>()).prop_map(|(turn, files)| EventBody::CheckpointMade {
            turn,
            checkpoint: Checkpoint { commit: "c0ffee".to_owned(), files, added: 1, removed: 2, left_out: Vec::new() },
        }),
        proptest::option::of(message()).prop_map(|message| EventBody::WentBack { message }),
        message().prop_map(|message| EventBody::MessageWithdrawn { message }),
        message().prop_map(|message| EventBody::MessageMovedUp { message }),
    ]
}

fn repairs() -> impl Strategy<Value = EventBody> {
    let image = || select(vec![None, Some(AttachmentId::parse("2c".repeat(32)).unwrap())]);
    let check = (text(), any::<bool>(), any::<bool>(), image()).prop_map(|(detail, ok, skipped, image)| Checked {
        name: "The app answers".to_owned(),
        ok,
        detail,
        skipped,
        image,
    });
    prop_oneof![
        seen().prop_map(|fault| EventBody::FaultSeen { fault }),
        vec(fault(), 0..3).prop_map(|faults| EventBody::FaultsGone { faults }),
        (message(), text(), vec(fault(), 0..3)).prop_map(|(message, text, faults)| EventBody::FixStarted {
            message,
            text,
            faults
        }),
        fault().prop_map(|fault| EventBody::FixGivenUp { fault }),
        fault().prop_map(|fault| EventBody::FixAllowed { fault }),
        any::<bool>().prop_map(|on| EventBody::AutoFixSet { on }),
        (run(), vec(check, 0..3)).prop_map(|(turn, checks)| EventBody::TurnChecked { turn, checks }),
    ]
}

fn network() -> impl Strategy<Value = EventBody> {
    let modes = vec![NetworkMode::Internet, NetworkMode::Allowlist, NetworkMode::Off];
    let names = || vec(text(), 0..3);
    let policy = (select(modes), names(), names()).prop_map(|(mode, allow, deny)| NetworkPolicy { mode, allow, deny });
    prop_oneof![
        policy.prop_map(|policy| EventBody::NetworkPolicyChanged { policy }),
        vec(line(), 0..4).prop_map(|lines| EventBody::NetworkUsed { lines }),
    ]
}

/// Kinds of events.
const KINDS: usize = 37;

/// Which kind of event it is. A new kind does not compile here before it has a place in the logs below.
fn kind(body: &EventBody) -> usize {
    match body {
        EventBody::ProjectCreated { .. } => 0,
        EventBody::ProjectRenamed { .. } => 1,
        EventBody::UserMessage { .. } => 2,
        EventBody::TurnStarted { .. } => 3,
        EventBody::TurnRewound { .. } => 4,
        EventBody::TextDelta { .. } => 5,
        EventBody::ReasoningDelta { .. } => 6,
        EventBody::PartRendered { .. } => 7,
        EventBody::ToolCallStarted { .. } => 8,
        EventBody::FileDelta { .. } => 9,
        EventBody::ToolCallSubmitted { .. } => 10,
        EventBody::ToolCallFinished { .. } => 11,
        EventBody::PlanChanged { .. } => 12,
        EventBody::FileWritten { .. } => 13,
        EventBody::FilesChanged => 14,
        EventBody::SandboxChanged { .. } => 15,
        EventBody::CommandStarted { .. } => 16,
        EventBody::CommandExited { .. } => 17,
        EventBody::PortOpened { .. } => 18,
        EventBody::PortClosed { .. } => 19,
        EventBody::PreviewReady { .. } => 20,
        EventBody::NetworkPolicyChanged { .. } => 21,
        EventBody::NetworkUsed { .. } => 22,
        EventBody::RunChanged { .. } => 23,
        EventBody::BudgetSet { .. } => 24,
        EventBody::CheckpointMade { .. } => 25,
        EventBody::WentBack { .. } => 26,
        EventBody::MessageWithdrawn { .. } => 27,
        EventBody::MessageMovedUp { .. } => 28,
        EventBody::FaultSeen { .. } => 29,
        EventBody::FaultsGone { .. } => 30,
        EventBody::FixStarted { .. } => 31,
        EventBody::FixGivenUp { .. } => 32,
        EventBody::FixAllowed { .. } => 33,
        EventBody::AutoFixSet { .. } => 34,
        EventBody::TurnChecked { .. } => 35,
        EventBody::TurnFinished { .. } => 36,
    }
}

/// A log: any events, also those that refer to nothing.
fn log() -> impl Strategy<Value = Vec<Event>> {
    vec(prop_oneof![conversation(), tools(), machine(), history(), repairs(), network()], 0..80).prop_map(|bodies| {
        let created = EventBody::ProjectCreated { project: project(), name: "First".to_owned() };
        let bodies = std::iter::once(created).chain(bodies);
        (1..).zip(bodies).map(|(seq, body)| Event { seq, at: 1_000 + seq * 3, body }).collect()
    })
}

fn project() -> ProjectId {
    ProjectId::parse("prj_1").unwrap()
}

fn folded(events: &[Event]) -> ProjectState {
    let mut state = ProjectState::empty(project());
    state.apply_all(events);
    state
}

#[test]
fn the_logs_made_up_here_have_every_kind_of_event() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let logs = (0..200).map(|_| log().new_tree(&mut runner).unwrap().current());
    let found: std::collections::BTreeSet<usize> = logs.flatten().map(|event| kind(&event.body)).collect();
    assert_eq!(found.len(), KINDS, "{found:?}");
}

mod fuzz {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_split_into_batches_folds_to_the_same_state(events in log(), sizes in vec(1..9usize, 1..80)) {
            let mut state = ProjectState::empty(project());
            let mut rest = events.as_slice();
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (batch, later) = rest.split_at(size.min(rest.len()));
                state.apply_all(batch);
                rest = later;
            }
            prop_assert_eq!(state, folded(&events));
        }

        #[test]
        fn a_snapshot_at_any_point_and_the_rest_fold_to_the_same_state(
            events in log(),
            cut in any::<prop::sample::Index>(),
        ) {
            let at = cut.index(events.len() + 1);
            let text = serde_json::to_string(&folded(&events[..at])).unwrap();
            let mut state: ProjectState = serde_json::from_str(&text).unwrap();
            state.apply_all(&events[at..]);
            prop_assert_eq!(state, folded(&events));
        }

        #[test]
        fn events_folded_before_change_nothing(events in log(), from in any::<prop::sample::Index>()) {
            let whole = folded(&events);
            let mut again = whole.clone();
            prop_assert!(again.apply_all(&events[from.index(events.len())..]).is_empty());
            prop_assert_eq!(again, whole);
        }

        #[test]
        fn events_come_back_from_json_as_they_went(events in log()) {
            let text = serde_json::to_string(&events).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<Event>>(&text).unwrap(), events.as_slice());
            prop_assert_eq!(json::read::<Vec<Event>>(text.as_bytes()).unwrap(), events);
        }

        #[test]
        fn a_state_is_read_in_the_browser_as_on_the_server(events in log()) {
            let state = folded(&events);
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<ProjectState>(&text).unwrap(), &state);
            prop_assert_eq!(json::read::<ProjectState>(text.as_bytes()).unwrap(), state);
        }

        #[test]
        fn every_change_is_reported(events in log()) {
            let mut state = ProjectState::empty(project());
            for event in &events {
                let before = state.clone();
                let touched = state.apply(event);
                for message in &state.messages {
                    let same = before.message(&message.id) == state.message(&message.id);
                    let one = Change::Message(message.id.clone());
                    let told = touched.contains(&Change::Messages) || touched.contains(&one);
                    prop_assert!(same || told, "{:?} changed {} silently", event.body, message.id);
                }
                let told = |change: Change| touched.contains(&change);
                prop_assert!(before.runs == state.runs || told(Change::Runs));
                prop_assert!(before.drafts == state.drafts || told(Change::Drafts));
                prop_assert!(before.commands == state.commands || told(Change::Commands));
                prop_assert!(before.sandbox == state.sandbox || told(Change::Sandbox));
                let preview = before.ports == state.ports && before.preview == state.preview;
                prop_assert!(preview || told(Change::Preview));
                prop_assert!(before.files_rev == state.files_rev || told(Change::Files));
                prop_assert!(before.turn == state.turn || told(Change::Turn));
                let faults = before.faults == state.faults && before.auto_fix == state.auto_fix;
                prop_assert!(faults || told(Change::Faults));
                prop_assert!(before.network == state.network || told(Change::Network));
            }
        }
    }
}
