//! Listens on an address and serves HTTP, with limits on the number of connections and on their
//! time.
//!
//! A connection costs a file descriptor and a buffer, so their number is limited. A client that
//! sends nothing, sends half a header, or never reads its response is disconnected. At the limit,
//! an idle connection is closed for a new one, so a client that opens many silent connections locks
//! nobody out. HTTP/2 is spoken only if the operator enables it.
//!
//! docs/decisions/041-client-limits.md has the reasons.

mod activity;
mod connection;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::Endpoint;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use activity::HEAD_TIMEOUT;
use activity::{Connections, IDLE};
use connection::Serving;

use crate::repeating::Repeating;
use crate::telemetry::metrics;

/// How long requests that run may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How many new connections may wait at the limit, for another one to close or for their 503.
/// Further connections are closed without a response.
const WAITING: usize = 256;
/// How long a new connection waits for the idle connection to close.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a refused client has to read the 503.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);
/// The response to a connection beyond the limit, whatever it requests.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n\
Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 153\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"code\":\"too_many_connections\",\
\"detail\":\"this process has no connection left; try again\"}";

/// The limits for the clients of an address.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections may be open at a time.
    pub connections: usize,
    /// Whether HTTP/2 without TLS is spoken.
    pub http2: bool,
    /// How long a connection may be idle between two requests.
    pub idle: Duration,
    /// The time that a client has to read a response of any length.
    pub answer: Duration,
    /// How many bytes of a response, once written, give the client one more second.
    pub bytes_a_second: u32,
}

impl Default for Limits {
    /// 4,096 connections: each holds about 20 kB, and a proxy keeps far fewer.
    fn default() -> Self {
        Self { connections: 4096, http2: false, idle: IDLE, answer: Duration::from_secs(60), bytes_a_second: 16 * 1024 }
    }
}

/// A bound address that does not serve yet.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
}

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("can't listen at {address}: {error}; is something else running there? Choose another address with {setting}")]
pub struct AddressTaken {
    address: SocketAddr,
    setting: &'static str,
    error: std::io::Error,
}

impl Listening {
    /// Binds an address; port 0 binds a free port. `setting` is the name of the setting, for the
    /// error.
    pub async fn at(address: SocketAddr, setting: &'static str) -> Result<Self, AddressTaken> {
        let in_use = |error| AddressTaken { address, setting, error };
        let listener = TcpListener::bind(address).await.map_err(in_use)?;
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, address, limits: Limits::default() })
    }

    /// Sets the limits.
    #[must_use]
    pub const fn with(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The address, with its real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, and then waits for running requests.
    pub async fn serve<E: Endpoint + 'static>(
        self,
        routes: E,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), std::io::Error> {
        let Self { listener, address, limits } = self;
        let free = Arc::new(Semaphore::new(limits.connections));
        let waiting = Arc::new(Semaphore::new(WAITING));
        let open = Connections::default();
        let (stopping, grace_over) = (CancellationToken::new(), CancellationToken::new());
        let serving = Serving {
            routes: Arc::new(routes),
            address,
            limits,
            open: open.clone(),
            stopping: stopping.clone(),
            grace_over: grace_over.clone(),
        };
        let connections = TaskTracker::new();
        tokio::pin!(stop);
        loop {
            let (socket, peer) = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        after_failed_accept(&error).await;
                        continue;
                    }
                },
            };
            if let Ok(permit) = free.clone().try_acquire_owned() {
                let serving = serving.clone();
                connections.spawn(async move {
                    serving.serve(socket, peer).await;
                    drop(permit);
                });
            } else if let Ok(queued) = waiting.clone().try_acquire_owned() {
                let (serving, free, evicts) = (serving.clone(), free.clone(), open.evict_idlest());
                connections.spawn(async move {
                    let permit = match evicts {
                        true => {
                            tokio::time::timeout(EVICTION_TIMEOUT, free.acquire_owned()).await.ok().and_then(Result::ok)
                        }
                        false => None,
                    };
                    if let Some(permit) = permit {
                        drop(queued);
                        serving.serve(socket, peer).await;
                        drop(permit);
                    } else {
                        metrics::CONNECTIONS_REFUSED.count(&[]);
                        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse(socket)).await;
                    }
                });
            } else {
                metrics::CONNECTIONS_REFUSED.count(&[]);
            }
        }
        drop(listener);
        stopping.cancel();
        connections.close();
        if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
            grace_over.cancel();
            connections.wait().await;
        }
        Ok(())
    }
}

/// Accepts that fail. The next one follows after 100 ms.
static NOT_ACCEPTED: Repeating = Repeating::new();

/// Waits after a failed accept. A client that disconnected before it was accepted needs no pause.
/// Without a free file descriptor, the next accept would fail at once too.
async fn after_failed_accept(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        if let Some(times) = NOT_ACCEPTED.observe("", &error.to_string()) {
            tracing::error!(%error, times, "a connection could not be accepted; check the limit of open files (ulimit -n)");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends the 503, then reads what the client sent: closing a socket with unread bytes would reset
/// the connection before the client reads the 503.
async fn refuse(mut socket: TcpStream) -> std::io::Result<()> {
    socket.write_all(TOO_MANY).await?;
    socket.shutdown().await?;
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_the_right_content_length() {
        let text = std::str::from_utf8(TOO_MANY).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let body = body.trim_end();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
