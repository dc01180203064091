//! Real journal files, intact and corrupt. `tests/fixtures/journal` has one of each layout, by
//! systemd 252; in each, journalctl has the counts of [`expected`].

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::file_limits::{MAX_CONTAINER_FILES, MIN_CONTAINER_USER};
use super::*;
use crate::source::journal::exits::JournalProcessExit;
use crate::systemd::unit::value::{InvocationId, intern};

#[test]
fn all_layouts_have_the_same_counts() {
    for fixture in FIXTURES {
        let host = TestJournal::new();
        let mut journal = host.open();
        host.put("system.journal", &fixture.content());
        let reading = host.follow(&mut journal);
        assert_eq!(counts(&reading), expected(), "{}", fixture.0);
        assert_eq!(reading.progress, Progress { files: 1, ..Progress::default() });
        assert_eq!(reading.shortfall, None);
        // nothing is counted twice
        assert_eq!(counts(&host.follow(&mut journal)), expected());
    }
}

#[test]
fn index_has_the_entries_that_a_scan_finds() {
    for fixture in FIXTURES {
        let host = TestJournal::new();
        host.put("system.journal", &fixture.content());
        let path = host.path("system.journal");
        let mut file = JournalFile::open(&path, 0).unwrap().unwrap();
        let mut all = Vec::new();
        while file.position() < ENTRIES {
            let mut some = Vec::new();
            file.next(ENTRIES, &mut some).unwrap();
            some.iter().for_each(|_| file.step());
            all.extend(some);
        }
        let boot = format!("_BOOT_ID={}", BOOT.replace('-', ""));
        assert_eq!(index::entries_with(&file, boot.as_bytes(), 0).unwrap(), all, "{}", fixture.0);
        let first = index::first_entry_with(&file, boot.as_bytes()).unwrap();
        assert_eq!(first, all.first().copied());
        let unit = b"_SYSTEMD_UNIT=talks.service";
        let of_unit = index::entries_with(&file, unit, 0).unwrap();
        assert!(of_unit.len() > 20 && of_unit.iter().all(|at| all.contains(at)));
        let later = index::entries_with(&file, unit, of_unit[7]).unwrap();
        assert_eq!(later, of_unit[7..]);
        assert_eq!(index::entries_with(&file, b"_SYSTEMD_UNIT=no.service", 0).unwrap(), [0; 0]);
    }
}

#[test]
fn continues_from_a_saved_position() {
    let host = TestJournal::new();
    let mut first = COMPACT.content();
    first[152..160].copy_from_slice(&20_u64.to_le_bytes());
    host.put("archive", &PLAIN.content());
    let mut journal = host.open();
    host.put("system.journal", &first);
    host.follow(&mut journal);
    // the fixtures are older than this test
    journal.read = 0;
    let saved = journal.saved();
    let json = serde_json::to_vec(&saved).unwrap();
    let saved: SavedJournal = serde_json::from_slice(&json).unwrap();
    drop(journal);
    // read to here, then written to, rotated and replaced
    host.put("system@0123-4567.journal", &COMPACT.content());
    host.put("system.journal", &PLAIN.content());
    let options =
        JournalOptions { start: JournalStart::Resumed(Arc::new(saved)), ..host.options() };
    let mut journal = Journal::open(&options).unwrap();
    assert_eq!(journal.take_exits().last_gap, None);
    let twice: Vec<_> = expected().into_iter().map(|(name, counts)| (name, counts * 2)).collect();
    assert_eq!(counts(&host.follow(&mut journal)), twice);

    // a file that is gone may have had more entries
    fs::remove_file(host.path("system@0123-4567.journal")).unwrap();
    let mut journal = Journal::open(&options).unwrap();
    assert!(journal.take_exits().last_gap.is_some());
}

