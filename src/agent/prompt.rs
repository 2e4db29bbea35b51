//! The system prompt, with the facts about this machine filled in.

use crate::sandbox::provider::HostTool;

const TEMPLATE: &str = include_str!("prompt.md");

/// The prompt for a sandbox with these programs.
pub(super) fn system(tools: &[HostTool]) -> String {
    let list = if tools.is_empty() {
        "a POSIX shell and the usual command line tools".to_owned()
    } else {
        tools.iter().map(|t| format!("{} {}", t.name, t.version).trim().to_owned()).collect::<Vec<_>>().join(", ")
    };
    TEMPLATE.replace("{{tools}}", &list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_names_what_is_installed_and_leaves_no_blank() {
        let tool = HostTool { name: "node".to_owned(), version: "20.1".to_owned(), path: "/usr/bin/node".into() };
        let text = system(&[tool]);
        assert!(text.contains("node 20.1") && !text.contains("{{") && !text.contains("/usr/bin/node"));
    }
}
