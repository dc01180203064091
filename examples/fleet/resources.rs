//! The values of a host that systemd does not send: resources, processes, listeners and the journal. Half of the services are idle.

use std::sync::Arc;
use std::time::Duration;

use unit_exporter::source::cgroup::{Cgroup, Cpu, Io, Memory, Pids, Pressure, Pressures};
use unit_exporter::source::journal::{JournalCount, JournalCounts, JournalReading};
use unit_exporter::source::process::usage::ProcessUsage;
use unit_exporter::source::process::{MainProcess, ProcessStates, UnitProcesses};
use unit_exporter::source::sockets::{Listener, ListenerReading, Protocol};
use unit_exporter::source::{Limit, UnitReadings};

use crate::units::{SLICES, running_services};

/// A host at a time since its boot.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) host: u32,
    pub(crate) seconds: f64,
}

impl Moment {
    /// Whether processes of the unit run now and then.
    fn is_busy(unit: usize) -> bool {
        unit.is_multiple_of(2)
    }

    /// A counter that grows by `per_second` on average; that of an idle unit keeps its first value.
    fn counter(self, unit: usize, per_second: f64) -> u64 {
        let speed = 0.5 + noise(self.host, unit, 0);
        let seconds = if Self::is_busy(unit) { self.seconds } else { 3600.0 };
        whole(seconds * per_second * speed)
    }

    /// A value that changes by up to a tenth every 20 seconds; that of an idle unit is constant.
    fn gauge(self, unit: usize, mean: f64) -> u64 {
        let moment = if Self::is_busy(unit) { whole(self.seconds / 20.0) } else { 0 };
        whole(
            mean * (0.5 + noise(self.host, unit, 0)) * (1.0 + 0.1 * noise(self.host, unit, moment)),
        )
    }

    fn time(self, unit: usize, ratio: f64) -> Duration {
        Duration::from_micros(self.counter(unit, ratio * 1e6))
    }
}

pub(crate) fn cgroups(at: Moment) -> UnitReadings<Cgroup> {
    let slices = SLICES.into_iter().map(str::to_owned);
    let units = slices.chain(running_services()).enumerate();
    let units = units.map(|(number, name)| (Arc::from(name), cgroup(at, number))).collect();
    UnitReadings { units, ..UnitReadings::default() }
}

fn cgroup(at: Moment, unit: usize) -> Cgroup {
    let pressure = |ratio| {
        Some(Pressure { some: at.time(unit, ratio), full: Some(at.time(unit, ratio / 2.0)) })
    };
    let limit = if unit % 4 == 3 { Limit::At(1 << 30) } else { Limit::Unlimited };
    Cgroup {
        cpu: Cpu {
            usage: Some(at.time(unit, 0.03)),
            user: Some(at.time(unit, 0.02)),
            system: Some(at.time(unit, 0.01)),
            ..Cpu::default()
        },
        memory: Memory {
            current: Some(at.gauge(unit, 5e7)),
            peak: Some(at.gauge(unit + 1, 6e7)),
            max: Some(limit),
            high: Some(Limit::Unlimited),
            swap_current: Some(0),
            swap_max: Some(Limit::Unlimited),
            stat_anon: Some(at.gauge(unit, 3e7)),
            stat_file: Some(at.gauge(unit, 2e7)),
            stat_kernel: Some(at.gauge(unit, 1e6)),
            events_high: Some(0),
            events_max: Some(0),
            events_oom: Some(0),
            events_oom_kill: Some(0),
        },
        io: Some(Io {
            rbytes: at.counter(unit, 100.0),
            wbytes: at.counter(unit, 5000.0),
            rios: at.counter(unit, 0.1),
            wios: at.counter(unit, 1.0),
        }),
        pids: Pids { current: Some(4), max: Some(Limit::At(4915)), events_max: Some(0) },
        pressure: Pressures { cpu: pressure(0.001), memory: pressure(0.0), io: pressure(0.0005) },
    }
}

pub(crate) fn processes(at: Moment) -> UnitReadings<UnitProcesses> {
    let units = running_services().enumerate();
    let units = units.map(|(number, name)| (Arc::from(name), processes_of(at, number))).collect();
    UnitReadings { units, ..UnitReadings::default() }
}

fn processes_of(at: Moment, unit: usize) -> UnitProcesses {
    let start_time = Some(Duration::from_secs(1_763_900_000));
    UnitProcesses {
        states: ProcessStates { sleeping: 4, ..ProcessStates::default() },
        threads: Some(8),
        resident_bytes: Some(at.gauge(unit, 4e7)),
        open_fds: Some(at.gauge(unit, 30.0)),
        max_fds_ratio: Some(at.gauge(unit, 30.0) as f64 / 1024.0),
        oldest_start_time: start_time,
        main: Some(MainProcess {
            cpu: at.time(unit, 0.01),
            resident_bytes: at.gauge(unit, 2e7),
            virtual_bytes: 1 << 28,
            virtual_max_bytes: Some(Limit::Unlimited),
            open_fds: Some(at.gauge(unit, 15.0)),
            max_fds: Some(Limit::At(1024)),
            threads: 2,
            start_time,
        }),
        truncated: 0,
    }
}

/// PID 1 and the exporter.
pub(crate) fn process(at: Moment, pid: u32) -> ProcessUsage {
    let unit = 2 * pid as usize;
    ProcessUsage {
        cpu_user: at.time(unit, 0.002).as_secs_f64(),
        cpu_system: at.time(unit, 0.001).as_secs_f64(),
        resident_bytes: at.gauge(unit, 1.2e7),
        virtual_bytes: 1 << 27,
        threads: 3,
        open_fds: Some(80),
        max_fds: Some(1024),
    }
}

pub(crate) fn listeners(at: Moment) -> ListenerReading {
    let names = running_services().step_by(5).enumerate();
    let listeners = names.map(|(number, name)| Listener {
        unit: Some(name.into()),
        protocol: Protocol::Tcp,
        address: "0.0.0.0".to_owned(),
        port: (8000 + number).to_string(),
        socket_unit: None,
        sockets: 1,
        accept_queue: Some(at.gauge(number, 2.0)),
        accept_queue_limit: Some(4096),
        drops: Some(0),
    });
    ListenerReading {
        listeners: listeners.collect(),
        truncated: 0,
        unix: None,
        connections: None,
        expected: Vec::new(),
        degraded: None,
    }
}

/// Messages of ten services.
pub(crate) fn journal(at: Moment) -> JournalReading {
    let count = |total| JournalCount { total, first: None };
    let units = running_services().step_by(4).enumerate().map(|(number, name)| {
        let mut counts = JournalCounts::default();
        counts.messages[6] = count(at.counter(number, 0.2));
        (name.into(), counts)
    });
    JournalReading {
        units: units.collect(),
        messages: [0, 0, 0, 3, 9, 20, at.counter(0, 2.0), 14, 0],
        ..JournalReading::default()
    }
}

/// From 0 to 1, the same for the same arguments.
fn noise(host: u32, unit: usize, moment: u64) -> f64 {
    let mut bits = (u64::from(host) << 40) ^ ((unit as u64) << 32) ^ moment;
    for _ in 0..2 {
        bits = (bits ^ (bits >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    (bits >> 40) as f64 / f64::from(1 << 24)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
fn whole(value: f64) -> u64 {
    value as u64
}
