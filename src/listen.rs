//! An address to serve at: taken before anything is promised to anybody, given up in seconds; it knows no route.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use poem::listener::{Acceptor, Listener, TcpAcceptor, TcpListener};
use poem::{Endpoint, Server};

/// How long requests that run may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long a connection may be silent: who never finishes a request does not hold one for ever.
const IDLE: Duration = Duration::from_secs(75);

/// An address that is ours and does not serve yet.
pub struct Listening {
    acceptor: TcpAcceptor,
    address: SocketAddr,
}

/// Why an address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("can't listen at {address}: {error}; is something else running there? Choose another address with {setting}")]
pub struct AddressTaken {
    address: SocketAddr,
    setting: &'static str,
    error: std::io::Error,
}

impl Listening {
    /// Takes an address; port 0 takes a free one. `setting` names what chose it.
    pub async fn at(address: SocketAddr, setting: &'static str) -> Result<Self, AddressTaken> {
        let taken = |error| AddressTaken { address, setting, error };
        let acceptor = TcpListener::bind(address).into_acceptor().await.map_err(taken)?;
        let address =
            acceptor.local_addr().into_iter().find_map(|bound| bound.as_socket_addr().copied()).unwrap_or(address);
        Ok(Self { acceptor, address })
    }

    /// The address, with its real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, and lets running requests end.
    pub async fn serve<E: Endpoint + 'static>(
        self,
        routes: E,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), std::io::Error> {
        Server::new_with_acceptor(self.acceptor)
            .idle_timeout(IDLE)
            .run_with_graceful_shutdown(routes, stop, Some(GRACE))
            .await
    }
}
