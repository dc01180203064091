//! Compression of response bodies, once for all clients of the same body.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::task::spawn_blocking;

use crate::single_flight::SingleFlight;

/// Compresses bodies; concurrent requests for the same body share one compression.
#[derive(Debug, Default)]
pub(super) struct Gzip {
    /// By address and length of the plain body. The result contains the plain body, so that its
    /// memory is not reused for another body while the entry exists.
    in_flight: SingleFlight<(usize, usize), Option<(Bytes, Bytes)>>,
}

impl Gzip {
    /// The compressed body; `None` if compression panicked.
    pub(super) async fn compress(&self, plain: Bytes) -> Option<Bytes> {
        let key = (plain.as_ptr().addr(), plain.len());
        let work = || async move {
            let large = plain.len() >= BLOCKING_BYTES;
            let compress = move || {
                let compressed = compress(&plain);
                (plain, compressed)
            };
            if large { spawn_blocking(compress).await.ok() } else { Some(compress()) }
        };
        let (_, compressed) = self.in_flight.share(key, work).await.flatten()?;
        Some(compressed)
    }
}

fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), LEVEL);
    // writing to memory cannot fail
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

/// The next level takes 1.8 times as long, for a body a fifth smaller (`cargo bench --bench web`).
const LEVEL: Compression = Compression::new(1);

/// From this size on, compression would block a worker of the runtime for too long.
const BLOCKING_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[tokio::test]
    async fn compressed_body_decompresses_to_the_plain_one() {
        for size in [0, 10, BLOCKING_BYTES * 3] {
            let plain: Bytes = (0..size).map(|n| n.to_le_bytes()[0]).collect();
            let compressed = Gzip::default().compress(plain.clone()).await.unwrap();
            let mut read = Vec::new();
            GzDecoder::new(&*compressed).read_to_end(&mut read).unwrap();
            assert_eq!(read, plain);
        }
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_compression() {
        let gzip = Gzip::default();
        let plain = Bytes::from(vec![b'x'; BLOCKING_BYTES * 4]);
        let (first, second) =
            tokio::join!(gzip.compress(plain.clone()), gzip.compress(plain.clone()));
        assert_eq!(first.unwrap().as_ptr(), second.unwrap().as_ptr());
    }
}