#[test]
fn exit_of_a_process_is_kept_until_that_of_its_unit_across_a_restart() {
    let host = TestJournal::new();
    host.put("system.journal", &PLAIN.content());
    let mut journal = host.open();
    let (run, command) = (InvocationId([7; 16]), Some(intern("ExecStartPre")));
    let exit = JournalProcessExit { code: 1, status: intern("3") };
    journal.totals.process_exit(run, command.clone(), exit.clone());
    let json = serde_json::to_vec(&journal.saved()).unwrap();
    let saved: SavedJournal = serde_json::from_slice(&json).unwrap();
    let options =
        JournalOptions { start: JournalStart::Resumed(Arc::new(saved)), ..host.options() };
    let journal = Journal::open(&options).unwrap();
    assert_eq!(*journal.totals.process_exits(), [(run, command, exit)]);
}

#[test]
fn system_file_is_followed_before_any_number_of_users_files() {
    let host = TestJournal::new();
    let mut journal = host.open();
    let content = COMPACT.content();
    // each file has another ID
    let put = |name: &str, id: u32| {
        let mut content = content.clone();
        content[24..28].copy_from_slice(&id.to_le_bytes());
        host.put(name, &content);
    };
    for uid in 0..700 {
        put(&format!("user-{}.journal", 100_000 + uid), uid);
    }
    let reading = host.follow(&mut journal);
    assert_eq!(reading.progress.files, MAX_CONTAINER_FILES);
    assert!(reading.shortfall.unwrap().contains("512 of users from 65536 on"));
    put("system.journal", 1000);
    put("user-1000.journal", 1001);
    assert_eq!(host.follow(&mut journal).progress.files, MAX_CONTAINER_FILES + 2);
    let first: Vec<_> = journal.files[..3].iter().map(|tail| tail.name().user()).collect();
    assert_eq!(first[..2], [None, Some(1000)]);
    assert!(first[2] >= Some(MIN_CONTAINER_USER));
}

#[test]
fn corrupt_files_are_counted_once_each() {
    let host = TestJournal::new();
    let mut journal = host.open();
    for uid in 0..400 {
        host.put(&format!("user-{uid}.journal"), &[b'x'; 4096]);
    }
    for _ in 0..3 {
        let _ = journal.follow(Instant::now() + Duration::from_secs(60), |_| true);
        assert_eq!(journal.reading().progress.damaged, 400);
    }
}

#[test]
fn journal_of_a_new_machine_id_is_followed() {
    let host = TestJournal::new();
    let mut journal = host.open();
    host.put("system.journal", &COMPACT.content());
    host.follow(&mut journal);
    let new = "00112233445566778899aabbccddeeff";
    fs::write(host.0.path().join("machine-id"), format!("{new}\n")).unwrap();
    let directory = host.0.path().join("var").join(new);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("system.journal"), PLAIN.content()).unwrap();
    let reading = host.follow(&mut journal);
    let twice: Vec<_> = expected().into_iter().map(|(name, counts)| (name, counts * 2)).collect();
    assert_eq!((counts(&reading), reading.progress.files), (twice, 2));
}

#[test]
fn entries_from_before_opening_are_not_counted() {
    let host = TestJournal::new();
    host.put("system.journal", &COMPACT.content());
    host.put("system@0123-4567.journal", &PLAIN.content());
    let mut journal = host.open();
    let reading = host.follow(&mut journal);
    assert_eq!((reading.units.len(), reading.messages), (0, [0; 9]));
    assert_eq!(reading.progress.files, 1);
    // nor entries from before in a file that is new
    journal.since = u64::MAX;
    host.put("user-1000.journal", &REGULAR.content());
    assert_eq!(host.follow(&mut journal).messages, [0; 9]);
    let mut journal = host.open();
    journal.boot_id = Id128::default();
    host.put("user-1001.journal", &PLAIN.content());
    assert_eq!(host.follow(&mut journal).messages, [0; 9]);
}

