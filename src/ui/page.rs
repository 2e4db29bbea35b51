//! What a page is made of: the data the server puts into the document and the browser hydrates from.
//!
//! Both sides render the same [`PageData`], so the first client render equals the server's. It must not know where the
//! data came from, and holds nothing that only one side knows (clock, locale, window size).

use crate::domain::FromJson;
use crate::domain::{FileNode, OutputWindow, ProjectState, ProjectSummary};
use serde::{Deserialize, Serialize};

/// One page with all it shows at first.
///
/// Tagged from outside: an inner tag would make serde buffer the page and compile every type in it twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum PageData {
    /// `/`: the prompt and the projects.
    Home {
        /// Projects, newest first.
        projects: ProjectList,
        /// Models to choose from; empty if the provider could not be asked.
        models: Vec<ModelOption>,
        /// How much the first of them shall think: `low`, `medium`, `high`, or empty for its own way.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        effort: String,
        /// Prompts that are known to work.
        samples: Vec<Sample>,
        /// Whether the recorded demo answers because no model is configured.
        demo: bool,
    },
    /// `/p/{project}`: the workbench.
    Project(Box<ProjectPage>),
    /// `/runs` and `/runs/{run}`: the dashboard, drawn by the server.
    Runs {
        /// The document's title.
        title: String,
        /// What stands inside `<main>`.
        html: String,
        /// Whether it may change.
        live: bool,
    },
}

impl PageData {
    /// The document's title.
    pub fn title(&self) -> String {
        let name = match self {
            Self::Home { .. } => return "Sandcastle".to_owned(),
            Self::Project(page) => page.state.name.clone(),
            Self::Runs { title, .. } => title.clone(),
        };
        format!("{name} · Sandcastle")
    }
}

/// The projects of the home page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromJson)]
pub struct ProjectList {
    /// Those that are shown, newest first.
    pub shown: Vec<ProjectSummary>,
    /// How many fit the search.
    pub total: usize,
    /// Words that are searched for.
    pub search: String,
    /// The address that shows more of them, if there are more.
    pub more: Option<String>,
}

impl ProjectList {
    /// Projects that are shown, and that are added by each "more".
    pub const PAGE: usize = 60;
}

/// What the workbench shows at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJson)]
pub struct ProjectPage {
    /// The fold of the project's log; the event stream goes on after its `seq`.
    pub state: ProjectState,
    /// The workspace's tree.
    pub files: Vec<FileNode>,
    /// Tails of command outputs; a command without one is fetched when it is opened.
    pub outputs: Vec<OutputWindow>,
    /// Models to choose from; empty if the provider could not be asked.
    pub models: Vec<ModelOption>,
    /// Id of the model the next message goes to unless the person chooses another.
    pub model: String,
    /// How much it shall think: `low`, `medium`, `high`, or empty for its own way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub effort: String,
    /// Sizes and pane as the person left them.
    pub layout: Layout,
    /// The file shown in Code, if the address names one (`?file=`).
    pub open_file: Option<FileView>,
}

/// A model in a picker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct ModelOption {
    /// The id sent to the provider.
    pub id: String,
    /// A name for people.
    pub label: String,
    /// Heading it stands under, for instance `Anthropic` or `On this machine`; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Whether it is known to see no images.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blind: bool,
    /// Whether it is the recorded demo, which thinks as it was recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub demo: bool,
    /// Whether it is to be tried when it is chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untried: bool,
}

/// What is known of a model by trying it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct ModelTrial {
    /// In words; empty if there is nothing to say.
    pub words: String,
    /// Grows with each piece of news.
    pub step: u32,
    /// Whether more will come.
    pub running: bool,
}

/// A sample prompt: choosing it submits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Sample {
    /// A few words.
    pub title: String,
    /// What it is made with, for instance `Next.js`.
    pub stack: String,
    /// The whole prompt.
    pub prompt: String,
}

/// A file as Code shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct FileView {
    /// Path relative to the workspace.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Language for people, for instance `TypeScript`; empty if unknown.
    pub language: String,
    /// Its content.
    pub body: FileBody,
}

