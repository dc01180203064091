//! Reading the journal: per entry, and a read without new entries.
//!
//! One iteration of `entries` reads 10,030 entries: those of a real file, repeated.

#![allow(clippy::unwrap_used, reason = "a failure ends the measurement")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use divan::Bencher;
use tempfile::TempDir;
use unit_exporter::source::journal::{Journal, JournalOptions, JournalStart};
use unit_exporter::unit_filter::Selection;

fn main() {
    divan::main();
}

/// Compact files have 32-bit offsets.
#[divan::bench(args = ["compact", "regular"], sample_count = 20)]
fn entries(bencher: Bencher, layout: &str) {
    let content = repeated(layout);
    let read = |(_host, mut journal): (TempDir, Journal)| {
        journal.follow(Instant::now() + Duration::from_secs(60), |_| true).unwrap();
        let reading = journal.reading();
        assert_eq!(reading.messages.iter().sum::<u64>(), ENTRIES * TIMES);
    };
    let with_new_file = || {
        let (host, journal) = opened(0);
        fs::write(host.path().join("var").join(MACHINE).join("system.journal"), &content).unwrap();
        (host, journal)
    };
    bencher.with_inputs(with_new_file).bench_local_values(read);
}

/// With a number of archived files next to the current one.
#[divan::bench(args = [1, 100])]
fn no_new_entries(bencher: Bencher, archived: usize) {
    let (_host, mut journal) = opened(archived);
    bencher.bench_local(|| journal.follow(Instant::now() + Duration::from_secs(60), |_| true));
}

fn opened(archived: usize) -> (TempDir, Journal) {
    let host = tempfile::tempdir().unwrap();
    let directory = host.path().join("var").join(MACHINE);
    fs::create_dir_all(&directory).unwrap();
    let file = |name: &str| host.path().join(name);
    fs::write(file("machine-id"), MACHINE).unwrap();
    fs::write(file("boot-id"), BOOT).unwrap();
    for number in 0..archived {
        let name = format!("system@{number:032x}-0000000000000001-0005f0f1d4f3b2a1.journal");
        fs::write(directory.join(name), unpacked("compact")).unwrap();
    }
    if archived > 0 {
        fs::write(directory.join("system.journal"), unpacked("compact")).unwrap();
    }
    let options = JournalOptions {
        persistent: file("var"),
        volatile: file("run"),
        machine_id: file("machine-id"),
        boot_id: file("boot-id"),
        selection: Selection::default(),
        keep_for: Duration::from_secs(3600),
        keep: 1000,
        start: JournalStart::AtEnd,
    };
    let journal = Journal::open(&options).unwrap();
    (host, journal)
}

/// A fixture file with an entry array appended that lists its entries many times.
fn repeated(layout: &str) -> Vec<u8> {
    let mut content = unpacked(layout);
    let number = |content: &[u8], at: usize, width: usize| {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&content[at..at + width]);
        u64::from_le_bytes(bytes)
    };
    let width = if layout == "compact" { 4 } else { 8 };
    let mut offsets = Vec::new();
    let mut array = number(&content, 176, 8);
    while array != 0 {
        let at = usize::try_from(array).unwrap();
        let size = usize::try_from(number(&content, at + 8, 8)).unwrap();
        offsets.extend(content[at + 24..at + size].chunks_exact(width).map(<[u8]>::to_vec));
        array = number(&content, at + 16, 8);
    }
    offsets.retain(|offset| offset.iter().any(|byte| *byte != 0));
    assert_eq!(offsets.len() as u64, ENTRIES);
    content.resize(content.len().next_multiple_of(8), 0);
    let at = content.len() as u64;
    // later than the start of the reader, which skips older entries
    let later = 1_u64 << 62;
    for offset in &offsets {
        let entry = usize::try_from(number(offset, 0, width)).unwrap();
        content[entry + 32..entry + 40].copy_from_slice(&later.to_le_bytes());
    }
    let items = offsets.concat().repeat(usize::try_from(TIMES).unwrap());
    content.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    content.extend((24 + items.len() as u64).to_le_bytes());
    content.extend(0_u64.to_le_bytes());
    content.extend(items);
    content[152..160].copy_from_slice(&(ENTRIES * TIMES).to_le_bytes());
    content[176..184].copy_from_slice(&at.to_le_bytes());
    content[200..208].copy_from_slice(&later.to_le_bytes());
    content
}

fn unpacked(layout: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal");
    let packed = fs::read(directory.join(format!("{layout}.journal.gz"))).unwrap();
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut content).unwrap();
    content
}

const ENTRIES: u64 = 59;
const TIMES: u64 = 170;
const MACHINE: &str = "0123456789abcdef0123456789abcdef";
/// The boot ID in the fixtures.
const BOOT: &str = "846191fc-520c-4d21-a348-f75e9feb5059";
