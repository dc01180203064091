//! Telling a connection for which there is no place to come back later.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::limits::{HEAD_BYTES, TURNING_AWAY};
use super::socket::Stream;

/// Reads one request head without understanding it and answers 503; whether that was heard.
///
/// This costs a kilobyte a connection, where serving it would cost thirty.
pub(super) async fn turn_away(mut stream: Stream) -> bool {
    matches!(timeout(TURNING_AWAY, converse(&mut stream)).await, Ok(Ok(true)))
}

async fn converse(stream: &mut Stream) -> io::Result<bool> {
    if !read_head(stream).await? {
        return Ok(false);
    }
    stream.write_all(ANSWER.as_bytes()).await?;
    stream.shutdown().await?;
    drain(stream).await?;
    Ok(true)
}

/// Waits for the peer to close, lest it gets a reset instead of the answer.
pub(super) async fn drain(stream: &mut Stream) -> io::Result<()> {
    let mut scratch = [0; 512];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}

/// Whether a whole head came.
async fn read_head(stream: &mut Stream) -> io::Result<bool> {
    let mut buffer = [0; 1024];
    let mut end = [0; 4];
    let mut read = 0;
    while read < HEAD_BYTES {
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

const ANSWER: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 22\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\r\n\
    too many connections.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.contains(&format!("Retry-After: {}\r\n", super::super::limits::RETRY_AFTER)));
    }
}
