//! The part of the reducer about how turns end, go back and repair.

use super::event::{EventBody, TurnOutcome, Usage};
use super::state::{Change, ProjectState};
use super::views::{Message, Part, ToolState};
use super::{CallId, FaultState, FaultView, MessageId, PlanStep, Role, RunId};

/// Faults kept in the state; of older ones those that are gone are forgotten first.
const FAULTS_KEPT: usize = 40;

impl ProjectState {
    pub(super) fn fold_went_back(&mut self, message: Option<&MessageId>) -> Vec<Change> {
        let keep = match message {
            None => 0,
            Some(id) => match self.messages.iter().position(|m| m.id == *id) {
                Some(at) => at + 1,
                None => return Vec::new(),
            },
        };
        self.messages.truncate(keep);
        self.drafts.clear();
        // The files are others now: what is shown is to be loaded again.
        if let Some(preview) = &mut self.preview {
            preview.rev += 1;
        }
        vec![Change::Messages, Change::Turn, Change::Drafts, Change::Preview]
    }

    pub(super) fn fold_plan(&mut self, call: &CallId, steps: &[PlanStep]) -> Vec<Change> {
        let has = |m: &&mut Message| m.parts.iter().any(|part| matches!(part, Part::Tool(c) if c.call == *call));
        let Some(message) = self.messages.iter_mut().rev().find(has) else { return Vec::new() };
        message.plan = steps.to_vec();
        vec![Change::Message(message.id.clone())]
    }

    pub(super) fn fold_turn_finished(
        &mut self,
        at: u64,
        turn: &RunId,
        outcome: &TurnOutcome,
        usage: Option<Usage>,
    ) -> Vec<Change> {
        if self.turn.as_ref().is_some_and(|t| t.run == *turn) {
            self.turn = None;
        }
        if let Some(usage) = &usage {
            self.spent.add(usage);
        }
        self.settle_faults(turn, usage);
        let mut touched = vec![Change::Turn, Change::Drafts, Change::Faults];
        if let Some(message) = self.messages.iter_mut().rev().find(|m| m.turn.as_ref() == Some(turn)) {
            message.outcome = Some(outcome.clone());
            message.usage = usage;
            message.finished_at = Some(at);
            // A call that was still being written or run when the turn ended will never finish.
            for part in &mut message.parts {
                if let Part::Tool(call) = part
                    && matches!(call.state, ToolState::Writing | ToolState::Running)
                {
                    call.state = ToolState::Failed;
                    call.duration_ms = Some(at.saturating_sub(call.started_at));
                    if call.summary.is_empty() {
                        call.summary = "stopped".to_owned();
                    }
                }
            }
            touched.push(Change::Message(message.id.clone()));
        }
        self.drafts.clear();
        touched
    }

    /// What is known about a fault.
    pub fn fault(&self, id: &str) -> Option<&FaultView> {
        self.faults.iter().find(|f| f.fault.id == id)
    }

    pub(super) fn fold_fault(&mut self, at: u64, body: &EventBody) -> Vec<Change> {
        match body {
            EventBody::FaultSeen { fault } => match self.faults.iter_mut().find(|f| f.fault.id == fault.id) {
                Some(have) => {
                    have.fault = fault.clone();
                    have.seen += 1;
                    have.last_at = at;
                    if have.state == FaultState::Gone {
                        have.state = FaultState::Open;
                    }
                }
                None => {
                    self.faults.push(FaultView {
                        fault: fault.clone(),
                        state: FaultState::Open,
                        seen: 1,
                        tries: 0,
                        cost: 0,
                        tokens: 0,
                        first_at: at,
                        last_at: at,
                    });
                    self.forget_old_faults();
                }
            },
            EventBody::FaultsGone { faults } => self.set_faults(faults, FaultState::Gone),
            EventBody::FixStarted { message, text, faults } => {
                let mut sent = Message::user(message.clone(), at, text.clone());
                sent.fixes.clone_from(faults);
                self.messages.push(sent);
                self.set_faults(faults, FaultState::Trying);
                for fault in self.faults.iter_mut().filter(|f| faults.contains(&f.fault.id)) {
                    fault.tries += 1;
                }
                return vec![Change::Messages, Change::Faults];
            }
            EventBody::FixGivenUp { fault } => self.set_faults(std::slice::from_ref(fault), FaultState::GivenUp),
            EventBody::FixAllowed { fault } => {
                for known in self.faults.iter_mut().filter(|f| f.fault.id == *fault) {
                    (known.state, known.tries) = (FaultState::Open, 0);
                }
            }
            EventBody::AutoFixSet { on } => self.auto_fix = *on,
            EventBody::TurnChecked { turn, checks } => {
                let Some(message) = self.messages.iter_mut().rev().find(|m| m.turn.as_ref() == Some(turn)) else {
                    return Vec::new();
                };
                message.checks.clone_from(checks);
                return vec![Change::Message(message.id.clone())];
            }
            _ => {}
        }
        vec![Change::Faults]
    }

    fn set_faults(&mut self, ids: &[String], state: FaultState) {
        for fault in self.faults.iter_mut().filter(|f| ids.contains(&f.fault.id)) {
            fault.state = state;
        }
    }

    /// A turn that worked on faults ended: what it used is theirs. They count as gone until they are seen again, unless
    /// they were during the turn, after its last change.
    fn settle_faults(&mut self, turn: &RunId, usage: Option<Usage>) {
        let Some(at) = self.messages.iter().rposition(|m| m.turn.as_ref() == Some(turn)) else { return };
        let changed_at = self.messages.get(at).map_or(0, |m| m.at).max(self.files_at);
        let before = self.messages.get(..at).unwrap_or_default();
        let asked = before.iter().rev().take_while(|m| m.role == Role::User);
        let ids: Vec<String> = asked.flat_map(|m| m.fixes.iter().cloned()).collect();
        let usage = usage.unwrap_or_default();
        for fault in self.faults.iter_mut().filter(|f| ids.contains(&f.fault.id)) {
            fault.cost += usage.cost.unwrap_or(0);
            fault.tokens += usage.input_tokens + usage.output_tokens;
            if fault.state == FaultState::Trying {
                fault.state = if fault.last_at >= changed_at { FaultState::Open } else { FaultState::Gone };
            }
        }
    }

    fn forget_old_faults(&mut self) {
        while self.faults.len() > FAULTS_KEPT {
            let at = self.faults.iter().position(|f| f.state == FaultState::Gone).unwrap_or(0);
            self.faults.remove(at);
        }
    }
}
