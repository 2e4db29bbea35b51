//! The pages besides the workbench and the runs: home, settings, sign-in, errors.

mod home;
mod plain;

pub use home::Home;
pub use plain::DocumentView;
