//! The 503 for connections above the limit.

use std::io;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::limits::{MAX_HEAD_BYTES, REJECT_BUFFER_BYTES, REJECT_TIMEOUT};
use super::listen_address::Stream;

/// Skips one request head and responds with 503; returns whether the response was delivered.
///
/// This takes a kilobyte per connection; serving it would take thirty.
pub(super) async fn reject(mut stream: Stream) -> bool {
    if let Stream::Left(tcp) = &stream {
        let _ = sockopt::set_socket_recv_buffer_size(tcp, REJECT_BUFFER_BYTES);
    }
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

    #[test]
    fn rejection_has_correct_length_and_retry_after() {
        let (head, body) = TOO_MANY_CONNECTIONS.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.contains(&format!("Retry-After: {RETRY_AFTER}\r\n")));
    }
}
