//! Fuzzing: the files of a process.

use super::parse::{boot_time, limits, pids, stat};
use super::{Clock, Process, ProcessSums, UnitProcesses, main_process};
use crate::fuzzing::page;
use crate::snapshot::Snapshot;
use crate::source::UnitReadings;

/// One content for every file: parsed values can be summed up and exported.
pub(crate) fn files(data: &[u8]) {
    let _ = boot_time(data);
    for pid in pids(data) {
        let _ = pid;
    }
    any_name(data);
    let limits = limits(data).unwrap_or_default();
    let clock = Clock::new();
    let mut sums = ProcessSums::default();
    let mut unit = UnitProcesses::default();
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(stat) = stat(line) {
            sums.add(&mut unit, &Process { stat, open_fds: Some(stat.threads), limits }, &clock);
            unit.main = Some(main_process(&Process { stat, open_fds: None, limits }, &clock));
        }
    }
    let units = sums.finish(unit).map(|unit| ("a.service".into(), unit));
    let readings = UnitReadings { units: units.into_iter().collect(), ..UnitReadings::default() };
    page(Snapshot { processes: Some(readings), ..Snapshot::default() });
}

/// A process may have any name.
fn any_name(name: &[u8]) {
    let fields = b") S 1 2 3 4 5 6 7 8 9 10 100 20 13 14 15 16 7 18 1000 4096 9 22";
    let stat = stat(&[b"4711 (", name, fields].concat()).expect("a stat");
    assert_eq!((stat.state, stat.user_ticks, stat.system_ticks), (b'S', 100, 20));
    assert_eq!((stat.threads, stat.start_ticks), (7, 1000));
    assert_eq!((stat.virtual_bytes, stat.resident_pages), (4096, 9));
}
