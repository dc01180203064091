//! Bit flips in journal files: the damage is counted, damaged data is skipped, and counting continues.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::scrapes::Scrape;
use crate::support::{Exporter, Machine, Random, eventually};

#[test]
fn flipped_journal_bits_stop_neither_exporter_nor_counting() {
    let machine = &Machine::options().boot();
    machine.write(
        "etc/systemd/journald.conf.d/test.conf",
        "[Journal]\nRateLimitIntervalSec=0\nSystemMaxFileSize=1M\n",
    );
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    machine.write("opt/log.py", include_str!("../journal/log.py"));
    let exporter = &machine.exporter(&[]);
    let pid = exporter.pid();
    let mut random = Random(17);
    let mut bits = 0;
    for round in 0..20 {
        log(machine, 100);
        if round % 4 == 0 {
            machine.exec(&["journalctl", "--rotate"]);
        }
        let all = files(machine);
        for _ in 0..2000 {
            let path = &all[random.below(all.len())];
            let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { continue };
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            let at = random.below(length.max(1)) as u64;
            let mut byte = [0];
            // most of a journal file is preallocated zeros
            if file.read_at(&mut byte, at).unwrap() == 1 && byte != [0] {
                byte[0] ^= 1 << random.below(8);
                file.write_all_at(&byte, at).unwrap();
                bits += 1;
            }
        }
        let scrape = Scrape::of(exporter);
        assert!(scrape.failed.iter().all(|failed| failed == "journal"), "{scrape:?}");
    }
    assert_eq!(exporter.pid(), pid);
    // in an undamaged file every message counts exactly once
    machine.exec(&["systemctl", "kill", "--signal=KILL", "systemd-journald"]);
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    machine.ok(&["journalctl", "--rotate"]);
    log(machine, 10);
    let before = eventually("no collector fails", || {
        Scrape::of(exporter).failed.is_empty().then(|| counted(exporter))
    });
    log(machine, 50);
    assert_eq!(counted(exporter) - before, 50.0, "{}", exporter.log());
    let page = exporter.samples();
    let of = |metric: &str| page.value(&format!("unit_exporter_journal_{metric}"), &[]);
    eprintln!(
        "{bits} bits flipped; files damaged {:?}, entries unreadable {:?}",
        of("files_damaged_total"),
        of("entries_unreadable_total")
    );
    let damage = of("files_damaged_total").unwrap() + of("entries_unreadable_total").unwrap();
    assert!(damage > 0.0, "no flipped bit was detected");
    assert_eq!(exporter.pid(), pid);
}

fn log(machine: &Machine, messages: u32) {
    let count = messages.to_string();
    let log = ["/usr/bin/python3", "/opt/log.py", "native", &count, "100000", "4"];
    machine.ok(&[&["systemd-run", "--quiet", "--wait", "--unit=counted"][..], &log].concat());
    machine.exec(&["timeout", "20", "journalctl", "--sync"]);
}

fn counted(exporter: &Exporter<'_>) -> f64 {
    let labels = [("name", "counted.service"), ("priority", "warning")];
    exporter.samples().value("systemd_unit_journal_messages_total", &labels).unwrap_or(0.0)
}

fn files(machine: &Machine) -> Vec<PathBuf> {
    let directories = fs::read_dir(machine.path("var/log/journal")).unwrap();
    let files = directories.flatten().flat_map(|directory| fs::read_dir(directory.path()).unwrap());
    files.flatten().map(|file| file.path()).collect()
}
