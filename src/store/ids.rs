//! Where ids and the time come from: the only randomness and clock of stored data.

use crate::domain::{CallId, CommandId, IdError, MessageId, ProjectId, RunId, SandboxId};
use std::time::{SystemTime, UNIX_EPOCH};

/// Letters and digits of a sandbox id: 32 of them, so that five random bits choose one without bias.
const SANDBOX_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Now, in Unix milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A fresh project id.
pub fn new_project_id() -> ProjectId {
    fresh("prj_")
}

/// The id of the project that belongs to a run: the same part behind another prefix.
#[expect(clippy::expect_used, reason = "both ids allow the same letters and lengths; a test proves it")]
pub(super) fn project_id_of(run: &RunId) -> ProjectId {
    let tail = run.as_str().strip_prefix("run_").unwrap_or(run.as_str());
    ProjectId::parse(format!("prj_{tail}")).expect("what names a run can name a project")
}

/// A fresh message id.
pub fn new_message_id() -> MessageId {
    fresh("msg_")
}

/// A fresh run id.
pub fn new_run_id() -> RunId {
    fresh("run_")
}

/// A fresh command id.
pub fn new_command_id() -> CommandId {
    fresh("cmd_")
}

/// A fresh tool call id.
pub fn new_call_id() -> CallId {
    fresh("call_")
}

/// A fresh sandbox id: 95 random bits, because the id is also the name under which its previews are reached.
#[expect(clippy::expect_used, reason = "without the kernel's randomness no id is safe; the shape is proved by a test")]
pub fn new_sandbox_id() -> SandboxId {
    let mut random = [0u8; 19];
    getrandom::fill(&mut random).expect("the kernel provides random bytes");
    let tail = random.iter().map(|byte| char::from(SANDBOX_ALPHABET[usize::from(byte & 31)]));
    SandboxId::parse(std::iter::once('i').chain(tail).collect::<String>()).expect("a fresh id is valid")
}

#[expect(clippy::expect_used, reason = "a prefix and a ULID have the shape the parser checks; a test proves it")]
fn fresh<Id: TryFrom<String, Error = IdError>>(prefix: &str) -> Id {
    let ulid = ulid::Ulid::new().to_string().to_ascii_lowercase();
    Id::try_from(format!("{prefix}{ulid}")).expect("a fresh id is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_valid_and_differ() {
        assert_ne!(new_project_id(), new_project_id());
        assert_ne!(new_sandbox_id(), new_sandbox_id());
        new_message_id();
        new_run_id();
        new_command_id();
        new_call_id();
    }

    #[test]
    fn a_run_has_one_project_id() {
        let run = new_run_id();
        assert_eq!(project_id_of(&run), project_id_of(&run));
        let longest = RunId::parse(format!("run_{}", "-".repeat(64))).unwrap();
        assert_eq!(project_id_of(&longest).as_str().len(), 68);
    }
}
