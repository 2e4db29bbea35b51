//! The folders depend on each other in one direction only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Lines of code that mention one of the words.
fn mentions(folder: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(folder) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn nothing_below_the_edges_knows_leptos_or_axum() {
    for folder in ["domain", "store", "sandbox", "workflow", "tools", "agent", "llm", "config", "otlp", "restate"] {
        let found = mentions(folder, &["leptos::", "axum::", "use leptos", "use axum", "leptos_axum"]);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

#[test]
fn each_folder_uses_only_those_below_it() {
    let above: [(&str, &[&str]); 13] = [
        (
            "domain",
            &["crate::store", "crate::sandbox", "crate::workflow", "crate::agent", "crate::llm", "tokio", "sqlx"],
        ),
        ("config", &["crate::store", "crate::sandbox", "crate::workflow", "crate::agent", "crate::llm", "tokio"]),
        ("store", &["crate::sandbox", "crate::workflow", "crate::agent", "crate::tools", "crate::llm"]),
        ("sandbox", &["crate::workflow", "crate::agent", "crate::tools", "crate::llm"]),
        ("workflow", &["crate::agent", "crate::tools", "crate::llm"]),
        ("restate", &["crate::sandbox", "crate::agent", "crate::tools", "crate::llm", "crate::ui", "crate::dashboard"]),
        ("tools", &["crate::agent", "crate::llm::openai", "crate::llm::demo", "crate::sandbox::Service"]),
        ("llm", &["crate::store", "crate::sandbox", "crate::workflow", "crate::agent"]),
        ("agent", &["crate::sandbox::Service"]),
        ("otlp", &["crate::sandbox", "crate::agent", "crate::tools", "crate::llm", "crate::ui", "crate::dashboard"]),
        ("dashboard", &["axum", "crate::sandbox", "crate::agent", "crate::tools", "crate::llm", "sqlx", "tokio"]),
        (
            "documents",
            &[
                "axum",
                "crate::store",
                "crate::sandbox::Service",
                "crate::workflow",
                "crate::agent",
                "crate::tools",
                "crate::llm::openai",
                "crate::llm::demo",
                "sqlx",
                "tokio",
            ],
        ),
        ("ui", &["crate::store", "crate::sandbox", "crate::workflow", "crate::agent", "crate::llm", "crate::services"]),
    ];
    let edges = ["crate::api", "crate::documents", "crate::server_fns", "crate::boot", "crate::cli", "crate::services"];
    for (folder, words) in above {
        let allowed_edges = if folder == "ui" { &edges[..2] } else { &edges[..] };
        let found = mentions(folder, &[words, allowed_edges].concat());
        assert!(found.is_empty(), "{folder} reaches up:\n{}", found.join("\n"));
    }
}

#[test]
fn modules_are_gated_only_where_both_sides_meet() {
    let allowed = ["src/lib.rs", "src/server_fns/", "src/ui/browser.rs"];
    let found: Vec<String> = mentions("", &["cfg(feature", "cfg_attr(feature"])
        .into_iter()
        .filter(|line| !allowed.iter().any(|place| line.contains(place)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_code_is_left_for_later() {
    let found = mentions("", &["todo!(", "unimplemented!(", "dbg!(", "#[allow(", "#![allow("]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Every page loads every sheet, so one sheet's class changes what another's stands for: a preview bar of 40 pixels was
/// once drawn at the 14 of a timeline's.
#[test]
fn a_bare_class_is_styled_in_one_sheet_only() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("style");
    let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let sheet = path.file_name().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let bare = line.strip_prefix('.').and_then(|rest| rest.split_once(" {")).map(|(class, _)| class);
            if let Some(class) = bare.filter(|class| class.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')) {
                owners.entry(class.to_owned()).or_default().insert(sheet.clone());
            }
        }
    }
    assert!(owners.len() > 50, "the sheets are not read as they are written");
    let shared: Vec<_> = owners.into_iter().filter(|(_, sheets)| sheets.len() > 1).collect();
    assert!(shared.is_empty(), "{shared:?}");
}
