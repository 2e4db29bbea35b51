//! Files coming in: forms with several, or one as it is; written as they come, never held whole.

use super::access::query;
use super::answer::{error, json};
use super::files::{refuse, target};
use super::{Answer, Incoming, text};
use crate::sandbox::fleet::{Live, Quota};
use crate::sandbox::preview::BoxError;
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

/// Characters of all metadata of a file: what file systems keep beside it.
const METADATA_MAX: usize = 2048;
/// Bytes written in one go.
const WRITE_CHUNK: usize = 256 * 1024;

/// Writes what a request brings.
pub(super) async fn receive(live: &Live, request: Incoming) -> Result<Answer, Answer> {
    let bad = |message: &str| error(StatusCode::BAD_REQUEST, message);
    let query = query(&request);
    let (path, user) = (query.get("path").cloned(), query.get("username").cloned());
    let metadata = metadata(request.headers())?;
    let kind = text(request.headers(), header::CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
    let packed = match text(request.headers(), header::CONTENT_ENCODING.as_str()).unwrap_or_default() {
        "" | "identity" => false,
        "gzip" => true,
        _ => return Err(bad("unsupported Content-Encoding, supported: [identity gzip]")),
    };
    let uploading = Uploading { live, user, metadata };
    let body = request.into_body().into_data_stream().map_err(cut_off);
    let name = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let written = match name.as_str() {
        "application/octet-stream" => {
            let path = target(live, path.as_deref(), uploading.user.as_deref())?;
            uploading.write(&path, body, packed).await?;
            vec![written(&path, &uploading.metadata)]
        }
        "multipart/form-data" if packed => return Err(bad("a form is not accepted with a Content-Encoding")),
        "multipart/form-data" => {
            let boundary = multer::parse_boundary(&kind).map_err(|_| bad("the form has no boundary"))?;
            uploading.form(multer::Multipart::new(body, boundary), path.as_deref()).await?
        }
        _ => {
            let kind = super::access::printable(&kind);
            let message =
                format!("unsupported content type: {kind}, expected multipart/form-data or application/octet-stream");
            return Err(bad(&message));
        }
    };
    Ok(json(StatusCode::OK, &written.into()))
}

/// A file as the answer names it.
pub(super) fn written(path: &str, metadata: &BTreeMap<String, String>) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut value = json!({ "path": path, "name": name, "type": "file" });
    if !metadata.is_empty() {
        value["metadata"] = json!(metadata);
    }
    value
}

fn cut_off(failed: BoxError) -> io::Error {
    io::Error::other(failed)
}

struct Uploading<'a> {
    live: &'a Live,
    user: Option<String>,
    metadata: BTreeMap<String, String>,
}

impl Uploading<'_> {
    async fn form(&self, mut form: multer::Multipart<'_>, path: Option<&str>) -> Result<Vec<Value>, Answer> {
        let bad = |message: String| error(StatusCode::BAD_REQUEST, message);
        let broken = |failed: multer::Error| bad(format!("error parsing the form: {failed}"));
        let (mut files, mut seen) = (Vec::new(), HashSet::new());
        while let Some(field) = form.next_field().await.map_err(broken)? {
            if field.name() != Some("file") {
                continue;
            }
            let path = target(self.live, path.or(field.file_name()), self.user.as_deref())?;
            if !seen.insert(path.clone()) {
                return Err(bad(format!(
                    "you cannot upload multiple files to the same path '{path}' in one upload request, \
                     only the first specified file was uploaded"
                )));
            }
            self.write(&path, field.map_err(|failed: multer::Error| io::Error::other(failed)), false).await?;
            files.push(written(&path, &self.metadata));
        }
        if files.is_empty() { Err(bad("the form has no field named file".to_owned())) } else { Ok(files) }
    }

    async fn write(
        &self,
        path: &str,
        content: impl Stream<Item = io::Result<Bytes>>,
        packed: bool,
    ) -> Result<(), Answer> {
        let tree = self.live.tree.as_ref();
        self.live.quota.refresh(tree.room()).await.map_err(|failed| refuse(&failed, path))?;
        let file = tree.create(path).await.map_err(|failed| refuse(&failed, path))?;
        let file = Counted { file, quota: Arc::clone(&self.live.quota) };
        let sink = if packed { Sink::Packed(Box::new(GzDecoder::new(file))) } else { Sink::Plain(file) };
        write_all(sink, content).await.map_err(|failed| match failed.kind() {
            io::ErrorKind::Other => error(StatusCode::BAD_REQUEST, "the upload was cut off"),
            io::ErrorKind::InvalidInput if packed => error(StatusCode::BAD_REQUEST, "the upload is not gzip"),
            io::ErrorKind::UnexpectedEof => error(StatusCode::BAD_REQUEST, "the gzip of the upload is cut off"),
            _ => refuse(&failed, path),
        })?;
        let set = self.live.tree.set_metadata(path, self.metadata.clone()).await;
        match set {
            // A file system that keeps none has nothing to lose either.
            Err(failed) if self.metadata.is_empty() && failed.kind() == io::ErrorKind::Unsupported => Ok(()),
            result => result.map_err(|failed| refuse(&failed, path)),
        }
    }
}

/// A file that takes what it grows by from the sandbox's room.
pub(super) struct Counted {
    pub(super) file: std::fs::File,
    pub(super) quota: Arc<Quota>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.quota.take(bytes.len() as u64)?;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

enum Sink {
    Plain(Counted),
    Packed(Box<GzDecoder<Counted>>),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Packed(decoder) => decoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Packed(decoder) => decoder.finish().map(drop),
        }
    }
}

/// Gathers small pieces, because each write goes to another thread and back.
async fn write_all(sink: Sink, content: impl Stream<Item = io::Result<Bytes>>) -> io::Result<()> {
    let mut content = std::pin::pin!(content);
    let mut sink = sink;
    let (mut waiting, mut bytes) = (Vec::new(), 0);
    loop {
        let piece = content.next().await.transpose()?;
        let last = piece.is_none();
        if let Some(piece) = piece {
            bytes += piece.len();
            waiting.push(piece);
        }
        if last || bytes >= WRITE_CHUNK {
            let pieces = std::mem::take(&mut waiting);
            bytes = 0;
            let write = move || {
                pieces.iter().try_for_each(|piece| sink.write(piece))?;
                Ok::<Sink, io::Error>(sink)
            };
            sink =
                tokio::task::spawn_blocking(write).await.map_err(|_| io::Error::from(io::ErrorKind::Interrupted))??;
        }
        if last {
            return sink.finish();
        }
    }
}

/// What the caller wants kept beside the file.
fn metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Answer> {
    let bad = |message: String| error(StatusCode::BAD_REQUEST, message);
    let mut found = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix("x-metadata-").filter(|key| !key.is_empty()) else { continue };
        let value = value.to_str().map_err(|_| bad(format!("the metadata {key} is not printable ASCII")))?;
        found.insert(key.to_owned(), value.to_owned());
    }
    let length: usize = found.iter().map(|(key, value)| key.len() + value.len()).sum();
    if length > METADATA_MAX {
        return Err(bad(format!("the metadata is larger than {METADATA_MAX} bytes")));
    }
    Ok(found)
}
