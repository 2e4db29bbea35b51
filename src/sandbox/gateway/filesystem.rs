//! e2b's `filesystem.Filesystem`: entries, directories and watches.

use super::access::{printable, rpc_user};
use super::frame::{self, Code, Messages, RpcError, check_call, deadline, read_unary, unary};
use super::{Answer, Incoming, text};
use crate::domain::rfc3339_nanos;
use crate::sandbox::fleet::{Live, WATCHERS_MAX};
use crate::sandbox::provider::{TreeChange, TreeEntry, TreeEvent, TreeKind};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

const DEPTH_MAX: u32 = 64;
const KEEPALIVE: u64 = 90;

/// Every request of the service: the fields do not contradict each other.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request {
    path: String,
    depth: u32,
    source: String,
    destination: String,
    recursive: bool,
    #[serde(alias = "include_entry")]
    include_entry: bool,
    #[serde(alias = "watcher_id")]
    watcher_id: String,
}

fn invalid(message: impl Into<String>) -> RpcError {
    RpcError::new(Code::InvalidArgument, message)
}

/// Answers a call.
pub(super) async fn handle(live: &Live, method: &str, request: Incoming) -> Answer {
    const UNARY: [&str; 8] =
        ["Stat", "MakeDir", "Move", "ListDir", "Remove", "CreateWatcher", "GetWatcherEvents", "RemoveWatcher"];
    let streams = method == "WatchDir";
    if !streams && !UNARY.contains(&method) {
        return super::answer::plain(http::StatusCode::NOT_FOUND, "404 page not found\n");
    }
    if let Err(refused) = check_call(&request, streams) {
        return refused;
    }
    if streams {
        return watch_dir(live, request).await.unwrap_or_else(|error| frame::stream_error(&error));
    }
    unary(call(live, method, request).await)
}

async fn call(live: &Live, method: &str, request: Incoming) -> Result<Value, RpcError> {
    rpc_user(&request).map_err(|message| RpcError::new(Code::Unauthenticated, message))?;
    let asked: Request = read_unary(request).await?;
    let path = live.path(&asked.path).map_err(invalid)?;
    match method {
        "Stat" => entry_of(live, &path).await,
        "MakeDir" => {
            live.tree.make_dir(&path).await.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    RpcError::new(Code::AlreadyExists, format!("directory already exists: {}", printable(&path)))
                }
                io::ErrorKind::NotADirectory => {
                    invalid(format!("path already exists but it is not a directory: {}", printable(&path)))
                }
                _ => explain(&error, &path),
            })?;
            entry_of(live, &path).await
        }
        "Move" => {
            let (from, to) =
                (live.path(&asked.source).map_err(invalid)?, live.path(&asked.destination).map_err(invalid)?);
            live.tree.rename(&from, &to).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    let (from, to) = (printable(&from), printable(&to));
                    let message = format!("source file not found: rename {from} {to}: no such file or directory");
                    RpcError::new(Code::NotFound, message)
                }
                _ => explain(&error, &from),
            })?;
            entry_of(live, &to).await
        }
        "ListDir" => list(live, &path, asked.depth).await,
        "Remove" => {
            live.tree.remove(&path).await.map_err(|error| explain(&error, &path))?;
            Ok(json!({}))
        }
        "CreateWatcher" => {
            let place = place(live)?;
            let events = watch(live, &path, asked.recursive).await?;
            Ok(json!({ "watcherId": live.watchers.add(&path, events, place) }))
        }
        "GetWatcherEvents" => {
            let (_, events) = live.watchers.take(&asked.watcher_id).ok_or_else(|| no_watcher(&asked.watcher_id))?;
            let events: Vec<Value> = events.iter().map(|event| event_json(event, None)).collect();
            Ok(if events.is_empty() { json!({}) } else { json!({ "events": events }) })
        }
        _ => match live.watchers.remove(&asked.watcher_id) {
            true => Ok(json!({})),
            false => Err(no_watcher(&asked.watcher_id)),
        },
    }
}

