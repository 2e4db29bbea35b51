//! The workspace as a zip file, streamed: nothing is held in memory but the piece being compressed.
//!
//! Packages, caches and build output stay out. Links are stored as links and never followed.

use super::SandboxError;
use super::provider::{EntryInfo, Files, ListOptions};
use super::service::Service;
use crate::domain::{FileKind, ProjectId};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

/// The most entries.
const ENTRIES_MAX: usize = 20_000;
/// The most bytes of content.
const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Content read and compressed at a time.
const PIECE: u64 = 256 * 1024;

impl Service {
    /// Writes the workspace as a zip file. What does not fit the bounds is named in `ARCHIVE-INCOMPLETE.txt`.
    pub async fn archive(
        &self,
        project: &ProjectId,
        mut out: impl AsyncWrite + Unpin + Send,
    ) -> Result<(), SandboxError> {
        let entry = self.inner.entry(project).await?;
        let options = ListOptions { depth: 64, max_entries: ENTRIES_MAX, skip: super::files::skipped() };
        let files = entry.present_files().await?;
        let listing = match files.list("", options.clone()).await {
            Ok(listing) => listing,
            Err(SandboxError::NotFound(_)) => super::provider::Listing::default(),
            Err(error) => return Err(error),
        };
        let mut left_out: Vec<String> =
            listing.truncated.into_iter().filter(|path| !is_skipped(path, &options.skip)).collect();
        let mut zip = Zip::new();
        let mut bytes = 0;
        for info in listing.entries.iter().filter(|info| !is_skipped(&info.path, &options.skip)) {
            if bytes + info.size > BYTES_MAX {
                left_out.push(info.path.clone());
                continue;
            }
            bytes += info.size;
            if let Err(error) = zip.add(info, files, &mut out).await? {
                left_out.push(format!("{} ({error})", info.path));
            }
        }
        if !left_out.is_empty() {
            let note = format!("These are not in this archive:\n{}\n", left_out.join("\n"));
            zip.run(move |zip| {
                zip.start_file("ARCHIVE-INCOMPLETE.txt", file_options(0o644))?;
                Ok(zip.write_all(note.as_bytes())?)
            })
            .await?;
        }
        zip.finish(&mut out).await
    }
}

fn is_skipped(path: &str, skip: &[String]) -> bool {
    path.split('/').any(|part| skip.iter().any(|name| name == part))
}

fn file_options(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(3))
        .large_file(true)
        .unix_permissions(mode)
}

/// A buffer the zip writer fills and the stream empties.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *super::entry::lock(&self.0))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        super::entry::lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

type Writer = ZipWriter<StreamWriter<Buffer>>;

/// The archive being written. Compression happens on blocking threads, one piece at a time.
struct Zip {
    writer: Option<Writer>,
    buffer: Buffer,
}

impl Zip {
    fn new() -> Self {
        let buffer = Buffer::default();
        Self { writer: Some(ZipWriter::new_stream(buffer.clone())), buffer }
    }

    async fn run(
        &mut self,
        work: impl FnOnce(&mut Writer) -> zip::result::ZipResult<()> + Send + 'static,
    ) -> Result<(), SandboxError> {
        let Some(mut writer) = self.writer.take() else { return Err(failed("it was closed")) };
        let done = tokio::task::spawn_blocking(move || work(&mut writer).map(|()| writer)).await;
        self.writer = Some(done.map_err(failed)?.map_err(failed)?);
        Ok(())
    }

    /// Adds an entry. The inner error is about this entry alone; the archive goes on without it.
    async fn add(
        &mut self,
        info: &EntryInfo,
        files: &dyn Files,
        out: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<Result<(), SandboxError>, SandboxError> {
        let (path, options) = (info.path.clone(), file_options(info.mode & 0o777));
        match info.kind {
            FileKind::Directory => self.run(move |zip| zip.add_directory(path, options)).await?,
            FileKind::Symlink => {
                let target = info.symlink_target.clone().unwrap_or_default();
                self.run(move |zip| zip.add_symlink(path, target, options)).await?;
            }
            FileKind::File => {
                // Read before the entry begins, so that a file that vanished or may not be read leaves no trace.
                let mut piece = match files.read(&info.path, 0, PIECE).await {
                    Ok(piece) => piece,
                    Err(error) => return Ok(Err(error)),
                };
                self.run(move |zip| zip.start_file(path, options)).await?;
                let mut offset = 0;
                while !piece.is_empty() && offset < BYTES_MAX {
                    offset += piece.len() as u64;
                    self.run(move |zip| Ok(zip.write_all(&piece)?)).await?;
                    self.drain(out).await?;
                    if offset >= info.size {
                        break;
                    }
                    piece = files.read(&info.path, offset, PIECE).await?;
                }
            }
        }
        self.drain(out).await?;
        Ok(Ok(()))
    }

    async fn drain(&mut self, out: &mut (impl AsyncWrite + Unpin + Send)) -> Result<(), SandboxError> {
        let bytes = self.buffer.take();
        Ok(out.write_all(&bytes).await?)
    }

    async fn finish(mut self, out: &mut (impl AsyncWrite + Unpin + Send)) -> Result<(), SandboxError> {
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(failed)?;
        }
        self.drain(out).await?;
        Ok(out.shutdown().await?)
    }
}

fn failed(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Io(format!("the archive failed: {error}"))
}
