//! Compressing a response: time and size per level.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() {
    for level in LEVELS {
        let page = page();
        let ratio = page.len() as f64 / compress(&page, level).len() as f64;
        println!("level {level}: {:.1} MB, {ratio:.1}:1", page.len() as f64 / 1e6);
    }
    divan::main();
}

#[divan::bench(args = LEVELS, sample_count = 20)]
fn gzip(bencher: divan::Bencher<'_, '_>, level: u32) {
    let page = page();
    bencher
        .counter(divan::counter::BytesCount::new(page.len()))
        .bench_local(|| compress(&page, level).len());
}

fn compress(page: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(page).expect("written to memory");
    encoder.finish().expect("written to memory")
}

/// The golden response, repeated with other unit names.
fn page() -> Vec<u8> {
    let golden = include_str!("../tests/golden/metrics.txt");
    let copies = (5 << 20) / golden.len();
    let copy = |n: usize| golden.replace(".service\"", &format!("-{n}.service\""));
    (0..copies).map(copy).collect::<String>().into_bytes()
}

const LEVELS: [u32; 5] = [1, 2, 3, 4, 6];
