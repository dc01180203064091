//! The cost of the subscription to systemd without scrapes: the initial fill, and each crash.

use std::fmt;
use std::time::{Duration, Instant};

use crate::cost::{BUS, millis, of_unit};
use crate::subject::Subject;

/// The cost of the initial fill of the unit cache.
pub(crate) struct Fill {
    exporter: Duration,
    systemd: Duration,
    bus: Duration,
    first_response: Duration,
    filled: Duration,
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exporter {} ms, PID 1 {} ms, bus {} ms of CPU; first response after {} ms, all units after {} ms",
            millis(self.exporter),
            millis(self.systemd),
            millis(self.bus),
            millis(self.first_response),
            millis(self.filled),
        )
    }
}

/// Restarts the exporter and waits until it has all units.
pub(crate) fn fill(subject: &Subject<'_>) -> Fill {
    let machine = subject.machine;
    let series = subject.series();
    machine.ok(&["systemctl", "kill", "--signal=TERM", &subject.unit]);
    std::thread::sleep(SETTLE_TIME);
    let before = (machine.pid1_cpu(), of_unit(machine, BUS));
    let begun = Instant::now();
    machine.ok(&subject.start_command());
    let wait = |is_done: &dyn Fn() -> bool| {
        while !is_done() {
            assert!(begun.elapsed() < Duration::from_secs(60), "not filled after 60 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        begun.elapsed()
    };
    // scrape only once: with thousands of units, scrapes would cost more than the fill
    let first_response = wait(&|| subject.try_series().is_some());
    let filled = wait(&|| subject.is_ready());
    // some series need a second scrape or a crash
    assert!(subject.series() >= series * 9 / 10, "too few series");
    std::thread::sleep(SETTLE_TIME);
    Fill {
        exporter: of_unit(machine, &subject.unit),
        systemd: machine.pid1_cpu() - before.0,
        bus: of_unit(machine, BUS) - before.1,
        first_response,
        filled,
    }
}

/// The cost of crashes.
pub(crate) struct Crashes {
    count: u64,
    exporter: Duration,
    systemd: Duration,
}

impl fmt::Display for Crashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |all: Duration| millis(all / u32::try_from(self.count).unwrap_or(1).max(1));
        write!(
            f,
            "{} restarts, each {} ms of the exporter, {} ms of PID 1",
            self.count,
            each(self.exporter),
            each(self.systemd),
        )
    }
}

/// Lets a service crash and restart repeatedly.
pub(crate) fn crashes(subject: &Subject<'_>) -> Crashes {
    let machine = subject.machine;
    let text = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=10ms\n";
    machine.write("etc/systemd/system/crash.service", text);
    machine.ok(&["systemctl", "daemon-reload"]);
    std::thread::sleep(4 * SETTLE_TIME);
    let restarts = || {
        let shown = machine.ok(&["systemctl", "show", "--property=NRestarts", "--value", "crash"]);
        shown.trim().parse::<u64>().unwrap()
    };
    machine.ok(&["systemctl", "start", "crash.service"]);
    let first = restarts();
    let crashing = used(subject);
    let count = restarts() - first;
    machine.ok(&["systemctl", "stop", "crash.service"]);
    std::thread::sleep(4 * SETTLE_TIME);
    // subtract the cost of following the journal without crashes
    let idle = used(subject);
    Crashes {
        count,
        exporter: crashing.0.saturating_sub(idle.0),
        systemd: crashing.1.saturating_sub(idle.1),
    }
}

/// CPU time of the exporter and of PID 1 during `MEASURE_TIME`.
fn used(subject: &Subject<'_>) -> (Duration, Duration) {
    let now = || (of_unit(subject.machine, &subject.unit), subject.machine.pid1_cpu());
    let before = now();
    std::thread::sleep(MEASURE_TIME);
    let after = now();
    (after.0 - before.0, after.1 - before.1)
}

const SETTLE_TIME: Duration = Duration::from_secs(5);
const MEASURE_TIME: Duration = Duration::from_secs(15);
