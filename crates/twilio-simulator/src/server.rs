//! Serves a simulator at an address.

use std::io;
use std::net::SocketAddr;

use poem::listener::TcpAcceptor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Simulator;

/// A simulator that listens. Dropping it ends the listening; the simulator stays.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Simulator {
    /// Serves the API and the phones at an address; port 0 takes a free port. Use a loopback
    /// address: the phones have no password.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let server = poem::Server::new_with_acceptor(TcpAcceptor::from_tokio(listener)?);
        let task = tokio::spawn(server.run(self.routes()));
        Ok(Server { address, task })
    }
}

impl Server {
    /// The address, with its real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of the API. A client calls it instead of `https://api.twilio.com` and
    /// `https://messaging.twilio.com`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
