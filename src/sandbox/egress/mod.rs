//! The sandboxes' way out: invented addresses for names, and a relay that decides on the host where a connection may go.
//!
//! Inside, every IPv4 destination leads to listeners whose sockets are served here. A name is looked up on the host, every
//! address it has is checked, and the connection goes to an address that was checked, so that no second lookup can
//! give another answer; through a proxy of the host too. It must not know how a sandbox is built, nor projects or previews.

mod dial;
mod dns;
mod doors;
mod hello;
mod hook;
mod ledger;
mod names;
mod networks;
mod outlet;
mod policy;
mod relay;
mod rules;
#[cfg(test)]
mod tests;

pub use dial::{Resolver, SystemResolver, UpstreamProxy};

use crate::domain::{NetworkLine, NetworkPolicy, SandboxId};
use crate::sandbox::SandboxError;
use crate::sandbox::entry::lock;
use crate::sandbox::local::EgressSockets;
use crate::sandbox::provider::Network;
use async_trait::async_trait;
use dial::Dialer;
use ledger::Ledger;
use outlet::Outlet;
use rules::Rules;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The way out of all sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    dialer: Dialer,
    sites: Mutex<HashMap<SandboxId, Arc<Site>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// What is known of a sandbox while it lives and while it sleeps.
#[derive(Default)]
struct Site {
    rules: watch::Sender<Arc<Rules>>,
    ledger: Ledger,
}

impl Egress {
    /// A way out that resolves names with `resolver` and, if there is one, connects through the host's own proxy.
    pub fn new(resolver: Arc<dyn Resolver>, proxy: Option<UpstreamProxy>) -> Self {
        Self {
            inner: Arc::new(Inner {
                dialer: Dialer::new(resolver, proxy),
                sites: Mutex::default(),
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
    pub fn serve(&self, id: &SandboxId, sockets: EgressSockets, closed: CancellationToken) -> std::io::Result<()> {
        let EgressSockets { dns, http, https, inside } = sockets;
        dns.set_nonblocking(true)?;
        let dns = tokio::net::UdpSocket::from_std(dns)?;
        let mut accepting = Vec::new();
        for listener in [http, https] {
            listener.set_nonblocking(true)?;
            accepting.push(tokio::net::TcpListener::from_std(listener)?);
        }
        let outlet = Arc::new(Outlet::new(self.clone(), id, self.site(id), inside, closed.clone()));
        let closing = self.inner.closing.clone();
        self.inner.tasks.spawn(async move {
            let relays = accepting.iter().map(|listener| outlet.accept(listener));
            let relays = futures::future::join_all(relays);
            tokio::select! {
                () = closed.cancelled() => {}
                () = closing.cancelled() => {}
                _ = futures::future::join3(dns::serve(&dns, &outlet.names), relays, doors::serve(&outlet)) => {}
            }
        });
        Ok(())
    }

    /// Ends every connection and joins every task.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn site(&self, id: &SandboxId) -> Arc<Site> {
        Arc::clone(lock(&self.inner.sites).entry(id.clone()).or_default())
    }
}

impl Egress {
    fn apply(&self, id: &SandboxId, policy: &NetworkPolicy) -> Result<(), SandboxError> {
        let rules = Arc::new(Rules::parse(policy)?);
        self.site(id).rules.send_if_modified(|known| {
            let changed = *known != rules;
            *known = rules;
            changed
        });
        Ok(())
    }
}

#[async_trait]
impl Network for Egress {
    async fn set_policy(&self, id: &SandboxId, policy: &NetworkPolicy) -> Result<(), SandboxError> {
        self.apply(id, policy)
    }

    fn ledger(&self, id: &SandboxId) -> Vec<NetworkLine> {
        self.site(id).ledger.entries()
    }

    fn restore(&self, id: &SandboxId, policy: &NetworkPolicy, lines: &[NetworkLine]) -> Result<(), SandboxError> {
        self.site(id).ledger.restore(lines);
        self.apply(id, policy)
    }

    fn changed(&self, id: &SandboxId) -> watch::Receiver<u64> {
        self.site(id).ledger.changed()
    }

    fn forget(&self, id: &SandboxId) {
        lock(&self.inner.sites).remove(id);
    }
}
