//! `check host`: whether each collector works on this host, and how to fix the others.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use procfs::process::Process;

use super::args::Args;
use super::{FILL_TIMEOUT, wait_for_units};
use crate::collector::{COLLECTORS, Collector, Disabled};
use crate::html::HostInfo;
use crate::http::LiveConfig;
use crate::scrape::{NOTHING_SELECTED, Scraper};
use crate::snapshot::Snapshot;
use crate::source::cgroup::Cgroup;
use crate::systemd::unit::name::UnitKind;

/// Prints the report; success only if every enabled collector works.
pub(super) async fn run(
    args: &Args,
    disabled: &Disabled,
    scraper: &Arc<Scraper>,
) -> anyhow::Result<ExitCode> {
    wait_for_units(scraper, FILL_TIMEOUT / 3).await;
    // the journal and other sources that count from the start have no values in the first scrape
    let without = disabled.excluded_for(&[], &[]).unwrap_or_default();
    scraper.scrape(&without).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let snapshot = scraper.scrape(&without).await.context("failed to read the host")?;
    let caller = CallerRights::here(&args.dbus_address);
    let mut report = Report::new(&snapshot, disabled, &HostInfo::here(), &caller);
    if let Some(path) = &args.web_config {
        report.web_config(LiveConfig::check(path).map_err(|error| error.to_string()));
    }
    write!(std::io::stdout(), "{report}").context("failed to write the report")?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The host and its collectors.
#[derive(Debug, Default)]
pub struct Report {
    host: Vec<(&'static str, String)>,
    collectors: Vec<(&'static Collector, CollectorState)>,
    invalid_config: bool,
}

#[derive(Debug)]
enum CollectorState {
    /// The collector works; what is missing nevertheless.
    Works(Vec<String>),
    /// The reason of the failure.
    Fails(String),
    Off,
}

/// The user and capabilities of the process that checks.
#[derive(Debug)]
pub struct CallerRights {
    /// The address of the system bus.
    pub bus: String,
    /// The effective user.
    pub uid: u32,
    /// The effective capabilities: `CapEff` of /proc/self/status, 64 bits.
    pub capabilities: Option<u64>,
}

impl CallerRights {
    /// Those of this process.
    #[must_use]
    pub fn here(bus: &str) -> Self {
        let status = Process::myself().and_then(|process| process.status());
        Self {
            bus: bus.to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            capabilities: status.ok().map(|status| status.capeff),
        }
    }
}

impl Report {
    /// Evaluates the snapshot of a scrape.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        disabled: &Disabled,
        host: &HostInfo,
        caller: &CallerRights,
    ) -> Self {
        let mut report = Self::default();
        report.host.push(("name", self::host(snapshot, host)));
        report.host.push(("bus", bus(snapshot, caller)));
        if let Some(layout) = snapshot.cgroup_layout {
            report.host.push(("cgroups", format!("{layout} layout")));
        }
        report.host.push(("rights", rights(caller)));
        report.collectors = COLLECTORS
            .iter()
            .map(|collector| match disabled.has(collector.name) {
                true => (collector, CollectorState::Off),
                false => (collector, state(snapshot, collector)),
            })
            .collect();
        report
    }

    /// Adds the result of checking the web configuration: its warnings, or the error.
    pub fn web_config(&mut self, result: Result<Vec<String>, String>) {
        self.invalid_config |= result.is_err();
        let text = match result {
            Ok(warnings) if warnings.is_empty() => "valid".to_owned(),
            Ok(warnings) => format!("valid, but {}", warnings.join("; ")),
            Err(error) => format!("invalid: {error}"),
        };
        self.host.push(("web config", text));
    }

    /// Whether every enabled collector works and the web configuration is valid.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let fails = |(_, state): &(_, CollectorState)| matches!(state, CollectorState::Fails(_));
        !self.invalid_config && !self.collectors.iter().any(fails)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = [
            ("Host", self.host.clone()),
            ("Collectors that work", Vec::new()),
            ("Collectors that fail", Vec::new()),
            ("Collectors that are off", Vec::new()),
        ];
        for (collector, state) in &self.collectors {
            let (group, text) = match state {
                CollectorState::Works(missing) if missing.is_empty() => (1, "ok".to_owned()),
                CollectorState::Works(missing) => (1, format!("ok, but {}", missing.join("; "))),
                CollectorState::Fails(reason) => (2, reason.clone()),
                CollectorState::Off => (3, collector.reads.to_owned()),
            };
            groups[group].1.push((collector.name, text));
        }
        let names = groups.iter().flat_map(|(_, lines)| lines).map(|(name, _)| name.len());
        let width = names.max().unwrap_or_default();
        for (title, lines) in groups.iter().filter(|(_, lines)| !lines.is_empty()) {
            writeln!(f, "{title}")?;
            for (name, text) in lines {
                writeln!(f, "  {name:<width$}  {text}")?;
            }
        }
        Ok(())
    }
}

fn host(snapshot: &Snapshot, host: &HostInfo) -> String {
    let mut text = format!("{}, Linux {}", host.name, host.kernel);
    if let Some(systemd) = &snapshot.systemd {
        if let Some(version) = &systemd.manager.version {
            text.push_str(&format!(", systemd {version}"));
        }
        let kind = systemd.manager.virtualization.as_deref();
        if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
            text.push_str(&format!(", {kind}"));
        }
    }
    text
}

