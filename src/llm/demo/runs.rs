//! The recordings, embedded in the binary. `runs/README.md` tells how to add one.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One recorded app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// The app's name inside a sentence.
    pub title: String,
    /// The app's name on a button.
    pub name: String,
    /// What it is made with.
    pub stack: String,
    /// The prompt people are offered for it.
    pub prompt: String,
    /// Groups of words; a prompt that contains every word of a group means this app.
    pub keywords: Vec<Vec<String>>,
    /// What the model does.
    pub steps: Vec<Step>,
    /// Other endings, by name.
    #[serde(default)]
    pub branches: BTreeMap<String, Script>,
    /// Changes it can make afterwards.
    #[serde(default)]
    pub follow_ups: Vec<FollowUp>,
}

/// A change to a finished app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowUp {
    /// The prompt people are offered for it.
    pub prompt: String,
    /// As in [`Run::keywords`].
    pub keywords: Vec<Vec<String>>,
    /// What the model does.
    pub steps: Vec<Step>,
}

/// Steps of a branch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// What the model does.
    pub steps: Vec<Step>,
}

/// One answer of the model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// What it says.
    #[serde(default)]
    pub text: String,
    /// What it calls.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// Where to go on if a result holds one of these texts.
    #[serde(default)]
    pub when: Vec<When>,
}

/// A condition on the results of a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    /// Any of these texts.
    pub contains: Vec<String>,
    /// Name of the branch.
    pub branch: String,
}

/// A tool call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// Tool name.
    pub tool: String,
    /// Arguments as they are.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// For `generate_files`: names under the recording's `files/`, whose contents become the arguments.
    #[serde(default)]
    pub files: Vec<String>,
}

/// A prompt people are offered on the first page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplePrompt {
    /// A few words for the button.
    pub name: String,
    /// What the app is made with, for instance `Next.js`.
    pub stack: String,
    /// The prompt itself.
    pub prompt: String,
}

/// The prompts that have a recording; any model can be given them.
pub fn samples() -> Vec<SamplePrompt> {
    let sample = |r: Recording| SamplePrompt { name: r.run.name, stack: r.run.stack, prompt: r.run.prompt };
    load().unwrap_or_default().into_iter().map(sample).collect()
}

/// A recording's parts as they were embedded.
struct Embedded {
    name: &'static str,
    script: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! recording {
    ($name:literal, [$($file:literal),* $(,)?]) => {
        Embedded {
            name: $name,
            script: include_str!(concat!("runs/", $name, "/run.toml")),
            files: &[$(($file, include_str!(concat!("runs/", $name, "/files/", $file)))),*],
        }
    };
}

/// Every recording, in the order in which they are offered.
const RECORDINGS: &[Embedded] = &[
    recording!("board", ["server.mjs", "public/index.html", "public/style.css", "public/app.js"]),
    recording!(
        "recipes",
        [
            "package.json",
            "next.config.mjs",
            "app/layout.js",
            "app/page.js",
            "app/globals.css",
            "app/recipes.js",
            "app/browser.js",
            "app/browser.module.css",
        ]
    ),
    recording!("dashboard", ["server.py", "app.py", "data.py", "charts.py", "style.css"]),
    recording!("hello-go", ["go.mod", "main.go", "page.html"]),
];

/// A recording ready to be played.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// The script.
    pub run: Run,
    files: &'static [(&'static str, &'static str)],
}

impl Recording {
    /// A call's arguments as the model sends them.
    pub fn arguments(&self, call: &Call) -> Value {
        let mut args = call.args.clone();
        if !call.files.is_empty() {
            let content = |path: &String| self.files.iter().find(|(name, _)| name == path).map(|(_, text)| *text);
            let files = call.files.iter().filter_map(|path| Some(json!({"path": path, "content": content(path)?})));
            args.insert("files".to_owned(), files.collect());
        }
        Value::Object(args)
    }
}

/// Parses what is embedded. A broken recording is a fault of the build, which a test rules out.
pub(super) fn load() -> Result<Vec<Recording>, String> {
    let parse = |e: &Embedded| {
        let run = toml::from_str(e.script).map_err(|error| format!("recording {}: {error}", e.name))?;
        Ok(Recording { run, files: e.files })
    };
    RECORDINGS.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a script's file calls over a workspace; edits must fit exactly once, as the real tool demands.
    fn play(recording: &Recording, name: &str, steps: &[Step], workspace: &mut BTreeMap<String, String>) {
        for call in steps.iter().flat_map(|s| &s.calls) {
            let args = recording.arguments(call);
            for file in args["files"].as_array().into_iter().flatten() {
                workspace
                    .insert(file["path"].as_str().unwrap().to_owned(), file["content"].as_str().unwrap().to_owned());
            }
            assert_eq!(
                args["files"].as_array().map_or(0, Vec::len),
                call.files.len(),
                "{name}: a file is not embedded"
            );
            let Some(edits) = args["edits"].as_array() else { continue };
            let path = args["path"].as_str().unwrap();
            let text = workspace.get_mut(path).unwrap_or_else(|| panic!("{name}: edits the unknown file {path}"));
            for edit in edits {
                let search = edit["search"].as_str().unwrap();
                assert_eq!(text.matches(search).count(), 1, "{name}: {path}: {search:?} must occur exactly once");
                *text = text.replace(search, edit["replace"].as_str().unwrap());
            }
        }
    }

    #[test]
    fn every_recording_is_complete_and_its_edits_fit_in_any_order() {
        for recording in load().unwrap() {
            let run = &recording.run;
            for when in run.steps.iter().chain(run.follow_ups.iter().flat_map(|f| &f.steps)).flat_map(|s| &s.when) {
                assert!(run.branches.contains_key(&when.branch), "{}: no branch {}", run.title, when.branch);
            }
            let mut built = BTreeMap::new();
            play(&recording, &run.title, &run.steps, &mut built);
            for order in [run.follow_ups.iter().collect::<Vec<_>>(), run.follow_ups.iter().rev().collect()] {
                let mut workspace = built.clone();
                for follow_up in order {
                    play(&recording, &follow_up.prompt, &follow_up.steps, &mut workspace);
                }
            }
            assert!(run.steps.last().is_some_and(|s| s.calls.is_empty()), "{}: the last step must be words", run.title);
        }
    }
}
