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
    /// Scrape responses and HTML pages built in parallel; further requests get status 503. `None`
    /// for no limit.
    pub requests: Option<usize>,
    /// Bytes of distinct response bodies that clients have not read yet; above that, requests get
    /// status 503.
    pub unread_bytes: usize,
    /// How long a connection must have been idle before it is closed for a newcomer.
    pub min_idle: Duration,
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
            requests: Some(MAX_REQUESTS),
            unread_bytes: MAX_UNREAD_BYTES,
            min_idle: MIN_IDLE,
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

/// More than there are scrapers of one host: idle connections make room for new ones.
pub(super) const MAX_CONNECTIONS: usize = 192;

/// The default of the Prometheus exporters.
pub(super) const MAX_REQUESTS: usize = 40;

/// Two scrape responses of a host with 10,000 units, or twenty compressed ones.
pub(super) const MAX_UNREAD_BYTES: usize = 24 << 20;

/// Bytes of a request head in HTTP/1: request line and headers together.
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
pub(super) const MAX_STREAMS: u32 = 4;

/// Bytes of a request head in HTTP/2, as HTTP/2 counts them: names, values and 32 for each header.
pub(super) const MAX_HTTP2_HEAD_BYTES: u32 = 8 << 10;

/// Bytes of a body handed to hyper at a time: small enough that a client that stops reading
/// leaves little in the buffers below.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// Bytes that an HTTP/2 client may send on one stream before the server reads any; request
/// bodies are not read.
pub(super) const STREAM_WINDOW_BYTES: u32 = 16 << 10;

/// The same for a whole connection: the smallest value that HTTP/2 allows.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = (64 << 10) - 1;

/// Encrypted bytes of one connection that wait for the kernel: one record.
pub(super) const TLS_BUFFER_BYTES: usize = 16 << 10;

/// The kernel's send buffer of a connection; the kernel doubles the value. Without a limit it
/// grows to megabytes for a client that does not read, and counts as the service's memory. At a
/// round-trip time of 100 ms, this is enough for half a megabyte per second.
pub(super) const SEND_BUFFER_BYTES: usize = 32 << 10;

/// The kernel's receive buffer of a connection, which the kernel doubles as well: one request head.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 16 << 10;

/// The receive buffer of a connection that is rejected: the kernel's minimum.
pub(super) const REJECT_BUFFER_BYTES: usize = 2 << 10;

/// Collections in progress for status pages and filtered scrapes; unfiltered scrapes share one for
/// each format.
pub(super) const MAX_SEPARATE_COLLECTIONS: usize = 1;

/// Password comparisons that wait, in addition to those running. At a quarter of a second each
/// (cost 12), the last one still completes within the timeout of a scrape.
pub(super) const MAX_WAITING_LOGINS: usize = 32;

/// How long a connection must have been idle before it is closed for a newcomer: a client that has
/// just connected can still send its request.
pub(super) const MIN_IDLE: Duration = Duration::from_secs(1);

/// Connections closed for newcomers that have not ended yet.
pub(super) const MAX_CLOSING: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The product of all limits, on the largest host that docs/internals/robustness.md documents.
    #[test]
    fn memory_of_all_limits_together_is_below_that_of_the_service() {
        let windows = CONNECTION_WINDOW_BYTES.max(MAX_STREAMS * STREAM_WINDOW_BYTES) as usize;
        let head = MAX_HTTP2_HEAD_BYTES as usize + MAX_HEADERS * HEADER_ENTRY_BYTES;
        // the kernel doubles its buffers, and counts them as the service's memory
        let kernel = 2 * (SEND_BUFFER_BYTES + RECEIVE_BUFFER_BYTES);
        let tls = TLS_BUFFER_BYTES + 2 * TLS_RECORD_BYTES;
        let http1 = 2 * MAX_HEAD_BYTES + CHUNK_BYTES + MAX_HEADERS * HEADER_ENTRY_BYTES;
        let http2 = windows + 2 * FRAME_BYTES + MAX_STREAMS as usize * head;
        let connection = kernel + tls + http1.max(http2) + CONNECTION_STATE_BYTES;
        let connections = (MAX_CONNECTIONS + MAX_CLOSING) * connection;
        let rejecting = MAX_REJECTING * (2 * REJECT_BUFFER_BYTES + REJECT_STATE_BYTES);
        let building = (MAX_COLLECTIONS - 1) * LARGEST_RESPONSE_BYTES;
        let parts = [
            ("a host with 10,000 units, building one response", LARGEST_HOST_BYTES),
            ("connections", connections),
            ("connections being rejected", rejecting),
            ("responses being built", building),
            ("unread responses", MAX_UNREAD_BYTES),
        ];
        for (part, bytes) in parts {
            println!("{:6.1} MiB: {part}", bytes as f64 / f64::from(1 << 20));
        }
        println!("{:6.1} KiB: one connection", connection as f64 / 1024.0);
        let sum: usize = parts.iter().map(|(_, bytes)| bytes).sum();
        let unit = include_str!("../../systemd/system/unit-exporter.service");
        let max = unit.lines().find_map(|line| line.strip_prefix("MemoryMax=")?.strip_suffix('M'));
        let max = max.unwrap().parse::<usize>().unwrap() << 20;
        println!("{:6.1} MiB of {} MiB", sum as f64 / f64::from(1 << 20), max >> 20);
        assert!(sum + max / 10 <= max, "less than a tenth of MemoryMax= remains");
    }

    /// Resident with 10,000 units and hostile users, as `make test-scale` prints it.
    const LARGEST_HOST_BYTES: usize = 106_000_000;
    const LARGEST_RESPONSE_BYTES: usize = 11_200_000;

    /// The text format, OpenMetrics, and filtered responses or status pages.
    const MAX_COLLECTIONS: usize = 2 + MAX_SEPARATE_COLLECTIONS;

    /// A header in a map: its entry, the allocation of its name, and its place in the index.
    const HEADER_ENTRY_BYTES: usize = 160;

    /// A record being decrypted, and one being read.
    const TLS_RECORD_BYTES: usize = (16 << 10) + 256;

    /// The read and the write buffer of HTTP/2.
    const FRAME_BYTES: usize = (16 << 10) + 9;

    /// The task of a connection, its HTTP state and its TLS session without buffers.
    const CONNECTION_STATE_BYTES: usize = 24 << 10;

    /// The task that sends 503 to a connection, with its buffer.
    const REJECT_STATE_BYTES: usize = 4 << 10;
}
