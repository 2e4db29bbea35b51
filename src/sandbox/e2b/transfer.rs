//! Files between the workspace's folder here and the one inside, many at a time as tar.
//!
//! What comes from inside is not to be trusted: an archive is read entry by entry, and only what was asked for is taken.

use super::envd::{Envd, User};
use super::error::E2bError;
use super::process::HOME;
use super::shell::SHORT;
use crate::domain::FileKind;
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{EntryInfo, Files};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use tar::{Archive, Builder, EntryType, Header};

/// Larger files stay inside.
pub const FILE_MAX: u64 = 32 << 20;
/// Bytes of content in one archive, unless a single file has more.
const BATCH_BYTES: u64 = 16 << 20;
/// Paths named by one command.
const BATCH_PATHS: usize = 400;
/// Room for what an archive has besides content.
const OVERHEAD: usize = 2 << 20;

/// A file as it came.
pub struct Fetched {
    /// Its path.
    pub path: String,
    /// Whether it may be run.
    pub executable: bool,
    /// All of it.
    pub content: Vec<u8>,
}

/// Splits items with sizes into batches that fit one archive and one command.
pub fn batches<T>(items: Vec<T>, size: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let (mut all, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for item in items {
        let more = size(&item);
        if !batch.is_empty() && (bytes + more > BATCH_BYTES || batch.len() == BATCH_PATHS) {
            all.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += more;
        batch.push(item);
    }
    all.extend((!batch.is_empty()).then_some(batch));
    all
}

/// Brings files of these sizes from inside, one batch in one archive. Those that vanished meanwhile are missing.
pub async fn fetch(envd: &Envd, batch: Vec<(String, u64)>) -> Result<Vec<Fetched>, E2bError> {
    let expected: usize = batch.iter().map(|(_, size)| usize::try_from(*size).unwrap_or(0)).sum();
    let paths = batch.iter().map(|(path, _)| format!("./{path}"));
    let args: Vec<String> = [HOME.to_owned()].into_iter().chain(paths).collect();
    // 1 and 2 say that a file changed or vanished while it was read; the archive is whole all the same.
    let script = r#"cd "$1" || exit 3; shift; tar --no-recursion -cf - -- "$@" 2>/dev/null; [ $? -le 2 ]"#;
    let output = envd.shell(script, &args, User::Normal, SHORT * 6, expected + expected / 8 + OVERHEAD).await?;
    unpack(&output.successful()?, &batch.into_iter().map(|(path, _)| path).collect())
}

/// The regular files of an archive that were asked for.
fn unpack(archive: &[u8], asked: &BTreeSet<String>) -> Result<Vec<Fetched>, E2bError> {
    let damaged = |error: std::io::Error| E2bError::Protocol(format!("the archive of files: {error}"));
    let mut files = Vec::new();
    for entry in Archive::new(archive).entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if entry.header().entry_type() != EntryType::Regular || !asked.contains(&path) || entry.size() > FILE_MAX {
            continue;
        }
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(damaged)?;
        files.push(Fetched { path, executable, content });
    }
    Ok(files)
}

/// Takes files, links and folders inside. What cannot be read here any more is left out.
pub async fn push(envd: &Envd, disk: &dyn Files, entries: Vec<EntryInfo>) -> Result<(), SandboxError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for batch in batches(entries, |entry| entry.size) {
        let archive = pack(disk, batch).await?;
        let path = format!("/tmp/.sandcastle-{}-{}.tgz", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        envd.write(&path, archive).await?;
        let script = r#"tar -xzf "$1" --no-same-owner -C "$2"; code=$?; rm -f "$1"; exit $code"#;
        let output = envd.shell(script, &[path, HOME.to_owned()], User::Normal, SHORT * 6, OVERHEAD).await?;
        output.successful()?;
    }
    Ok(())
}

async fn pack(disk: &dyn Files, entries: Vec<EntryInfo>) -> Result<Bytes, SandboxError> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_mtime(entry.modified_at / 1000);
        header.set_mode(if entry.mode & 0o100 != 0 { 0o755 } else { 0o644 });
        match entry.kind {
            FileKind::File => {
                let Ok(content) = disk.read(&entry.path, 0, FILE_MAX).await else { continue };
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, &entry.path, &*content)?;
            }
            FileKind::Directory => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                builder.append_data(&mut header, &entry.path, std::io::empty())?;
            }
            FileKind::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, &entry.path, entry.symlink_target.unwrap_or_default())?;
            }
        }
    }
    Ok(builder.into_inner()?.finish()?.into())
}

/// Removes files and trees inside.
pub async fn remove(envd: &Envd, paths: Vec<String>) -> Result<(), SandboxError> {
    for batch in batches(paths, |_| 0) {
        let args: Vec<String> =
            [HOME.to_owned()].into_iter().chain(batch.into_iter().map(|path| format!("./{path}"))).collect();
        let script = r#"cd "$1" || exit 3; shift; rm -rf -- "$@""#;
        envd.shell(script, &args, User::Normal, SHORT, OVERHEAD).await?.successful()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_entry_type(*kind);
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn only_regular_files_that_were_asked_for_are_taken() {
        let bytes = archive(&[
            ("./src/a.txt", EntryType::Regular, b"content"),
            ("../../etc/passwd", EntryType::Regular, b"root"),
            ("/abs", EntryType::Regular, b"x"),
            ("./link", EntryType::Symlink, b""),
            ("./not-asked", EntryType::Regular, b"y"),
        ]);
        let asked = ["src/a.txt", "link", "etc/passwd", "abs"].map(str::to_owned).into();
        let files = unpack(&bytes, &asked).unwrap();
        assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["src/a.txt"]);
        assert_eq!((files[0].content.as_slice(), files[0].executable), (&b"content"[..], true));
    }

    #[test]
    fn an_archive_that_is_cut_is_an_error_and_not_a_short_file() {
        let bytes = archive(&[("./a", EntryType::Regular, &[7; 2000])]);
        assert!(unpack(&bytes[..1500], &["a".to_owned()].into()).is_err());
    }

    #[test]
    fn batches_are_bounded_in_bytes_and_in_paths() {
        let sizes = |batches: Vec<Vec<u64>>| batches.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(batches(vec![BATCH_BYTES, 1, 1], |size| *size)), [1, 2]);
        assert_eq!(sizes(batches(vec![0; BATCH_PATHS + 1], |size| *size)), [BATCH_PATHS, 1]);
        assert_eq!(sizes(batches(vec![FILE_MAX], |size| *size)), [1]);
        assert!(batches(Vec::<u64>::new(), |size| *size).is_empty());
    }
}
