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
    let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut out, &params)?;
    Ok(out)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
