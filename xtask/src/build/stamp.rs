//! Knowing that a step's inputs have not changed: a digest of their content beside its output.
//!
//! Content and not modification time, because a relink or a checkout touches files without changing them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The digest of a step's inputs, kept in a file.
pub struct Stamp(PathBuf);

impl Stamp {
    /// A stamp kept at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether the step last ran with these inputs.
    pub fn holds(&self, digest: &str) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|kept| kept == digest)
    }

    /// Notes that the step ran with these inputs.
    pub fn write(&self, digest: &str) -> Result<()> {
        fs::write(&self.0, digest).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

/// SHA-256 of several byte strings in order, in hexadecimal.
pub fn digest<I: IntoIterator<Item = Vec<u8>>>(parts: I) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file under `dir`, sorted; none when there is no such folder.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}
