//! Starts the server's parts in order and stops them in order; `main`, the command line and the tests all use it.
//!
//! Owns the listener and the order of start and stop. It must not hold behaviour of its own.

use crate::agent::{Agent, AgentDeps, RepairPolicy, Repairer, turn_task};
use crate::api::{AppState, router};
use crate::config::{Config, EngineConfig, ServerConfig};
use crate::domain::ApiError;
use crate::llm::{Catalog, DemoServer, StreamLimits};
use crate::otlp::Exporter;
use crate::sandbox::e2b::E2bProvider;
use crate::sandbox::egress::Egress;
use crate::sandbox::fleet::Fleet;
use crate::sandbox::gateway::Gateway;
use crate::sandbox::local::LocalProvider;
use crate::sandbox::preview::PreviewProxy;
use crate::sandbox::provider::Provider;
use crate::sandbox::{PreviewAddress, SandboxError, Service};
use crate::services::{Services, Trials};
use crate::store::{Store, StoreError};
use crate::tools::RunCommandLimits;
use crate::workflow::{Clock, EngineError, SystemClock, Workflow, WorkflowError, WorkflowOptions, tasks};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Stopping takes at most so long; what has not ended then is cut off.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// A request's head has to be there after so long, counted from the end of the one before. Longer than clients keep a
/// connection that they do not use, so that none sends a request just when it is closed.
const HEAD_IN: Duration = Duration::from_secs(120);
/// What cannot be accepted now, for want of descriptors, is tried again after so long.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// Task runs get so long to end by themselves; the rest is resumed at the next start.
const RUNS_GRACE: Duration = Duration::from_secs(1);

