//! The host of a history: PID 1, the bus, the journal, the disk and the exporter, one step after the
//! other on one clock.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use zbus::message::Message;

use super::bus::{self, PID1};
use super::history::{History, Op};
use super::journal::Record;
use super::oracle::{Check, Facts};
use super::pid1::{JobKind, Pid1};
use super::service::Exit;
use crate::clock::simulated::{self, Clocks};
use crate::scrape::journal::{READ_INTERVAL, reconcile};
use crate::scrape::state_saver::StateSaver;
use crate::source::journal::exits::{JournalExit, JournalExits, JournalProcessExit};
use crate::state_file::{Boot, SavedState, StateFile};
use crate::systemd::follow::simulated::SimulatedConnection;
use crate::systemd::ledger::Ledger;
use crate::systemd::mirror::Mirror;
use crate::systemd::state::Shared;
use crate::systemd::unit::value::{InvocationId, Timestamp, intern};
use crate::unit_filter::Selection;

/// The host.
pub(super) struct World<'h> {
    history: &'h History,
    pub(super) pid1: Pid1,
    /// Calls of the exporter that PID 1 has not handled.
    calls: VecDeque<Message>,
    is_stalled: bool,
    is_journal_readable: bool,
    is_journal_denied: bool,
    /// The state file, with the position in the journal.
    disk: Option<(Vec<u8>, usize)>,
    boots: u64,
    pub(super) facts: Facts,
    check: Check,
    /// Operations, signals and replies so far.
    pub(super) events: u64,
}

/// The exporter from its start to its end.
struct Exporter<'s> {
    shared: &'s Shared,
    saver: Arc<StateSaver>,
    connection: Option<SimulatedConnection<'s>>,
    /// When it connects.
    connects: u64,
    /// Entries of the journal that it has read, and as of the last save.
    position: usize,
    saved_position: usize,
    last_look: u64,
    main_exits: Vec<(u64, JournalProcessExit)>,
}

/// Runs a history to its end; an error is a difference between the exporter and the model.
pub(super) fn run(history: &History) -> Result<u64, String> {
    let mut world = World::new(history);
    let mut operations = history.operations.clone();
    operations.extend(LAST_OPERATIONS);
    let result = world.run(&operations);
    simulated::set(None);
    result.map(|()| world.events)
}

impl<'h> World<'h> {
    fn new(history: &'h History) -> Self {
        Self {
            history,
            pid1: Pid1::boot(history, BOOT, 1),
            calls: VecDeque::new(),
            is_stalled: false,
            is_journal_readable: true,
            is_journal_denied: false,
            disk: None,
            boots: 1,
            facts: Facts::default(),
            check: Check::new(history.units.len()),
            events: 0,
        }
    }

    fn run(&mut self, operations: &[Op]) -> Result<(), String> {
        let mut operations = operations.iter().copied();
        self.set_now(self.pid1.now);
        let mut is_launched = true;
        loop {
            if is_launched {
                if !self.live(&mut operations)? {
                    return Ok(());
                }
                self.facts.lost_signals = true;
            }
            let Some(op) = operations.next() else { return Ok(()) };
            is_launched = op == Op::Launch;
            self.apply(op, None);
        }
    }

    /// Runs the exporter until an operation ends it; false if the history is over.
    fn live(&mut self, operations: &mut impl Iterator<Item = Op>) -> Result<bool, String> {
        let shared = Shared::new(Mirror::new(ALL.clone()), Ledger::default());
        let boot = self.boot();
        let mut position = 0;
        let state = self.disk.as_ref().map(|(bytes, at)| (SavedState::parse(bytes, &boot), *at));
        match state {
            Some((Ok(state), at)) => {
                state.systemd.restore(&mut shared.lock());
                position = at;
            }
            _ => shared.lock().count_from_boot(),
        }
        shared.lock().ledger.enable_reconciliation();
        let file = Arc::new(StateFile::new(Path::new("/"), boot));
        let mut exporter = Exporter {
            shared: &shared,
            saver: StateSaver::new(file, shared.clone(), None),
            connection: None,
            connects: self.pid1.now,
            position,
            saved_position: position,
            last_look: self.pid1.now,
            main_exits: Vec::new(),
        };
        self.is_stalled = false;
        self.exchange(&mut exporter);
        for op in operations.by_ref() {
            self.events += 1;
            match op {
                Op::Kill | Op::Reboot => {
                    self.facts.killed = true;
                    self.check.killed();
                    self.disconnect(&mut exporter, 0);
                    self.apply(op, None);
                    return Ok(true);
                }
                Op::Terminate => {
                    self.look(&mut exporter, true);
                    self.disconnect(&mut exporter, 0);
                    return Ok(true);
                }
                op => self.apply(op, Some(&mut exporter)),
            }
            self.exchange(&mut exporter);
            self.check.no_counter_fell(&shared.lock(), op)?;
        }
        let is_idle = exporter.connection.as_ref().is_some_and(SimulatedConnection::is_idle);
        if !is_idle {
            return Err("the exporter is not idle at the end".to_owned());
        }
        self.check.compare(&self.pid1, &self.facts, &shared.lock())?;
        Ok(false)
    }

