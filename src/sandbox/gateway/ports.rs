//! Requests to a port that something in an API sandbox listens on: passed through as they are, streams and upgrades
//! included.

use super::answer::{error, routing_error};
use super::{Answer, ID_HEADER, Incoming, Inner, PORT_HEADER, access, text};
use crate::sandbox::SandboxError;
use crate::sandbox::fleet::{Live, Sandbox};
use crate::sandbox::preview::{BoxError, ProxyBody, is_platform_cookie, own_cookies};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::sync::Arc;

const TRAFFIC_TOKEN: &str = "e2b-traffic-access-token";
/// Headers of one connection, not of the request.
const HOP_BY_HOP: [header::HeaderName; 5] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
];

/// Checks the token that private ports ask for.
pub(super) fn check(sandbox: &Sandbox, request: &Incoming) -> Result<(), Answer> {
    let Some(token) = sandbox.record().traffic_token else { return Ok(()) };
    let given = text(request.headers(), TRAFFIC_TOKEN).unwrap_or_default();
    match access::equal(given, &token) {
        true => Ok(()),
        false => Err(error(StatusCode::FORBIDDEN, "the traffic access token is missing or wrong")),
    }
}

/// Sends a request that may come in to a port and brings the answer back.
pub(super) async fn forward(
    gateway: &Arc<Inner>,
    sandbox: &Arc<Sandbox>,
    live: &Live,
    port: u16,
    mut request: Incoming,
) -> Answer {
    let record = sandbox.record();
    let connection = match live.instance.connect(port).await {
        Ok(connection) => connection,
        Err(SandboxError::PortClosed(port)) => {
            let message = "The sandbox is running but port is not open";
            return routing_error(sandbox.id().as_str(), message, Some(port));
        }
        Err(_) => return routing_error(sandbox.id().as_str(), "The sandbox was not found", None),
    };
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let caller = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let mask_host = record.network.mask_host.map(|host| host.replace("${PORT}", &port.to_string()));
    let outgoing = outgoing(request, mask_host, upgrade);
    let mut sender = match http1::handshake::<_, ProxyBody>(TokioIo::new(connection)).await {
        Ok((sender, connection)) => {
            let (closing, awake) = (gateway.closing.clone(), live.awake.clone());
            gateway.tasks.spawn(async move {
                tokio::select! {
                    () = closing.cancelled() => {}
                    () = awake.cancelled() => {}
                    // How a connection ends is told by the answer's body.
                    _ = connection.with_upgrades() => {}
                }
            });
            sender
        }
        Err(failed) => return error(StatusCode::BAD_GATEWAY, format!("port {port} does not speak HTTP: {failed}")),
    };
    match sender.send_request(outgoing).await {
        Ok(response) => incoming(gateway, live, response, caller),
        Err(failed) => error(StatusCode::BAD_GATEWAY, format!("port {port} did not answer: {failed}")),
    }
}

/// The request without what is between the caller and us.
fn outgoing(request: Incoming, mask_host: Option<String>, upgrade: Option<HeaderValue>) -> Incoming {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_11;
    let authority = parts.uri.authority().map(ToString::to_string);
    parts.uri = parts.uri.path_and_query().map_or_else(
        || Uri::from_static("/"),
        |path| Uri::builder().path_and_query(path.clone()).build().unwrap_or_default(),
    );
    let headers = &mut parts.headers;
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in [ID_HEADER, PORT_HEADER, TRAFFIC_TOKEN, "x-access-token", "x-api-key"] {
        headers.remove(name);
    }
    strip_cookies(headers);
    if let Some(host) = mask_host.or(authority).and_then(|host| HeaderValue::from_str(&host).ok()) {
        headers.insert(header::HOST, host);
    }
    match upgrade {
        Some(upgrade) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, upgrade);
        }
        None => drop(headers.remove(header::UPGRADE)),
    }
    parts.extensions = http::Extensions::new();
    http::Request::from_parts(parts, body)
}

/// The interface's own cookies are for nobody inside.
fn strip_cookies(headers: &mut HeaderMap) {
    let kept: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .map(str::trim)
        .filter(|pair| !pair.is_empty() && !is_platform_cookie(pair))
        .map(str::to_owned)
        .collect();
    headers.remove(header::COOKIE);
    if let Some(value) = Some(kept.join("; ")).filter(|all| !all.is_empty()).and_then(|all| all.try_into().ok()) {
        headers.insert(header::COOKIE, value);
    }
}

fn incoming(
    gateway: &Arc<Inner>,
    live: &Live,
    mut response: Response<hyper::body::Incoming>,
    caller: Option<hyper::upgrade::OnUpgrade>,
) -> Answer {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(caller) = caller else {
            return error(StatusCode::BAD_GATEWAY, "the port changed the protocol unasked");
        };
        let inside = hyper::upgrade::on(&mut response);
        let (closing, awake) = (gateway.closing.clone(), live.awake.clone());
        gateway.tasks.spawn(async move {
            let copy = async {
                let (caller, inside) = tokio::try_join!(caller, inside)?;
                let (mut caller, mut inside) = (TokioIo::new(caller), TokioIo::new(inside));
                tokio::io::copy_bidirectional(&mut caller, &mut inside).await?;
                Ok::<(), BoxError>(())
            };
            tokio::select! {
                () = closing.cancelled() => {}
                () = awake.cancelled() => {}
                // A caller that went away and a program that ended look alike, and concern nobody else.
                _ = copy => {}
            }
        });
    } else {
        response.headers_mut().remove(header::CONNECTION);
        response.headers_mut().remove(header::TRANSFER_ENCODING);
    }
    own_cookies(response.headers_mut(), false);
    let (mut parts, body) = response.into_parts();
    parts.extensions = http::Extensions::new();
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
}
