//! A history: the units of a host and the operations on it, generated from a seed, printed as Rust,
//! and shortened.

use std::fmt::{self, Debug, Formatter};

use super::service::{Exit, Kind, UnitFile};

/// Units, the behavior of their manager, and what happens.
#[derive(Clone)]
pub(super) struct History {
    pub(super) version: Version,
    /// Whether the exporter receives the changes of unit files, and so reads few units after a
    /// reload.
    pub(super) watches_files: bool,
    pub(super) units: Vec<UnitFile>,
    pub(super) operations: Vec<Op>,
}

/// Versions of systemd that differ in signals and states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// A restart is a restart job, counted again after a reload.
    V252,
    /// A restart is a start job of a unit in the sub-state auto-restart-queued.
    V262,
}

/// An event on the host. An operation that is impossible in the state of the host is skipped, so
/// that a history stays one when any operation is removed. Units are named by their index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Milliseconds pass: jobs run, timers elapse, processes die of their signals.
    Wait(u32),
    /// `systemctl start`; the job runs at the next [`Op::Wait`].
    Start(usize),
    /// `systemctl stop`.
    Stop(usize),
    /// `systemctl restart`.
    Restart(usize),
    /// `systemctl reset-failed`.
    ResetFailed(usize),
    /// The main process exits; in a forking service that starts, the first process.
    Exit(usize, Exit),
    /// The service is ready: READY=1, or the first process of a forking service exits.
    Ready(usize),
    /// The start timeout elapses.
    Timeout(usize),
    /// The watchdog timeout elapses.
    Watchdog(usize),
    /// Whether the conditions of the unit are met from now on.
    Conditions(usize, bool),
    /// Whether PID 1 fails to start processes of the unit from now on.
    SpawnFails(usize, bool),
    /// `systemctl daemon-reload`.
    Reload,
    /// `systemctl daemon-reexec`; whether PID 1 leaves the bus.
    Reexec(bool),
    /// Whether PID 1's queue to the bus is full, so that changes merge.
    Throttle(bool),
    /// The bus dies; so many of the messages on their way are still read.
    BusDown(u8),
    /// The bus is back.
    BusUp,
    /// The exporter does not run, and PID 1 does not reply to it, until [`Op::Resume`].
    Stall,
    /// While stalled: the exporter reads so many messages, then PID 1 replies to so many calls.
    Step(u8, u8),
    /// The exporter runs again.
    Resume,
    /// journald is this many milliseconds late from now on.
    JournalDelay(u32),
    /// journald is stopped: messages are lost.
    JournalDown,
    /// journald is started.
    JournalUp,
    /// Whether the journal can be read.
    JournalReadable(bool),
    /// The journal cannot be read from now on, until a reboot.
    JournalDenied,
    /// The exporter is killed.
    Kill,
    /// The exporter is stopped and saves its state.
    Terminate,
    /// The exporter is started.
    Launch,
    /// The host is rebooted.
    Reboot,
}

/// Numbers from a seed: splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(0x1234_5678_9abc_def1))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or_default()
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }
}

impl History {
    /// The history of a seed, with so many operations.
    pub(super) fn generate(seed: u64, length: usize) -> Self {
        let mut random = Random::new(seed);
        let version = random.of(&[Version::V252, Version::V252, Version::V262]);
        let watches_files = random.one_in(2);
        let count = 1 + random.below(3);
        let units: Vec<_> = (0..count).map(|index| unit_file(index, &mut random)).collect();
        // few kinds of faults in one history: their interplay is found, and a cause is seen
        let faults: Vec<Fault> = Fault::ALL.iter().copied().filter(|_| random.one_in(3)).collect();
        let mut operations = Vec::new();
        for unit in 0..count {
            if !random.one_in(4) {
                operations.push(Op::Start(unit));
            }
        }
        operations.push(Op::Wait(random.of(&WAITS)));
        while operations.len() < length {
            let unit = random.below(count);
            let op = match random.below(10) {
                0..=2 => Op::Wait(random.of(&WAITS)),
                3 | 4 => exit_of(unit, &units[unit], &mut random),
                5 => Op::Ready(unit),
                6 => random.of(&[
                    Op::Start(unit),
                    Op::Start(unit),
                    Op::Restart(unit),
                    Op::Stop(unit),
                ]),
                7 => rare(unit, &mut random),
                _ => match faults.is_empty() {
                    true => Op::Wait(random.of(&WAITS)),
                    false => random.of(&faults).op(&mut random),
                },
            };
            operations.push(op);
        }
        Self { version, watches_files, units, operations }
    }

