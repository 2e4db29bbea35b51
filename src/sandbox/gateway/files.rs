//! e2b's plain routes of a sandbox: files down and up, what it uses, its environment.

use super::access::{is_user, printable, query};
use super::answer::{error, full, json, typed};
use super::{Answer, Incoming, Inner, text, upload};
use crate::sandbox::fleet::{Live, Sandbox};
use crate::sandbox::preview::BoxError;
use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_util::io::ReaderStream;

const READ_CHUNK: usize = 64 * 1024;
const COMPOSE_MAX: usize = 1000;

/// Downloads and uploads.
pub(super) async fn handle(live: &Live, request: Incoming) -> Answer {
    let method = request.method().clone();
    let result = match method {
        Method::GET | Method::HEAD => download(live, &method, request.headers().clone(), query(&request)).await,
        Method::POST => upload::receive(live, request).await,
        _ => {
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "files are read by GET and written by POST");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            Ok(response)
        }
    };
    let mut response = result.unwrap_or_else(|refused| refused);
    // A signed address shows the file in a browser, on the address of the interface. Its scripts must not be ours.
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The path a request names, and the user, who must exist.
pub(super) fn target(live: &Live, path: Option<&str>, user: Option<&str>) -> Result<String, Answer> {
    let user = user.unwrap_or_default();
    if !is_user(user) {
        let user = printable(user);
        let message = format!("error looking up user '{user}': user: unknown user {user}");
        return Err(error(StatusCode::UNAUTHORIZED, message));
    }
    live.path(path.unwrap_or_default()).map_err(|message| error(StatusCode::BAD_REQUEST, message))
}

/// Why a file cannot be read or written.
pub(super) fn refuse(failed: &io::Error, path: &str) -> Answer {
    let path = printable(path);
    let (status, message) = match failed.kind() {
        io::ErrorKind::NotFound => (StatusCode::NOT_FOUND, format!("path '{path}' does not exist")),
        io::ErrorKind::IsADirectory => (StatusCode::BAD_REQUEST, format!("path '{path}' is a directory")),
        io::ErrorKind::NotADirectory => (StatusCode::BAD_REQUEST, format!("a part of '{path}' is not a directory")),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (StatusCode::FORBIDDEN, format!("path '{path}': {failed}"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (StatusCode::INSUFFICIENT_STORAGE, format!("not enough disk space for '{path}'"))
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            (StatusCode::BAD_REQUEST, format!("path '{path}': {failed}"))
        }
        _ if matches!(failed.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            (StatusCode::BAD_REQUEST, format!("path '{path}': {failed}"))
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, format!("path '{path}': {failed}")),
    };
    error(status, message)
}

async fn download(
    live: &Live,
    method: &Method,
    headers: HeaderMap,
    query: HashMap<String, String>,
) -> Result<Answer, Answer> {
    let path = target(live, query.get("path").map(String::as_str), query.get("username").map(String::as_str))?;
    if !identity_is_fine(text(&headers, header::ACCEPT_ENCODING.as_str())) {
        return Err(error(
            StatusCode::NOT_ACCEPTABLE,
            "error parsing Accept-Encoding: no acceptable encoding found, supported: [identity]",
        ));
    }
    let mut file = live.tree.open(&path).await.map_err(|failed| refuse(&failed, &path))?;
    let meta = file.metadata().map_err(|failed| refuse(&failed, &path))?;
    let range = range(text(&headers, header::RANGE.as_str()), meta.len());
    let (status, start, length) = match range {
        Range::All => (StatusCode::OK, 0, meta.len()),
        Range::Part(start, length) => (StatusCode::PARTIAL_CONTENT, start, length),
        Range::None => {
            let mut response = error(StatusCode::RANGE_NOT_SATISFIABLE, "the range is outside the file");
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", meta.len()));
            return Ok(response);
        }
    };
    file.seek(SeekFrom::Start(start)).map_err(|failed| refuse(&failed, &path))?;
    let body = if *method == Method::HEAD || length == 0 {
        full("")
    } else if length <= READ_CHUNK as u64 {
        // In one piece, which saves two trips to another thread.
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(READ_CHUNK));
        file.take(length).read_to_end(&mut bytes).map_err(|failed| refuse(&failed, &path))?;
        full(bytes)
    } else {
        let reader = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), length);
        let chunks = ReaderStream::with_capacity(reader, READ_CHUNK)
            .map_ok(Frame::data)
            .map_err(|failed: io::Error| BoxError::from(failed));
        StreamBody::new(chunks).boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        let end = start + length - 1;
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{end}/{}", meta.len()));
    }
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    set(&mut response, header::CONTENT_TYPE, &mime(&path));
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_DISPOSITION, &disposition(&path));
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    set(&mut response, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    Ok(response)
}

