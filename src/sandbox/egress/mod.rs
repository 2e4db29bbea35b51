//! The sandboxes' way out: invented addresses for names, and a relay that decides on the host where a connection may go.
//!
//! Inside, every IPv4 destination leads to listeners whose sockets are served here. A name is looked up on the host, every
//! address it has is checked, and the connection goes to an address that was checked, so that no second lookup can
//! give another answer. It must not know how a sandbox is built, nor projects or previews.

mod dial;
mod dns;
mod hook;
mod ledger;
mod names;
mod networks;
mod policy;
mod relay;
#[cfg(test)]
mod tests;

pub use dial::{Resolver, SystemResolver, UpstreamProxy};
pub use ledger::LedgerEntry;

use crate::domain::SandboxId;
use crate::sandbox::entry::lock;
use dial::Dialer;
use ledger::Ledger;
use names::FakeNames;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of one sandbox at a time.
const CONNECTIONS_MAX: usize = 512;
/// After a failed `accept` (out of file descriptors) the listener rests.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The way out of all sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    dialer: Dialer,
    outlets: Mutex<HashMap<SandboxId, Arc<Outlet>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// One sandbox's way out.
struct Outlet {
    names: FakeNames,
    ledger: Ledger,
    connections: Arc<Semaphore>,
}

impl Egress {
    /// A way out that resolves names with `resolver` and, if there is one, connects through the host's own proxy.
    pub fn new(resolver: Arc<dyn Resolver>, proxy: Option<UpstreamProxy>) -> Self {
        Self {
            inner: Arc::new(Inner {
                dialer: Dialer::new(resolver, proxy),
                outlets: Mutex::default(),
                tasks: TaskTracker::new(),
                closing: CancellationToken::new(),
            }),
        }
    }

    /// The usual way out: the host's resolver, and the proxy its environment names.
    pub fn of_this_host() -> Self {
        Self::new(Arc::new(SystemResolver), UpstreamProxy::from_env())
    }

    /// Serves a sandbox's sockets until `closed`. Must be called on the async runtime.
    pub fn serve(
        &self,
        id: &SandboxId,
        dns: UdpSocket,
        listeners: impl IntoIterator<Item = TcpListener>,
        closed: CancellationToken,
    ) -> std::io::Result<()> {
        let outlet = Arc::new(Outlet {
            names: FakeNames::new(id),
            ledger: Ledger::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        });
        dns.set_nonblocking(true)?;
        let dns = tokio::net::UdpSocket::from_std(dns)?;
        let mut accepting = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            accepting.push(tokio::net::TcpListener::from_std(listener)?);
        }
        lock(&self.inner.outlets).insert(id.clone(), Arc::clone(&outlet));
        let (egress, id) = (self.clone(), id.clone());
        self.inner.tasks.spawn(async move {
            let closing = egress.inner.closing.clone();
            let serve = async {
                let relays = accepting.iter().map(|listener| egress.relay(listener, &outlet, &closed));
                futures::future::join(dns::serve(&dns, &outlet.names), futures::future::join_all(relays)).await
            };
            tokio::select! {
                () = closed.cancelled() => {}
                () = closing.cancelled() => {}
                _ = serve => {}
            }
            let mut outlets = lock(&egress.inner.outlets);
            // The same sandbox may have woken meanwhile with new sockets.
            if outlets.get(&id).is_some_and(|current| Arc::ptr_eq(current, &outlet)) {
                outlets.remove(&id);
            }
        });
        Ok(())
    }

    /// Where a live sandbox connected to, or tried to; the latest first.
    pub fn ledger(&self, id: &SandboxId) -> Vec<LedgerEntry> {
        lock(&self.inner.outlets).get(id).map(|outlet| outlet.ledger.entries()).unwrap_or_default()
    }

    /// Ends every connection and joins every task.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    async fn relay(&self, listener: &tokio::net::TcpListener, outlet: &Arc<Outlet>, closed: &CancellationToken) {
        loop {
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a sandbox's connection was not accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&outlet.connections).try_acquire_owned() else {
                relay::reset(&stream);
                continue;
            };
            // The address that was connected to is the socket's own: the whole IPv4 space is local in there.
            let Ok(asked) = stream.local_addr() else { continue };
            let (egress, outlet, closed) = (self.clone(), Arc::clone(outlet), closed.clone());
            self.inner.tasks.spawn(async move {
                let closing = egress.inner.closing.clone();
                tokio::select! {
                    () = closed.cancelled() => {}
                    () = closing.cancelled() => {}
                    () = egress.connect(stream, asked, &outlet) => {}
                }
                drop(permit);
            });
        }
    }

    async fn connect(&self, stream: TcpStream, asked: SocketAddr, outlet: &Outlet) {
        let target = match outlet.names.name_of(asked.ip()) {
            Some(name) => dial::Target::Name(name),
            None => dial::Target::Address(asked.ip()),
        };
        match self.inner.dialer.dial(&target, asked.port()).await {
            Ok(upstream) => {
                let account = outlet.ledger.open(&target.to_string(), asked.port(), true);
                relay::copy(stream, upstream, &account).await;
            }
            Err(refusal) => {
                tracing::debug!(%target, port = asked.port(), %refusal, "a sandbox's connection was not made");
                outlet.ledger.open(&target.to_string(), asked.port(), false);
                relay::refuse(stream, asked.port(), &refusal).await;
            }
        }
    }
}
