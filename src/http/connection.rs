//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::app::Site;
use super::body::Body;
use super::limits::{CHUNK, HEAD_BYTES, HEADERS, LINGER, STREAMS};
use super::live_config::Current;
use super::router::Front;
use super::socket::Stream;
use super::timeouts::{Pace, Paced, Protocol};

/// Serves what comes on `stream` until the peer or the clock ends it, or until the server stops
/// and the answer in flight is out.
pub(super) async fn serve<S: Site>(
    stream: Stream,
    front: Arc<Front<S>>,
    stop: watch::Receiver<bool>,
) {
    let tls = match front.options.protection.current() {
        Current::Ready(loaded) => loaded.tls.clone(),
        // without a usable certificate there is no way even to say so
        Current::Broken { tls: true } => return,
        Current::Broken { tls: false } => None,
    };
    let connection = Connection { front, stop, tls };
    match connection.tls.clone() {
        None => connection.http1(stream).await,
        Some(tls) => {
            let handshake = timeout(connection.front.options.limits.handshake, secure(stream, tls));
            let secured = tokio::select! {
                secured = handshake => secured,
                () = stopped(connection.stop.clone()) => return,
            };
            match secured {
                Ok(Ok(Some(stream))) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    connection.http2(stream).await;
                }
                Ok(Ok(Some(stream))) => connection.http1(stream).await,
                Ok(Ok(None)) => connection.front.options.requests.count(400),
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake not complete in time"),
            }
        }
    }
}

/// Returns when the server stops.
pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    // an error means that the server is gone, which is no less a stop
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The handshake; `None` if the peer does not speak TLS, which it was told.
async fn secure(
    mut stream: Stream,
    tls: Arc<ServerConfig>,
) -> io::Result<Option<TlsStream<Stream>>> {
    match stream.first_byte().await? {
        Some(byte) if byte.is_ascii_uppercase() => {
            stream.write_all(NOT_TLS.as_bytes()).await?;
            stream.shutdown().await?;
            let _ = timeout(LINGER, super::overload::drain(&mut stream)).await;
            Ok(None)
        }
        _ => TlsAcceptor::from(tls).accept(stream).await.map(Some),
    }
}

struct Connection<S> {
    front: Arc<Front<S>>,
    stop: watch::Receiver<bool>,
    /// What the connection is secured with.
    tls: Option<Arc<ServerConfig>>,
}

impl<S: Site> Connection<S> {
    async fn http1<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: T) {
        let pace = Pace::new(Protocol::Http1, &self.front.options.limits);
        let io = TokioIo::new(Paced::new(stream, pace.clone()));
        let answer = self.answers(&pace);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // the pace has the deadlines; hyper's would end idle connections just as early
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .half_close(true)
            .serve_connection(io, service_fn(answer));
        self.drive(connection, &pace).await;
    }

    async fn http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: T) {
        let pace = Pace::new(Protocol::Http2, &self.front.options.limits);
        let io = TokioIo::new(Paced::new(stream, pace.clone()));
        let answer = self.answers(&pace);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .max_send_buf_size(CHUNK)
            .serve_connection(io, service_fn(answer));
        self.drive(connection, &pace).await;
    }

    /// What answers the requests of this connection.
    fn answers(
        &self,
        pace: &Arc<Pace>,
    ) -> impl Fn(Request<Incoming>) -> Answer + use<S> + Send + 'static {
        let (front, pace, secured) = (self.front.clone(), pace.clone(), self.tls.is_some());
        move |request| {
            let answer = front.clone().answer(request, pace.answer(), secured);
            Box::pin(async { Ok(answer.await) }) as Answer
        }
    }

    /// Runs a connection under its clock.
    async fn drive<C>(self, connection: C, pace: &Pace)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let mut told = pin!(self.told_to_end());
        let mut ending = false;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                () = pace.expired() => break Ok(()),
                () = &mut told, if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                    pace.hurry();
                }
            }
        };
        if let Err(error) = ended {
            if error.is_parse_too_large() {
                self.front.options.requests.count(431);
            } else if error.is_parse() {
                self.front.options.requests.count(400);
            }
            tracing::debug!(error = &error as &dyn Error, "connection ended");
        }
    }

    /// Returns when the server stops, or when TLS is set up anew.
    async fn told_to_end(&self) {
        let outdated = async {
            match &self.tls {
                Some(tls) => self.front.options.protection.outdated(tls).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = stopped(self.stop.clone()) => {}
            () = outdated => {}
        }
    }
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What Go's servers say to such clients, so that tools recognise it.
const NOT_TLS: &str =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
