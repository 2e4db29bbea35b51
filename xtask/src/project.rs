//! Where things are in this repository, and which of the two builds is meant.
//!
//! The site layout is the one `cargo leptos` makes, so that either tool can build what the other serves.

use std::path::{Path, PathBuf};

/// Name of the binary, of the wasm library and of the files in `target/site/pkg`.
pub const NAME: &str = "sandcastle";
/// Name of the sandbox's PID 1.
pub const INIT: &str = "sandcastle-init";
/// The browser's target triple.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Which build is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Optimised, minified, precompressed.
    Release,
    /// Quick to build.
    Dev,
}

/// The repository.
#[derive(Clone)]
pub struct Project {
    /// Its top folder.
    pub root: PathBuf,
    /// Cargo's output folder.
    pub target: PathBuf,
}

impl Project {
    /// The repository this tool was compiled from.
    pub fn locate() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest);
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        Self { root: root.to_path_buf(), target: root.join(target) }
    }

    /// Cargo's output folder for the browser build. Its own, as in `cargo leptos`: two cargos then work side by side.
    pub fn front_target(&self) -> PathBuf {
        self.target.join("front")
    }

    /// The folder the server binary is built into. Leptos looks for `hash.txt`, the server for its init, beside it.
    pub fn bin_dir(&self, mode: Mode) -> PathBuf {
        self.target.join(match mode {
            Mode::Release => "release",
            Mode::Dev => "debug",
        })
    }

    /// The server binary.
    pub fn server(&self, mode: Mode) -> PathBuf {
        self.bin_dir(mode).join(NAME)
    }

    /// What the server serves as files.
    pub fn site(&self) -> PathBuf {
        self.root.join("target/site")
    }

    /// Intermediate files of this tool.
    pub fn work(&self) -> PathBuf {
        self.target.join("xtask-work")
    }

    /// A tool installed by `npm ci` in the top folder.
    pub fn node_tool(&self, name: &str) -> PathBuf {
        self.root.join("node_modules/.bin").join(name)
    }
}
