//! The live pages besides the workbench and the runs.

mod home;

pub use home::Home;
