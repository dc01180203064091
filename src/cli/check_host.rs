//! Whether each collector works on this host, and what to change where one does not.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use procfs::process::Process;

use super::args::Args;
use super::{FILL_TIMEOUT, wait_for_units};
use crate::collector::{COLLECTORS, Collector, Off};
use crate::html::Host;
use crate::http::LiveConfig;
use crate::scrape::Scraper;
use crate::snapshot::Snapshot;
use crate::source::cgroup::Cgroup;
use crate::systemd::unit::name::UnitKind;

/// Prints the report; success only if every collector that is on works.
pub(super) async fn run(
    args: &Args,
    off: &Off,
    scraper: &Arc<Scraper>,
) -> anyhow::Result<ExitCode> {
    wait_for_units(scraper, FILL_TIMEOUT / 3).await;
    // the journal and other sources that count from the start have no values in the first scrape
    let without = off.and_left_out(&[], &[]).unwrap_or_default();
    scraper.scrape(&without).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let snapshot = scraper.scrape(&without).await.context("reading the host")?;
    let asker = Asker::here(&args.dbus_address);
    let mut report = Report::new(&snapshot, off, &Host::here(), &asker);
    if let Some(path) = &args.web_config {
        let good = format!("{}: good", path.display());
        report.config(LiveConfig::check(path).map(|_| good).map_err(|error| error.to_string()));
    }
    write!(std::io::stdout(), "{report}").context("writing the report")?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found: a line for each part of the host, then one for each collector.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    about: &'static str,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// Something to know.
    Fact(String),
    /// It works; what it lacks all the same.
    Works(Vec<String>),
    /// It does not, and why.
    Fails(String),
    /// It is off, and what it would tell.
    Off(Option<&'static str>),
}

/// The process that asks.
#[derive(Debug)]
pub struct Asker {
    /// The bus that it asks.
    pub bus: String,
    /// Its effective user.
    pub uid: u32,
    /// What it may do beyond that: `CapEff` of /proc/self/status, 64 bits.
    pub capabilities: Option<u64>,
}

impl Asker {
    /// This process.
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
    /// Judges what a scrape found.
    #[must_use]
    pub fn new(snapshot: &Snapshot, off: &Off, host: &Host, asker: &Asker) -> Self {
        let mut report = Self::default();
        report.fact("host", self::host(snapshot, host));
        report.fact("bus", bus(snapshot, asker));
        if let Some(layout) = snapshot.cgroups.as_ref().and_then(|cgroups| cgroups.layout) {
            report.fact("cgroups", format!("{layout} layout"));
        }
        report.fact("rights", rights(asker));
        for collector in COLLECTORS {
            let outcome = match off.has(collector.name) {
                true => Outcome::Off(collector.off),
                false => outcome(snapshot, collector),
            };
            report.lines.push(Line { about: collector.name, outcome });
        }
        report
    }

    /// Adds a configuration file, or what is wrong with it.
    pub fn config(&mut self, good: Result<String, String>) {
        let outcome = match good {
            Ok(text) => Outcome::Fact(text),
            Err(error) => Outcome::Fails(error),
        };
        self.lines.push(Line { about: "web", outcome });
    }

    /// Whether everything that is on works.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.lines.iter().any(|line| matches!(line.outcome, Outcome::Fails(_)))
    }

    fn fact(&mut self, about: &'static str, text: String) {
        self.lines.push(Line { about, outcome: Outcome::Fact(text) });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { about, outcome } in &self.lines {
            write!(f, "{about:<10} ")?;
            match outcome {
                Outcome::Fact(text) => writeln!(f, "{text}")?,
                Outcome::Works(lacking) if lacking.is_empty() => writeln!(f, "works")?,
                Outcome::Works(lacking) => writeln!(f, "works, but {}", lacking.join("; "))?,
                Outcome::Fails(why) => writeln!(f, "does not work: {why}")?,
                Outcome::Off(Some(tells)) => {
                    writeln!(f, "is off; --collector.{about} also tells {tells}")?;
                }
                Outcome::Off(None) => writeln!(f, "is off")?,
            }
        }
        Ok(())
    }
}