#[test]
fn rotated_file_is_read_to_its_end_once() {
    let host = TestJournal::new();
    let mut journal = host.open();
    host.put("system.journal", &COMPACT.content());
    host.follow(&mut journal);
    host.rename("system.journal", "system@0123-4567.journal");
    host.put("system.journal", &PLAIN.content());
    let reading = host.follow(&mut journal);
    let twice: Vec<_> = expected().into_iter().map(|(name, counts)| (name, counts * 2)).collect();
    assert_eq!(counts(&reading), twice);
    assert_eq!(reading.progress.files, 1);
    // journald may copy an archive, as on btrfs
    host.put("copy", &COMPACT.content());
    host.rename("copy", "system@0123-4567.journal");
    host.put("user-7@0123-4567.journal~", &COMPACT.content());
    assert_eq!(counts(&host.follow(&mut journal)), twice);
}

#[test]
fn entries_copied_from_run_to_var_are_counted_once() {
    let host = TestJournal::new();
    let mut journal = host.open();
    fs::create_dir_all(host.volatile()).unwrap();
    fs::write(host.volatile().join("system.journal"), COMPACT.content()).unwrap();
    host.follow(&mut journal);
    // entries of the same times in another file: journald was restarted in between
    let mut copy = COMPACT.content();
    copy[24..40].fill(7);
    host.put("system.journal", &copy);
    fs::remove_dir_all(host.volatile()).unwrap();
    let reading = host.follow(&mut journal);
    assert_eq!(counts(&reading), expected());
    assert_eq!(reading.progress.files, 1);
}

#[test]
fn uses_the_boot_id_of_journald_when_it_differs() {
    let count = |boot_id: Option<Id128>| {
        let host = TestJournal::new();
        let mut first = COMPACT.content();
        first[152..160].copy_from_slice(&1_u64.to_le_bytes());
        host.put("system.journal", &first);
        let mut journal = host.open();
        journal.boot_id = boot_id.unwrap_or(journal.boot_id);
        fs::write(host.path("system.journal"), COMPACT.content()).unwrap();
        let reading = host.follow(&mut journal);
        // a new file is read from its beginning, which may be of an earlier boot
        host.put("user-1000.journal", &PLAIN.content());
        (counts(&reading), counts(&host.follow(&mut journal)))
    };
    let usual = count(None);
    assert!(!usual.0.is_empty() && usual.0 != usual.1);
    assert_eq!(count(Some(Id128::default())), usual);
}

#[test]
fn truncated_file_is_reported_as_corrupt() {
    for (length, reason) in
        [(100, "the header is missing"), (16_384, "truncated"), (0, "header is missing")]
    {
        let host = TestJournal::new();
        let mut journal = host.open();
        let mut empty = COMPACT.content();
        empty[152..160].fill(0);
        host.put("system.journal", &empty);
        host.follow(&mut journal);
        let file = OpenOptions::new().write(true).open(host.path("system.journal")).unwrap();
        file.write_all_at(&COMPACT.content(), 0).unwrap();
        file.set_len(length).unwrap();
        let reading = host.follow(&mut journal);
        let shortfall = reading.shortfall.unwrap_or_default();
        let unread = reading.progress.unreadable + reading.progress.waiting;
        assert!(shortfall.contains(reason) || unread > 0, "{length}: {shortfall:?}");
        host.follow(&mut journal);
        assert!(journal.reading().progress.damaged <= 1, "a file counts once");
    }
}

#[test]
fn file_that_is_not_a_journal_is_reported_once() {
    let host = TestJournal::new();
    let mut journal = host.open();
    host.put("system.journal", &[0x55; 4096]);
    host.put("system@0123-4567.journal~", &[0xaa; 4096]);
    host.put("user-1.journal", b"");
    let mut newer = COMPACT.content();
    newer[12] |= 1 << 6;
    host.put("user-2.journal", &newer);
    let deadline = Instant::now() + Duration::from_secs(60);
    for _reading in 0..3 {
        let error = journal.follow(deadline, |_| true).unwrap_err().to_string();
        assert!(error.contains("not a journal file") || error.contains("newer systemd"), "{error}");
        assert_eq!(journal.reading().progress.damaged, 2);
    }
    host.put("other.journal", &COMPACT.content());
    host.rename("other.journal", "system.journal");
    assert_eq!(counts(&host.follow(&mut journal)), expected());
}

