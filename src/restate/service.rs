//! What Restate calls: one service with one handler, on a loopback port of its own.
//!
//! A run is one invocation. Each of its attempts is a step of that invocation's journal and the backoff between two is
//! Restate's timer, so that neither the death of this server nor of Restate's loses or repeats one. Restate's own
//! retries only bridge the time in which this server does not answer, so they never end.

use super::Identity;
use super::desk::{Desk, Verdict};
use crate::domain::RunId;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use restate_sdk::endpoint::{Endpoint, ResponseBody};
use restate_sdk::errors::{HandlerError, TerminalError};
use restate_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The service's name in Restate.
pub(super) const SERVICE: &str = "SandcastleRuns";

/// What an invocation is given. All else is in the store.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) run: RunId,
}

struct Runs {
    desk: Arc<Desk>,
}

#[restate_sdk::service(
    name = "SandcastleRuns",
    // A step may take as long as a task may; asking it to suspend meanwhile means nothing to it.
    abort_timeout = "1 day",
    // What became of a run is in our store.
    journal_retention = "1 hour",
    idempotency_retention = "1 hour",
    invocation_retry_policy(
        initial_interval = "50ms",
        factor = 2.0,
        max_interval = "1s",
        // In effect none. At the end of the default, 70, an invocation is paused and does not even hear a cancel.
        max_attempts = 4000000000
    )
)]
impl Runs {
    #[handler]
    async fn run(&self, ctx: Context<'_>, envelope: Json<Envelope>) -> Result<(), HandlerError> {
        let run = envelope.into_inner().run;
        let desk = &self.desk;
        for number in 1_u32.. {
            let attempt = || async { Ok(Json(desk.call(&run).await?)) };
            let verdict = ctx.run(attempt).name(format!("attempt {number}")).await;
            let again = match verdict {
                Ok(Json(Verdict::Ended)) => break,
                Ok(Json(Verdict::Again(at))) => at.saturating_sub(desk.executor.clock().now_ms()),
                Err(cancelled) => return Err(self.cancelled(&run, cancelled).await),
            };
            if let Err(cancelled) = ctx.sleep(Duration::from_millis(again)).await {
                return Err(self.cancelled(&run, cancelled).await);
            }
        }
        Ok(())
    }
}

impl Runs {
    /// Somebody cancelled the invocation in Restate; that means the run.
    async fn cancelled(&self, run: &RunId, reason: TerminalError) -> HandlerError {
        tracing::info!(%run, %reason, "cancelled in Restate");
        if let Err(error) = self.desk.runs.request_cancel(run, self.desk.executor.clock().now_ms()).await {
            tracing::warn!(%run, %error, "the request to stop a run was not recorded");
        }
        self.desk.executor.cancel(run);
        reason.into()
    }
}

/// Takes Restate's calls.
pub(super) struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
    endpoint: Endpoint,
    /// The header that Restate was told to send.
    password: Arc<str>,
}

impl Listener {
    /// Listens on a loopback port that the system chooses: Restate is told of it at each start.
    pub(super) async fn bind(desk: Arc<Desk>, identity: &Identity) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let endpoint = Endpoint::builder().bind(Runs { desk }).build();
        Ok(Self { listener, addr, endpoint, password: identity.password().into() })
    }

    /// Its address.
    pub(super) fn uri(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// Serves until `closing`, then cuts off what is still open: Restate calls again after the next start.
    pub(super) async fn serve(self, closing: CancellationToken) {
        let connections = TaskTracker::new();
        while let Some(accepted) = closing.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
                    }
                    let (endpoint, password) = (self.endpoint.clone(), Arc::clone(&self.password));
                    let answer = service_fn(move |request| {
                        let answer = answer(&endpoint, &password, request);
                        async { Ok::<_, Infallible>(answer) }
                    });
                    let serving = http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(None)
                        .serve_connection(TokioIo::new(stream), answer);
                    let closing = closing.clone();
                    connections.spawn(async move {
                        if let Some(Err(error)) = closing.run_until_cancelled(serving).await {
                            tracing::debug!(%error, "a connection of Restate ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection of Restate was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }
}

type Answer = Response<Either<ResponseBody, Empty<Bytes>>>;

fn answer(endpoint: &Endpoint, password: &str, request: Request<Incoming>) -> Answer {
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    if bool::from(given.ct_eq(password.as_bytes())) {
        return endpoint.handle(request).map(Either::Left);
    }
    let mut refused = Response::new(Either::Right(Empty::new()));
    *refused.status_mut() = StatusCode::UNAUTHORIZED;
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RestateAddress, RestateConfig};
    use crate::restate::client::Client;
    use crate::store::Store;
    use crate::workflow::executor::Executor;
    use crate::workflow::{SystemClock, WorkflowOptions};
    use tokio::net::TcpStream;

    async fn ask(addr: SocketAddr, password: &str) -> StatusCode {
        let stream = TcpStream::connect(addr).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let accept = "application/vnd.restate.endpointmanifest.v4+json";
        let request = Request::get(format!("http://{addr}/discover"))
            .header(header::ACCEPT, accept)
            .header(header::AUTHORIZATION, password)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let status = client.send_request(request).await.unwrap().status();
        connection.abort();
        status
    }

    #[tokio::test]
    async fn only_who_has_the_password_can_call() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let nowhere = || RestateAddress::Unix(folder.path().join("none"));
        let client = Client::new(&RestateConfig { ingress: nowhere(), admin: nowhere() }).unwrap();
        let executor = Executor::new(Arc::new(SystemClock), &WorkflowOptions::default());
        let identity = Identity::of(&store).await.unwrap();
        let desk = Arc::new(Desk::new(store.runs().clone(), executor, client));
        let listener = Listener::bind(desk, &identity).await.unwrap();
        let (addr, closing) = (listener.addr, CancellationToken::new());
        let served = tokio::spawn(listener.serve(closing.clone()));
        assert_eq!(ask(addr, "Bearer guessed").await, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(addr, &identity.password()).await, StatusCode::OK);
        closing.cancel();
        served.await.unwrap();
    }
}
