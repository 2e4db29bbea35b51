//! A TCP connection that a test may cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Relays to an address until it is cut.
pub struct Wire {
    addr: SocketAddr,
    cuts: watch::Sender<u64>,
    down: Arc<AtomicBool>,
    server: tokio::task::JoinHandle<()>,
}

impl Wire {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (cuts, down) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let (cut, is_down) = (cuts.clone(), Arc::clone(&down));
        let server = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                if is_down.load(Ordering::SeqCst) {
                    continue;
                }
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { addr, cuts, down, server }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every connection and each new one, or lets them pass again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        self.cut();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.abort();
    }
}