fn no_watcher(id: &str) -> RpcError {
    RpcError::new(Code::NotFound, format!("watcher with id {} not found", printable(id)))
}

async fn entry_of(live: &Live, path: &str) -> Result<Value, RpcError> {
    let entry = live.tree.stat(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("file not found: lstat {}: no such file or directory", printable(path));
            RpcError::new(Code::NotFound, message)
        }
        _ => explain(&error, path),
    })?;
    Ok(json!({ "entry": entry_json(&entry) }))
}

async fn list(live: &Live, path: &str, depth: u32) -> Result<Value, RpcError> {
    let depth = depth.clamp(1, DEPTH_MAX);
    let entries = live.tree.list(path, depth).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RpcError::new(
            Code::NotFound,
            format!("directory not found: lstat {}: no such file or directory", printable(path)),
        ),
        io::ErrorKind::NotADirectory => invalid(format!("path is not a directory: {}", printable(path))),
        _ => explain(&error, path),
    })?;
    let entries: Vec<Value> = entries.iter().map(entry_json).collect();
    Ok(if entries.is_empty() { json!({}) } else { json!({ "entries": entries }) })
}

fn explain(error: &io::Error, path: &str) -> RpcError {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::AlreadyExists => Code::AlreadyExists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::CrossesDevices => Code::InvalidArgument,
        _ => match error.raw_os_error() {
            Some(libc::ELOOP) => Code::InvalidArgument,
            // So many watches of all sandboxes together as the host allows.
            Some(libc::EMFILE | libc::ENFILE) => Code::ResourceExhausted,
            _ => Code::Internal,
        },
    };
    RpcError::new(code, format!("{}: {error}", printable(path)))
}

fn entry_json(entry: &TreeEntry) -> Value {
    let kind = match entry.kind {
        Some(TreeKind::File) => "FILE_TYPE_FILE",
        Some(TreeKind::Directory) => "FILE_TYPE_DIRECTORY",
        None => "FILE_TYPE_UNSPECIFIED",
    };
    let (seconds, nanos) = entry.modified;
    let mut value = json!({
        "name": entry.name,
        "type": kind,
        "path": entry.path,
        "size": entry.size.to_string(),
        "mode": entry.target_mode,
        "permissions": permissions(entry.mode),
        "owner": entry.owner,
        "group": entry.owner,
        "modifiedTime": rfc3339_nanos(seconds, nanos),
    });
    if let Some(link) = &entry.link {
        value["symlinkTarget"] = json!(link);
    }
    if !entry.metadata.is_empty() {
        value["metadata"] = json!(entry.metadata);
    }
    value
}

/// Go's text of a mode: type letters, then three times three.
fn permissions(mode: u32) -> String {
    let kinds = [
        (libc::S_IFDIR, "d"),
        (libc::S_IFLNK, "L"),
        (libc::S_IFBLK, "D"),
        (libc::S_IFIFO, "p"),
        (libc::S_IFSOCK, "S"),
        (libc::S_IFCHR, "Dc"),
    ];
    let kind = kinds.iter().find(|(kind, _)| mode & libc::S_IFMT == *kind).map(|(_, letters)| *letters);
    let mut text = kind.unwrap_or_default().to_owned();
    for (bit, letter) in [(libc::S_ISUID, 'u'), (libc::S_ISGID, 'g'), (libc::S_ISVTX, 't')] {
        if mode & bit != 0 {
            text.push(letter);
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    for (at, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> at) != 0 { letter } else { '-' });
    }
    text
}

fn place(live: &Live) -> Result<OwnedSemaphorePermit, RpcError> {
    live.watchers.place().ok_or_else(|| {
        let message = format!("a sandbox has at most {WATCHERS_MAX} watches; remove a watcher or end a stream first");
        RpcError::new(Code::ResourceExhausted, message)
    })
}

