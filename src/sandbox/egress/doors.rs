//! Ports besides 80 and 443 that rules open: a listener of their own inside, at just the address a name was given.
//!
//! A program inside may still use the same port on loopback.

use super::outlet::Outlet;
use super::rules::Door;
use rustix::net::{bind, listen};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Keeps the doors that the rules ask for open, for ever.
pub(super) async fn serve(outlet: &Arc<Outlet>) {
    let mut changes = outlet.site.rules.subscribe();
    let mut open = HashMap::<Door, DropGuard>::new();
    loop {
        let wanted = changes.borrow_and_update().doors();
        open.retain(|door, _| wanted.contains(door));
        for door in wanted {
            if open.contains_key(&door) {
                continue;
            }
            match listener(outlet, &door).await {
                Ok(listener) => {
                    let (closed, outlet) = (CancellationToken::new(), Arc::clone(outlet));
                    open.insert(door, closed.clone().drop_guard());
                    outlet.clone().spawn(async move {
                        // The guard ends it when the rule is gone, or with this whole future.
                        tokio::select! {
                            () = closed.cancelled() => {}
                            () = outlet.accept(&listener) => {}
                        }
                    });
                }
                Err(error) => tracing::warn!(?door, %error, "a port that a network rule allows cannot be opened"),
            }
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn listener(outlet: &Outlet, door: &Door) -> std::io::Result<TcpListener> {
    let address = match door {
        Door::Name(name, port) => SocketAddrV4::new(outlet.names.address_of(name), *port),
        Door::Address(address) if *address.ip() == Ipv4Addr::UNSPECIFIED => {
            return Err(std::io::ErrorKind::AddrNotAvailable.into());
        }
        Door::Address(address) => *address,
    };
    let socket = outlet.inside.socket().await.ok_or(std::io::ErrorKind::NotConnected)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}
