//! The accept loops: from a listener to a task per connection, until shutdown.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::app::App;
use super::budget::Budget;
use super::connection;
use super::limits::{Limits, MAX_REJECTING};
use super::listen_address::{HttpListener, Peer, Stream};
use super::live_config::LiveConfig;
use super::liveness::{Liveness, Probe};
use super::reject::reject;
use super::router::Router;
use super::timeouts::ConnectionTimer;
use crate::http_counts::{HttpCounts, SharedLimit};

/// How an app is served.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The path of the scrape response, with its leading slash.
    pub telemetry_path: String,
    /// Limits for clients.
    pub limits: Limits,
    /// TLS, users, headers and the rate limit.
    pub config: Arc<LiveConfig>,
    /// Counters of responses.
    pub counts: Arc<HttpCounts>,
    /// Liveness check of the accept loops.
    pub liveness: Liveness,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            telemetry_path: "/metrics".to_owned(),
            limits: Limits::default(),
            config: Arc::default(),
            counts: Arc::default(),
            liveness: Liveness::default(),
        }
    }
}

/// Serves `app` on all `listeners` until `shutdown`; then completes the responses in flight.
pub async fn serve(
    listeners: Vec<HttpListener>,
    app: impl App,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) {
    let (shutdown_tx, shutdown_rx) = watch::channel(false);
    let acceptor = Arc::new(Acceptor {
        connections: Budget::with_min_idle(
            SharedLimit::Connections,
            options.limits.connections,
            options.limits.min_idle,
            options.counts.clone(),
        ),
        rejecting: Arc::new(Semaphore::new(MAX_REJECTING)),
        router: Router::new(app, options),
    });
    let mut loops: JoinSet<()> = listeners
        .into_iter()
        .map(|listener| {
            let probes = acceptor.router.options.liveness.register();
            accept(listener, acceptor.clone(), probes, shutdown_rx.clone())
        })
        .collect();
    shutdown.await;
    shutdown_tx.send_replace(true);
    while let Some(ended) = loops.join_next().await {
        log_panic(ended);
    }
}

/// Admits new connections, or rejects them when there are too many.
struct Acceptor<A> {
    connections: Arc<Budget>,
    rejecting: Arc<Semaphore>,
    router: Arc<Router<A>>,
}

async fn accept<A: App>(
    listener: HttpListener,
    acceptor: Arc<Acceptor<A>>,
    mut probes: mpsc::Receiver<Probe>,
    shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut pause = Duration::ZERO;
    let mut stopped = pin!(connection::stopped(shutdown.clone()));
    loop {
        let accepted = async {
            sleep(pause).await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            Some(probe) = probes.recv() => {
                // the checker may have stopped waiting
                let _ = probe.send(pause < MAX_ACCEPT_PAUSE && listener.listens());
            }
            accepted = accepted => match accepted {
                Ok((stream, peer)) => {
                    pause = Duration::ZERO;
                    acceptor.admit(stream, peer, &mut connections, &shutdown);
                }
                Err(error) => pause = pause_after(&error, pause),
            },
        }
    }
    drop(listener);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if timeout(acceptor.router.options.limits.shutdown, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "shutdown aborted responses in flight");
    }
}

impl<A: App> Acceptor<A> {
    fn admit(
        &self,
        stream: Stream,
        peer: Peer,
        connections: &mut JoinSet<()>,
        shutdown: &watch::Receiver<bool>,
    ) {
        let router = self.router.clone();
        let client = ConnectionTimer::new(peer, &router.options.limits);
        if let Some(share) = self.connections.try_take(None, 1, &client) {
            let shutdown = shutdown.clone();
            connections.spawn(async move {
                connection::serve(stream, client, router, shutdown).await;
                drop(share);
            });
        } else if let Ok(permit) = self.rejecting.clone().try_acquire_owned() {
            connections.spawn(async move {
                let _permit = permit;
                if router.options.config.has_tls() {
                    // a 503 would need a handshake, the most expensive part of all
                    return;
                }
                if reject(stream).await {
                    router.options.counts.count(503);
                }
            });
        }
    }
}

/// The pause after a failed accept: none if the peer caused the error; otherwise (too many open
/// files, for example) growing, since the kernel would return the same error at once.
fn pause_after(error: &io::Error, pause: Duration) -> Duration {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return Duration::ZERO;
    }
    if pause.is_zero() {
        tracing::warn!(%error, "failed to accept connections");
    }
    (pause * 2).clamp(MIN_ACCEPT_PAUSE, MAX_ACCEPT_PAUSE)
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "panic in a connection task (bug)");
    }
}

const MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
