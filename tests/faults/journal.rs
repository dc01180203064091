//! Bits of the journal that turn over: said, passed over, and counting goes on.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::scrapes::Scrape;
use crate::support::{Exporter, Machine, Random, eventually};

#[test]
fn bits_that_turn_over_neither_end_it_nor_stop_the_counting() {
    let machine = &Machine::options().boot();
    machine.write(
        "etc/systemd/journald.conf.d/test.conf",
        "[Journal]\nRateLimitIntervalSec=0\nSystemMaxFileSize=1M\n",
    );
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    machine.write("opt/say.py", include_str!("../journal/say.py"));
    let exporter = &machine.exporter(&[]);
    let pid = exporter.pid();
    let mut random = Random(17);
    let mut bits = 0;
    for round in 0..20 {
        say(machine, 100);
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
            // most of a file is room for what is to come
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
    // a file without damage: every message counts again, and once
    machine.exec(&["systemctl", "kill", "--signal=KILL", "systemd-journald"]);
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    machine.ok(&["journalctl", "--rotate"]);
    say(machine, 10);
    let before = eventually("all is well", || {
        Scrape::of(exporter).failed.is_empty().then(|| counted(exporter))
    });
    say(machine, 50);
    assert_eq!(counted(exporter) - before, 50.0, "{}", exporter.log());
    let page = exporter.samples();
    let of = |metric: &str| page.value(&format!("systemd_exporter_journal_{metric}"), &[]);
    eprintln!(
        "{bits} bits turned over; files damaged {:?}, entries unreadable {:?}",
        of("files_damaged_total"),
        of("entries_unreadable_total")
    );
    let harm = of("files_damaged_total").unwrap() + of("entries_unreadable_total").unwrap();
    assert!(harm > 0.0, "no bit was one that matters");
    assert_eq!(exporter.pid(), pid);
}

fn say(machine: &Machine, messages: u32) {
    let count = messages.to_string();
    let say = ["/usr/bin/python3", "/opt/say.py", "native", &count, "100000", "4"];
    machine.ok(&[&["systemd-run", "--quiet", "--wait", "--unit=counted"][..], &say].concat());
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
