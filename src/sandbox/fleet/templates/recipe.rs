//! What a template is built from.

use std::collections::BTreeMap;

/// How to build a template.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What it begins with.
    pub base: Base,
    /// What is done, in order. Errors name a step by its number, from 1.
    pub steps: Vec<Step>,
    /// What is started in every sandbox made from it.
    pub start: Option<String>,
    /// Succeeds once that is ready.
    pub ready: Option<String>,
}

/// What a template begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A container image. Only its name is known here: the tools are the host's.
    Image(String),
    /// A template or snapshot of the same owner.
    Template(String),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command for the shell, and as whom.
    Run {
        /// The line.
        command: String,
        /// A user, if it names one.
        user: Option<String>,
    },
    /// Files that the caller has sent.
    Copy {
        /// The path or pattern below the caller's folder.
        source: String,
        /// Where they go.
        target: String,
        /// Whose they become, if said.
        owner: Option<String>,
        /// Their permissions in octal digits, if said.
        mode: Option<String>,
        /// Digest under which the files were sent.
        layer: String,
    },
    /// Variables for the steps after it and for sandboxes.
    Env(BTreeMap<String, String>),
    /// Where the steps after it, and commands in sandboxes, begin.
    Workdir(String),
    /// Who runs the steps after it.
    User(String),
}

impl Step {
    /// As a Dockerfile would have it, on one short line.
    pub fn line(&self) -> String {
        let line = match self {
            Self::Run { command, .. } => format!("RUN {command}"),
            Self::Copy { source, target, .. } => format!("COPY {source} {target}"),
            Self::Env(envs) => format!("ENV {}", envs.keys().cloned().collect::<Vec<_>>().join(" ")),
            Self::Workdir(path) => format!("WORKDIR {path}"),
            Self::User(name) => format!("USER {name}"),
        };
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
    }
}
