//! The limit on connections, in total and per peer, and the 503 for those above the limit.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::limits::{MAX_HEAD_BYTES, REJECT_TIMEOUT};
use super::listen_address::Stream;

/// Counts the connections being served.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    total: usize,
    per_peer: usize,
    open: Mutex<Open>,
}

/// The right to serve one connection; released on drop.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    peer: Peer,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_peer: HashMap<Peer, usize>,
}

/// An IPv4 address or an IPv6 /64 network: a host that has one address of a /64 can use all.
type Peer = u64;

impl ConnectionLimit {
    pub(super) fn new(total: usize, per_peer: usize) -> Arc<Self> {
        Arc::new(Self { total, per_peer, open: Mutex::default() })
    }

    /// A permit for a connection from `peer`; `None` if one of the limits is reached.
    pub(super) fn try_acquire(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionPermit> {
        let peer = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = open.by_peer.get(&peer).copied().unwrap_or(0);
        if open.total >= self.total || of_peer >= self.per_peer {
            return None;
        }
        open.total += 1;
        open.by_peer.insert(peer, of_peer + 1);
        Some(ConnectionPermit { limit: self.clone(), peer })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limit.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        match open.by_peer.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.by_peer.remove(&self.peer)),
        }
    }
}

fn network(address: IpAddr) -> Peer {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d].into_iter().fold(0, |network, part| network << 16 | u64::from(part))
        }
    }
}

/// Skips one request head and responds with 503; returns whether the response was delivered.
///
/// This takes a kilobyte per connection; serving it would take thirty.
pub(super) async fn reject(mut stream: Stream) -> bool {
    matches!(timeout(REJECT_TIMEOUT, respond_503(&mut stream)).await, Ok(Ok(true)))
}

async fn respond_503(stream: &mut Stream) -> io::Result<bool> {
    if !skip_head(stream).await? {
        return Ok(false);
    }
    stream.write_all(TOO_MANY_CONNECTIONS.as_bytes()).await?;
    stream.shutdown().await?;
    drain(stream).await?;
    Ok(true)
}

/// Waits for the peer to close the connection; otherwise it may get a reset instead of the
/// response.
pub(super) async fn drain(stream: &mut Stream) -> io::Result<()> {
    let mut buffer = [0; 512];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Returns `false` if the peer closed the connection before the end of its request head.
async fn skip_head(stream: &mut Stream) -> io::Result<bool> {
    let mut buffer = [0; 1024];
    let mut end = [0; 4];
    let mut read = 0;
    while read < MAX_HEAD_BYTES {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(false);
        }
        for byte in &buffer[..count] {
            end.rotate_left(1);
            end[3] = *byte;
            if &end == b"\r\n\r\n" {
                return Ok(true);
            }
        }
        read += count;
    }
    Ok(true)
}

const TOO_MANY_CONNECTIONS: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 22\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\r\n\
    too many connections.\n";

#[cfg(test)]
mod tests {
    use super::super::limits::RETRY_AFTER;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn refuses_above_peer_limit_and_above_total() {
        let limit = ConnectionLimit::new(3, 2);
        let first = limit.try_acquire(ip("127.0.0.1"));
        let second = limit.try_acquire(ip("::ffff:127.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(limit.try_acquire(ip("127.0.0.1")).is_none(), "above the peer's limit");
        let other = limit.try_acquire(ip("127.0.0.2"));
        assert!(other.is_some());
        assert!(limit.try_acquire(ip("127.0.0.3")).is_none(), "above the total");
        drop(first);
        assert!(limit.try_acquire(ip("127.0.0.1")).is_some());
    }

    #[test]
    fn counts_an_ipv6_network_as_one_peer() {
        let limit = ConnectionLimit::new(8, 1);
        let first = limit.try_acquire(ip("2001:db8::1"));
        assert!(first.is_some());
        assert!(limit.try_acquire(ip("2001:db8::ffff")).is_none());
        assert!(limit.try_acquire(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn keeps_no_entry_of_peers_without_connection() {
        let limit = ConnectionLimit::new(8, 2);
        drop((limit.try_acquire(ip("127.0.0.1")), limit.try_acquire(ip("127.0.0.1"))));
        let open = limit.open.lock().unwrap();
        assert_eq!((open.total, open.by_peer.len()), (0, 0));
    }

    #[test]
    fn rejection_has_correct_length_and_retry_after() {
        let (head, body) = TOO_MANY_CONNECTIONS.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.contains(&format!("Retry-After: {RETRY_AFTER}\r\n")));
    }
}