fn host(snapshot: &Snapshot, host: &Host) -> String {
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

fn bus(snapshot: &Snapshot, asker: &Asker) -> String {
    let outcome = match &snapshot.systemd {
        Some(systemd) if snapshot.status.following => {
            format!("systemd is followed, {} units", systemd.units.len())
        }
        _ => "systemd is not followed".to_owned(),
    };
    format!("{}: {outcome}", asker.bus)
}

fn rights(asker: &Asker) -> String {
    let user = if asker.uid == 0 { "root".to_owned() } else { format!("user {}", asker.uid) };
    match asker.capabilities {
        Some(0) => format!("{user}, without capabilities"),
        Some(capabilities) => {
            let named = CAPABILITIES.iter().filter(|(bit, _)| capabilities >> bit & 1 == 1);
            let named: Vec<_> = named.map(|(_, name)| *name).collect();
            match named.is_empty() {
                true => format!("{user}, without a capability that matters here"),
                false => format!("{user}, {}", named.join(" ")),
            }
        }
        None => user,
    }
}

fn outcome(snapshot: &Snapshot, collector: &Collector) -> Outcome {
    let attempt = snapshot.attempts.iter().find(|attempt| attempt.collector == collector.name);
    if let Some(error) = attempt.and_then(|attempt| attempt.error.as_ref()) {
        return Outcome::Fails(with_remedy(collector.name, error));
    }
    if snapshot.systemd.is_none() && collector.name == "units" {
        return Outcome::Fails(with_remedy("units", "systemd has not told its units yet"));
    }
    // those without a source of their own tell what the mirror holds
    if snapshot.systemd.is_none() && (attempt.is_none() || collector.name == "manager") {
        return Outcome::Fails("systemd is not followed: see units".to_owned());
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
        return Outcome::Fails(unlisted.join("; "));
    }
    Outcome::Works(match collector.name {
        "cgroup" => cgroups(snapshot),
        "process" => processes(snapshot),
        _ => Vec::new(),
    })
}

/// Adds what to change, where the error does not say it itself.
fn with_remedy(collector: &str, error: &str) -> String {
    let remedy = match collector {
        "units" => {
            "systemd and its bus have to run here, and --dbus.address has to name that bus; in a \
             container, mount /run/dbus into it"
        }
        "manager" if error.contains("No such file") => {
            "PID 1 is hidden: allow it with ProtectProc=default"
        }
        _ if error.contains("ermission denied") => {
            "run it as the shipped unit does, or as root: systemd/system/unit-exporter.service"
        }
        _ if error.contains("in time") => "the host may be too busy just now: try again",
        _ => return error.to_owned(),
    };
    format!("{error}; {remedy}")
}

fn cgroups(snapshot: &Snapshot) -> Vec<String> {
    let mut lacking = Vec::new();
    let Some(cgroups) = &snapshot.cgroups else { return lacking };
    if cgroups.units.is_empty() {
        lacking.push("no unit has a control group, as far as is known".to_owned());
        return lacking;
    }
    let nobody_has = |has: Has| !cgroups.units.iter().any(|(_, cgroup)| has(cgroup));
    let controllers: [(&str, Has); 4] = [
        ("CPU", |cgroup| cgroup.cpu.user.is_some()),
        ("Memory", |cgroup| cgroup.memory.current.is_some()),
        ("IO", |cgroup| cgroup.io.is_some()),
        ("Tasks", |cgroup| cgroup.pids.current.is_some()),
    ];
    let missing = controllers.into_iter().filter(|(_, has)| nobody_has(*has));
    let settings: Vec<_> = missing.map(|(name, _)| format!("Default{name}Accounting=")).collect();
    if !settings.is_empty() {
        lacking.push(format!(
            "not everything is accounted for: {} in /etc/systemd/system.conf would, if the kernel \
             has the controllers",
            settings.join(", ")
        ));
    }
    if nobody_has(|cgroup| cgroup.pressure.cpu.is_some()) {
        lacking.push("there is no pressure: the kernel has none, or wants psi=1".to_owned());
    }
    if let Some(failure) = &cgroups.failure {
        lacking.push(format!("{} files cannot be read, the first: {failure}", cgroups.failed));
    }
    lacking
}

/// Whether a control group has something.
type Has = fn(&Cgroup) -> bool;

fn processes(snapshot: &Snapshot) -> Vec<String> {
    let mut lacking = Vec::new();
    let Some(processes) = &snapshot.processes else { return lacking };
    let units = &processes.units;
    if !units.is_empty() && units.iter().all(|(_, unit)| unit.open_fds.is_none()) {
        lacking.push(
            "open files cannot be counted: that takes Linux 6.2, or the capabilities \
             CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
                .to_owned(),
        );
    }
    if let Some(failure) = &processes.failure {
        lacking.push(format!("{} cannot be read, the first: {failure}", processes.failed));
    }
    lacking
}

/// By their numbers in capabilities(7), those that show an exporter more.
const CAPABILITIES: [(u32, &str); 3] =
    [(2, "CAP_DAC_READ_SEARCH"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Attempt;
    use crate::systemd::snapshot::SystemdSnapshot;
    use crate::systemd::state::Status;

    fn report(snapshot: &Snapshot, off: &[&'static str]) -> Report {
        let asker = Asker { bus: "unix:path=/bus".into(), uid: 998, capabilities: Some(0) };
        Report::new(snapshot, &Off(off.to_vec()), &Host::default(), &asker)
    }

    #[test]
    fn what_has_no_source_of_its_own_works_with_the_units() {
        let working = Snapshot { systemd: Some(SystemdSnapshot::default()), ..Snapshot::default() };
        let good = report(&working, &["resolved"]);
        assert!(good.is_good(), "{good}");
        assert!(good.to_string().contains("\ntimers     works\n"), "{good}");
        assert!(good.to_string().contains("resolved   is off; --collector.resolved"), "{good}");
        let broken = report(&Snapshot::default(), &[]);
        assert!(!broken.is_good());
        let text = broken.to_string();
        assert!(text.contains("timers     does not work: systemd is not followed"), "{text}");
        assert!(text.contains("units      does not work: systemd has not told"), "{text}");
    }

    #[test]
    fn a_kind_that_cannot_be_listed_is_its_collectors_fault_alone() {
        let status =
            Status { unlisted: [(UnitKind::Timer, "invalid".into())].into(), ..Status::default() };
        let systemd = Some(SystemdSnapshot::default());
        let report = report(&Snapshot { systemd, status, ..Snapshot::default() }, &[]);
        let text = report.to_string();
        assert!(text.contains("timers     does not work: timer units cannot be listed"), "{text}");
        assert!(text.contains("sockets    works"), "{text}");
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        let attempt = Attempt {
            collector: "cgroup",
            error: Some("/sys/fs/cgroup: Permission denied (os error 13)".into()),
            took: std::time::Duration::ZERO,
            last_success: None,
            panics: 0,
        };
        let systemd = Some(SystemdSnapshot::default());
        let snapshot = Snapshot { systemd, attempts: vec![attempt], ..Snapshot::default() };
        assert!(report(&snapshot, &["cgroup"]).is_good(), "what is off may fail");
        let text = report(&snapshot, &[]).to_string();
        assert!(text.contains("run it as the shipped unit does"), "{text}");
    }
}
