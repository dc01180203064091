//! One unit with all data of a scrape about it, joined by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::View;
use super::table_query::Column;
use crate::source::cgroup::Cgroup;
use crate::source::journal::JournalCounts;
use crate::source::process::UnitProcesses;
use crate::source::sockets::{Connections, Listener, UnixListener};
use crate::systemd::ledger::UnitCounters;
use crate::systemd::unit::Unit;
use crate::systemd::unit::value::Timestamp;

/// One unit.
#[derive(Debug)]
pub(super) struct UnitView<'a> {
    pub(super) unit: &'a Unit,
    pub(super) account: Option<&'a UnitCounters>,
    pub(super) cgroup: Option<&'a Cgroup>,
    pub(super) processes: Option<&'a UnitProcesses>,
    pub(super) logged: Option<&'a JournalCounts>,
    pub(super) listeners: Vec<&'a Listener>,
    pub(super) unix: Vec<&'a UnixListener>,
    pub(super) connections: Vec<&'a Connections>,
    /// Used CPU cores, by the last two readings.
    pub(super) cpu_cores: Option<f64>,
    /// `cpu_cores`; before there are two readings, the CPU time in seconds.
    cpu_order: Option<f64>,
}

/// Every unit of the snapshot, by name.
pub(super) fn unit_views<'a>(view: &View<'a>) -> Vec<UnitView<'a>> {
    let Some(systemd) = &view.snapshot.systemd else { return Vec::new() };
    let cgroups = view.snapshot.cgroups.iter().flat_map(|readings| &readings.units);
    let cgroups: HashMap<&str, &Cgroup> = cgroups.map(|(name, cgroup)| (&**name, cgroup)).collect();
    let processes = view.snapshot.processes.iter().flat_map(|readings| &readings.units);
    let processes: HashMap<&str, &UnitProcesses> =
        processes.map(|(name, processes)| (&**name, processes)).collect();
    let logged = view.snapshot.journal.iter().flat_map(|reading| &reading.units);
    let logged: HashMap<&str, &JournalCounts> =
        logged.map(|(name, counts)| (&**name, counts)).collect();
    let accounts = systemd.counters.iter();
    let accounts: HashMap<&str, &UnitCounters> =
        accounts.map(|(name, account)| (&**name, &**account)).collect();
    let mut rows: Vec<_> = systemd
        .units
        .iter()
        .chain(&systemd.short_lived)
        .map(|unit| UnitView {
            unit,
            account: accounts.get(&*unit.name).copied(),
            cgroup: cgroups.get(&*unit.name).copied(),
            processes: processes.get(&*unit.name).copied(),
            logged: logged.get(&*unit.name).copied(),
            listeners: Vec::new(),
            unix: Vec::new(),
            connections: Vec::new(),
            cpu_cores: view.cpu.and_then(|cpu| cpu.cores(&unit.name)),
            cpu_order: None,
        })
        .collect();
    for row in &mut rows {
        row.cpu_order = match view.cpu {
            Some(_) => row.cpu_cores,
            None => row.cpu_time().map(|cpu| cpu.as_secs_f64()),
        };
    }
    if let Some(reading) = &view.snapshot.listeners {
        let indices: HashMap<&str, usize> =
            systemd.units.iter().enumerate().map(|(index, unit)| (&*unit.name, index)).collect();
        let index = |name: &Arc<str>| indices.get(&**name).copied();
        for listener in &reading.listeners {
            let owners = listener.unit.iter().chain(&listener.socket_unit);
            let mut owners: Vec<_> = owners.filter_map(index).collect();
            owners.dedup();
            for owner in owners {
                rows[owner].listeners.push(listener);
            }
        }
        for listener in reading.unix.iter().flatten() {
            if let Some(owner) = index(&listener.unit) {
                rows[owner].unix.push(listener);
            }
        }
        for connections in reading.connections.iter().flatten() {
            if let Some(owner) = connections.unit.as_ref().and_then(index) {
                rows[owner].connections.push(connections);
            }
        }
    }
    rows
}

impl UnitView<'_> {
    /// The urgency, 0 first: start limit hit, failed, restarting or unloadable, in transition,
    /// active, inactive.
    pub(super) fn urgency(&self) -> u8 {
        match self.unit.active_state.as_deref() {
            Some("failed") => u8::from(!self.start_limit_hit()),
            _ if self.is_restarting() || self.is_unloadable() => 2,
            Some("active") => 4,
            Some("inactive") | None => 5,
            Some(_) => 3,
        }
    }

    /// Whether the unit is in the section on problems.
    pub(super) fn needs_attention(&self) -> bool {
        self.urgency() <= 2
    }

    pub(super) fn start_limit_hit(&self) -> bool {
        self.account.is_some_and(|account| account.start_limit_hit)
    }

    /// Whether the service exited and `Restart=` is about to start it again.
    pub(super) fn is_restarting(&self) -> bool {
        let sub = self.unit.sub_state.as_deref();
        sub.is_some_and(|sub| sub.contains("auto-restart"))
    }

    fn is_unloadable(&self) -> bool {
        matches!(self.unit.load_state.as_deref(), Some("bad-setting" | "error"))
    }

    /// The time of the last state change; `None` if there was none.
    pub(super) fn since(&self) -> Option<SystemTime> {
        let unit = self.unit;
        let timestamp = match unit.active_state.as_deref()? {
            "active" | "reloading" | "refreshing" => unit.active_enter,
            "activating" => unit.inactive_exit,
            "deactivating" => unit.active_exit,
            _ => unit.inactive_enter,
        };
        timestamp.and_then(Timestamp::set).map(Timestamp::system_time)
    }

    pub(super) fn restarts(&self) -> Option<u64> {
        self.unit.service()?;
        self.account.map(|account| account.restarts)
    }

    pub(super) fn failures(&self) -> Option<u64> {
        self.unit.service()?;
        self.account.map(|account| account.failures.total)
    }

    /// CPU time of all processes since the cgroup was created.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let cpu = &self.cgroup?.cpu;
        Some(cpu.user? + cpu.system?)
    }

    pub(super) fn memory(&self) -> Option<u64> {
        self.cgroup?.memory.current
    }

    /// Processes and threads.
    pub(super) fn tasks(&self) -> Option<u64> {
        let counted = self.cgroup.and_then(|cgroup| cgroup.pids.current);
        counted.or_else(|| self.processes?.threads)
    }

    pub(super) fn open_files(&self) -> Option<u64> {
        self.processes?.open_fds
    }

    /// Connections that wait to be accepted, at all listeners of the unit.
    pub(super) fn waiting(&self) -> u64 {
        let inet = self.listeners.iter().filter_map(|listener| listener.accept_queue);
        inet.chain(self.unix.iter().map(|listener| listener.accept_queue)).sum()
    }

    /// The value of a numeric column.
    pub(super) fn number(&self, column: Column) -> Option<f64> {
        let count = |number: Option<u64>| number.map(super::human::float);
        match column {
            Column::Name | Column::State => None,
            Column::Since => {
                let since = self.since()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                Some(since.as_secs_f64())
            }
            Column::Restarts => count(self.restarts()),
            Column::Failures => count(self.failures()),
            Column::Cpu => self.cpu_order,
            Column::Memory => count(self.memory()),
            Column::Tasks => count(self.tasks()),
            Column::Files => count(self.open_files()),
            Column::Listens => {
                let listens = (self.listeners.len() + self.unix.len()) as u64;
                // units with waiting connections come first
                (listens > 0).then(|| super::human::float(self.waiting() * 10_000 + listens))
            }
        }
    }
}
