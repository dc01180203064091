//! Fuzzing: the files of a process.

use super::parse::{boot_time, limits, pids, stat};
use super::{Clock, Process, Readings, Tally, UnitProcesses};
use crate::fuzzing::page;
use crate::snapshot::Snapshot;

/// One content for every file: whatever is understood can be summed up and exported.
pub(crate) fn files(data: &[u8]) {
    let _ = boot_time(data);
    for pid in pids(data) {
        let _ = pid;
    }
    any_name(data);
    let limits = limits(data).unwrap_or_default();
    let clock = Clock::new();
    let mut tally = Tally::default();
    let mut sum = UnitProcesses::default();
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(stat) = stat(line) {
            tally.add(&mut sum, &Process { stat, open_fds: Some(stat.threads), limits }, &clock);
            sum.main = Some(super::main(&Process { stat, open_fds: None, limits }, &clock));
        }
    }
    let units = tally.finish(sum).map(|sum| ("a.service".into(), sum));
    let readings = Readings { units: units.into_iter().collect(), ..Readings::default() };
    page(Snapshot { processes: Some(readings), ..Snapshot::default() });
}

/// A process may call itself what it likes.
fn any_name(name: &[u8]) {
    let fields = b") S 1 2 3 4 5 6 7 8 9 10 100 20 13 14 15 16 7 18 1000 4096 9 22";
    let stat = stat(&[b"4711 (", name, fields].concat()).expect("a stat");
    assert_eq!((stat.state, stat.user_ticks, stat.system_ticks), (b'S', 100, 20));
    assert_eq!((stat.threads, stat.start_ticks), (7, 1000));
    assert_eq!((stat.virtual_bytes, stat.resident_pages), (4096, 9));
}
