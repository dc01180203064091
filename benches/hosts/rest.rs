//! The cost of an exporter that is not scraped: at rest, and during a daemon-reload.

use std::fmt;
use std::time::Duration;

use crate::cost::{BUS, millis, of_unit};
use crate::subject::Subject;
use crate::support::Machine;

/// CPU time over some time, and wake-ups of the exporter's threads.
#[derive(Clone, Copy, Debug)]
struct Usage {
    exporter: Duration,
    systemd: Duration,
    bus: Duration,
    wakeups: u64,
}

/// The cost of one exporter that runs alone.
pub(crate) struct Rest {
    at_rest: Usage,
    reloads: Vec<Usage>,
}

pub(crate) const HEAD: &str = "\
| alone on the host | at rest: CPU, ms/s | PID 1, ms/s | bus, ms/s | wake-ups/s | daemon-reload: CPU, ms | PID 1, ms | bus, ms |
|---|---|---|---|---|---|---|---|";

impl Rest {
    pub(crate) fn row(&self, name: &str) -> String {
        let seconds = REST_TIME.as_secs_f64();
        let rate = |used: Duration| format!("{:.3}", used.as_secs_f64() * 1e3 / seconds);
        let rest = &self.at_rest;
        let reload = |of: fn(&Usage) -> Duration| {
            let mut values: Vec<Duration> = self.reloads.iter().map(of).collect();
            values.sort_unstable();
            // without the usual use at rest
            millis(values[values.len() / 2].saturating_sub(of(rest) * RELOAD_SHARE / REST_SHARE))
        };
        format!(
            "| {name} | {} | {} | {} | {:.2} | {} | {} | {} |",
            rate(rest.exporter),
            rate(rest.systemd),
            rate(rest.bus),
            rest.wakeups as f64 / seconds,
            reload(|usage| usage.exporter),
            reload(|usage| usage.systemd),
            reload(|usage| usage.bus),
        )
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.at_rest, self.reloads)
    }
}

/// Measures each exporter alone, and the host without any; ends with all of them stopped.
pub(crate) fn measure(machine: &Machine, subjects: &[Subject<'_>]) {
    let mut alone: Vec<&Subject<'_>> = Vec::new();
    for subject in subjects {
        machine.exec(&["systemctl", "stop", &subject.unit]);
        if !alone.iter().any(|other| other.unit == subject.unit) {
            alone.push(subject);
        }
    }
    println!("\n{HEAD}");
    std::thread::sleep(SETTLE_TIME);
    println!("{}", rest(machine, None).row("none"));
    for subject in alone {
        machine.ok(&subject.start_command());
        while subject.try_series().is_none() || (subject.may_follow() && !subject.is_ready()) {
            std::thread::sleep(Duration::from_millis(100));
        }
        for _ in 0..3 {
            subject.series();
        }
        std::thread::sleep(SETTLE_TIME);
        let pid =
            machine.ok(&["systemctl", "show", "--property=MainPID", "--value", &subject.unit]);
        let pid = machine.outer_pid(pid.trim().parse().unwrap()).unwrap();
        println!("{}", rest(machine, Some((&subject.unit, pid))).row(&subject.name));
        machine.ok(&["systemctl", "stop", &subject.unit]);
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn rest(machine: &Machine, exporter: Option<(&str, u32)>) -> Rest {
    let during = |time: Duration, begin: &dyn Fn()| {
        let now = || Usage {
            exporter: exporter.map_or(Duration::ZERO, |(unit, _)| of_unit(machine, unit)),
            systemd: machine.pid1_cpu(),
            bus: of_unit(machine, BUS),
            wakeups: exporter.map_or(0, |(_, pid)| wakeups(pid)),
        };
        let before = now();
        begin();
        std::thread::sleep(time);
        let after = now();
        Usage {
            exporter: after.exporter - before.exporter,
            systemd: after.systemd - before.systemd,
            bus: after.bus - before.bus,
            wakeups: after.wakeups.saturating_sub(before.wakeups),
        }
    };
    let at_rest = during(REST_TIME, &|| {});
    let reload = || during(RELOAD_TIME, &|| drop(machine.ok(&["systemctl", "daemon-reload"])));
    Rest { at_rest, reloads: (0..RELOADS).map(|_| reload()).collect() }
}

/// How often threads of this process began to wait, which is how often they will wake up.
fn wakeups(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of_task = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.map(of_task).sum()
}

/// Until the clock's polls after the start are over.
const SETTLE_TIME: Duration = Duration::from_secs(20);

const REST_SHARE: u32 = 60;
const REST_TIME: Duration = Duration::from_secs(REST_SHARE as u64);

/// Until an exporter has read all units again.
const RELOAD_SHARE: u32 = 12;
const RELOAD_TIME: Duration = Duration::from_secs(RELOAD_SHARE as u64);

const RELOADS: usize = 3;
