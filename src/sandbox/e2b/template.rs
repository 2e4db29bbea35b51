//! What sandboxes of the configured template are like: tools, memory, disk. Learnt from the first one, then remembered.

use super::control::Detail;
use super::envd::{Envd, User};
use super::error::E2bError;
use super::shell::SHORT;
use crate::config::E2bConfig;
use crate::domain::Limits;
use crate::sandbox::entry::lock;
use crate::sandbox::provider::HostTool;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is looked for.
const TOOLS: &str = "node npm pnpm yarn bun deno python3 pip uv go rustc cargo java ruby php gcc make git curl";

/// What is known of the template.
pub struct Template {
    path: PathBuf,
    facts: Mutex<Facts>,
    /// Whether this server has looked: a template may have been built anew since the last one did.
    looked: AtomicBool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Facts {
    memory_mib: u64,
    disk_mib: u64,
    cpus: u64,
    tools: Vec<Tool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tool {
    name: String,
    version: String,
    path: PathBuf,
}

impl Template {
    /// What an earlier server learnt, if one did.
    pub fn load(data_dir: &Path, config: &E2bConfig) -> Self {
        // A template's name may hold anything; a digest is a file name.
        let digest = Sha256::digest(format!("{} {}", config.api_url, config.template));
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = data_dir.join(format!("e2b-template-{name}.json"));
        let facts = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, facts: Mutex::new(facts), looked: AtomicBool::new(false) }
    }

    /// Tools inside.
    pub fn tools(&self) -> Vec<HostTool> {
        let tool = |tool: Tool| HostTool { name: tool.name, version: tool.version, path: tool.path };
        lock(&self.facts).tools.clone().into_iter().map(tool).collect()
    }

    /// Limits of a sandbox. What the service does not tell is 0.
    pub fn limits(&self) -> Limits {
        let facts = lock(&self.facts);
        Limits {
            memory_mib: facts.memory_mib,
            disk_mib: facts.disk_mib,
            cpu_percent: facts.cpus * 100,
            files: super::manifest::ENTRIES_MAX as u64,
            output_mib: crate::sandbox::output::KEPT_MIB,
            mechanism: "e2b, by the template".to_owned(),
            ..Limits::default()
        }
    }

    /// Looks into a sandbox, if none of this server was looked into.
    pub async fn learn(&self, envd: &Envd) {
        if self.looked.load(Ordering::Acquire) {
            return;
        }
        match look(envd).await {
            Ok(facts) => {
                self.looked.store(true, Ordering::Release);
                *lock(&self.facts) = facts.clone();
                let written = match serde_json::to_vec(&facts) {
                    Ok(json) => tokio::fs::write(&self.path, json).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = written {
                    tracing::debug!(%error, "what a template has is not remembered");
                }
            }
            Err(error) => tracing::info!(%error, "a template was not looked at; the next sandbox is asked"),
        }
    }
}

async fn look(envd: &Envd) -> Result<Facts, E2bError> {
    let detail = envd.control().detail(envd.id()).await?;
    let Detail { cpu_count, memory_mb, disk_size_mb, .. } = detail.ok_or(E2bError::NotRunning)?;
    let script = r#"
for name in $1; do
  path=$(command -v "$name") || continue
  flag=--version; [ "$name" = go ] && flag=version
  version=$(timeout 5 "$name" $flag 2>/dev/null | head -n 1)
  printf '%s\t%s\t%s\n' "$name" "$path" "$version"
done"#;
    let output = envd.shell(script, &[TOOLS.to_owned()], User::Normal, SHORT * 3, 64 * 1024).await?;
    let tools = parse(&String::from_utf8_lossy(&output.stdout));
    Ok(Facts { memory_mib: memory_mb, disk_mib: disk_size_mb, cpus: cpu_count, tools })
}

fn parse(lines: &str) -> Vec<Tool> {
    let tool = |line: &str| {
        let mut fields = line.splitn(3, '\t');
        let (name, path) = (fields.next()?, fields.next()?);
        let version = short(fields.next().unwrap_or_default());
        Some(Tool { name: name.to_owned(), version, path: path.into() })
    };
    lines.lines().filter_map(tool).collect()
}

/// The first word that begins like a number: `v22.3.0` of `v22.3.0`, `1.24.1` of `go version go1.24.1 linux/amd64`.
fn short(words: &str) -> String {
    let number = |word: &str| {
        let word = word.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '(');
        let plain: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-+_".contains(*c)).collect();
        plain.starts_with(|c: char| c.is_ascii_digit()).then_some(plain)
    };
    words.split_whitespace().find_map(number).unwrap_or_default().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_say() {
        let said = "node\t/usr/bin/node\tv22.3.0\ngo\t/usr/local/go/bin/go\tgo version go1.24.1 linux/amd64\n\
                    gcc\t/usr/bin/gcc\tgcc (Debian 12.2.0-14) 12.2.0\nnpm\t/usr/bin/npm\t\nbroken\n";
        let tools = parse(said);
        let shown: Vec<String> = tools.iter().map(|tool| format!("{} {}", tool.name, tool.version)).collect();
        assert_eq!(shown, ["node 22.3.0", "go 1.24.1", "gcc 12.2.0-14", "npm "]);
    }
}
