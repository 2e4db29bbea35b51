//! A workspace's files through the provider, beside tar on the host in the same run.

use super::{Outcome, millis, report};
use bytes::Bytes;
use sandcastle::domain::SandboxId;
use sandcastle::sandbox::local::LocalProvider;
use sandcastle::sandbox::provider::{ListOptions, Provider, SandboxSpec};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const LISTED: usize = 10_000;
/// Together 100 MB.
const WRITTEN: usize = 1000;
const WRITTEN_BYTES: usize = 100_000;

/// Lists 10,000 files and writes 100 MB.
pub async fn measure(provider: &LocalProvider, folder: &Path) -> Outcome<()> {
    let id = SandboxId::parse(format!("i{:019}", 9_999_999))?;
    let workspace = folder.join("files");
    let files = provider.files(&SandboxSpec { workspace: workspace.clone(), id, env: BTreeMap::new() });
    for number in 0..LISTED {
        let below = workspace.join(format!("many/{}", number / 100));
        std::fs::create_dir_all(&below)?;
        std::fs::write(below.join(format!("{number}.txt")), "x")?;
    }
    let tar = timed(Command::new("tar").arg("-cf").arg("/dev/null").arg("-C").arg(&workspace).arg("many"))?;
    let begun = Instant::now();
    let options = ListOptions { depth: 8, max_entries: 2 * LISTED, skip: Vec::new() };
    let listing = files.list("many", options).await?;
    let took = begun.elapsed();
    if listing.entries.len() < LISTED {
        return Err(format!("only {} files were listed", listing.entries.len()).into());
    }
    against_tar("10,000 files listed", took, tar);

    let begun = Instant::now();
    for number in 0..WRITTEN {
        let content = Bytes::from(vec![b'x'; WRITTEN_BYTES]);
        files.write(&format!("tree/{}/{number}.bin", number / 50), content, false).await?;
    }
    let took = begun.elapsed();
    let archive = folder.join("tree.tar");
    timed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&workspace).arg("tree"))?;
    let target = folder.join("unpacked");
    std::fs::create_dir(&target)?;
    let tar = timed(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&target))?;
    against_tar("100 MB in 1,000 files written", took, tar);
    Ok(())
}

fn against_tar(what: &str, took: Duration, tar: Duration) {
    report(
        what,
        took,
        Some(millis(tar) * 1.5),
        &format!("tar needs {:.1} ms; the goal is half as much again", millis(tar)),
    );
}

fn timed(command: &mut Command) -> Outcome<Duration> {
    let begun = Instant::now();
    if command.status()?.success() { Ok(begun.elapsed()) } else { Err("tar failed".into()) }
}