fn bus(snapshot: &Snapshot, caller: &CallerRights) -> String {
    let outcome = match &snapshot.systemd {
        Some(systemd) if snapshot.status.following => {
            format!("connected to systemd, {} units", systemd.units.len())
        }
        _ => "not connected to systemd".to_owned(),
    };
    format!("{}: {outcome}", caller.bus)
}

fn rights(caller: &CallerRights) -> String {
    let user = if caller.uid == 0 { "root".to_owned() } else { format!("user {}", caller.uid) };
    match caller.capabilities {
        Some(0) => format!("{user}, without capabilities"),
        Some(capabilities) => {
            let named = CAPABILITIES.iter().filter(|(bit, _)| capabilities >> bit & 1 == 1);
            let named: Vec<_> = named.map(|(_, name)| *name).collect();
            match named.is_empty() {
                true => format!("{user}, without relevant capabilities"),
                false => format!("{user}, {}", named.join(" ")),
            }
        }
        None => user,
    }
}

fn state(snapshot: &Snapshot, collector: &Collector) -> CollectorState {
    let attempt = snapshot.attempts.iter().find(|attempt| attempt.collector == collector.name);
    if let Some(error) = attempt.and_then(|attempt| attempt.error.as_ref()) {
        return CollectorState::Fails(with_remedy(collector.name, error));
    }
    if snapshot.systemd.is_none() && collector.name == "units" {
        return CollectorState::Fails(with_remedy("units", "systemd has not listed its units yet"));
    }
    // collectors without a source export what the unit cache has
    if snapshot.systemd.is_none() && (attempt.is_none() || collector.name == "manager") {
        return CollectorState::Fails("no connection to systemd: see units".to_owned());
    }
    let kinds = |kind: &UnitKind| match collector.name {
        "services" => *kind == UnitKind::Service,
        "sockets" => *kind == UnitKind::Socket,
        "timers" => *kind == UnitKind::Timer,
        "units" => true,
        _ => false,
    };
    let unlisted = snapshot.status.unlisted.iter().filter(|(kind, _)| kinds(kind));
    let unlisted: Vec<_> =
        unlisted.map(|(kind, why)| format!("{kind} units cannot be listed: {why}")).collect();
    if !unlisted.is_empty() {
        return CollectorState::Fails(unlisted.join("; "));
    }
    let is_empty = snapshot
        .systemd
        .as_ref()
        .is_some_and(|systemd| systemd.units.is_empty() && systemd.short_lived.is_empty());
    CollectorState::Works(match collector.name {
        "units" if is_empty => vec![NOTHING_SELECTED.to_owned()],
        "cgroup" => cgroups(snapshot),
        "process" => processes(snapshot),
        _ => Vec::new(),
    })
}

/// Adds how to fix the error, unless its text contains that.
fn with_remedy(collector: &str, error: &str) -> String {
    let remedy = match collector {
        "units" => {
            "systemd and D-Bus must run on this host, and --dbus.address must name the bus; for a \
             container, mount /run/dbus"
        }
        "manager" if error.contains("No such file") => {
            "PID 1 is hidden: allow it with ProtectProc=default"
        }
        _ if error.contains("ermission denied") => {
            "run it as the shipped unit does, or as root: systemd/system/unit-exporter.service"
        }
        _ if error.contains("in time") => "the host may be busy: try again",
        _ => return error.to_owned(),
    };
    format!("{error}; {remedy}")
}

