//! Limits on the time, connections and memory that clients can use.

use std::time::Duration;

/// The limits of one server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the first byte of a request, or from connecting, until the request head is complete.
    pub head: Duration,
    /// How long a connection may stay open between two requests.
    pub idle: Duration,
    /// From a complete request head until the client has read the last byte of the response.
    pub response: Duration,
    /// From connecting until the TLS handshake is complete.
    pub handshake: Duration,
    /// How long a shutdown waits for responses in flight.
    pub shutdown: Duration,
    /// Connections served in parallel.
    pub connections: usize,
    /// How many of these one peer address (IPv6: one /64) may hold.
    pub connections_per_peer: usize,
    /// Scrape responses and HTML pages built in parallel; further requests get status 503. `None`
    /// for no limit.
    pub requests: Option<usize>,
    /// Bytes of distinct response bodies that clients have not read yet; above that, requests get
    /// status 503.
    pub pending_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HEAD_TIMEOUT,
            idle: IDLE_TIMEOUT,
            response: RESPONSE_TIMEOUT,
            handshake: HANDSHAKE_TIMEOUT,
            shutdown: SHUTDOWN_TIMEOUT,
            connections: MAX_CONNECTIONS,
            connections_per_peer: MAX_CONNECTIONS_PER_PEER,
            requests: Some(MAX_REQUESTS),
            pending_bytes: MAX_PENDING_BYTES,
        }
    }
}

/// A scraper sends its request head at once; a slow one is an attack or broken.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than the usual scrape intervals, so that a scraper keeps its connection (and its TLS
/// session) from one scrape to the next.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);

/// Three times Prometheus's default scrape timeout; a client that has not read the response by
/// then has timed out or stopped reading.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Two round trips and some arithmetic, with room for a busy host.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Well below the ten seconds after which systemd kills the service (shipped unit file).
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Hundreds of scrapers; at about 30 KiB each, small compared with the scrape response itself.
const MAX_CONNECTIONS: usize = 512;

/// Three quarters, so that one misbehaving peer leaves room for the others.
const MAX_CONNECTIONS_PER_PEER: usize = 384;

/// The default of the Prometheus exporters.
const MAX_REQUESTS: usize = 40;

/// Six scrape responses of a host with 5,000 units, or some hundred compressed ones.
const MAX_PENDING_BYTES: usize = 64 << 20;

/// Bytes of a request head: request line and headers together.
pub(super) const MAX_HEAD_BYTES: usize = 16 << 10;

/// Headers in one request; scrapers send about ten.
pub(super) const MAX_HEADERS: usize = 100;

/// Subtracted from the scraper's timeout, so that the response arrives in time.
pub(super) const NETWORK_ALLOWANCE: Duration = Duration::from_millis(500);

/// The longest scrape timeout accepted; a longer one is a mistake.
pub(super) const MAX_SCRAPE_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Values of one filter in one query; more than there are collectors.
pub(super) const MAX_FILTERS: usize = 256;

/// How long a closing connection is still drained, so that the peer reads the response instead
/// of a reset.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes drained from a closing connection.
pub(super) const MAX_LINGER_BYTES: usize = 4 << 20;

/// Connections over the limit that are answered 503 in parallel, in addition to those served.
pub(super) const MAX_REJECTING: usize = 1024;

/// From accepting a connection over the limit until its 503 is delivered.
pub(super) const REJECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The `Retry-After` header, in seconds: scrapes take a fraction of one.
pub(super) const RETRY_AFTER: &str = "1";

/// Parallel requests on one HTTP/2 connection; a scraper has one.
pub(super) const MAX_STREAMS: u32 = 16;

/// Bytes of a body handed to hyper at a time: small enough that a client that stops reading
/// leaves little in the buffers below.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
