//! One request to an app and its answer, streamed both ways; upgraded connections are copied until one side ends.

use super::headers::{self, Route};
use super::{BoxError, Inner, ProxyBody, Target, inject, pages, wants_html};
use crate::domain::FaultKind;
use crate::sandbox::SeenFault;
use crate::sandbox::hop::{requested_upgrade, switch_protocols};
use crate::sandbox::provider::Connection;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Sends the request over the connection.
pub(super) async fn forward<B>(
    proxy: &Inner,
    target: &Target,
    connection: Box<dyn Connection>,
    mut request: Request<B>,
) -> Response<ProxyBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let navigation = wants_html(request.headers());
    let asked = navigation.then(|| format!("{} {}", request.method(), request.uri().path()));
    let upgrade = requested_upgrade(request.headers());
    let browser = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let head = request.method() == Method::HEAD;
    let request = outgoing(proxy, target, request, upgrade, navigation);
    let mut sender = match http1::handshake::<_, ProxyBody>(TokioIo::new(connection)).await {
        Ok((sender, connection)) => {
            let closing = proxy.closing.clone();
            proxy.tasks.spawn(async move {
                tokio::select! {
                    () = closing.cancelled() => {}
                    // How a connection ends is told by the answer's body.
                    _ = connection.with_upgrades() => {}
                }
            });
            sender
        }
        Err(error) => return pages::broken(target, &error, navigation),
    };
    match sender.send_request(request).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switched(proxy, target, response, browser)
        }
        Ok(response) if asked.is_some() && response.status().is_server_error() => {
            let title = format!("{} answers {}", asked.unwrap_or_default(), response.status().as_u16());
            proxy.service.report_fault(SeenFault::new(&target.project, FaultKind::Http, &title, ""));
            incoming(proxy, target, response, navigation && !head)
        }
        Ok(response) => incoming(proxy, target, response, navigation && !head),
        Err(error) => pages::broken(target, &error, navigation),
    }
}

/// The request as the app gets it.
fn outgoing<B>(
    proxy: &Inner,
    target: &Target,
    request: Request<B>,
    upgrade: Option<HeaderValue>,
    navigation: bool,
) -> Request<ProxyBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_11;
    parts.uri = parts.uri.path_and_query().map_or_else(
        || Uri::from_static("/"),
        |path| Uri::builder().path_and_query(path.clone()).build().unwrap_or_default(),
    );
    parts.extensions = http::Extensions::new();
    let route = Route { address: &proxy.address, sandbox: &target.sandbox, port: target.port };
    headers::to_app(&mut parts.headers, &route, proxy.token.as_ref(), navigation);
    switch_protocols(&mut parts.headers, upgrade);
    Request::from_parts(parts, body.map_err(Into::into).boxed_unsync())
}

/// The answer as the browser gets it.
fn incoming(
    proxy: &Inner,
    target: &Target,
    response: Response<hyper::body::Incoming>,
    navigation: bool,
) -> Response<ProxyBody> {
    let (mut parts, body) = response.into_parts();
    let page = navigation && is_plain_html(&parts.headers) && has_body(parts.status);
    let route = Route { address: &proxy.address, sandbox: &target.sandbox, port: target.port };
    headers::to_browser(&mut parts.headers, &route, page.then(inject::script_hash));
    parts.extensions = http::Extensions::new();
    parts.version = Version::HTTP_11;
    let body = body.map_err(Into::into).boxed_unsync();
    if !page {
        return Response::from_parts(parts, body);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::ACCEPT_RANGES);
    Response::from_parts(parts, inject::inject(body))
}

/// The app agreed to another protocol: the bytes of both sides are copied from now on.
fn switched(
    proxy: &Inner,
    target: &Target,
    mut response: Response<hyper::body::Incoming>,
    browser: Option<OnUpgrade>,
) -> Response<ProxyBody> {
    let Some(browser) = browser else { return pages::broken(target, &"it changed the protocol unasked", false) };
    let app = hyper::upgrade::on(&mut response);
    let upgrade = response.headers().get(header::UPGRADE).cloned();
    let closing = proxy.closing.clone();
    proxy.tasks.spawn(async move {
        let copy = async {
            let (browser, app) = tokio::try_join!(browser, app)?;
            let (mut browser, mut app) = (TokioIo::new(browser), TokioIo::new(app));
            tokio::io::copy_bidirectional(&mut browser, &mut app).await?;
            Ok::<(), BoxError>(())
        };
        tokio::select! {
            () = closing.cancelled() => {}
            // A closed tab and a restarted app both look like a broken connection: nothing to tell anyone.
            _ = copy => {}
        }
    });
    let (mut parts, _) = response.into_parts();
    let route = Route { address: &proxy.address, sandbox: &target.sandbox, port: target.port };
    headers::to_browser(&mut parts.headers, &route, None);
    switch_protocols(&mut parts.headers, upgrade);
    parts.extensions = http::Extensions::new();
    Response::from_parts(parts, Empty::new().map_err(|never| match never {}).boxed_unsync())
}

fn is_plain_html(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = text(header::CONTENT_ENCODING);
    let html = text(header::CONTENT_TYPE).trim_start().to_ascii_lowercase().starts_with("text/html");
    html && (encoding.is_empty() || encoding.eq_ignore_ascii_case("identity"))
}

/// Whether the status allows a whole body. A part of a page gets no script.
fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT)
}