    fn boot(&self) -> Boot {
        Boot { id: format!("boot {}", self.boots), pid1_start: 0 }
    }

    fn set_now(&mut self, now: u64) {
        self.pid1.now = now;
        simulated::set(Some(Clocks { monotonic: now, boot: self.pid1.boot }));
    }

    fn apply(&mut self, op: Op, exporter: Option<&mut Exporter<'_>>) {
        let is_loaded = |pid1: &Pid1, unit: usize| pid1.units[unit].is_some();
        let pid1 = &mut self.pid1;
        match op {
            Op::Wait(milliseconds) => {
                return self.wait(u64::from(milliseconds) * 1000, exporter);
            }
            Op::Start(unit) => pid1.add_job(unit, JobKind::Start),
            // `systemctl stop` loads the unit, and finds that it is inactive
            Op::Stop(unit) if is_loaded(pid1, unit) => pid1.add_job(unit, JobKind::Stop),
            Op::Restart(unit) => pid1.add_job(unit, JobKind::Restart),
            Op::ResetFailed(unit) if is_loaded(pid1, unit) => pid1.reset_failed(unit),
            Op::Exit(unit, exit) if is_loaded(pid1, unit) => pid1.exited(unit, exit),
            Op::Ready(unit) if is_loaded(pid1, unit) => pid1.ready(unit),
            Op::Timeout(unit) if is_loaded(pid1, unit) => pid1.start_timeout(unit),
            Op::Watchdog(unit) if is_loaded(pid1, unit) => pid1.watchdog(unit),
            Op::Conditions(unit, are_met) => pid1.conditions[unit] = are_met,
            Op::SpawnFails(unit, fails) => pid1.spawn_fails[unit] = fails,
            Op::Reload => {
                self.facts.reloads = true;
                pid1.reload(false);
            }
            Op::Reexec(leaves) => {
                self.facts.reloads = true;
                pid1.reload(true);
                if leaves && let Some(exporter) = exporter {
                    self.set_now(self.pid1.now);
                    self.disconnect(exporter, usize::MAX);
                    exporter.connects = self.pid1.now + CONNECT_DELAY;
                    self.facts.lost_signals = true;
                }
                self.pid1.end_dispatch();
                return self.set_now(self.pid1.now);
            }
            Op::Throttle(is_throttled) => {
                pid1.is_throttled = is_throttled;
                self.facts.merged |= is_throttled;
            }
            Op::BusDown(kept) if pid1.is_on_bus => {
                self.facts.lost_signals = true;
                match exporter {
                    Some(exporter) => self.disconnect(exporter, usize::from(kept)),
                    None => self.pid1.sent.clear(),
                }
                self.pid1.is_on_bus = false;
                return;
            }
            Op::BusUp if !pid1.is_on_bus => {
                (pid1.is_on_bus, pid1.is_subscribed) = (true, false);
                if let Some(exporter) = exporter {
                    exporter.connects = pid1.now + CONNECT_DELAY;
                }
            }
            Op::Stall => self.is_stalled = exporter.is_some(),
            Op::Resume => self.is_stalled = false,
            Op::Step(read, replied) => {
                if let Some(exporter) = exporter.filter(|_| self.is_stalled) {
                    self.step(exporter, usize::from(read));
                    for _ in 0..replied {
                        self.reply();
                    }
                }
                return;
            }
            Op::JournalDelay(milliseconds) => pid1.journal.delay = u64::from(milliseconds) * 1000,
            Op::JournalDown => pid1.journal.is_down = true,
            Op::JournalUp => pid1.journal.start(pid1.now),
            Op::JournalReadable(is_readable) => {
                self.is_journal_readable = is_readable && !self.is_journal_denied;
                self.facts.unreadable |= !is_readable;
            }
            Op::JournalDenied => {
                (self.is_journal_readable, self.is_journal_denied) = (false, true);
                self.facts.unreadable = true;
            }
            Op::Reboot => {
                self.boots += 1;
                let boot = pid1.boot + pid1.now + 60_000_000;
                self.pid1 = Pid1::boot(self.history, boot, self.boots);
                self.facts = Facts { lost_signals: true, ..Facts::default() };
                self.check = Check::new(self.history.units.len());
                (self.is_journal_readable, self.is_journal_denied) = (true, false);
                return self.set_now(self.pid1.now);
            }
            _ => {}
        }
        self.pid1.end_dispatch();
        self.set_now(self.pid1.now);
    }

