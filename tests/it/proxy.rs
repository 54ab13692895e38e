//! A wire that can be cut: forwards bytes between a client and a server, and resets the connection where a story wants it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Where the wire leads.
#[derive(Clone)]
pub enum Upstream {
    Port(SocketAddr),
    Socket(PathBuf),
}

/// When a connection is cut on which the client says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server never gets it.
    Before,
    /// The server has it, and nobody waits for what it makes of it.
    During,
    /// The server has answered, and the client never gets the answer.
    After,
}

/// What is cut next: the first connection on which the client says these bytes.
struct Plan {
    words: Vec<u8>,
    cut: Cut,
}

/// A wire on a port of its own. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Wire {
    address: SocketAddr,
    plan: Arc<Mutex<Option<Plan>>>,
    cuts: Arc<watch::Sender<usize>>,
    /// Whether notices of PostgreSQL are dropped, as by a pooler in transaction mode.
    deaf: Arc<AtomicBool>,
    /// How often the wire has swallowed all that was connected, and whether it swallows what connects now.
    swallowed: Arc<watch::Sender<(usize, bool)>>,
}

impl Wire {
    pub async fn to(upstream: Upstream) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = port.local_addr().expect("an address");
        let wire = Self {
            address,
            plan: Arc::default(),
            cuts: Arc::default(),
            deaf: Arc::default(),
            swallowed: Arc::default(),
        };
        let serving = wire.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = port.accept().await {
                let (wire, upstream) = (serving.clone(), upstream.clone());
                tokio::spawn(async move {
                    match upstream {
                        Upstream::Port(address) => {
                            if let Ok(server) = TcpStream::connect(address).await {
                                wire.carry(client, server).await;
                            }
                        }
                        Upstream::Socket(path) => {
                            if let Ok(server) = UnixStream::connect(path).await {
                                wire.carry(client, server).await;
                            }
                        }
                    }
                });
            }
        });
        wire
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the next connection on which the client says `words`, once.
    pub fn cut(&self, words: &str, cut: Cut) {
        *self.plan.lock().expect("sound") = Some(Plan { words: words.as_bytes().to_vec(), cut });
    }

    /// From now on nothing passes and nobody is told: what is connected stays so for ever, what connects is not
    /// answered until the wire is mended. A firewall that forgot its connections does this.
    pub fn swallow(&self) {
        self.swallowed.send_modify(|(times, now)| (*times, *now) = (*times + 1, true));
    }

    /// From now on notices of PostgreSQL (messages of type A) don't pass.
    pub fn deafen(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// What connects from now on passes.
    pub fn mend(&self) {
        self.swallowed.send_modify(|(_, now)| *now = false);
    }

    /// Waits until so many connections were cut since the beginning.
    pub async fn until_cut(&self, count: usize) {
        self.cuts.subscribe().wait_for(|cuts| *cuts >= count).await.expect("we hold the sender");
    }

    /// What is planned for a connection on which this was said; taken, so that it happens once.
    fn planned(&self, said: &[u8]) -> Option<Cut> {
        let mut plan = self.plan.lock().expect("sound");
        let words = &plan.as_ref()?.words;
        said.windows(words.len()).any(|window| window == words).then(|| plan.take().map(|plan| plan.cut))?
    }

    async fn carry<S: AsyncRead + AsyncWrite + Unpin>(&self, mut client: TcpStream, mut server: S) {
        let mut swallowed = self.swallowed.subscribe();
        let times = { swallowed.borrow().0 };
        if swallowed.wait_for(|(_, now)| !now).await.is_err() {
            return;
        }
        let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        // What was said since the server last answered: words may come in two parts.
        let (mut said, mut cut) = (Vec::new(), None);
        let resets = loop {
            tokio::select! {
                () = again(&mut swallowed, times) => std::future::pending().await,
                read = client.read(&mut asked) => {
                    let Some(part) = read.ok().filter(|count| *count > 0).and_then(|count| asked.get(..count)) else { break false };
                    said.extend_from_slice(part);
                    cut = cut.or_else(|| self.planned(&said));
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
                read = server.read(&mut answered) => {
                    let Some(part) = read.ok().filter(|count| *count > 0).and_then(|count| answered.get(..count)) else { break false };
                    if cut == Some(Cut::After) {
                        break true;
                    }
                    said.clear();
                    if self.deaf.load(Ordering::Relaxed) && part.first() == Some(&b'A') {
                        continue;
                    }
                    if client.write_all(part).await.is_err() {
                        break false;
                    }
                }
            }
        };
        if resets {
            // Without lingering the client gets a reset, not an end.
            let _ = client.set_zero_linger();
            drop(client);
            self.cuts.send_modify(|cuts| *cuts += 1);
        }
    }
}

/// Waits until the wire swallows once more.
async fn again(swallowed: &mut watch::Receiver<(usize, bool)>, times: usize) {
    if swallowed.wait_for(|(now, _)| *now > times).await.is_err() {
        std::future::pending().await
    }
}
