//! A TCP proxy that forwards bytes between a client and a server, and cuts, blocks or filters
//! connections for a test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// The server behind the proxy.
#[derive(Clone)]
pub enum Upstream {
    Port(SocketAddr),
    Socket(PathBuf),
}

/// When a connection is cut on which the client sends certain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the server gets the bytes.
    Before,
    /// After the server has the bytes, before it answers.
    During,
    /// After the server has answered, before the client gets the answer.
    After,
}

/// The next cut: the first connection on which the client sends these bytes.
struct Plan {
    bytes: Vec<u8>,
    cut: Cut,
}

/// A proxy on its own port. Clones share it and are cheap.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Mutex<Option<Plan>>>,
    cuts: Arc<watch::Sender<usize>>,
    /// Whether notifications of PostgreSQL are dropped, as by a pooler in transaction mode.
    drops_notifications: Arc<AtomicBool>,
    /// The version that PostgreSQL seems to have on new connections.
    version: Arc<Mutex<Option<String>>>,
    /// How many times all open connections were blocked, and whether new connections are blocked
    /// now.
    blocked: Arc<watch::Sender<(usize, bool)>>,
}

impl Proxy {
    pub async fn to(upstream: Upstream) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = port.local_addr().expect("an address");
        let proxy = Self {
            address,
            plan: Arc::default(),
            cuts: Arc::default(),
            drops_notifications: Arc::default(),
            version: Arc::default(),
            blocked: Arc::default(),
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = port.accept().await {
                let (proxy, upstream) = (serving.clone(), upstream.clone());
                tokio::spawn(async move {
                    match upstream {
                        Upstream::Port(address) => {
                            if let Ok(server) = TcpStream::connect(address).await {
                                proxy.carry(client, server).await;
                            }
                        }
                        Upstream::Socket(path) => {
                            if let Ok(server) = UnixStream::connect(path).await {
                                proxy.carry(client, server).await;
                            }
                        }
                    }
                });
            }
        });
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the next connection on which the client sends `text`, once.
    pub fn cut(&self, text: &str, cut: Cut) {
        *self.plan.lock().expect("sound") = Some(Plan { bytes: text.as_bytes().to_vec(), cut });
    }

    /// Blocks all connections without closing them, as a firewall does that forgot its connections.
    /// New connections wait for [`Self::unblock`].
    pub fn block(&self) {
        self.blocked.send_modify(|(times, now)| (*times, *now) = (*times + 1, true));
    }

    /// Drops notifications of PostgreSQL (messages of type A) from now on.
    pub fn drop_notifications(&self) {
        self.drops_notifications.store(true, Ordering::Relaxed);
    }

    /// Makes PostgreSQL seem to have another version on new connections.
    pub fn pretend_version(&self, version: &str) {
        *self.version.lock().expect("sound") = Some(version.to_owned());
    }

    /// What the server sent, with the version that it seems to have. It is a message of type S with
    /// a name and a value.
    fn with_version(&self, part: &[u8]) -> Option<Vec<u8>> {
        let version = self.version.lock().expect("sound").clone()?;
        let name = b"server_version\0";
        let at = part.windows(name.len()).position(|window| window == name)?;
        let value = at + name.len();
        let end = value + part.get(value..)?.iter().position(|byte| *byte == 0)?;
        let length = u32::try_from(4 + name.len() + version.len() + 1).ok()?.to_be_bytes();
        Some([part.get(..at - 4)?, &length, name, version.as_bytes(), part.get(end..)?].concat())
    }

    /// Forwards new connections again.
    pub fn unblock(&self) {
        self.blocked.send_modify(|(_, now)| *now = false);
    }

    /// Waits until `count` connections were cut since the start.
    pub async fn until_cut(&self, count: usize) {
        self.cuts.subscribe().wait_for(|cuts| *cuts >= count).await.expect("the proxy has the sender");
    }

    /// The cut that is planned for a connection on which these bytes were sent. It is taken, so
    /// that it happens once.
    fn planned(&self, sent: &[u8]) -> Option<Cut> {
        let mut plan = self.plan.lock().expect("sound");
        let bytes = &plan.as_ref()?.bytes;
        sent.windows(bytes.len()).any(|window| window == bytes).then(|| plan.take().map(|plan| plan.cut))?
    }

    async fn carry<S: AsyncRead + AsyncWrite + Unpin>(&self, mut client: TcpStream, mut server: S) {
        let mut blocked = self.blocked.subscribe();
        let times = { blocked.borrow().0 };
        if blocked.wait_for(|(_, now)| !now).await.is_err() {
            return;
        }
        let (mut request, mut response) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        // The bytes since the server last answered: a text may arrive in two parts.
        let (mut sent, mut cut) = (Vec::new(), None);
        let resets = loop {
            tokio::select! {
                () = until_blocked(&mut blocked, times) => std::future::pending().await,
                read = client.read(&mut request) => {
                    let Some(part) = read.ok().filter(|count| *count > 0).and_then(|count| request.get(..count)) else { break false };
                    sent.extend_from_slice(part);
                    cut = cut.or_else(|| self.planned(&sent));
                    if cut == Some(Cut::Before) {
                        break true;
                    }
                    if server.write_all(part).await.is_err() {
                        break false;
                    }
                    if cut == Some(Cut::During) {
                        break true;
                    }
                }
                read = server.read(&mut response) => {
                    let Some(part) = read.ok().filter(|count| *count > 0).and_then(|count| response.get(..count)) else { break false };
                    if cut == Some(Cut::After) {
                        break true;
                    }
                    sent.clear();
                    if self.drops_notifications.load(Ordering::Relaxed) && part.first() == Some(&b'A') {
                        continue;
                    }
                    let changed = self.with_version(part);
                    if client.write_all(changed.as_deref().unwrap_or(part)).await.is_err() {
                        break false;
                    }
                }
            }
        };
        if resets {
            // With SO_LINGER 0 the client gets a reset.
            let _ = client.set_zero_linger();
            drop(client);
            self.cuts.send_modify(|cuts| *cuts += 1);
        }
    }
}

/// Waits until all open connections are blocked once more.
async fn until_blocked(blocked: &mut watch::Receiver<(usize, bool)>, times: usize) {
    if blocked.wait_for(|(now, _)| *now > times).await.is_err() {
        std::future::pending().await
    }
}