    /// The shortest history that still fails, as far as removing operations, units' settings and time
    /// goes.
    pub(super) fn shortened(&self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut best = self.clone();
        let mut size = best.operations.len().div_ceil(2).max(1);
        loop {
            let mut removed = false;
            let mut at = 0;
            while at < best.operations.len() {
                let mut shorter = best.clone();
                let end = (at + size).min(shorter.operations.len());
                shorter.operations.drain(at..end);
                if fails(&shorter) {
                    best = shorter;
                    removed = true;
                } else {
                    at += size;
                }
            }
            if size > 1 {
                size = size.div_ceil(2);
            } else if !removed {
                break;
            }
        }
        for at in 0..best.operations.len() {
            for simpler in simpler(best.operations[at]) {
                let mut other = best.clone();
                other.operations[at] = simpler;
                if fails(&other) {
                    best = other;
                    break;
                }
            }
        }
        for at in 0..best.units.len() {
            for change in SIMPLER_UNITS {
                let mut other = best.clone();
                change(&mut other.units[at]);
                if fails(&other) {
                    best = other;
                }
            }
        }
        while let Some(shorter) = without_last_unit(&best).filter(|shorter| fails(shorter)) {
            best = shorter;
        }
        best
    }
}

/// A kind of fault: the operations of which a history has some or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Reload,
    Throttle,
    Bus,
    Stall,
    Journal,
    Exporter,
    Reboot,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::Reload,
        Self::Throttle,
        Self::Bus,
        Self::Stall,
        Self::Journal,
        Self::Exporter,
        Self::Reboot,
    ];

    fn op(self, random: &mut Random) -> Op {
        match self {
            Self::Reload => {
                random.of(&[Op::Reload, Op::Reload, Op::Reexec(false), Op::Reexec(true)])
            }
            Self::Throttle => Op::Throttle(random.one_in(2)),
            Self::Bus => match random.one_in(2) {
                true => Op::BusDown(random.of(&[0, 0, 1, 2, 3, 5, 8, 255])),
                false => Op::BusUp,
            },
            Self::Stall => match random.below(5) {
                0 => Op::Stall,
                1 => Op::Resume,
                _ => Op::Step(random.of(&[0, 1, 1, 2, 3, 5, 8]), random.of(&[0, 0, 1, 2, 3, 30])),
            },
            Self::Journal => random.of(&[
                Op::JournalDelay(0),
                Op::JournalDelay(20),
                Op::JournalDelay(400),
                Op::JournalDown,
                Op::JournalUp,
                Op::JournalUp,
                Op::JournalReadable(false),
                Op::JournalReadable(true),
                Op::JournalReadable(true),
                Op::JournalDenied,
            ]),
            Self::Exporter => random.of(&[Op::Kill, Op::Terminate, Op::Launch, Op::Launch]),
            Self::Reboot => match random.one_in(8) {
                true => Op::Reboot,
                false => Op::Launch,
            },
        }
    }
}

fn unit_file(index: usize, random: &mut Random) -> UnitFile {
    let kind = random.of(&[
        Kind::Simple,
        Kind::Simple,
        Kind::Oneshot(1),
        Kind::Oneshot(3),
        Kind::Forking,
        Kind::Notify,
    ]);
    let restart = match kind {
        Kind::Oneshot(_) => random.of(&["no", "on-failure"]),
        _ => random.of(&["no", "always", "always", "on-failure", "on-success", "on-abnormal"]),
    };
    UnitFile {
        name: ["a.service", "b.service", "c.service"][index],
        kind,
        restart,
        restart_delay: random.of(&[10_000, 100_000, 100_000, 2_000_000]),
        success: random.one_in(4).then_some(42),
        force: random.one_in(6).then_some(43),
        start_limit: random.of(&[0, 0, 2, 3, 5]),
        start_interval: random.of(&[1_000_000, 10_000_000]),
        remains: matches!(kind, Kind::Oneshot(_)) && random.one_in(3),
        is_kept: !random.one_in(4),
        on_term: random.of(&[TERM, TERM, CLEAN, FAILURE]),
    }
}