/// The content of a [`FileView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum FileBody {
    /// Text, one entry a line; no entry for an empty file.
    Text {
        /// Lines as sanitized HTML with classed spans, without line feeds.
        lines: Vec<String>,
        /// Whether the file goes on after the last line.
        truncated: bool,
    },
    /// Not text.
    Binary,
    /// There is no such file any more.
    Missing,
}

/// The four panes of the work side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum Pane {
    /// The running app.
    #[default]
    Preview,
    /// Files.
    Code,
    /// Output of commands.
    Logs,
    /// Task runs.
    Runs,
}

impl Pane {
    /// All, in the order of the tabs.
    pub const ALL: [Self; 4] = [Self::Preview, Self::Code, Self::Logs, Self::Runs];

    /// The word on its tab.
    pub fn label(self) -> &'static str {
        match self {
            Self::Preview => "Preview",
            Self::Code => "Code",
            Self::Logs => "Logs",
            Self::Runs => "Runs",
        }
    }

    /// The word in ids, cookies and addresses.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Code => "code",
            Self::Logs => "logs",
            Self::Runs => "runs",
        }
    }
}

/// Sizes of the workbench and the pane last chosen, remembered in a cookie so that the server renders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Layout {
    /// Width of the chat in CSS pixels.
    pub chat: u16,
    /// Width of the file tree in CSS pixels.
    pub tree: u16,
    /// The pane shown.
    pub pane: Pane,
}

impl Default for Layout {
    fn default() -> Self {
        Self { chat: 420, tree: 220, pane: Pane::Preview }
    }
}

impl Layout {
    /// Name of the cookie.
    pub const COOKIE: &'static str = "sandcastle_layout";
    /// Smallest and largest chat, in CSS pixels.
    pub const CHAT: (u16, u16) = (320, 720);
    /// Smallest and largest tree, in CSS pixels.
    pub const TREE: (u16, u16) = (140, 420);

    /// Reads the cookie's value (`420.220.preview`). What is missing or wrong takes its default.
    pub fn from_cookie(value: &str) -> Self {
        let default = Self::default();
        let mut parts = value.split('.');
        let mut size = |(least, most): (u16, u16), otherwise: u16| {
            parts.next().and_then(|p| p.parse::<u16>().ok()).map_or(otherwise, |n| n.clamp(least, most))
        };
        let chat = size(Self::CHAT, default.chat);
        let tree = size(Self::TREE, default.tree);
        let pane = parts.next().and_then(|p| Pane::ALL.into_iter().find(|pane| pane.slug() == p));
        Self { chat, tree, pane: pane.unwrap_or_default() }
    }

    /// The cookie's value.
    pub fn to_cookie(self) -> String {
        format!("{}.{}.{}", self.chat, self.tree, self.pane.slug())
    }
}

/// Light, dark, or as the system is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJson)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the system is set.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Name of the cookie.
    pub const COOKIE: &'static str = "sandcastle_theme";

    /// Reads the cookie's value; anything unknown is [`Theme::System`].
    pub fn from_cookie(value: &str) -> Self {
        match value {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    /// What the theme button turns to next.
    pub fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }

    /// The theme in words.
    pub fn label(self) -> &'static str {
        match self {
            Self::System => "Theme: as the system",
            Self::Light => "Theme: light",
            Self::Dark => "Theme: dark",
        }
    }

    /// Its icon.
    pub fn icon(self) -> &'static str {
        match self {
            Self::System => "theme",
            Self::Light => "sun",
            Self::Dark => "moon",
        }
    }

    /// The cookie's value and the document's `data-theme`.
    pub fn slug(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_cookie_survives_a_round_trip_and_nonsense_takes_defaults() {
        let layout = Layout { chat: 500, tree: 180, pane: Pane::Logs };
        assert_eq!(Layout::from_cookie(&layout.to_cookie()), layout);
        assert_eq!(Layout::from_cookie("").pane, Pane::Preview);
        assert_eq!(Layout::from_cookie("9999.x.<script>"), Layout { chat: 720, ..Layout::default() });
    }
}
