//! The plan of a larger piece of work, as the model keeps it and the person sees it.

use super::json::FromJson;
use serde::{Deserialize, Serialize};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct PlanStep {
    /// What is to be done, in a few words.
    pub title: String,
    /// How far it is.
    pub state: PlanState,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Not begun.
    Todo,
    /// Being done.
    Doing,
    /// Done.
    Done,
}
