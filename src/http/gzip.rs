//! Compressing pages, each once.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

/// Compresses pages; scrapes that were given the same page share one compression.
#[derive(Debug, Default)]
pub(super) struct Gzip {
    latest: Mutex<Weak<Page>>,
}

#[derive(Debug)]
struct Page {
    plain: Bytes,
    compressed: OnceCell<Bytes>,
}

impl Gzip {
    /// The page, compressed; `None` if the compression died.
    pub(super) async fn compress(&self, plain: Bytes) -> Option<Bytes> {
        let page = self.share(plain);
        let compressed = page.compressed.get_or_try_init(|| {
            let plain = page.plain.clone();
            async {
                if plain.len() < LARGE {
                    return Ok(compress(&plain));
                }
                tokio::task::spawn_blocking(move || compress(&plain)).await
            }
        });
        compressed.await.ok().cloned()
    }

    fn share(&self, plain: Bytes) -> Arc<Page> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        // the address identifies a page only as long as it is alive, which it is here
        if let Some(page) = latest.upgrade()
            && page.plain.as_ptr() == plain.as_ptr()
            && page.plain.len() == plain.len()
        {
            return page;
        }
        let page = Arc::new(Page { plain, compressed: OnceCell::new() });
        *latest = Arc::downgrade(&page);
        page
    }
}

fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), LEVEL);
    // writing to memory cannot fail
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

/// The next level takes 1.8 times as long for a page a fifth smaller (`cargo bench --bench web`).
const LEVEL: Compression = Compression::new(1);

/// From here on compressing takes longer than a worker of the runtime should be kept.
const LARGE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[tokio::test]
    async fn what_was_compressed_reads_back() {
        for size in [0, 10, LARGE * 3] {
            let plain: Bytes = (0..size).map(|n| n.to_le_bytes()[0]).collect();
            let compressed = Gzip::default().compress(plain.clone()).await.unwrap();
            let mut read = Vec::new();
            GzDecoder::new(&*compressed).read_to_end(&mut read).unwrap();
            assert_eq!(read, plain);
        }
    }

    #[tokio::test]
    async fn one_page_is_compressed_once_for_all_who_wait() {
        let gzip = Gzip::default();
        let plain = Bytes::from(vec![b'x'; LARGE * 4]);
        let (first, second) =
            tokio::join!(gzip.compress(plain.clone()), gzip.compress(plain.clone()));
        assert_eq!(first.unwrap().as_ptr(), second.unwrap().as_ptr());
    }
}