#[test]
fn error_without_files_names_the_directories() {
    let host = TestJournal::new();
    let error = host.open().follow(Instant::now(), |_| true).unwrap_err().to_string();
    assert!(error.contains("/0123456789abcdef0123456789abcdef"), "{error}");
    assert!(error.contains("Storage="), "{error}");
}

#[test]
fn entries_after_the_deadline_stay_unread() {
    let host = TestJournal::new();
    let mut journal = host.open();
    host.put("system.journal", &COMPACT.content());
    journal.follow(Instant::now(), |_| true).unwrap();
    assert_eq!(journal.reading().progress.waiting, ENTRIES);
    assert_eq!(counts(&host.follow(&mut journal)), expected());
}

#[test]
fn silent_units_are_evicted_unless_loaded() {
    let options = JournalOptions {
        keep: 2,
        start: JournalStart::AtEnd,
        keep_for: Duration::from_secs(3600),
        ..TestJournal::new().options()
    };
    let mut totals = Totals::new(&options);
    let begun = Instant::now();
    for (name, minute) in [("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 4)] {
        totals.evict(begun + minute * Duration::from_secs(60), |_| true);
        let unit = totals.unit_index(format!("{name}.service").as_bytes());
        totals.message(unit, Priority::NONE, 0);
    }
    let names = |totals: &Totals| -> Vec<String> {
        let reading = totals.reading(Progress::default(), None);
        reading.units.into_iter().map(|(name, _)| name.to_string()).collect()
    };
    let is_loaded = |name: &str| name == "a.service";
    assert!(!totals.evict(begun + Duration::from_secs(250), is_loaded), "only at intervals");
    assert!(totals.evict(begun + Duration::from_secs(600), is_loaded));
    assert_eq!(names(&totals), ["a.service", "d.service", "e.service"]);
    let unit = totals.unit_index(b"d.service");
    totals.message(unit, Priority::NONE, 0);
    assert!(totals.evict(begun + Duration::from_secs(3900), is_loaded));
    assert_eq!(names(&totals), ["a.service", "d.service"]);
    // of units with equal times, no more than needed
    for name in ["f.service", "g.service", "h.service"] {
        let unit = totals.unit_index(name.as_bytes());
        totals.message(unit, Priority::NONE, 0);
    }
    assert!(totals.evict(begun + Duration::from_secs(4000), is_loaded));
    assert_eq!(names(&totals), ["a.service", "g.service", "h.service"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn corrupt_files_neither_panic_nor_count_too_much(
        fixture in 0..FIXTURES.len(),
        patches in prop::collection::vec((spot(), any::<u64>(), 1_usize..=8), 0..12),
        later in prop::collection::vec((spot(), any::<u64>(), 1_usize..=8), 0..4),
        length in prop_oneof![4 => Just(None), 1 => (0_u64..USED as u64).prop_map(Some)],
    ) {
        let host = TestJournal::new();
        let mut journal = host.open();
        let mut content = FIXTURES[fixture].content();
        for (at, value, width) in patches {
            content[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        host.put("system.journal", &content);
        let entries = format::le64(&content, 152).unwrap_or_default();
        let deadline = || Instant::now() + Duration::from_secs(60);
        let begun = Instant::now();
        let _ = journal.follow(deadline(), |_| true);
        let file = OpenOptions::new().write(true).open(host.path("system.journal")).unwrap();
        for (at, value, width) in later {
            file.write_all_at(&value.to_le_bytes()[..width], at as u64).unwrap();
        }
        if let Some(length) = length {
            file.set_len(length).unwrap();
        }
        let _ = journal.follow(deadline(), |_| true);
        let reading = journal.reading();
        let counted = reading.messages.iter().sum::<u64>() + reading.progress.unreadable;
        prop_assert!(counted <= entries.max(USED as u64), "{counted} of {entries}");
        prop_assert!(begun.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn parses_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = format::FileHeader::parse(&bytes);
        let signed = [&b"LPKSHHRH"[..], &bytes].concat();
        let _ = format::FileHeader::parse(&signed);
        let _ = format::ObjectHeader::parse(&bytes);
        let _ = format::parse_id(&bytes);
    }
}

/// An offset in the header, or anywhere in the used part.
fn spot() -> impl Strategy<Value = usize> {
    prop_oneof![1 => 0_usize..256, 4 => 256_usize..USED - 8].prop_map(|at| at & !7)
}

/// The journal of a machine in a temporary directory.
struct TestJournal(TempDir);

impl TestJournal {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(host.path("")).unwrap();
        fs::write(host.0.path().join("machine-id"), format!("{MACHINE}\n")).unwrap();
        fs::write(host.0.path().join("boot-id"), format!("{BOOT}\n")).unwrap();
        host
    }

    fn options(&self) -> JournalOptions {
        JournalOptions {
            persistent: self.0.path().join("var"),
            volatile: self.0.path().join("run"),
            machine_id: self.0.path().join("machine-id"),
            boot_id: self.0.path().join("boot-id"),
            selection: Selection::default(),
            keep_for: Duration::from_secs(3600),
            keep: 1000,
            start: JournalStart::AtEnd,
        }
    }

    /// Opens the journal as if nothing had been logged yet.
    fn open(&self) -> Journal {
        Journal { since: 0, ..Journal::open(&self.options()).unwrap() }
    }

    #[track_caller]
    fn follow(&self, journal: &mut Journal) -> JournalReading {
        journal.follow(Instant::now() + Duration::from_secs(60), |_| true).unwrap();
        journal.reading()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("var").join(MACHINE).join(name)
    }

    fn volatile(&self) -> PathBuf {
        self.0.path().join("run").join(MACHINE)
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }
}

struct Fixture(&'static str);

impl Fixture {
    fn content(&self) -> Vec<u8> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal");
        let packed = fs::read(directory.join(format!("{}.journal.gz", self.0))).unwrap();
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut content).unwrap();
        content
    }
}

/// The messages by unit and priority, and the dropped ones.
fn counts(reading: &JournalReading) -> Vec<(String, u64)> {
    let units = reading.units.iter().flat_map(|(name, counts)| {
        let by_priority = Priority::ALL.into_iter().zip(counts.messages);
        by_priority
            .map(move |(priority, count)| (format!("{name} {priority}"), count.total))
            .chain([(format!("{name} dropped"), counts.dropped.total)])
    });
    units.filter(|(_, count)| *count > 0).collect()
}

fn expected() -> Vec<(String, u64)> {
    let names = Priority::ALL.into_iter().chain(["dropped"]);
    let counts = [
        ("flood.service", [2, 1, 0, 2, 2, 1, 5, 2, 0, 10]),
        ("forge.service", [1, 1, 1, 1, 0, 0, 2, 0, 0, 0]),
        ("systemd-journald.service", [0, 0, 0, 0, 0, 0, 3, 0, 0, 0]),
        ("talks.service", [4, 4, 4, 4, 4, 4, 7, 4, 0, 0]),
    ];
    let each = counts.into_iter().flat_map(|(unit, counts)| {
        names.clone().zip(counts).map(move |(name, count)| (format!("{unit} {name}"), count))
    });
    each.filter(|(_, count)| *count > 0).collect()
}

/// As systemd 252 writes: offsets of 32 bits.
const COMPACT: Fixture = Fixture("compact");
/// As from systemd 246 on.
const REGULAR: Fixture = Fixture("regular");
/// As before systemd 246: hashes without a key.
const PLAIN: Fixture = Fixture("plain");
const FIXTURES: [Fixture; 3] = [COMPACT, REGULAR, PLAIN];
const MACHINE: &str = "0123456789abcdef0123456789abcdef";
/// The boot of the fixtures.
const BOOT: &str = "846191fc-520c-4d21-a348-f75e9feb5059";
const ENTRIES: u64 = 59;
/// Bytes: a little less than the shortest fixture has.
const USED: usize = 87_000;
