//! `target/site`: named by content, precompressed, nothing left over from earlier builds.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::browser::Pieces;
use super::stamp::{digest, files};
use crate::project::{Mode, NAME, Project};

/// Folder of the hashed files below the site, as leptos expects it.
const PKG: &str = "pkg";
/// Digits of a content hash in a file name.
const HASH_LENGTH: usize = 20;
/// Smaller files are not worth a second copy.
const COMPRESS_FROM: usize = 512;
const COMPRESSIBLE: [&str; 10] = ["css", "html", "ico", "js", "json", "map", "svg", "txt", "wasm", "webmanifest"];

/// Puts the pieces and `public/` into the site folder and writes the `hash.txt` by which leptos finds the pieces.
pub fn assemble(project: &Project, mode: Mode, pieces: &Pieces) -> Result<()> {
    let site = project.site();
    let mut wanted = BTreeSet::new();
    let mut hashes = String::new();
    for (kind, path) in [("js", &pieces.js), ("wasm", &pieces.wasm), ("css", &pieces.css)] {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut hash = digest([bytes.clone()]);
        hash.truncate(HASH_LENGTH);
        hashes.push_str(&format!("{kind}: {hash}\n"));
        place(&bytes, site.join(PKG).join(format!("{NAME}.{hash}.{kind}")), mode, &mut wanted)?;
    }
    let public = project.root.join("public");
    for path in files(&public)? {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        place(&bytes, site.join(path.strip_prefix(&public)?), mode, &mut wanted)?;
    }
    for path in files(&site)?.into_iter().filter(|path| !wanted.contains(path)) {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let hash_file = project.bin_dir(mode).join("hash.txt");
    fs::create_dir_all(project.bin_dir(mode))?;
    fs::write(&hash_file, hashes).with_context(|| format!("cannot write {}", hash_file.display()))
}

/// Writes one file and its compressed copies unless they are there with this content.
fn place(bytes: &[u8], path: PathBuf, mode: Mode, wanted: &mut BTreeSet<PathBuf>) -> Result<()> {
    let unchanged = fs::read(&path).is_ok_and(|old| old == bytes);
    if !unchanged {
        write(&path, bytes)?;
    }
    if mode == Mode::Release && compressible(&path, bytes) {
        let (br, gz) = (path.with_added_extension("br"), path.with_added_extension("gz"));
        if !(unchanged && br.exists() && gz.exists()) {
            write(&br, &brotli(bytes)?)?;
            write(&gz, &gzip(bytes)?)?;
        }
        wanted.extend([br, gz]);
    }
    wanted.insert(path);
    Ok(())
}

fn compressible(path: &Path, bytes: &[u8]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    bytes.len() >= COMPRESS_FROM && extension.is_some_and(|extension| COMPRESSIBLE.contains(&extension))
}

/// Replaces by rename, so that a running server never sends half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_added_extension("new");
    let folder = path.parent().context("a site file has no folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&fresh, bytes))
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let params =
        brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, size_hint: bytes.len(), ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut out, &params)?;
    Ok(out)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process;

    /// A repository in a temporary folder, removed when dropped.
    struct Repository(Project);

    impl Repository {
        fn new(name: &str) -> Self {
            let root = env::temp_dir().join(format!("xtask-{name}-{}", process::id()));
            for folder in ["public/icons", "work"] {
                fs::create_dir_all(root.join(folder)).unwrap();
            }
            let repository = Self(Project { target: root.join("target"), root });
            repository.write("public/icons/a.svg", "<svg/>");
            for kind in ["js", "wasm", "css"] {
                repository.write(&format!("work/{kind}"), &kind.repeat(COMPRESS_FROM));
            }
            repository
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.0.root.join(path), text).unwrap();
        }

        fn assemble(&self) -> Vec<String> {
            let piece = |kind: &str| self.0.root.join("work").join(kind);
            let pieces = Pieces { js: piece("js"), wasm: piece("wasm"), css: piece("css") };
            assemble(&self.0, Mode::Release, &pieces).unwrap();
            let site = self.0.site();
            files(&site).unwrap().iter().map(|path| path.strip_prefix(&site).unwrap().display().to_string()).collect()
        }
    }

    impl Drop for Repository {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0.root).unwrap();
        }
    }

    #[test]
    fn the_hash_file_names_every_piece_by_its_content() {
        let repository = Repository::new("hashes");
        let names = repository.assemble();
        let hashes = fs::read_to_string(repository.0.bin_dir(Mode::Release).join("hash.txt")).unwrap();
        for (kind, hash) in hashes.lines().map(|line| line.split_once(": ").unwrap()) {
            for suffix in ["", ".br", ".gz"] {
                assert!(names.contains(&format!("pkg/{NAME}.{hash}.{kind}{suffix}")), "{kind}{suffix} in {names:?}");
            }
        }
        assert_eq!(names.len(), 10, "and the icon: {names:?}");
    }

    #[test]
    fn a_second_assembly_replaces_what_changed_and_leaves_nothing_behind() {
        let repository = Repository::new("second");
        let first = repository.assemble();
        assert_eq!(repository.assemble(), first);
        repository.write("work/css", "changed");
        fs::remove_file(repository.0.root.join("public/icons/a.svg")).unwrap();
        let second = repository.assemble();
        assert_eq!(second.iter().filter(|name| name.contains(".css")).count(), 1, "{second:?}");
        assert!(!second.iter().any(|name| name.ends_with(".svg")), "{second:?}");
    }
}
