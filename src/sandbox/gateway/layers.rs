//! Archives for COPY steps: they come to an address that carries its own secret, because the SDKs send it no key.

use super::answer::{empty, error, fleet_error};
use super::shapes::{Refused, bad};
use super::{Answer, Incoming, Inner, access};
use crate::sandbox::fleet::{Build, FleetError, Share};
use futures::TryStreamExt as _;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use std::path::Path;
use tokio::io::AsyncWriteExt as _;

/// Takes an archive from whoever has the address that was given for it.
pub(super) async fn receive(
    gateway: &Inner,
    request: Incoming,
    template: &str,
    digest: &str,
) -> Result<Answer, Refused> {
    let query = access::query(&request);
    let given = query.get("token").map(String::as_str).unwrap_or_default();
    let build = gateway.fleet.by_upload_token(template, |token| access::equal(token, given));
    let build = build.ok_or_else(|| error(StatusCode::FORBIDDEN, "this address for files is not valid any more"))?;
    let path = gateway.fleet.layer(&build.template, digest).map_err(|failed| fleet_error(&failed))?;
    let room = gateway.fleet.room_for_layers(&build.template).map_err(|failed| fleet_error(&failed))?;
    let announced = super::text(request.headers(), header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
    if announced.is_some_and(|length: u64| length > room.left()) {
        return Err(too_large(room.most));
    }
    let part = path.with_extension(format!("part-{}", build.id));
    let mut share = room.share();
    match write(&build, &part, request, &mut share, room.most).await {
        Ok(()) => {
            tokio::fs::rename(&part, &path).await.map_err(|failed| unkept(&failed))?;
            share.keep();
            Ok(empty(StatusCode::OK))
        }
        Err(refused) => {
            // It may not have been made.
            let _ = tokio::fs::remove_file(&part).await;
            Err(refused)
        }
    }
}

async fn write(build: &Build, part: &Path, request: Incoming, share: &mut Share, most: u64) -> Result<(), Refused> {
    if let Some(folder) = part.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(|failed| unkept(&failed))?;
    }
    let mut file = tokio::fs::File::create(part).await.map_err(|failed| unkept(&failed))?;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.try_next().await.map_err(|_| bad("the upload was cut off"))? {
        if !share.take(chunk.len() as u64) {
            return Err(too_large(most));
        }
        file.write_all(&chunk).await.map_err(|failed| unkept(&failed))?;
        if build.is_cancelled() {
            return Err(fleet_error(&FleetError::NoBuild(build.id.clone())));
        }
    }
    file.flush().await.map_err(|failed| unkept(&failed))
}

fn too_large(most: u64) -> Refused {
    error(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("there is room for {most} bytes of files, all archives of a template together"),
    )
}

fn unkept(failed: &std::io::Error) -> Refused {
    let status = match failed.kind() {
        std::io::ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, format!("the files cannot be kept: {}", failed.kind()))
}

/// Where the caller reached this server, for addresses it is told.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let host = super::text(headers, header::HOST.as_str()).unwrap_or_default();
    let scheme = match super::text(headers, "x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    format!("{scheme}://{host}")
}
