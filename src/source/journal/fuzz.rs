//! Fuzzing: a journal file of any content that changes while it is read.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::pwrite;

use super::entry::EntryReader;
use super::field::FAILURE;
use super::file::JournalFile;
use super::index::entries_with;
use super::totals::Totals;
use super::{JournalOptions, JournalReading, JournalStart, Progress, SavedJournal, format};
use crate::fuzzing::page;
use crate::snapshot::Snapshot;
use crate::unit_filter::Selection;

/// Two bytes with the length of the first content; then the first and the second content.
pub(crate) fn file(data: &[u8]) {
    let _ = format::parse_id(data);
    let Some((length, contents)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    let Some((before, after)) = contents.split_at_checked(length) else { return };
    let descriptor = memfd_create("journal", MemfdFlags::CLOEXEC).expect("memory");
    put(&descriptor, before);
    let other = descriptor.try_clone().expect("a descriptor");
    let Ok(Some(mut file)) = JournalFile::of(other, 0) else { return };
    let (mut reader, mut totals) = (EntryReader::default(), Totals::new(&options()));
    let mut unreadable = 0;
    for content in [before, after] {
        put(&descriptor, content);
        reader.first_monotonic(&file);
        let found = entries_with(&file, FAILURE, 0).unwrap_or_default();
        for at in found.into_iter().take(1000) {
            let _ = reader.read_event(&file, at, |_| true, &mut Totals::new(&options()));
        }
        let Ok(end) = file.refresh() else { break };
        let deadline = Instant::now() + Duration::from_secs(1);
        let outcome = reader.read(&mut file, end, deadline, |_| true, &mut totals);
        unreadable += outcome.unreadable;
        assert!(file.position() <= end);
        assert!(outcome.error.is_some() || file.position() == end || Instant::now() >= deadline);
    }
    let reading = totals.reading(Progress::default(), None);
    let messages: u64 = reading.messages.iter().sum();
    assert!(messages <= file.position() && messages + unreadable >= file.position());
    page(Snapshot { journal: Some(reading), ..Snapshot::default() });
}

/// The counters of a restored state.
pub(crate) fn restored(saved: &SavedJournal) -> JournalReading {
    let mut totals = Totals::new(&options());
    totals.restore(saved);
    totals.reading(Progress::default(), None)
}

fn put(descriptor: &OwnedFd, content: &[u8]) {
    ftruncate(descriptor, content.len() as u64).expect("a length");
    let written = pwrite(descriptor, content, 0).expect("memory");
    assert_eq!(written, content.len());
}

fn options() -> JournalOptions {
    JournalOptions {
        persistent: "/".into(),
        volatile: "/".into(),
        machine_id: "/".into(),
        boot_id: "/".into(),
        selection: Selection::new(".+", "").expect("an expression"),
        keep_for: Duration::ZERO,
        keep: 0,
        start: JournalStart::AtEnd,
    }
}
