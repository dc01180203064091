//! How much a client may take of this process: time, connections, memory.

use std::time::Duration;

/// The limits of one server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the first byte of a request, or from connecting, until its head is complete.
    pub head: Duration,
    /// How long a connection may stay open between two requests.
    pub idle: Duration,
    /// From a complete request head until the client has taken the last byte of the answer.
    pub answer: Duration,
    /// From connecting until the TLS handshake is complete.
    pub handshake: Duration,
    /// How long a shutdown waits for the answers in flight.
    pub shutdown: Duration,
    /// Connections served at the same time.
    pub connections: usize,
    /// How many of these one peer address (IPv6: one /64) may hold.
    pub connections_per_peer: usize,
    /// Metrics pages being made at the same time; beyond that scrapes are answered 503.
    pub requests: usize,
    /// Bytes of distinct pages that clients have not yet read; beyond that scrapes are answered
    /// 503.
    pub unsent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HEAD,
            idle: IDLE,
            answer: ANSWER,
            handshake: HANDSHAKE,
            shutdown: SHUTDOWN,
            connections: CONNECTIONS,
            connections_per_peer: CONNECTIONS_PER_PEER,
            requests: REQUESTS,
            unsent: UNSENT,
        }
    }
}

/// A scraper sends its head at once; a connection that dribbles one is an attack or broken.
const HEAD: Duration = Duration::from_secs(10);

/// Longer than the usual scrape intervals, so that a scraper keeps its connection (and its TLS
/// session) from one scrape to the next.
const IDLE: Duration = Duration::from_secs(180);

/// Three times Prometheus's default scrape timeout; whoever has not read the page by then has
/// given up or never will.
const ANSWER: Duration = Duration::from_secs(30);

/// Two round trips and some arithmetic, with room for a busy host.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Well below the ten seconds after which the shipped unit file has systemd kill.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Hundreds of scrapers; at about 30 KiB each this stays small beside the page itself.
const CONNECTIONS: usize = 512;

/// Three quarters, so that one peer gone wrong leaves room for the others.
const CONNECTIONS_PER_PEER: usize = 384;

/// The default of the exporter family.
const REQUESTS: usize = 40;

/// Six pages of a host with 5,000 units, or some hundred compressed ones.
const UNSENT: usize = 64 << 20;

/// The longest request head: request line and header list together.
pub(super) const HEAD_BYTES: usize = 16 << 10;

/// Header lines in one request; scrapers send about ten.
pub(super) const HEADERS: usize = 100;

/// Time left for the answer's way back when a scraper said how long it waits.
pub(super) const RETURN_TRIP: Duration = Duration::from_millis(500);

/// The longest scrape timeout believed; anything above is a mistake.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Values of one kind of filter in one query; more than there are collectors.
pub(super) const FILTERS: usize = 256;

/// How long a closing connection is still drained, so that the peer reads the answer instead of
/// a reset.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// What is drained of a closing connection at most.
pub(super) const LINGER_BYTES: usize = 4 << 20;

/// Connections that are being told to come back later, beyond those served.
pub(super) const TURNED_AWAY: usize = 1024;

/// How long one that is turned away may take to state its request and hear the answer.
pub(super) const TURNING_AWAY: Duration = Duration::from_secs(2);

/// What `Retry-After` says, in seconds: scrapes take a fraction of one.
pub(super) const RETRY_AFTER: &str = "1";

/// Requests at once on one HTTP/2 connection; a scraper has one.
pub(super) const STREAMS: u32 = 16;

/// How much of a body is handed over at a time: small enough that a client which stops reading
/// leaves little behind in the buffers below.
pub(super) const CHUNK: usize = 64 << 10;
