//! The plan of a larger piece of work, as the model keeps it and the person sees it.

use super::files::{PathError, clean_path};
use super::json::FromJson;
use serde::{Deserialize, Serialize};

/// Characters of a page's path or a command's line.
const TARGET_MAX: usize = 1_000;
/// Characters of a text that is looked for.
const CONTAINS_MAX: usize = 200;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct PlanStep {
    /// What is to be done, in a few words.
    pub title: String,
    /// How far it is.
    pub state: PlanState,
    /// How one can see that it works, if the model says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<StepCheck>,
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

/// How one can see that a step works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct StepCheck {
    /// What is looked at.
    pub kind: CheckKind,
    /// Which: the path of a page or of a file, or the line of a command.
    pub target: String,
    /// A text that must be in it, or in what the command says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A page or an answer of the app's API, which must have a status below 400.
    Page,
    /// A file of the workspace, which must be there.
    File,
    /// A command, which must exit with 0.
    Command,
}

/// Why a check cannot be made as it is, in the words of the tool that takes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Another host, another form, or a way out of the app.
    #[error("\"page\" must be a path of the app: one / first, no host, no \"..\", no #, such as /api/tasks")]
    Page,
    /// Not a path of the workspace.
    #[error("\"file\": {0}")]
    File(#[from] PathError),
    /// Nothing, or not text.
    #[error("\"command\" must be a command line, such as npm test")]
    Command,
    /// Not text.
    #[error("\"contains\" must be words that can be seen, without control characters")]
    Contains,
    /// More than anybody looks at.
    #[error("\"{0}\" is longer than {1} characters")]
    TooLong(&'static str, usize),
}

impl PlanStep {
    /// Takes over the check that the same step had before, unless it brings one.
    pub fn keep_check(&mut self, before: &[Self]) {
        if self.check.is_none() {
            let same = before.iter().filter(|step| step.title == self.title);
            self.check = same.filter_map(|step| step.check.clone()).next();
        }
    }
}

impl StepCheck {
    /// The check as it may be made, whoever wrote it.
    pub fn cleaned(self) -> Result<Self, CheckError> {
        let target = match self.kind {
            CheckKind::Page => page(self.target.trim())?,
            CheckKind::File => clean_path(self.target.trim())?,
            CheckKind::Command => command(self.target.trim())?,
        };
        let contains = self.contains.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        if let Some(text) = &contains {
            within(text, "contains", CONTAINS_MAX)?;
            if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
                return Err(CheckError::Contains);
            }
        }
        Ok(Self { kind: self.kind, target, contains })
    }
}

/// A path of the app as it stands in a request.
fn page(path: &str) -> Result<String, CheckError> {
    within(path, "page", TARGET_MAX)?;
    let inside = path.strip_prefix('/').is_some_and(|rest| !rest.starts_with('/'));
    let climbs = path.split(['/', '?']).any(|part| part == "..");
    if !inside || climbs || path.contains(['\\', '#']) || path.chars().any(char::is_control) {
        return Err(CheckError::Page);
    }
    let written = |byte: u8| match byte.is_ascii_graphic() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    Ok(path.bytes().map(written).collect())
}

fn command(line: &str) -> Result<String, CheckError> {
    within(line, "command", TARGET_MAX)?;
    if line.is_empty() || line.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(CheckError::Command);
    }
    Ok(line.to_owned())
}

fn within(text: &str, name: &'static str, max: usize) -> Result<(), CheckError> {
    if text.chars().nth(max).is_some() { Err(CheckError::TooLong(name, max)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(kind: CheckKind, target: &str, contains: Option<&str>) -> Result<StepCheck, String> {
        let check = StepCheck { kind, target: target.to_owned(), contains: contains.map(str::to_owned) };
        check.cleaned().map_err(|error| error.to_string())
    }

    #[test]
    fn a_step_of_an_older_event_has_no_check() {
        let old = r#"{"title":"The list","state":"done"}"#;
        let step = PlanStep { title: "The list".to_owned(), state: PlanState::Done, check: None };
        assert_eq!(serde_json::from_str::<PlanStep>(old).unwrap(), step);
        assert_eq!(crate::domain::json::read::<PlanStep>(old.as_bytes()).unwrap(), step);
        assert_eq!(serde_json::to_string(&step).unwrap(), old);
    }

    #[test]
    fn a_step_keeps_its_check_until_it_brings_another() {
        let step = |title: &str, target: Option<&str>| PlanStep {
            title: title.to_owned(),
            state: PlanState::Done,
            check: target.map(|target| cleaned(CheckKind::Page, target, None).unwrap()),
        };
        let before = [step("a", Some("/a")), step("b", None)];
        for (mut now, wanted) in [
            (step("a", None), step("a", Some("/a"))),
            (step("a", Some("/other")), step("a", Some("/other"))),
            (step("b", None), step("b", None)),
            (step("c", None), step("c", None)),
        ] {
            now.keep_check(&before);
            assert_eq!(now, wanted);
        }
    }

    #[test]
    fn what_has_one_meaning_is_written_as_it_is_asked_for() {
        let target = |kind, target| cleaned(kind, target, None).unwrap().target;
        assert_eq!(target(CheckKind::Page, " /search?q=Buy milk&in=ä "), "/search?q=Buy%20milk&in=%C3%A4");
        assert_eq!(target(CheckKind::File, "./src//a.js"), "src/a.js");
        assert_eq!(target(CheckKind::Command, " npm test\n"), "npm test");
        assert_eq!(cleaned(CheckKind::Page, "/", Some(" ")).unwrap().contains, None);
    }

    #[test]
    fn what_leads_out_of_the_app_or_is_no_text_is_refused_with_what_is_allowed() {
        for page in [
            "",
            "api",
            "//evil",
            "/\\evil",
            "http://evil",
            "https://evil/",
            "/../x",
            "/a/..",
            "/a?b/../c",
            "/a\r\nX: y",
            "/a\0",
            "/#/a",
        ] {
            assert!(cleaned(CheckKind::Page, page, None).unwrap_err().contains("/api/tasks"), "{page:?}");
        }
        let long = "x".repeat(1_000_000);
        for (kind, target, contains, words) in [
            (CheckKind::Page, format!("/{long}").as_str(), None, "\"page\" is longer than 1000"),
            (CheckKind::File, "../../etc/passwd", None, "outside the workspace"),
            (CheckKind::File, "/etc/passwd", None, "outside the workspace"),
            (CheckKind::File, "a\0", None, "control character"),
            (CheckKind::File, long.as_str(), None, "longer than 1024"),
            (CheckKind::Command, "", None, "npm test"),
            (CheckKind::Command, "ls\0", None, "npm test"),
            (CheckKind::Command, long.as_str(), None, "longer than 1000"),
            (CheckKind::Page, "/", Some("a\0"), "\"contains\""),
            (CheckKind::Page, "/", Some(long.as_str()), "\"contains\" is longer than 200"),
        ] {
            let error = cleaned(kind, target, contains).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
