//! The project's own checks, where it has one that is cheap and leaves no trace.

use super::{SelfCheck, check, cut};
use crate::domain::{Checked, FileNode, ProjectId};
use crate::sandbox::{CommandSpec, LogFrom, SandboxError};
use crate::workflow::TaskContext;
use serde_json::Value;
use std::time::Duration;

/// It may take so long.
const PATIENCE: Duration = Duration::from_secs(120);

const TYPES: &str = "Types fit";
const BUILDS: &str = "It builds";
const SHOWN: &str = "The app is shown";

impl SelfCheck {
    /// That a person cannot see the app, where there is one that could be shown.
    pub(super) async fn not_shown(&self, project: &ProjectId) -> Result<Option<Checked>, SandboxError> {
        let tree = self.service.list_files(project).await?;
        let package = self.package(project, &tree).await?;
        let why = "No preview is open, so the person sees nothing of it. Start it and call get_sandbox_url; if it is \
                   nothing to be seen in a browser, say how to use it.";
        Ok(servable(&tree, package.as_ref()).then(|| check(SHOWN, false, why.to_owned())))
    }

    async fn package(&self, project: &ProjectId, tree: &[FileNode]) -> Result<Option<Value>, SandboxError> {
        let text = match tree.iter().any(|node| node.name == "package.json") {
            true => self.service.read_file(project, "package.json").await?.text,
            false => None,
        };
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Checks types, or builds into nowhere. None if the project has nothing of the kind, or if it takes too long.
    pub(super) async fn compiles(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
    ) -> Result<Option<Checked>, SandboxError> {
        let tree = self.service.list_files(project).await?;
        let package = self.package(project, &tree).await?;
        let Some((name, line)) = command(&tree, package.as_ref()) else { return Ok(None) };
        let spec = CommandSpec {
            line: line.to_owned(),
            timeout: Some(PATIENCE),
            run: Some(ctx.run.clone()),
            ..CommandSpec::default()
        };
        let command = self.service.start_command(project, spec).await?;
        let exit = self.service.wait_command(project, &command, &ctx.cancel).await?;
        // A check that was cut off, or whose program is not there, says nothing about the project.
        if matches!(exit.code, None | Some(127)) {
            return Ok(None);
        }
        let log = self.service.read_log(project, &command, LogFrom::Tail(4096), 4096).await?;
        let detail =
            if exit.success() { line.to_owned() } else { format!("{line}: {}\n{}", exit.describe(), log.text) };
        Ok(Some(check(name, exit.success(), cut(&detail))))
    }
}

/// Whether the project looks like something to be seen in a browser: a page, or a package that starts a server.
fn servable(tree: &[FileNode], package: Option<&Value>) -> bool {
    let starts = |name: &str| package.is_some_and(|p| p.pointer(&format!("/scripts/{name}")).is_some());
    tree.iter().any(|node| node.name == "index.html") || ["dev", "start", "serve"].into_iter().any(starts)
}

/// The check and its command. A build that would write where the running server reads (Next.js) is none.
fn command(tree: &[FileNode], package: Option<&Value>) -> Option<(&'static str, &'static str)> {
    let has = |name: &str| tree.iter().any(|node| node.name == name);
    if let Some(package) = package.filter(|_| has("node_modules")) {
        let depends = |name: &str| {
            ["dependencies", "devDependencies"].iter().any(|d| package.pointer(&format!("/{d}/{name}")).is_some())
        };
        if package.pointer("/scripts/typecheck").is_some() {
            return Some((TYPES, "npm run --silent typecheck"));
        }
        if depends("typescript") && has("tsconfig.json") {
            return Some((TYPES, "npx --no-install tsc --noEmit -p ."));
        }
        if depends("vite") {
            let line = "npx --no-install vite build --outDir /tmp/sandcastle-check --emptyOutDir --logLevel warn";
            return Some((BUILDS, line));
        }
    }
    if has("go.mod") {
        return Some((BUILDS, "go vet ./..."));
    }
    if tree.iter().any(|node| node.name.ends_with(".py")) {
        let line =
            "PYTHONPYCACHEPREFIX=/tmp/sandcastle-check python3 -m compileall -q -x '/(node_modules|\\.?venv)/' .";
        return Some((BUILDS, line));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FileKind, build_tree};
    use serde_json::json;

    fn chosen(names: &[&str], package: Value) -> Option<(&'static str, &'static str)> {
        let tree = build_tree(names.iter().map(|name| ((*name).to_owned(), FileKind::File, 1)));
        command(&tree, Some(&package).filter(|package| package.is_object()))
    }

    #[test]
    fn the_cheapest_check_that_leaves_no_trace_is_taken() {
        let types = json!({"devDependencies": {"typescript": "5", "vite": "7"}});
        assert_eq!(chosen(&["package.json", "node_modules", "tsconfig.json"], types).unwrap().0, TYPES);
        let vite = json!({"devDependencies": {"vite": "7"}});
        assert!(
            chosen(&["package.json", "node_modules"], vite.clone()).unwrap().1.contains("vite build --outDir /tmp")
        );
        assert_eq!(chosen(&["package.json"], vite), None, "nothing is installed");
        let next = json!({"dependencies": {"next": "16"}, "scripts": {"build": "next build"}});
        assert_eq!(chosen(&["package.json", "node_modules"], next), None);
        assert_eq!(chosen(&["go.mod", "main.go"], Value::Null).unwrap().1, "go vet ./...");
        assert!(chosen(&["app.py"], Value::Null).unwrap().1.contains("compileall"));
        assert_eq!(chosen(&["index.html"], Value::Null), None);
    }

    #[test]
    fn a_page_or_a_package_that_starts_is_something_to_be_shown() {
        let seen = |names: &[&str], package: Value| {
            let tree = build_tree(names.iter().map(|name| ((*name).to_owned(), FileKind::File, 1)));
            servable(&tree, Some(&package))
        };
        assert!(seen(&["index.html"], Value::Null));
        assert!(seen(&["package.json"], json!({"scripts": {"dev": "vite"}})));
        assert!(!seen(&["package.json"], json!({"scripts": {"test": "node --test"}})));
        assert!(!seen(&["main.py", "README.md"], Value::Null));
    }
}
