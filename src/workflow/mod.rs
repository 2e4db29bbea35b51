//! Tasks run durably: retried by policy, cancellable, resumed after a crash, every run recorded.
//!
//! Owns what a run is and when it may start. The seam is [`Engine`]: it decides when an attempt runs; how one attempt
//! runs, its steps, what is recorded and who is told is the same for every engine. It must not know the agent, the web pages or
//! leptos; what the tasks do to sandboxes is in `tasks`.

mod attempt;
mod bulk;
mod clock;
mod driver;
mod embedded;
pub(crate) mod engine;
mod error;
pub(crate) mod executor;
mod facade;
mod figures;
mod lanes;
mod places;
mod replay;
mod request;
mod retry;
mod steps;
mod task;
pub mod tasks;

pub use bulk::{BULK_MAX, BulkAction, BulkReport};
pub use clock::{Clock, SystemClock};
pub use engine::{Engine, EngineError, EngineHealth};
pub use error::{TaskError, WorkflowError};
pub use facade::{Submitted, Workflow, WorkflowOptions};
pub use figures::{BUCKETS_MS, Figures, Histogram};
pub use replay::Replay;
pub use request::RunRequest;
pub use retry::RetryPolicy;
pub use task::{Task, TaskContext};

pub use crate::store::{RunChange, RunCount, RunError, RunFilter, RunLabels};
