//! One live sandbox's connections: where each wants to go, whether it may, and for how long.

use super::dial::{Dialled, Refusal, Target};
use super::ledger::Account;
use super::names::FakeNames;
use super::rules::{Glance, Rules};
use super::{Egress, Site, hello, relay};
use crate::domain::SandboxId;
use crate::sandbox::local::Inside;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections of one sandbox at a time.
const CONNECTIONS_MAX: usize = 512;
/// After a failed `accept` (out of file descriptors) the listener rests.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long a refusal waits to learn whom it refuses.
const OWNER_PATIENCE: Duration = Duration::from_secs(1);

/// A live sandbox's way out.
pub(super) struct Outlet {
    pub(super) names: FakeNames,
    pub(super) site: Arc<Site>,
    pub(super) inside: Arc<dyn Inside>,
    pub(super) closed: CancellationToken,
    egress: Egress,
    connections: Arc<Semaphore>,
}

impl Outlet {
    pub(super) fn new(
        egress: Egress,
        id: &SandboxId,
        site: Arc<Site>,
        inside: Arc<dyn Inside>,
        closed: CancellationToken,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { names: FakeNames::new(id), site, inside, closed, egress, connections }
    }

    /// Accepts connections for ever.
    pub(super) async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a sandbox's connection was not accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                relay::reset(&stream);
                continue;
            };
            // The address that was connected to is the socket's own: the whole IPv4 space is local in there.
            let Ok(asked) = stream.local_addr() else { continue };
            let outlet = Arc::clone(self);
            self.spawn(async move {
                outlet.connect(stream, from, asked).await;
                drop(permit);
            });
        }
    }

    /// Starts a task that ends with the sandbox, and with the server, which joins it.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let (closed, closing) = (self.closed.clone(), self.egress.inner.closing.clone());
        self.egress.inner.tasks.spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = closing.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Serves one connection to its end.
    pub(super) async fn connect(&self, stream: TcpStream, from: SocketAddr, asked: SocketAddr) {
        let target = match self.names.name_of(asked.ip()) {
            Some(name) => Target::Name(name),
            None => Target::Address(asked.ip()),
        };
        let (port, ledger) = (asked.port(), &self.site.ledger);
        let rules = Arc::clone(&self.site.rules.borrow());
        match self.dial(&stream, &target, port, &rules).await {
            Ok(Dialled { stream: upstream, addresses }) => {
                let account = ledger.open(&target.to_string(), port, None);
                let attribute = self.attribute(&account, from.port(), port);
                let relayed = async {
                    tokio::select! {
                        () = relay::copy(stream, upstream, &account) => {}
                        () = self.forbidden(&target, port, &addresses) => {}
                    }
                };
                tokio::join!(attribute, relayed);
                ledger.touch();
            }
            Err(refusal) => {
                tracing::debug!(%target, port, %refusal, "a sandbox's connection was not made");
                let account = ledger.open(&target.to_string(), port, Some(refusal.why()));
                // Asked while the socket is still open, because afterwards nobody holds it.
                let attribute = self.attribute(&account, from.port(), port);
                if tokio::time::timeout(OWNER_PATIENCE, attribute).await.is_err() {
                    tracing::debug!(%target, "the program that was refused is not known");
                }
                relay::refuse(stream, port, &refusal).await;
            }
        }
    }

    async fn dial(&self, stream: &TcpStream, target: &Target, port: u16, rules: &Rules) -> Result<Dialled, Refusal> {
        let forbidden = |why| Refusal::Forbidden { target: target.clone(), why };
        if ![80, 443].contains(&port) || matches!(rules.glance(target, port), Glance::Refused(_)) {
            return self.egress.inner.dialer.dial(target, port, rules).await;
        }
        if let Target::Name(name) = target
            && rules.is_strict()
        {
            // Behind one address there are many names, and the name inside the connection is the one that counts.
            match hello::name(stream, port).await {
                Some(sent) if sent == *name => {}
                Some(sent) if rules.glance(&Target::Name(sent.clone()), port) == Glance::Allowed => {}
                Some(sent) => return Err(forbidden(format!("the program asks it for {sent}"))),
                None => return Err(forbidden("the program does not say which name it wants".to_owned())),
            }
        }
        // A name that is denied is not reached by its address either. Whoever says none is not asked for one.
        if let Target::Address(_) = target
            && rules.denies_names()
            && let Some(sent) = hello::name(stream, port).await
            && rules.denies(&sent, port)
        {
            return Err(forbidden(format!("the program asks it for {sent}, which is denied")));
        }
        self.egress.inner.dialer.dial(target, port, rules).await
    }

    async fn attribute(&self, account: &Account, local: u16, remote: u16) {
        if account.wants_program()
            && let Some(program) = self.inside.owner(local, remote).await
        {
            account.set_program(program);
            self.site.ledger.touch();
        }
    }

    /// Returns when a change of the policy forbids what was allowed.
    async fn forbidden(&self, target: &Target, port: u16, addresses: &[IpAddr]) {
        let mut changes = self.site.rules.subscribe();
        loop {
            let rules = Arc::clone(&changes.borrow_and_update());
            let refused = match rules.glance(target, port) {
                Glance::Refused(_) => true,
                Glance::Allowed => false,
                Glance::Ask => rules.refusal(addresses, port).is_some(),
            };
            if refused {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