/// Why the server cannot start, with the way out.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Something else listens on the address.
    #[error("{0} is already in use. Stop the program that uses it, or choose another address with --addr.")]
    AddressInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {reason}. Choose another address with --addr.")]
    Address {
        /// The address.
        addr: SocketAddr,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record of earlier sandboxes cannot be brought up to date.
    #[error("cannot take up the sandboxes of the last start: {0}")]
    Sandbox(#[from] SandboxError),
    /// What decides when tasks run cannot be had.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The remote provider cannot be made.
    #[error("cannot use e2b: {0}")]
    Provider(SandboxError),
    /// The record of earlier runs cannot be brought up to date.
    #[error("cannot take up the runs of the last start: {0}")]
    Workflow(#[from] WorkflowError),
    /// Turns that were cut off cannot be ended.
    #[error("cannot take up the conversations of the last start: {0}")]
    Agent(ApiError),
    /// The demo model's own server does not start.
    #[error("cannot start the demo model: {0}")]
    Demo(std::io::Error),
}

/// A running server.
pub struct App {
    services: Services,
    addr: SocketAddr,
    demo: DemoServer,
    preview: PreviewProxy,
    gateway: Gateway,
    egress: Option<Egress>,
    exporter: Option<Exporter>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    server: JoinHandle<()>,
}

impl App {
    /// Starts everything; requests are answered when it returns.
    pub async fn start(config: Config) -> Result<Self, BootError> {
        let Providers { projects, api, egress } = providers(&config)?;
        Self::assemble(config, projects, api, Some(egress)).await
    }

    /// The same over another way to make sandboxes.
    pub async fn start_over(config: Config, provider: Arc<dyn Provider>) -> Result<Self, BootError> {
        Self::assemble(config, Arc::clone(&provider), provider, None).await
    }

    async fn assemble(
        mut config: Config,
        provider: Arc<dyn Provider>,
        api: Arc<dyn Provider>,
        egress: Option<Egress>,
    ) -> Result<Self, BootError> {
        let listener = listen(config.server.addr).await?;
        let addr = listener.local_addr().map_err(|reason| BootError::Address { addr: config.server.addr, reason })?;
        config.server.addr = addr;
        let config = Arc::new(config);
        let config_otlp = config.otlp.clone();
        let (store, ()) = tokio::join!(Store::open(&config.server.data_dir), look_at_tools(Arc::clone(&provider)));
        let store = store?;
        let demo = DemoServer::start().await.map_err(BootError::Demo)?;
        let workflow = workflow(&config, &store).await?;
        let (services, deps) = services(config, store, workflow, provider, api, &demo);
        services.load_endpoints().await?;
        services.sandbox.boot().await?;
        services.fleet.boot().await?;
        services.store.attachments().sweep().await?;
        let exporter = config_otlp.and_then(|otlp| Exporter::start(otlp, &services.workflow));
        // Before runs go on, or the end of a turn could pass unnoticed.
        let repairer = Repairer::new(deps, services.workflow.clone(), RepairPolicy::default());
        services.workflow.boot().await?;
        services.agent.recover().await.map_err(BootError::Agent)?;

        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        if let Some(faults) = services.sandbox.take_faults() {
            tasks.spawn(repairer.run(faults, shutdown.clone()));
        }
        let preview = PreviewProxy::new(services.sandbox.clone(), services.config.server.access_token.clone());
        let address = preview_address(&services.config.server);
        let gateway = Gateway::new(services.fleet.clone(), services.store.keys().clone(), address);
        let fronts = (preview.clone(), gateway.clone());
        let state = AppState::new(services.clone(), fronts, shutdown.clone(), tasks.clone());
        let server = tokio::spawn(serve(listener, router(state), HEAD_IN, shutdown.clone()));
        Ok(Self { services, addr, demo, preview, gateway, egress, exporter, shutdown, tasks, server })
    }

    /// The parts.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Where it listens, with the port that was chosen if the configured one was 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address for a browser on this machine.
    pub fn url(&self) -> String {
        let ip = self.addr.ip();
        if ip.is_loopback() || ip.is_unspecified() {
            format!("http://localhost:{}", self.addr.port())
        } else {
            format!("http://{}", self.addr)
        }
    }

    /// Ends streams, finishes what is being answered, leaves runs resumable, puts sandboxes to sleep and closes the
    /// store; at most ten seconds.
    pub async fn stop(self) {
        let Self { services, demo, preview, gateway, egress, exporter, shutdown, tasks, server, .. } = self;
        shutdown.cancel();
        tasks.close();
        let abort = server.abort_handle();
        let orderly = async {
            services.workflow.shutdown(RUNS_GRACE).await;
            services.trials.shutdown().await;
            if let Some(exporter) = exporter {
                exporter.shutdown().await;
            }
            services.sandbox.shutdown().await;
            preview.shutdown().await;
            services.fleet.shutdown().await;
            gateway.shutdown().await;
            if let Some(egress) = &egress {
                egress.shutdown().await;
            }
            demo.shutdown().await;
            tasks.wait().await;
            if let Err(error) = server.await {
                tracing::error!(%error, "the listener ended badly");
            }
        };
        if tokio::time::timeout(STOP_DEADLINE, orderly).await.is_err() {
            tracing::warn!("not everything ended in time; the rest is cut off");
            abort.abort();
        }
        services.store.close().await;
    }
}

/// Tasks, with the engine that was asked for.
async fn workflow(config: &Config, store: &Store) -> Result<Workflow, EngineError> {
    let options = WorkflowOptions::default();
    match &config.engine {
        EngineConfig::Embedded => Ok(Workflow::new(store, options)),
        EngineConfig::Restate(restate) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let engine = crate::restate::engine(restate, store, &options, Arc::clone(&clock)).await?;
            Ok(Workflow::with_engine(store, options, clock, engine))
        }
    }
}

/// Puts the parts together that need no request to come first.
fn services(
    config: Arc<Config>,
    store: Store,
    workflow: Workflow,
    provider: Arc<dyn Provider>,
    api: Arc<dyn Provider>,
    demo: &DemoServer,
) -> (Services, AgentDeps) {
    let catalog = Catalog::new(config.model.clone(), demo.endpoint(), StreamLimits::default(), true);
    let sandbox = Service::new(
        config.sandbox.clone(),
        preview_address(&config.server),
        Arc::clone(&provider),
        store.clone(),
        config.server.data_dir.clone(),
    );
    let fleet = Fleet::new(api, store.clone(), config.server.data_dir.clone());
    let fleet = fleet.with_disk_floor(config.sandbox.disk_floor_mib);
    tasks::register(&workflow, &sandbox, &store);
    let limits = RunCommandLimits { default: config.sandbox.command_timeout };
    let asked = Arc::clone(&provider);
    let tools = Arc::new(move || asked.tools());
    let deps = AgentDeps::new(store.clone(), catalog.clone(), config.agent, limits, tools);
    workflow.register(turn_task(deps.clone()));
    let agent = Agent::new(deps.clone(), workflow.clone());
    let trials = Trials::new(catalog.clone(), store.secrets().clone(), config.try_models);
    (Services { store, workflow, sandbox, fleet, agent, catalog, trials, provider, config }, deps)
}

/// Who makes which sandboxes.
pub struct Providers {
    /// Those of projects.
    pub projects: Arc<dyn Provider>,
    /// Those of the e2b API, which this server offers itself.
    api: Arc<dyn Provider>,
    /// The way out of those on this machine.
    egress: Egress,
}

/// The embedded provider, and beside it for projects the remote one that is configured.
pub fn providers(config: &Config) -> Result<Providers, BootError> {
    let egress = Egress::of_this_host();
    let (hook, data_dir) = (Arc::new(egress.clone()), &config.server.data_dir);
    let api: Arc<dyn Provider> = Arc::new(LocalProvider::new(config.sandbox.clone(), data_dir.clone(), hook));
    let projects: Arc<dyn Provider> = match &config.e2b {
        Some(e2b) => Arc::new(E2bProvider::new(e2b.clone(), &config.sandbox, data_dir).map_err(BootError::Provider)?),
        None => Arc::clone(&api),
    };
    Ok(Providers { projects, api, egress })
}

/// The provider asks each toolchain for its version, which blocks for a moment.
async fn look_at_tools(provider: Arc<dyn Provider>) {
    let looked = tokio::task::spawn_blocking(move || drop(provider.tools())).await;
    if let Err(error) = looked {
        tracing::warn!(%error, "the toolchains were not looked at");
    }
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, BootError> {
    TcpListener::bind(addr).await.map_err(|reason| match reason.kind() {
        std::io::ErrorKind::AddrInUse => BootError::AddressInUse(addr),
        _ => BootError::Address { addr, reason },
    })
}

/// Answers requests until the shutdown, and then until what is being answered is.
async fn serve(listener: TcpListener, router: Router, head_in: Duration, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_in);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                connections.spawn(connection(http.clone(), stream, from, router.clone(), shutdown.clone()));
            }
            Err(error) if is_of_connection(&error) => tracing::debug!(%error, "a connection was gone at once"),
            Err(error) => {
                tracing::error!(%error, "a connection was not accepted");
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_AGAIN) => {}
                }
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    http: http1::Builder,
    stream: TcpStream,
    from: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    // Without it a small write waits for the acknowledgement of the last: 40 ms on every event.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        router.clone().oneshot(request.map(Body::new))
    });
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}

fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

fn preview_address(config: &ServerConfig) -> PreviewAddress {
    let (scheme, port) = match &config.public_url {
        Some(url) => (url.scheme(), url.port),
        None => ("http", config.addr.port()),
    };
    PreviewAddress { scheme: scheme.to_owned(), domain: config.preview_domain.clone(), port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_the_connection_and_a_slow_answer_does_not() {
        let head_in = Duration::from_millis(100);
        let slow = move || async move {
            let pieces = futures::stream::unfold(0, move |sent| async move {
                tokio::time::sleep(head_in).await;
                (sent < 4).then(|| (Ok::<_, Infallible>("piece "), sent + 1))
            });
            Body::from_stream(pieces)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(slow));
        let server = tokio::spawn(serve(listener, router, head_in, shutdown.clone()));
        for half in ["", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(half.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
            assert!(ended.is_ok(), "{half:?} holds a connection for ever");
        }
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said.matches("piece").count(), 4, "{said}");
        shutdown.cancel();
        server.await.unwrap();
    }
}
