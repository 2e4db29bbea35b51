//! Which sandbox of the service is a project's, remembered beside its workspace. Tokens are not: they are asked for.

use crate::sandbox::SandboxError;
use crate::sandbox::provider::SandboxSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A sandbox of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it is: another service has other sandboxes.
    pub api_url: String,
    /// Its id there.
    pub sandbox: String,
    /// Ports its template has open.
    #[serde(default)]
    pub ports: BTreeSet<u16>,
}

fn path(spec: &SandboxSpec) -> PathBuf {
    spec.workspace.with_file_name("e2b.json")
}

/// Where it is remembered what of the workspace is inside.
pub fn index_path(spec: &SandboxSpec) -> PathBuf {
    spec.workspace.with_file_name("e2b-files.json")
}

impl Record {
    /// The record of a project, if it has a sandbox at this service. A damaged one counts as none: the sandbox is
    /// found by its name, or made again.
    pub async fn load(spec: &SandboxSpec, api_url: &str) -> Option<Self> {
        let bytes = tokio::fs::read(path(spec)).await.ok()?;
        serde_json::from_slice(&bytes).ok().filter(|record: &Self| record.api_url == api_url)
    }

    /// Remembers it.
    pub async fn save(&self, spec: &SandboxSpec) -> Result<(), SandboxError> {
        let json = serde_json::to_vec(self).map_err(|error| SandboxError::Io(error.to_string()))?;
        let (path, folder) = (path(spec), spec.workspace.clone());
        tokio::fs::create_dir_all(folder).await?;
        let temporary = path.with_extension("tmp");
        tokio::fs::write(&temporary, json).await?;
        Ok(tokio::fs::rename(temporary, path).await?)
    }

    /// Forgets it. What is inside is unknown then as well.
    pub async fn remove(spec: &SandboxSpec) -> Result<(), SandboxError> {
        for path in [path(spec), index_path(spec)] {
            match tokio::fs::remove_file(path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