fn cgroups(snapshot: &Snapshot) -> Vec<String> {
    let mut missing = Vec::new();
    let Some(cgroups) = &snapshot.cgroups else { return missing };
    if cgroups.units.is_empty() {
        missing.push("found no unit cgroups".to_owned());
        return missing;
    }
    let no_unit_has = |has: Has| !cgroups.units.iter().any(|(_, cgroup)| has(cgroup));
    let controllers: [(&str, Has); 4] = [
        ("CPU", |cgroup| cgroup.cpu.user.is_some()),
        ("Memory", |cgroup| cgroup.memory.current.is_some()),
        ("IO", |cgroup| cgroup.io.is_some()),
        ("Tasks", |cgroup| cgroup.pids.current.is_some()),
    ];
    let absent = controllers.into_iter().filter(|(_, has)| no_unit_has(*has));
    let settings: Vec<_> = absent.map(|(name, _)| format!("Default{name}Accounting=")).collect();
    if !settings.is_empty() {
        missing.push(format!(
            "accounting is incomplete: set {} in /etc/systemd/system.conf, if the kernel has the \
             controllers",
            settings.join(", ")
        ));
    }
    if no_unit_has(|cgroup| cgroup.pressure.cpu.is_some()) {
        missing.push(
            "there is no pressure: the kernel is built without PSI, or needs psi=1".to_owned(),
        );
    }
    if let Some(failure) = &cgroups.failures.first {
        missing.push(format!("{} files cannot be read, first: {failure}", cgroups.failures.count));
    }
    missing
}

/// Whether a cgroup has a value.
type Has = fn(&Cgroup) -> bool;

fn processes(snapshot: &Snapshot) -> Vec<String> {
    let mut missing = Vec::new();
    let Some(processes) = &snapshot.processes else { return missing };
    let units = &processes.units;
    if !units.is_empty() && units.iter().all(|(_, unit)| unit.open_fds.is_none()) {
        missing.push(
            "open files cannot be counted without Linux 6.2 or the capabilities \
             CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
                .to_owned(),
        );
    }
    if let Some(failure) = &processes.failures.first {
        missing.push(format!("{} cannot be read, first: {failure}", processes.failures.count));
    }
    missing
}

/// The capabilities that make more data readable, with their numbers (linux/capability.h).
const CAPABILITIES: [(u32, &str); 3] =
    [(2, "CAP_DAC_READ_SEARCH"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Attempt;
    use crate::systemd::snapshot::SystemdSnapshot;
    use crate::systemd::state::Status;

    fn report(snapshot: &Snapshot, off: &[&'static str]) -> Report {
        let caller = CallerRights { bus: "unix:path=/bus".into(), uid: 998, capabilities: Some(0) };
        Report::new(snapshot, &Disabled(off.to_vec()), &HostInfo::default(), &caller)
    }

    #[test]
    fn collectors_without_a_source_need_the_units() {
        let working = Snapshot { systemd: Some(SystemdSnapshot::default()), ..Snapshot::default() };
        let good = report(&working, &["resolved"]);
        assert!(good.is_good(), "{good}");
        assert!(good.to_string().contains("\n  timers         ok\n"), "{good}");
        let off = good.to_string();
        let (_, off) = off.split_once("Collectors that are off\n").unwrap();
        assert_eq!(off, "  resolved       DNS queries and cache, from systemd-resolved\n");
        let broken = report(&Snapshot::default(), &[]);
        assert!(!broken.is_good());
        let text = broken.to_string();
        assert!(
            text.contains("\n  timers         no connection to systemd: see units\n"),
            "{text}"
        );
        assert!(
            text.contains("\n  units          systemd has not listed its units yet; "),
            "{text}"
        );
    }

    #[test]
    fn unlisted_unit_type_fails_only_its_collector() {
        let status =
            Status { unlisted: [(UnitKind::Timer, "invalid".into())].into(), ..Status::default() };
        let systemd = Some(SystemdSnapshot::default());
        let report = report(&Snapshot { systemd, status, ..Snapshot::default() }, &[]);
        let text = report.to_string();
        assert!(text.contains("\n  timers         timer units cannot be listed"), "{text}");
        assert!(text.contains("\n  sockets        ok\n"), "{text}");
    }

    #[test]
    fn denied_access_names_the_fix() {
        let attempt = Attempt {
            collector: "cgroup",
            error: Some("/sys/fs/cgroup: Permission denied (os error 13)".into()),
            took: std::time::Duration::ZERO,
            last_success: None,
            panics: 0,
        };
        let systemd = Some(SystemdSnapshot::default());
        let snapshot = Snapshot { systemd, attempts: vec![attempt], ..Snapshot::default() };
        assert!(report(&snapshot, &["cgroup"]).is_good(), "a disabled collector may fail");
        let text = report(&snapshot, &[]).to_string();
        assert!(text.contains("run it as the shipped unit does"), "{text}");
    }
}
