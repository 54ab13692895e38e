//! One connection: served until it is idle for too long, sends no complete head in time, or the process stops.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::uri::Scheme;
use hyper::http::{HeaderValue, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// How long a client may take from its first byte to the end of a request's head, and from its connection to its first byte.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two requests, and how long a client may read nothing of its answer. Proxies keep
/// their connections for 60 s, and must be the first to close them.
const IDLE: Duration = Duration::from_secs(75);
/// The most that is read of a head before it is refused (431). hyper would read 400 kB from anybody.
const MOST_OF_A_HEAD: usize = 32 * 1024;
/// How long, and how many bytes, a client whose body was refused is read on for: closing over unread bytes would reset the
/// connection before the client has read why it was refused.
const LINGER: Duration = Duration::from_secs(1);
const MOST_TO_LINGER: usize = 256 * 1024;

/// What all connections of an address share.
pub(super) struct Serving<E> {
    pub routes: Arc<E>,
    pub address: SocketAddr,
    pub http2: bool,
    /// Told when no further request is wanted.
    pub stopping: CancellationToken,
    /// Told when running requests have had their time.
    pub cut: CancellationToken,
}

impl<E> Clone for Serving<E> {
    fn clone(&self) -> Self {
        Self {
            routes: self.routes.clone(),
            address: self.address,
            http2: self.http2,
            stopping: self.stopping.clone(),
            cut: self.cut.clone(),
        }
    }
}

impl<E: Endpoint + 'static> Serving<E> {
    /// Serves a connection to its end.
    pub async fn serve(self, socket: TcpStream, peer: SocketAddr) {
        // An answer is one small packet, which must not wait for the acknowledgement of the one before.
        let _ = socket.set_nodelay(true);
        let activity = Arc::new(Activity::new());
        let io = TokioIo::new(Watched { socket, activity: activity.clone(), linger: None });
        let builder = builder(self.http2);
        let (routes, local) = (self.routes, LocalAddr(Addr::SocketAddr(self.address)));
        let watched = activity.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let running = Running::begin(&watched, request.version());
            let (routes, local) = (routes.clone(), local.clone());
            async move {
                let request = Request::from((request, local, RemoteAddr(Addr::SocketAddr(peer)), Scheme::HTTP));
                let response = hyper::Response::from(routes.get_response(request).await);
                running.ends(&response);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            biased;
            _ = &mut connection => return,
            () = activity.overdue() => return,
            () = self.stopping.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            _ = &mut connection => {}
            () = activity.overdue() => {}
            () = self.cut.cancelled() => {}
        }
    }
}

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Time is kept by `Activity`: hyper's own time for a head also runs while a connection is idle.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MOST_OF_A_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_pending_accept_reset_streams(20)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(20));
    if http2 { builder } else { builder.http1_only() }
}

/// What happens on a connection, and since when.
struct Activity {
    began: Instant,
    /// How many requests run.
    running: AtomicU32,
    /// Whether a request was ever complete.
    used: AtomicBool,
    /// Whether it speaks HTTP/2, which has frames between its requests.
    many_streams: AtomicBool,
    /// When the first byte of a head came that is not complete yet, in milliseconds from the beginning and one more; 0 if none did.
    head_since: AtomicU64,
    /// When a byte was last read or written.
    moved: AtomicU64,
    /// Whether the client's body was refused, and may still be under way.
    refused: AtomicBool,
}

impl Activity {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            running: AtomicU32::new(0),
            used: AtomicBool::new(false),
            many_streams: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn moves(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    fn reads(&self) {
        self.moves();
        if self.running.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// When this connection is to be closed if nothing happens before.
    fn deadline(&self) -> Instant {
        if self.running.load(Ordering::Relaxed) > 0 {
            // Requests have deadlines of their own.
            return Instant::now() + IDLE;
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        let (since, within) = match (head_since, self.used.load(Ordering::Relaxed)) {
            (0, true) => (self.moved.load(Ordering::Relaxed), IDLE),
            (0, false) => (0, HEAD_WITHIN),
            _ if self.many_streams.load(Ordering::Relaxed) => (self.moved.load(Ordering::Relaxed), IDLE),
            (since, _) => (since, HEAD_WITHIN),
        };
        self.began + Duration::from_millis(since) + within
    }

    /// Ends when the connection is overdue. Polled with the connection and after it, so that it sees what the connection just did;
    /// its timer is only moved when the deadline comes earlier, or when it rings.
    fn overdue(&self) -> impl Future<Output = ()> {
        let mut timer: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep_until(self.deadline()));
        std::future::poll_fn(move |context| {
            loop {
                let deadline = self.deadline();
                if deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(context));
                let deadline = self.deadline();
                if deadline <= Instant::now() {
                    return Poll::Ready(());
                }
                timer.as_mut().reset(deadline);
            }
        })
    }
}

/// A request that runs.
struct Running(Arc<Activity>);

impl Running {
    fn begin(activity: &Arc<Activity>, version: hyper::Version) -> Self {
        activity.running.fetch_add(1, Ordering::Relaxed);
        activity.used.store(true, Ordering::Relaxed);
        activity.head_since.store(0, Ordering::Relaxed);
        if version == hyper::Version::HTTP_2 {
            activity.many_streams.store(true, Ordering::Relaxed);
        }
        Self(activity.clone())
    }

    fn ends<B>(self, response: &hyper::Response<B>) {
        let closes = response.headers().get(header::CONNECTION) == Some(&HeaderValue::from_static("close"));
        if closes && !response.status().is_success() {
            self.0.refused.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.moves();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket whose bytes are noticed.
struct Watched {
    socket: TcpStream,
    activity: Arc<Activity>,
    /// Set while the rest of a refused body is read.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Watched {
    /// Reads and forgets what still comes, for a moment.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (timer, left) = self.linger.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), MOST_TO_LINGER));
        let mut bytes = [0; 4096];
        while *left > 0 && timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *left = left.saturating_sub(buffer.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            this.activity.reads();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write(context, bytes));
        this.activity.moves();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(context, parts));
        this.activity.moves();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(context))?;
        }
        if this.activity.refused.load(Ordering::Relaxed) {
            ready!(this.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}
