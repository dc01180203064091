//! The cost of scrapes and its table.

use std::fmt;
use std::time::{Duration, Instant};

use crate::support::Machine;

/// One scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) exporter: Duration,
    pub(crate) systemd: Duration,
    pub(crate) bus: Duration,
    pub(crate) latency: Duration,
    pub(crate) bytes: usize,
    pub(crate) series: usize,
    /// KiB
    pub(crate) resident: u64,
}

/// The scrapes of one exporter.
#[derive(Debug, Default)]
pub(crate) struct Costs(Vec<Cost>);

impl Costs {
    pub(crate) fn add(&mut self, cost: Cost) {
        self.0.push(cost);
    }

    /// Median CPU time of the exporter's process.
    pub(crate) fn exporter(&self) -> Duration {
        self.median(|cost| cost.exporter)
    }

    /// Median CPU time of exporter, systemd and bus together.
    pub(crate) fn total(&self) -> Duration {
        self.median(|cost| cost.exporter + cost.systemd + cost.bus)
    }

    pub(crate) fn row(&self, name: &str, ours: Duration) -> String {
        let mut latencies: Vec<Duration> = self.0.iter().map(|cost| cost.latency).collect();
        latencies.sort_unstable();
        let at = |share: usize| millis(latencies[(latencies.len() - 1) * share / 100]);
        let last = self.0.last().unwrap();
        format!(
            "| {name} | {} | {} | {} | {} | {:.0}× | {} / {} / {} | {:.2} | {} | {:.1} |",
            millis(self.exporter()),
            millis(self.median(|cost| cost.systemd)),
            millis(self.median(|cost| cost.bus)),
            millis(self.total()),
            self.total().as_secs_f64() / ours.as_secs_f64(),
            at(0),
            at(50),
            at(99),
            last.bytes as f64 / 1e6,
            last.series,
            self.0.iter().map(|cost| cost.resident).max().unwrap() as f64 / 1024.0,
        )
    }

    fn median(&self, of: impl Fn(&Cost) -> Duration) -> Duration {
        let mut values: Vec<Duration> = self.0.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    }
}

pub(crate) const HEAD: &str = "\
| exporter | CPU, ms | PID 1, ms | bus, ms | together, ms | | latency min / median / p99, ms | MB | series | RSS, MiB |
|---|---|---|---|---|---|---|---|---|---|";

/// CPU time of systemd and the bus without scrapes.
#[derive(Debug)]
pub(crate) struct Idle {
    systemd: Duration,
    bus: Duration,
}

pub(crate) fn idle(machine: &Machine, rounds: usize, pause: Duration) -> Idle {
    let mut costs = Costs::default();
    for _ in 0..rounds {
        let clocks = (machine.pid1_cpu(), of_unit(machine, BUS));
        std::thread::sleep(pause);
        let (systemd, bus) = (machine.pid1_cpu() - clocks.0, of_unit(machine, BUS) - clocks.1);
        costs.add(Cost { systemd, bus, ..Cost::default() });
    }
    Idle { systemd: costs.median(|cost| cost.systemd), bus: costs.median(|cost| cost.bus) }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PID 1 {} ms, bus {} ms", millis(self.systemd), millis(self.bus))
    }
}

/// Measures one scrape, including the CPU time used in the `pause` after it.
pub(crate) fn of_scrape(
    machine: &Machine,
    unit: &str,
    pid: u32,
    pause: Duration,
    scrape: impl FnOnce() -> Vec<u8>,
) -> Cost {
    let before = (of_unit(machine, unit), machine.pid1_cpu(), of_unit(machine, BUS));
    let begun = Instant::now();
    let body = scrape();
    let latency = begun.elapsed();
    std::thread::sleep(pause);
    Cost {
        exporter: of_unit(machine, unit) - before.0,
        systemd: machine.pid1_cpu() - before.1,
        bus: of_unit(machine, BUS) - before.2,
        latency,
        bytes: body.len(),
        series: body.split(|byte| *byte == b'\n').filter(|line| is_sample(line)).count(),
        resident: resident(pid),
    }
}

/// Whether a line is a sample. Meaningless for a compressed response.
fn is_sample(line: &[u8]) -> bool {
    line.first().is_some_and(|byte| *byte != b'#')
}

pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}

/// CPU time of a service from its control group, which includes exited threads.
pub(crate) fn of_unit(machine: &Machine, unit: &str) -> Duration {
    let path = machine.path(&format!("sys/fs/cgroup/system.slice/{unit}/cpu.stat"));
    let stat = std::fs::read_to_string(path).unwrap();
    let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
    Duration::from_micros(used.parse().unwrap())
}

pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

pub(crate) const BUS: &str = "dbus.service";