fn set(response: &mut Answer, name: header::HeaderName, value: &str) {
    // All values are made of numbers and escaped text.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn mime(path: &str) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    if guess.type_() == "text" { format!("{guess}; charset=utf-8") } else { guess.to_string() }
}

fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match plain {
        true => format!("inline; filename={name}"),
        false => {
            let escaped = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
            format!("inline; filename*=utf-8''{escaped}")
        }
    }
}

/// Whether the caller takes a file as it is. It is not compressed: the way is short.
fn identity_is_fine(accepted: Option<&str>) -> bool {
    let mut any = None;
    for item in accepted.unwrap_or_default().split(',') {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        match name.trim().to_ascii_lowercase().as_str() {
            "identity" => return !refused,
            "*" => any = Some(!refused),
            _ => {}
        }
    }
    any.unwrap_or(true)
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    All,
    /// Start and length.
    Part(u64, u64),
    /// Nothing of the file.
    None,
}

/// One range; several, and what is not understood, get the whole file.
fn range(header: Option<&str>, size: u64) -> Range {
    let Some((from, to)) = header.and_then(|value| value.strip_prefix("bytes=")?.trim().split_once('-')) else {
        return Range::All;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (number(from), number(to), from.is_empty(), to.is_empty()) {
        (_, Ok(0), true, _) => Range::None,
        (_, Ok(last), true, _) if size > 0 => Range::Part(size - last.min(size), last.min(size)),
        (Ok(start), _, _, true) if start < size => Range::Part(start, size - start),
        (Ok(start), Ok(end), _, _) if start <= end && start < size => Range::Part(start, end.min(size - 1) - start + 1),
        (Ok(start), Ok(end), _, _) if start > end => Range::All,
        (Ok(_), _, _, true) | (Ok(_), Ok(_), _, _) | (_, Ok(_), true, _) => Range::None,
        _ => Range::All,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Compose {
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

/// Makes one file of several, in their order. The sources stay.
pub(super) async fn compose(live: &Live, request: Incoming) -> Answer {
    let composed = async {
        if request.method() != Method::POST {
            return Err(error(StatusCode::METHOD_NOT_ALLOWED, "files are composed by POST"));
        }
        let body = super::body::whole(request.into_body(), 1 << 20).await;
        let body = body.map_err(|_| error(StatusCode::BAD_REQUEST, "the request is cut off or too large"))?;
        let asked: Compose = super::body::json(&body)
            .map_err(|wrong| error(StatusCode::BAD_REQUEST, format!("error parsing the request: {wrong}")))?;
        if asked.source_paths.is_empty() || asked.source_paths.len() > COMPOSE_MAX {
            let message = format!("source_paths has 1 to {COMPOSE_MAX} paths");
            return Err(error(StatusCode::BAD_REQUEST, message));
        }
        let user = asked.username.as_deref();
        let to = target(live, Some(&asked.destination), user)?;
        let mut sources = Vec::new();
        for path in &asked.source_paths {
            let path = target(live, Some(path), user)?;
            if path == to {
                return Err(error(StatusCode::BAD_REQUEST, "the destination is one of the sources"));
            }
            sources.push(live.tree.open(&path).await.map_err(|failed| refuse(&failed, &path))?);
        }
        live.quota.refresh(live.tree.room()).await.map_err(|failed| refuse(&failed, &to))?;
        let file = live.tree.create(&to).await.map_err(|failed| refuse(&failed, &to))?;
        let mut file = upload::Counted { file, quota: Arc::clone(&live.quota) };
        let copied = tokio::task::spawn_blocking(move || {
            sources.into_iter().try_for_each(|mut source| io::copy(&mut source, &mut file).map(drop))
        });
        copied.await.map_err(io::Error::other).flatten().map_err(|failed: io::Error| refuse(&failed, &to))?;
        Ok(json(StatusCode::OK, &upload::written(&to, &Default::default())))
    };
    composed.await.unwrap_or_else(|refused| refused)
}

/// What the sandbox uses now.
pub(super) async fn metrics(gateway: &Inner, sandbox: &Sandbox, live: &Live) -> Answer {
    let Some(sample) = gateway.fleet.sample(sandbox).await else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the sandbox does not tell what it uses");
    };
    let disk_used = live.tree.space().await.map_or(0, |(used, _)| used).min(sample.disk.max(1));
    let value = json!({
        "ts": sample.at / 1000,
        "cpu_count": sample.cpus,
        "cpu_used_pct": sample.cpu_percent,
        "mem_total": sample.memory_total,
        "mem_used": sample.memory,
        "mem_cache": 0,
        "mem_total_mib": sample.memory_total >> 20,
        "mem_used_mib": sample.memory >> 20,
        "disk_used": disk_used,
        "disk_total": sample.disk_total,
    });
    json(StatusCode::OK, &value)
}

/// The environment its owner gave it.
pub(super) fn envs(sandbox: &Sandbox) -> Answer {
    let record = sandbox.record();
    let mut envs = record.envs;
    envs.insert("E2B_SANDBOX".to_owned(), "true".to_owned());
    envs.insert("E2B_SANDBOX_ID".to_owned(), record.id.to_string());
    envs.insert("E2B_TEMPLATE_ID".to_owned(), record.template);
    typed(StatusCode::OK, "application/json", json!(envs).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file_or_refused() {
        for (asked, size, expected) in [
            (None, 5, Range::All),
            (Some("bytes=1-2"), 5, Range::Part(1, 2)),
            (Some("bytes=1-"), 5, Range::Part(1, 4)),
            (Some("bytes=-2"), 5, Range::Part(3, 2)),
            (Some("bytes=-9"), 5, Range::Part(0, 5)),
            (Some("bytes=0-99"), 5, Range::Part(0, 5)),
            (Some("bytes=5-"), 5, Range::None),
            (Some("bytes=7-9"), 5, Range::None),
            (Some("bytes=-0"), 5, Range::None),
            (Some("bytes=0-"), 0, Range::None),
            (Some("bytes=-1"), 0, Range::None),
            (Some("bytes=3-1"), 5, Range::All),
            (Some("bytes=0-1,3-4"), 5, Range::All),
            (Some("bytes=x-y"), 5, Range::All),
            (Some("bytes=99999999999999999999-"), 5, Range::All),
            (Some("lines=1-2"), 5, Range::All),
        ] {
            assert_eq!(range(asked, size), expected, "{asked:?} of {size}");
        }
    }

    #[test]
    fn a_caller_who_refuses_plain_files_is_told() {
        for fine in [None, Some("gzip, deflate"), Some("identity"), Some("*"), Some("br;q=0")] {
            assert!(identity_is_fine(fine), "{fine:?}");
        }
        for refused in ["identity;q=0", "gzip, identity;q=0.0", "*;q=0"] {
            assert!(!identity_is_fine(Some(refused)), "{refused}");
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        assert_eq!(disposition("/a/y.txt"), "inline; filename=y.txt");
        assert_eq!(disposition("/a/x\r\nSet-Cookie: a"), "inline; filename*=utf-8''x%0D%0ASet%2DCookie%3A%20a");
    }
}