    /// Time passes.
    fn wait(&mut self, micros: u64, mut exporter: Option<&mut Exporter<'_>>) {
        // no queue is full, and no exporter stalls, for a minute
        if micros > 60_000_000 {
            (self.pid1.is_throttled, self.is_stalled) = (false, false);
            self.pid1.end_dispatch();
        }
        let end = self.pid1.now + micros;
        loop {
            self.pid1.run_jobs();
            while self.pid1.run_event() {
                self.pid1.run_jobs();
            }
            self.set_now(self.pid1.now);
            let mut next = self.pid1.next_event().unwrap_or(end).min(end);
            if let Some(exporter) = &mut exporter {
                self.exchange(exporter);
                if self.next_look(exporter) <= self.pid1.now {
                    self.look(exporter, false);
                }
                next = next.min(self.next_look(exporter));
                if !self.is_stalled {
                    next = next.min(self.next_turn(exporter));
                }
            }
            if self.pid1.now >= end {
                return;
            }
            self.set_now(next.max(self.pid1.now + 100).min(end));
        }
    }

    /// When the exporter does something next without a message.
    fn next_turn(&self, exporter: &Exporter<'_>) -> u64 {
        match &exporter.connection {
            Some(connection) => simulated::micros(connection.next_due()),
            None if self.pid1.is_on_bus => exporter.connects,
            None => u64::MAX,
        }
    }

    /// The exporter and PID 1 handle messages until there are none.
    fn exchange(&mut self, exporter: &mut Exporter<'_>) {
        while !self.is_stalled {
            let handled = self.step(exporter, usize::MAX);
            let replied = std::iter::from_fn(|| self.reply()).count();
            if handled + replied == 0 {
                break;
            }
        }
    }

    /// PID 1 replies to one call.
    fn reply(&mut self) -> Option<()> {
        let call = self.calls.pop_front()?;
        bus::reply(&mut self.pid1, &call);
        Some(())
    }

    /// The exporter connects, does what is due and reads messages, at most `limit`; returns how many.
    fn step(&mut self, exporter: &mut Exporter<'_>, limit: usize) -> usize {
        if exporter.connection.is_none()
            && self.pid1.is_on_bus
            && exporter.connects <= self.pid1.now
        {
            self.pid1.is_subscribed = false;
            self.pid1.sent.clear();
            self.calls.clear();
            let files: Vec<_> = self.history.units.iter().map(|file| file.name).collect();
            let watched = self.history.watches_files.then_some(&*files);
            exporter.connection = Some(SimulatedConnection::open(exporter.shared, PID1, watched));
        }
        let mut read = 0;
        let Some(connection) = &mut exporter.connection else { return 0 };
        loop {
            let mut is_alive = connection.run_due();
            self.calls.extend(connection.calls());
            if is_alive
                && read < limit
                && let Some(message) = self.pid1.sent.pop_front()
            {
                self.pid1.now += MESSAGE_TIME;
                simulated::set(Some(Clocks { monotonic: self.pid1.now, boot: self.pid1.boot }));
                is_alive = connection.handle(&message);
                read += 1;
                self.events += 1;
            } else if is_alive {
                return read;
            }
            if !is_alive {
                self.disconnect(exporter, 0);
                exporter.connects = self.pid1.now + CONNECT_DELAY;
                return read;
            }
        }
    }

