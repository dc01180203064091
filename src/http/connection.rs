//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustix::net::RecvFlags;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::app::App;
use super::body::ResponseBody;
use super::limits::{
    CHUNK_BYTES, CONNECTION_WINDOW_BYTES, LINGER_TIMEOUT, MAX_HEAD_BYTES, MAX_HEADERS,
    MAX_HTTP2_HEAD_BYTES, MAX_STREAMS, STREAM_WINDOW_BYTES, TLS_BUFFER_BYTES,
};
use super::listen_address::Stream;
use super::live_config::ConfigState;
use super::reject::drain;
use super::router::Router;
use super::timeouts::{ConnectionTimer, HttpVersion, TimedStream};
use super::tls::TlsServer;

/// Serves `stream` until the peer closes it or a timeout expires; after a shutdown, until the
/// response in flight is sent.
pub(super) async fn serve<A: App>(
    stream: Stream,
    timer: Arc<ConnectionTimer>,
    router: Arc<Router<A>>,
    shutdown: watch::Receiver<bool>,
) {
    let tls = match router.options.config.current() {
        ConfigState::Valid(config) => config.tls.clone(),
        // without a usable certificate, no response can be sent
        ConfigState::Invalid { tls: true } => return,
        ConfigState::Invalid { tls: false } => None,
    };
    let mut connection = Connection { router, timer, shutdown, tls, remaining: None };
    match connection.tls.clone() {
        None => connection.http1(stream).await,
        Some(tls) => {
            let secured = tokio::select! {
                secured = handshake(stream, tls.config.clone()) => secured,
                () = connection.timer.expired() => {
                    return tracing::debug!("TLS handshake timed out");
                }
                () = stopped(connection.shutdown.clone()) => return,
            };
            if let Ok(Some(stream)) = &secured {
                connection.remaining = tls.remaining(stream.get_ref().1.peer_certificates());
            }
            match secured {
                Ok(Some(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    connection.http2(stream).await;
                }
                Ok(Some(stream)) => connection.http1(stream).await,
                Ok(None) => connection.router.options.counts.count(400),
                Err(error) => tracing::debug!(%error, "TLS handshake failed"),
            }
        }
    }
}

/// Returns when the server shuts down.
pub(super) async fn stopped(mut shutdown: watch::Receiver<bool>) {
    // an error means that the server is gone, which is a shutdown as well
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// The TLS handshake; `None` if the peer sent plain HTTP and got an error response.
async fn handshake(
    mut stream: Stream,
    tls: Arc<ServerConfig>,
) -> io::Result<Option<TlsStream<Stream>>> {
    match first_byte(&stream).await? {
        Some(byte) if byte.is_ascii_uppercase() => {
            stream.write_all(NOT_TLS.as_bytes()).await?;
            stream.shutdown().await?;
            let _ = timeout(LINGER_TIMEOUT, drain(&mut stream)).await;
            Ok(None)
        }
        _ => {
            let limit = |session: &mut ServerConnection| {
                session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
            };
            TlsAcceptor::from(tls).accept_with(stream, limit).await.map(Some)
        }
    }
}

/// The first byte that the peer sends, left unread; `None` if the peer sends none and closes.
async fn first_byte(stream: &Stream) -> io::Result<Option<u8>> {
    fn peek(socket: impl AsFd) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let (read, _) = rustix::net::recv(socket, &mut byte, RecvFlags::PEEK)?;
        Ok((read > 0).then_some(byte[0]))
    }
    match stream {
        Either::Left(tcp) => tcp.async_io(Interest::READABLE, || peek(tcp)).await,
        Either::Right(unix) => unix.async_io(Interest::READABLE, || peek(unix)).await,
    }
}

struct Connection<A> {
    router: Arc<Router<A>>,
    timer: Arc<ConnectionTimer>,
    shutdown: watch::Receiver<bool>,
    /// The TLS configuration of this connection; `None` for plain HTTP.
    tls: Option<Arc<TlsServer>>,
    /// How long the certificate of the client remains valid; `None` if it is not verified.
    remaining: Option<Duration>,
}

impl<A: App> Connection<A> {
    async fn http1<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: T) {
        let (io, respond) = self.begin(stream, HttpVersion::Http1);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper's timeout would close idle connections as early as slow heads
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .half_close(true)
            .serve_connection(io, service_fn(respond));
        self.run(connection).await;
    }

    async fn http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: T) {
        let (io, respond) = self.begin(stream, HttpVersion::Http2);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HTTP2_HEAD_BYTES)
            .max_send_buf_size(CHUNK_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .serve_connection(io, service_fn(respond));
        self.run(connection).await;
    }

    /// The stream, and the function that responds to the requests of this connection.
    fn begin<T>(
        &self,
        stream: T,
        version: HttpVersion,
    ) -> (
        TokioIo<TimedStream<T>>,
        impl Fn(Request<Incoming>) -> ResponseFuture + use<A, T> + Send + 'static,
    ) {
        self.timer.begin(version);
        let (router, timer, secure) = (self.router.clone(), self.timer.clone(), self.tls.is_some());
        let respond = move |request| {
            let response = router.clone().respond(request, timer.start_response(), secure);
            Box::pin(async { Ok(response.await) }) as ResponseFuture
        };
        (TokioIo::new(TimedStream::new(stream, self.timer.clone())), respond)
    }

    /// Runs the connection until it ends or its deadline passes.
    async fn run<C>(self, connection: C)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let mut end_requested = pin!(self.end_requested());
        let mut ending = false;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                () = self.timer.expired() => break Ok(()),
                () = &mut end_requested, if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                    self.timer.shorten_deadline();
                }
            }
        };
        if let Err(error) = ended {
            if error.is_parse_too_large() {
                self.router.options.counts.count(431);
            } else if error.is_parse() {
                self.router.options.counts.count(400);
            }
            tracing::debug!(error = &error as &dyn Error, "connection failed");
        }
    }

    /// Returns when the server shuts down, the TLS configuration changes, or the client's certificate
    /// expires.
    async fn end_requested(&self) {
        let outdated = async {
            match &self.tls {
                Some(tls) => self.router.options.config.outdated(tls).await,
                None => pending().await,
            }
        };
        let expired = async {
            match self.remaining {
                Some(remaining) => sleep(remaining).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = stopped(self.shutdown.clone()) => {}
            () = outdated => {}
            () = expired => {}
        }
    }
}

type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

/// The response of Go's servers to plain HTTP, which tools recognize.
const NOT_TLS: &str =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
