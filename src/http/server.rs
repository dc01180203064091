//! Accepting connections until told to stop.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::app::Site;
use super::connection;
use super::connection_limit::Crowd;
use super::limits::{Limits, TURNED_AWAY};
use super::listen_address::Listener;
use super::live_config::Protection;
use super::liveness::{Pulse, Question};
use super::overload::turn_away;
use super::router::Front;
use super::socket::Stream;
use crate::http_counts::Requests;

/// How a site is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The path of the metrics page, with its leading slash.
    pub telemetry_path: String,
    /// What clients may take.
    pub limits: Limits,
    /// TLS, passwords, headers and the rate limit.
    pub protection: Arc<Protection>,
    /// Where answers are counted.
    pub requests: Arc<Requests>,
    /// Feels whether connections are accepted.
    pub pulse: Pulse,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            telemetry_path: "/metrics".to_owned(),
            limits: Limits::default(),
            protection: Arc::default(),
            requests: Arc::default(),
            pulse: Pulse::default(),
        }
    }
}

/// Serves `site` on all `listeners` until `shutdown`; then answers what is in flight.
pub async fn serve(
    listeners: Vec<Listener>,
    site: impl Site,
    options: Options,
    shutdown: impl Future<Output = ()>,
) {
    let (tell, stop) = watch::channel(false);
    let door = Arc::new(Door {
        crowd: Crowd::new(options.limits.connections, options.limits.connections_per_peer),
        turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
        front: Front::new(site, options),
    });
    let mut accepting: JoinSet<()> = listeners
        .into_iter()
        .map(|listener| {
            let questions = door.front.options.pulse.join();
            accept(listener, door.clone(), questions, stop.clone())
        })
        .collect();
    shutdown.await;
    tell.send_replace(true);
    while let Some(ended) = accepting.join_next().await {
        report(ended);
    }
}

/// What every new connection passes.
struct Door<S> {
    crowd: Arc<Crowd>,
    turned_away: Arc<Semaphore>,
    front: Arc<Front<S>>,
}

async fn accept<S: Site>(
    listener: Listener,
    door: Arc<Door<S>>,
    mut questions: mpsc::Receiver<Question>,
    stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut pause = Duration::ZERO;
    let mut stopped = pin!(connection::stopped(stop.clone()));
    loop {
        let accepted = async {
            sleep(pause).await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(ended) = connections.join_next() => report(ended),
            Some(question) = questions.recv() => {
                // who asked may have stopped waiting
                let _ = question.send(pause < LONGEST_PAUSE && listener.listens());
            }
            accepted = accepted => match accepted {
                Ok((stream, peer)) => {
                    pause = Duration::ZERO;
                    door.admit(stream, peer, &mut connections, &stop);
                }
                Err(error) => pause = after(&error, pause),
            },
        }
    }
    drop(listener);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(door.front.options.limits.shutdown, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "answers cut off by the shutdown");
    }
}

impl<S: Site> Door<S> {
    fn admit(
        &self,
        stream: Stream,
        peer: IpAddr,
        connections: &mut JoinSet<()>,
        stop: &watch::Receiver<bool>,
    ) {
        let front = self.front.clone();
        if let Some(place) = self.crowd.enter(peer) {
            let stop = stop.clone();
            connections.spawn(async move {
                let _place = place;
                connection::serve(stream, front, stop).await;
            });
        } else if let Ok(permit) = self.turned_away.clone().try_acquire_owned() {
            connections.spawn(async move {
                let _permit = permit;
                if front.options.protection.has_tls() {
                    // saying so would take a handshake, the most expensive thing of all
                    return;
                }
                if turn_away(stream).await {
                    front.options.requests.count(503);
                }
            });
        }
    }
}

/// How long to wait after a failed accept: not at all if it was the peer's doing; else, as with
/// too many open files, ever longer, for the kernel would answer the same at once.
fn after(error: &io::Error, pause: Duration) -> Duration {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return Duration::ZERO;
    }
    if pause.is_zero() {
        tracing::warn!(%error, "accepting connections failed");
    }
    (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