async fn watch(live: &Live, path: &str, recursive: bool) -> Result<mpsc::Receiver<TreeEvent>, RpcError> {
    live.tree.watch(path, recursive).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let path = printable(path);
            RpcError::new(Code::NotFound, format!("path {path} not found: stat {path}: no such file or directory"))
        }
        io::ErrorKind::NotADirectory => invalid(format!("path {} not a directory", printable(path))),
        _ => explain(&error, path),
    })
}

fn event_json(event: &TreeEvent, entry: Option<&TreeEntry>) -> Value {
    let kind = match event.change {
        TreeChange::Create => "EVENT_TYPE_CREATE",
        TreeChange::Write => "EVENT_TYPE_WRITE",
        TreeChange::Remove => "EVENT_TYPE_REMOVE",
        TreeChange::Rename => "EVENT_TYPE_RENAME",
        TreeChange::Chmod => "EVENT_TYPE_CHMOD",
    };
    let mut value = json!({ "name": event.name, "type": kind });
    if let Some(entry) = entry {
        value["entry"] = entry_json(entry);
    }
    value
}

/// One caller's watch on a directory.
struct Watching {
    live: Live,
    path: String,
    include_entry: bool,
    events: mpsc::Receiver<TreeEvent>,
    until: Option<Instant>,
    keepalive: Duration,
    told_start: bool,
    _place: OwnedSemaphorePermit,
}

async fn watch_dir(live: &Live, request: Incoming) -> Result<Answer, RpcError> {
    rpc_user(&request).map_err(|message| RpcError::new(Code::Unauthenticated, message))?;
    let until = deadline(&request)?.map(|limit| Instant::now() + limit);
    let seconds = text(request.headers(), "keepalive-ping-interval").map_or(Ok(KEEPALIVE), str::parse);
    let seconds: u64 = seconds.map_err(|_| invalid("Keepalive-Ping-Interval is not a number of seconds"))?;
    let asked: Option<Request> = Messages::of(request)?.next().await?;
    let asked = asked.ok_or_else(|| invalid("the request has no message"))?;
    let path = live.path(&asked.path).map_err(invalid)?;
    let watching = Watching {
        _place: place(live)?,
        live: live.clone(),
        events: watch(live, &path, asked.recursive).await?,
        path,
        include_entry: asked.include_entry,
        until,
        keepalive: Duration::from_secs(seconds.clamp(1, 3600)),
        told_start: false,
    };
    Ok(frame::stream(futures::stream::unfold(watching, |mut watching| async move {
        let message = watching.next().await?;
        Some((message, watching))
    })))
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Bytes, RpcError>> {
        let message = |value: Value| Some(Ok(Bytes::from(value.to_string())));
        if !self.told_start {
            self.told_start = true;
            return message(json!({ "start": {} }));
        }
        let until = self.until;
        let deadline = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = self.live.awake.cancelled() => {
                return Some(Err(RpcError::new(Code::Unavailable, "the sandbox was not found: it was paused or has ended")));
            }
            event = self.events.recv() => event?,
            () = deadline => return Some(Err(RpcError::new(Code::DeadlineExceeded, "context deadline exceeded"))),
            () = tokio::time::sleep(self.keepalive) => return message(json!({ "keepalive": {} })),
        };
        let entry = match self.include_entry {
            // It may be gone by now.
            true => self.live.tree.stat(&format!("{}/{}", self.path, event.name)).await.ok(),
            false => None,
        };
        message(json!({ "filesystem": event_json(&event, entry.as_ref()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_written_as_go_writes_them() {
        assert_eq!(permissions(0o100_644), "-rw-r--r--");
        assert_eq!(permissions(0o041_777), "dtrwxrwxrwx");
        assert_eq!(permissions(0o120_777), "Lrwxrwxrwx");
        assert_eq!(permissions(0o104_755), "urwxr-xr-x");
    }
}