    /// The connection of the exporter ends; so many messages are still read.
    fn disconnect(&mut self, exporter: &mut Exporter<'_>, kept: usize) {
        if let Some(mut connection) = exporter.connection.take() {
            let kept = kept.min(self.pid1.sent.len());
            for message in self.pid1.sent.drain(..kept) {
                connection.handle(&message);
            }
            connection.close();
        }
        self.pid1.sent.clear();
        self.pid1.is_subscribed = false;
        self.calls.clear();
    }

    /// When the journal is read next: soon if it has changed, is waited for, or the state is to be
    /// saved.
    fn next_look(&self, exporter: &Exporter<'_>) -> u64 {
        let has_entries = self.pid1.journal.read(exporter.position, u64::MAX).next().is_some();
        let is_wanted = exporter.shared.lock().ledger.awaits_journal();
        let is_unsaved = exporter.saver.next_save().is_some();
        let interval = u64::try_from(READ_INTERVAL.as_micros()).unwrap_or_default();
        let pause = if has_entries || is_wanted || is_unsaved { interval } else { 10 * interval };
        exporter.last_look + pause
    }

    /// Reads the journal, sends exits to the ledger and saves the state: `read_and_copy`.
    fn look(&mut self, exporter: &mut Exporter<'_>, at_end: bool) {
        let now = self.pid1.now;
        exporter.last_look = now;
        if !self.is_journal_readable {
            let exits = JournalExits::unreadable(Timestamp(now));
            reconcile(exporter.shared, exits, Timestamp(now));
            if (at_end || exporter.saver.is_due(0))
                && let Some(state) = exporter.saver.copy(None)
            {
                self.save(&state, exporter.saved_position);
            }
            return;
        }
        let mut exits = JournalExits::default();
        for (at, record) in self.pid1.journal.read(exporter.position, now) {
            exporter.position += 1;
            let at = Timestamp(*at);
            match *record {
                Record::Gap => exits.last_gap = Some(at),
                Record::MainExit { invocation, exit } => {
                    let Exit { code, status } = exit;
                    let code = u64::try_from(code).unwrap_or_default();
                    let main_exit = JournalProcessExit { code, status: status.to_string().into() };
                    exporter.main_exits.push((invocation, main_exit));
                }
                Record::Restart { unit, .. } => {
                    exits.restarts.push((self.pid1.files[unit].name.into(), at));
                }
                Record::Exit { unit, invocation, result } => {
                    let of = exporter.main_exits.iter().position(|(of, _)| *of == invocation);
                    let main_exit = of.map(|of| exporter.main_exits.remove(of).1);
                    exits.exits.push(JournalExit {
                        unit: self.pid1.files[unit].name.into(),
                        run: InvocationId(u128::from(invocation).to_be_bytes()),
                        result: intern(result),
                        at,
                        main_exit,
                        command: None,
                    });
                }
            }
        }
        reconcile(exporter.shared, exits, Timestamp(now));
        let entries = exporter.position as u64;
        if (at_end || exporter.saver.is_due(entries))
            && let Some(state) = exporter.saver.copy(None)
        {
            exporter.saved_position = exporter.position;
            self.save(&state, exporter.position);
        }
    }

    fn save(&mut self, state: &SavedState, position: usize) {
        let bytes = state.to_bytes(&self.boot()).expect("JSON");
        self.disk = Some((bytes, position));
    }
}

/// Ends all faults, and waits until everything is counted.
const LAST_OPERATIONS: [Op; 9] = [
    Op::Resume,
    Op::Throttle(false),
    Op::JournalDelay(0),
    Op::JournalUp,
    Op::JournalReadable(true),
    Op::BusUp,
    Op::Launch,
    Op::Wait(4000),
    Op::Wait(8000),
];

/// Microseconds since the epoch.
const BOOT: u64 = 1_800_000_000_000_000;

/// How long the exporter takes to read a message, in microseconds.
const MESSAGE_TIME: u64 = 20;

/// How long a lost connection takes to be made again, in microseconds.
const CONNECT_DELAY: u64 = 100_000;

static ALL: LazyLock<Selection> = LazyLock::new(Selection::default);