fn exit_of(unit: usize, file: &UnitFile, random: &mut Random) -> Op {
    let exits = [CLEAN, FAILURE, FAILURE, CRASH, KILLED, TERM, status(42), status(43)];
    match file.kind {
        // most commands of most oneshots succeed
        Kind::Oneshot(_) if random.one_in(2) => Op::Exit(unit, CLEAN),
        _ => Op::Exit(unit, random.of(&exits)),
    }
}

fn rare(unit: usize, random: &mut Random) -> Op {
    match random.below(8) {
        0 => Op::ResetFailed(unit),
        1 => Op::Timeout(unit),
        2 => Op::Watchdog(unit),
        3 => Op::Conditions(unit, random.one_in(2)),
        4 => Op::SpawnFails(unit, random.one_in(2)),
        5 => Op::Stop(unit),
        6 => Op::Restart(unit),
        _ => Op::Wait(random.of(&[4000, 9000, 100_000])),
    }
}

/// Simpler operations in place of one.
fn simpler(op: Op) -> Vec<Op> {
    match op {
        Op::Wait(longer) => [0, 100, 1000, 2000]
            .into_iter()
            .filter(|shorter| *shorter < longer)
            .map(Op::Wait)
            .collect(),
        Op::Exit(unit, exit) if exit != FAILURE => vec![Op::Exit(unit, FAILURE)],
        Op::Reexec(_) => vec![Op::Reload],
        Op::Kill => vec![Op::Terminate],
        _ => Vec::new(),
    }
}

const SIMPLER_UNITS: [fn(&mut UnitFile); 9] = [
    |unit| unit.kind = Kind::Simple,
    |unit| unit.success = None,
    |unit| unit.force = None,
    |unit| unit.start_limit = 0,
    |unit| unit.start_interval = 10_000_000,
    |unit| unit.remains = false,
    |unit| unit.is_kept = true,
    |unit| unit.on_term = TERM,
    |unit| unit.restart = "no",
];

/// The history without its last unit, if no operation names it.
fn without_last_unit(history: &History) -> Option<History> {
    let last = history.units.len().checked_sub(1).filter(|last| *last > 0)?;
    let names_it = |op: &Op| match op {
        Op::Start(unit)
        | Op::Stop(unit)
        | Op::Restart(unit)
        | Op::ResetFailed(unit)
        | Op::Exit(unit, _)
        | Op::Ready(unit)
        | Op::Timeout(unit)
        | Op::Watchdog(unit)
        | Op::Conditions(unit, _)
        | Op::SpawnFails(unit, _) => *unit == last,
        _ => false,
    };
    let mut shorter = history.clone();
    shorter.units.pop();
    (!history.operations.iter().any(names_it)).then_some(shorter)
}

/// A history as the regression test to paste.
impl Debug for History {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "History {{")?;
        writeln!(f, "    version: Version::{:?},", self.version)?;
        writeln!(f, "    watches_files: {},", self.watches_files)?;
        writeln!(f, "    units: vec![")?;
        for unit in &self.units {
            writeln!(f, "        {unit:?},")?;
        }
        writeln!(f, "    ],\n    operations: vec![")?;
        for op in &self.operations {
            writeln!(f, "        {op:?},")?;
        }
        write!(f, "    ],\n}}")
    }
}

pub(super) const fn status(status: i32) -> Exit {
    Exit { code: 1, status }
}

pub(super) const CLEAN: Exit = status(0);
pub(super) const FAILURE: Exit = status(3);
/// By SIGSEGV, with a core dump.
pub(super) const CRASH: Exit = Exit { code: 3, status: 11 };
const KILLED: Exit = Exit { code: 2, status: 9 };
/// By SIGTERM.
pub(super) const TERM: Exit = Exit { code: 2, status: 15 };

/// Milliseconds.
const WAITS: [u32; 8] = [0, 0, 10, 50, 100, 300, 1000, 2500];
