//! What there is in the workspace inside: asked by one command, read from its answer.

use super::envd::{Envd, User};
use super::error::E2bError;
use super::process::HOME;
use super::shell::SHORT;
use crate::domain::{FileKind, clean_path};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most entries that are looked at.
pub const ENTRIES_MAX: usize = 20_000;
const ANSWER_MAX: usize = 32 << 20;
/// Files a template puts into every home, which are nobody's project.
const HOME_FILES: [&str; 8] = [
    ".bash_history",
    ".bash_logout",
    ".bashrc",
    ".node_repl_history",
    ".profile",
    ".python_history",
    ".sudo_as_admin_successful",
    ".wget-hsts",
];

/// An entry inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Last change, as the service writes it: only compared.
    pub modified: String,
    /// What a link leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Entries by path.
pub type Manifest = BTreeMap<String, Remote>;

/// Looks at the workspace; folders of these names are listed and not entered. Whether there is more than fits.
pub async fn look(envd: &Envd, skip: &[String]) -> Result<(Manifest, bool), E2bError> {
    // 1 says that a folder could not be read or vanished, which is no failure of the rest. Anything else is: what is
    // missing in the answer would be taken for deleted.
    let script = r#"cd "$1" || exit 3; shift; find . -mindepth 1 "$@" 2>/dev/null; [ $? -le 1 ]"#;
    const FORM: &str = "%y\\0%s\\0%m\\0%T@\\0%P\\0%l\\0";
    let mut args = vec![HOME.to_owned(), "-type".to_owned(), "d".to_owned(), "(".to_owned()];
    for (at, name) in skip.iter().enumerate() {
        args.extend((at > 0).then(|| "-o".to_owned()));
        args.extend(["-name".to_owned(), name.clone()]);
    }
    args.extend([")", "-prune", "-printf", FORM, "-o", "-printf", FORM].map(str::to_owned));
    let output = envd.shell(script, &args, User::Normal, SHORT * 3, ANSWER_MAX).await?;
    Ok(parse(&output.successful()?))
}

/// Reads six fields for each entry. What is neither file, folder nor link is not there for us, and neither is a name
/// that is not text: it could not be asked for.
fn parse(bytes: &[u8]) -> (Manifest, bool) {
    let fields: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let mut manifest = Manifest::new();
    for [kind, size, mode, modified, path, target] in fields.as_chunks::<6>().0 {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let kind = match *kind {
            b"f" => FileKind::File,
            b"d" => FileKind::Directory,
            b"l" => FileKind::Symlink,
            _ => continue,
        };
        let Some(path) = text(path).filter(|path| clean_path(path).is_ok_and(|clean| clean == *path)) else { continue };
        if HOME_FILES.contains(&path.as_str()) {
            continue;
        }
        if manifest.len() == ENTRIES_MAX {
            return (manifest, true);
        }
        let remote = Remote {
            kind,
            // The size of a folder says nothing that anybody compares.
            size: if kind == FileKind::Directory { 0 } else { text(size).and_then(|s| s.parse().ok()).unwrap_or(0) },
            mode: text(mode).and_then(|mode| u32::from_str_radix(&mode, 8).ok()).unwrap_or(0o644),
            modified: if kind == FileKind::Directory { String::new() } else { text(modified).unwrap_or_default() },
            target: (kind == FileKind::Symlink).then(|| text(target)).flatten(),
        };
        manifest.insert(path, remote);
    }
    (manifest, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_whatever_their_names_hold() {
        let answer = b"f\x005\x00644\x001795378011.5\x00a b\n.txt\x00\x00\
                       d\x004096\x00755\x001\x00src\x00\x00\
                       l\x003\x00777\x002\x00link\x00src/x\x00\
                       s\x000\x00777\x002\x00socket\x00\x00\
                       f\x001\x00644\x002\x00.bashrc\x00\x00\
                       f\x001\x00644\x002\x00\xff\x00\x00\
                       f\x001\x00644\x002\x00../out\x00\x00\
                       f\x001\x00755\x003\x00src/x\x00\x00";
        let (manifest, more) = parse(answer);
        assert!(!more);
        let paths: Vec<&str> = manifest.keys().map(String::as_str).collect();
        assert!(paths.contains(&"src") && paths.contains(&"src/x") && paths.contains(&"link"), "{paths:?}");
        assert!(!paths.iter().any(|path| path.contains("..") || *path == ".bashrc" || *path == "socket"), "{paths:?}");
        assert_eq!(manifest["link"].target.as_deref(), Some("src/x"));
        assert_eq!((manifest["src/x"].mode, manifest["src/x"].size), (0o755, 1));
        assert_eq!((manifest["src"].size, manifest["src"].modified.as_str()), (0, ""));
    }

    #[test]
    fn an_answer_that_was_cut_is_read_as_far_as_it_goes() {
        assert_eq!(parse(b"f\x005\x00644\x001\x00a\x00\x00f\x001\x00").0.len(), 1);
        assert!(parse(b"").0.is_empty());
    }
}
