//! Serves one connection until the client closes it, it times out, or the process stops.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::uri::Scheme;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::http::listener::Limits;
use crate::http::listener::activity::{Activity, Connections, ResponseBody, Running};

/// The largest header of a request; a larger one gets 431. hyper's default limit is 400 kB.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long, and for how many bytes, textback reads on after it refused a body. Closing a socket
/// with unread bytes would reset the connection before the client reads the response.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER_BYTES: usize = 256 * 1024;

/// What all connections of an address share.
pub(super) struct Serving<E> {
    pub routes: Arc<E>,
    pub address: SocketAddr,
    pub limits: Limits,
    /// All connections of the address, one of which may be closed for a new one.
    pub open: Connections,
    /// Cancelled when the process accepts no further requests.
    pub stopping: CancellationToken,
    /// Cancelled when running requests have used up their grace time.
    pub grace_over: CancellationToken,
}

impl<E> Clone for Serving<E> {
    fn clone(&self) -> Self {
        Self {
            routes: self.routes.clone(),
            address: self.address,
            limits: self.limits,
            open: self.open.clone(),
            stopping: self.stopping.clone(),
            grace_over: self.grace_over.clone(),
        }
    }
}

impl<E: Endpoint + 'static> Serving<E> {
    /// Serves a connection to its end.
    pub async fn serve(self, socket: TcpStream, peer: SocketAddr) {
        // A response is one small packet. It must not wait until the client acknowledges the
        // previous packet (Nagle's algorithm).
        let _ = socket.set_nodelay(true);
        let activity = Arc::new(Activity::new(self.limits));
        let _open = self.open.add(activity.clone());
        let io = TokioIo::new(Watched { socket, activity: activity.clone(), linger: None });
        let builder = builder(self.limits.http2);
        let (routes, local) = (self.routes, LocalAddr(Addr::SocketAddr(self.address)));
        let watched = activity.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let running = Running::begin(&watched, request.version());
            let (routes, local) = (routes.clone(), local.clone());
            async move {
                let request = Request::from((request, local, RemoteAddr(Addr::SocketAddr(peer)), Scheme::HTTP));
                let response = hyper::Response::from(routes.get_response(request).await);
                let unfinished = running.ends(&response);
                Ok::<_, Infallible>(response.map(|body| CountedBody { body, _unfinished: unfinished }))
            }
        });
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            biased;
            _ = &mut connection => return,
            () = activity.overdue() => return,
            () = activity.is_evicted() => return,
            () = self.stopping.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            _ = &mut connection => {}
            () = activity.overdue() => {}
            () = activity.is_evicted() => {}
            () = self.grace_over.cancelled() => {}
        }
    }
}

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // `Activity` has the header time-out, because hyper's own also runs while a connection is idle.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_pending_accept_reset_streams(20)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(20));
    if http2 { builder } else { builder.http1_only() }
}

/// The body of a response, counted as unfinished until hyper has all of it.
struct CountedBody<B> {
    body: B,
    _unfinished: ResponseBody,
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that records its activity.
struct Watched {
    socket: TcpStream,
    activity: Arc<Activity>,
    /// Set while the rest of a refused body is read.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Watched {
    /// Reads and discards the rest of a refused body, for at most `LINGER`.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (timer, left) = self.linger.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), MAX_LINGER_BYTES));
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
        this.activity.writes(written.as_ref().copied().unwrap_or(0));
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(context, parts));
        this.activity.writes(written.as_ref().copied().unwrap_or(0));
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.socket).poll_flush(context));
        // hyper flushes only after it has written everything.
        this.activity.has_written_all();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(context))?;
        }
        if this.activity.is_refused() {
            ready!(this.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}
