//! A bare git repository written and read by ourselves: objects, one branch, nothing else.
//!
//! No git runs over what a sandbox wrote: its hooks and settings would be run on the host. The files are plain git all
//! the same, so that anybody can clone them. Blocking; callers use a blocking thread.

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The longest object that is read.
const OBJECT_MAX: u64 = 64 << 20;
const BRANCH: &str = "refs/heads/main";

/// The name of an object: the SHA-1 of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::sandbox) struct ObjectId([u8; 20]);

impl ObjectId {
    /// Reads 40 hex digits.
    pub(in crate::sandbox) fn parse(text: &str) -> Option<Self> {
        if text.len() != 40 || !text.is_ascii() {
            return None;
        }
        let mut id = [0; 20];
        for (byte, at) in id.iter_mut().zip((0..40).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A file in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Leaf {
    /// `0o100644`, `0o100755` or `0o120000` for a link.
    pub mode: u32,
    /// Its content.
    pub id: ObjectId,
}

/// Mode of a link's leaf.
pub(in crate::sandbox) const LINK: u32 = 0o120_000;
const TREE: u32 = 0o40_000;

/// The files of a tree by path.
pub(in crate::sandbox) type Leaves = BTreeMap<String, Leaf>;

/// A repository in a folder.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Repo {
    dir: PathBuf,
}

impl Repo {
    /// Opens the repository, making it if there is none.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        if !dir.join("HEAD").is_file() {
            fs::create_dir_all(dir.join("objects"))?;
            fs::create_dir_all(dir.join("refs/heads"))?;
            fs::write(dir.join("config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")?;
            fs::write(dir.join("HEAD"), format!("ref: {BRANCH}\n"))?;
        }
        Ok(Self { dir })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last commit.
    pub fn head(&self) -> io::Result<Option<ObjectId>> {
        match fs::read_to_string(self.dir.join(BRANCH)) {
            Ok(text) => Ok(ObjectId::parse(text.trim())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a commit the last one.
    pub fn set_head(&self, id: ObjectId) -> io::Result<()> {
        replace(&self.dir.join(BRANCH), format!("{id}\n").as_bytes())
    }

    /// Stores an object unless it is there.
    pub fn write(&self, kind: &str, content: &[u8]) -> io::Result<ObjectId> {
        let header = format!("{kind} {}\0", content.len());
        let mut hash = Sha1::new();
        hash.update(header.as_bytes());
        hash.update(content);
        let id = ObjectId(hash.finalize().into());
        let path = self.path(id);
        if path.is_file() {
            return Ok(id);
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(header.as_bytes())?;
        encoder.write_all(content)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        replace(&path, &encoder.finish()?)?;
        Ok(id)
    }

    /// An object's content.
    pub fn read(&self, kind: &str, id: ObjectId) -> io::Result<Vec<u8>> {
        let file = fs::File::open(self.path(id))?;
        let mut content = Vec::new();
        ZlibDecoder::new(file).take(OBJECT_MAX).read_to_end(&mut content)?;
        let start = content.iter().position(|b| *b == 0).ok_or_else(damaged)? + 1;
        if !content.starts_with(format!("{kind} ").as_bytes()) {
            return Err(damaged());
        }
        content.drain(..start);
        Ok(content)
    }

    /// Stores files as trees.
    pub fn write_tree(&self, leaves: &Leaves) -> io::Result<ObjectId> {
        let mut rest: Vec<(&str, Leaf)> = leaves.iter().map(|(path, leaf)| (path.as_str(), *leaf)).collect();
        rest.sort_unstable_by_key(|(path, _)| *path);
        self.write_level(&rest, "")
    }

    fn write_level(&self, leaves: &[(&str, Leaf)], prefix: &str) -> io::Result<ObjectId> {
        let mut entries: BTreeMap<String, (u32, &str, ObjectId)> = BTreeMap::new();
        let mut at = 0;
        while let Some((path, leaf)) = leaves.get(at) {
            let below = path.get(prefix.len()..).unwrap_or_default();
            match below.split_once('/') {
                None => {
                    entries.insert(below.to_owned(), (leaf.mode, below, leaf.id));
                    at += 1;
                }
                Some((name, _)) => {
                    let inner = format!("{prefix}{name}/");
                    let count = leaves.iter().skip(at).take_while(|(path, _)| path.starts_with(&inner)).count();
                    let id = self.write_level(leaves.get(at..at + count).unwrap_or_default(), &inner)?;
                    // Git sorts a folder as if its name ended in a slash.
                    entries.insert(format!("{name}/"), (TREE, name, id));
                    at += count;
                }
            }
        }
        let mut content = Vec::new();
        for (mode, name, id) in entries.into_values() {
            content.extend_from_slice(format!("{mode:o} {name}\0").as_bytes());
            content.extend_from_slice(&id.0);
        }
        self.write("tree", &content)
    }

    /// The files of a commit.
    pub fn leaves_of(&self, commit: ObjectId) -> io::Result<Leaves> {
        let mut leaves = Leaves::new();
        self.read_level(self.tree_of(commit)?, "", &mut leaves, 0)?;
        Ok(leaves)
    }

    fn read_level(&self, tree: ObjectId, prefix: &str, out: &mut Leaves, depth: u32) -> io::Result<()> {
        if depth > 128 {
            return Err(damaged());
        }
        let content = self.read("tree", tree)?;
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            let end = rest.iter().position(|b| *b == 0).ok_or_else(damaged)?;
            let (head, tail) = rest.split_at(end);
            let head = std::str::from_utf8(head).map_err(|_| damaged())?;
            let (mode, name) = head.split_once(' ').ok_or_else(damaged)?;
            let mode = u32::from_str_radix(mode, 8).map_err(|_| damaged())?;
            let id = tail.get(1..21).and_then(|id| id.try_into().ok()).map(ObjectId).ok_or_else(damaged)?;
            rest = tail.get(21..).unwrap_or_default();
            let path = format!("{prefix}{name}");
            if mode == TREE {
                self.read_level(id, &format!("{path}/"), out, depth + 1)?;
            } else {
                out.insert(path, Leaf { mode, id });
            }
        }
        Ok(())
    }

    /// Stores a commit over the parent.
    pub fn commit(&self, tree: ObjectId, parent: Option<ObjectId>, message: &str, at: u64) -> io::Result<ObjectId> {
        let who = format!("Sandcastle <sandcastle@localhost> {} +0000", at / 1000);
        let parent = parent.map(|id| format!("parent {id}\n")).unwrap_or_default();
        let text = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\n{}\n", message.trim_end());
        self.write("commit", text.as_bytes())
    }

    /// The tree of a commit.
    pub fn tree_of(&self, commit: ObjectId) -> io::Result<ObjectId> {
        self.field(commit, "tree ")?.ok_or_else(damaged)
    }

    /// The commit before a commit.
    pub fn parent_of(&self, commit: ObjectId) -> io::Result<Option<ObjectId>> {
        self.field(commit, "parent ")
    }

    /// What a commit says, its first line.
    pub fn subject_of(&self, commit: ObjectId) -> io::Result<String> {
        let text = String::from_utf8_lossy(&self.read("commit", commit)?).into_owned();
        let message = text.split_once("\n\n").map(|(_, message)| message).unwrap_or_default();
        Ok(message.lines().next().unwrap_or_default().to_owned())
    }

    fn field(&self, commit: ObjectId, name: &str) -> io::Result<Option<ObjectId>> {
        let text = String::from_utf8_lossy(&self.read("commit", commit)?).into_owned();
        let head = text.split("\n\n").next().unwrap_or_default();
        Ok(head.lines().find_map(|line| ObjectId::parse(line.strip_prefix(name)?)))
    }

    fn path(&self, id: ObjectId) -> PathBuf {
        let hex = id.to_string();
        let (folder, name) = hex.split_at(2);
        self.dir.join("objects").join(folder).join(name)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the project's history is damaged")
}

/// Writes a file so that nobody ever sees half of it.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn git(dir: &Path, args: &[&str]) -> String {
        let out = Command::new("git").arg("-C").arg(dir).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn git_itself_finds_the_repository_whole() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::open(dir.path().join("history.git")).unwrap();
        let leaf = |text: &str, mode: u32| Leaf { mode, id: repo.write("blob", text.as_bytes()).unwrap() };
        let mut leaves = Leaves::new();
        // `a.txt` sorts between the folder `a` and the file `a0`, which is where naive sorting goes wrong.
        for path in ["a/b.txt", "a.txt", "a0", "a-b/c", "é/ü"] {
            leaves.insert(path.to_owned(), leaf(path, 0o100_644));
        }
        leaves.insert("run.sh".to_owned(), leaf("#!/bin/sh", 0o100_755));
        let first = repo.commit(repo.write_tree(&leaves).unwrap(), None, "First\n\nmore", 1_700_000_000_000).unwrap();
        leaves.remove("a0");
        let second = repo.commit(repo.write_tree(&leaves).unwrap(), Some(first), "Second", 1_700_000_001_000).unwrap();
        repo.set_head(second).unwrap();

        git(repo.dir(), &["fsck", "--strict", "--no-dangling"]);
        assert_eq!(git(repo.dir(), &["log", "--format=%s"]), "Second\nFirst\n");
        assert_eq!(git(repo.dir(), &["diff", "--name-status", "HEAD~1", "HEAD"]), "D\ta0\n");
        assert_eq!(git(repo.dir(), &["show", "HEAD:a/b.txt"]), "a/b.txt");
        assert_eq!(repo.leaves_of(second).unwrap(), leaves);
        assert_eq!((repo.head().unwrap(), repo.parent_of(second).unwrap()), (Some(second), Some(first)));
        assert_eq!(repo.subject_of(first).unwrap(), "First");
        assert!(repo.read("tree", first).is_err());
    }
}
