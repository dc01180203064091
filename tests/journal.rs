//! The journal collector on a booted systemd: counts match journalctl under rotation, corruption and a full disk.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Exporter, Machine, Samples, eventually, machine};

#[test]
fn counts_10_000_messages_through_rotation_and_restart() {
    let machine = &booted("");
    machine.units(&[
        ("native.service", &logging_service(machine, "native 5000 500", "")),
        // messages of this user go into a separate journal file
        ("stdout.service", &logging_service(machine, "stdout 5000 500", "User=app\n")),
    ]);
    let exporter = machine.exporter(&[]);
    let before = exporter.samples();
    let idle = cpu_while(&exporter, || thread::sleep(Duration::from_secs(2)));
    let took = cpu_while(&exporter, || {
        machine.ok(&["systemctl", "start", "native", "stdout"]);
        thread::sleep(Duration::from_secs(3));
        machine.ok(&["journalctl", "--rotate"]);
        thread::sleep(Duration::from_secs(3));
        machine.ok(&["systemctl", "restart", "systemd-journald"]);
        wait_until_inactive(machine, &["native", "stdout"]);
        machine.ok(&["journalctl", "--sync"]);
        exporter.scrape();
    });
    let page = exporter.samples();
    for unit in ["native.service", "stdout.service"] {
        let truth = by_priority(machine, unit);
        assert_eq!(counted(&page, unit), truth, "{unit}");
        for priority in PRIORITIES {
            assert!(truth[priority] >= 625.0, "{unit} logged {priority}");
        }
    }
    let all = |page: &Samples| -> f64 {
        page.all("systemd_journal_messages_total", &[]).map(|sample| sample.value).sum()
    };
    let entries = all(&page) - all(&before);
    assert!(entries >= 10_000.0, "{entries}");
    assert_nothing_unread(&page, &exporter);
    let files = machine.ok(&["sh", "-c", "ls /var/log/journal/*/"]);
    assert!(files.contains("user-1500.journal"), "{files}");
    eprintln!("{entries} entries: {took:?} of CPU, debug build; {idle:?} in 2 s without entries");
}

#[test]
fn forged_fields_do_not_count_for_other_units() {
    let machine = shared();
    let forging = "ExecStart=/usr/bin/python3 /opt/forge.py\nExecStart=logger --priority user.err --tag \
                   victim.service forged\nExecStart=logger --journald=/opt/forged\n";
    let unit =
        |user: &str| format!("[Service]\nType=oneshot\nLogRateLimitIntervalSec=0\n{user}{forging}");
    machine.write("opt/forge.py", include_str!("journal/forge.py"));
    machine.write(
        "opt/forged",
        "PRIORITY=3\nUNIT=victim.service\n_SYSTEMD_UNIT=victim.service\nMESSAGE=x\n",
    );
    machine.units(&[
        ("victim.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
        ("forging.service", &unit("")),
        ("forging-as-user.service", &unit("User=app\n")),
    ]);
    let exporter = machine.exporter(&[]);
    exporter.scrape();
    for forger in ["forging", "forging-as-user"] {
        machine.ok(&["systemctl", "start", forger]);
        machine.ok(&["journalctl", "--sync"]);
        let page = exporter.samples();
        let name = format!("{forger}.service");
        let counts = counted(&page, &name);
        assert_eq!(counts, by_priority(machine, &name));
        // 14, and two of logger's if it still ran when journald looked up its unit
        assert!((14.0..=16.0).contains(&counts["err"]), "{counts:?}");
        assert_eq!(counts["none"], 6.0, "{counts:?}");
        let of_victim = [("name", "victim.service")];
        for metric in [MESSAGES, CORE_DUMPS, DROPPED] {
            assert_eq!(page.all(metric, &of_victim).count(), 0, "{metric}");
        }
        assert_eq!(page.all(CORE_DUMPS, &[]).count(), 0);
        assert_eq!(page.value("systemd_journal_kernel_messages_missed_total", &[]), Some(0.0));
        assert_nothing_unread(&page, &exporter);
    }
    // messages of PID 1 about the unit do count
    machine.ok(&["systemctl", "start", "victim"]);
    machine.ok(&["journalctl", "--sync"]);
    let counts = counted(&exporter.samples(), "victim.service");
    assert_eq!(counts, by_priority(machine, "victim.service"));
    assert_eq!(counts.values().sum::<f64>(), 1.0, "{counts:?}");
}

#[test]
fn excluded_units_count_only_for_the_host() {
    let machine = shared();
    machine.unit("left-out.service", &logging_service(machine, "native 8 1000", ""));
    let exporter = machine.exporter(&["--systemd.collector.unit-exclude=left-out.+"]);
    let emerg =
        |page: &Samples| page.value("systemd_journal_messages_total", &[("priority", "emerg")]);
    assert_eq!(emerg(&exporter.samples()), Some(0.0));
    machine.ok(&["systemctl", "start", "left-out"]);
    wait_until_inactive(machine, &["left-out"]);
    machine.ok(&["journalctl", "--sync"]);
    let page = exporter.samples();
    assert_eq!(emerg(&page), Some(1.0));
    assert_eq!(page.all(MESSAGES, &[("name", "left-out.service")]).count(), 0);
    let exporter = machine.exporter(&["--no-collector.journal"]);
    let page = exporter.samples();
    assert!(!page.0.iter().any(|sample| sample.name.contains("journal")));
}

#[test]
fn vacuum_and_flush_neither_lose_nor_double_messages() {
    let machine = booted("");
    let exporter = machine.exporter(&[]);
    let counter = Counter::new(&machine, &exporter);
    counter.logs(100);
    machine.ok(&["journalctl", "--rotate"]);
    machine.ok(&["journalctl", "--vacuum-time=1s"]);
    counter.logs(100);
    // files created, filled and deleted between two scrapes
    for _ in 0..3 {
        machine.ok(&["journalctl", "--rotate"]);
        counter.logs(10);
    }
    machine.ok(&["journalctl", "--rotate", "--vacuum-files=1"]);
    counter.logs(100);
    for _ in 0..2 {
        machine.ok(&["journalctl", "--relinquish-var"]);
        counter.logs(100);
        assert!(machine.path("run/log/journal").exists());
        let labels = [("collector", "journal")];
        let files = exporter.samples().value("unit_exporter_journal_files", &[]);
        assert!(files >= Some(2.0), "{files:?} {labels:?}");
        machine.ok(&["journalctl", "--flush"]);
        counter.logs(100);
    }
    // an exporter started in between does not count entries from before its start
    machine.ok(&["journalctl", "--relinquish-var"]);
    counter.logs(50);
    let late = machine.exporter(&[]);
    let late_counter = Counter { logged: 0.into(), ..Counter::new(&machine, &late) };
    late.scrape();
    late_counter.logs(7);
    machine.ok(&["journalctl", "--flush"]);
    late_counter.logs(7);
    counter.logged.set(counter.logged.get() + 14);
    counter.check();
}

#[test]
fn counts_only_stored_messages_when_disk_is_full() {
    // systemd 247 continues in /run; those files must not be vacuumed before journalctl reads them
    let machine = booted(
        "SystemMaxFileSize=1M\nSystemMaxUse=100M\nSystemKeepFree=1\nRuntimeMaxUse=200M\nRuntimeKeepFree=1\n",
    );
    let disk = "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald && \
                mount -t tmpfs -o size=4M,mode=2755,gid=systemd-journal tmpfs /var/log/journal && \
                systemctl start systemd-journald && journalctl --flush";
    machine.ok(&["sh", "-c", disk]);
    machine.unit("counted.service", &logging_service(&machine, "native 2000 100000 1", ""));
    let exporter = machine.exporter(&[]);
    exporter.scrape();
    let log_and_compare = || {
        machine.ok(&["systemctl", "start", "counted"]);
        wait_until_inactive(&machine, &["counted"]);
        machine.ok(&["journalctl", "--sync"]);
        let count = counted(&exporter.samples(), "counted.service")["alert"];
        // systemd 254 stores some entries twice once there is room again, and journalctl shows both
        let records = records(&machine, &["_SYSTEMD_UNIT=counted.service", "PRIORITY=1"]);
        let key = |record: &Value| {
            ["__MONOTONIC_TIMESTAMP", "NUMBER"].map(|name| record[name].to_string())
        };
        let truth: BTreeSet<_> = records.iter().map(key).collect();
        assert_eq!(count, truth.len() as f64, "{} records", records.len());
        count
    };
    assert_eq!(log_and_compare(), 2000.0);
    let fill =
        "head -c 8M /dev/zero > /var/log/journal/fill || true; df --output=avail /var/log/journal";
    assert!(machine.ok(&["sh", "-c", fill]).ends_with(" 0\n"));
    for _run in 0..3 {
        log_and_compare();
    }
    machine.ok(&["rm", "/var/log/journal/fill"]);
    log_and_compare();
    let before = log_and_compare();
    assert_eq!(log_and_compare(), before + 2000.0);
}

#[test]
fn reports_corrupt_files_and_keeps_counting() {
    let machine = booted("");
    let exporter = machine.exporter(&[]);
    let counter = Counter::new(&machine, &exporter);
    counter.logs(20);
    let damaged = || exporter.samples().value("unit_exporter_journal_files_damaged_total", &[]);
    assert_eq!(damaged(), Some(0.0));

    // overwrite the header: journald notices when it opens the file
    let file = current(&machine);
    OpenOptions::new()
        .write(true)
        .open(&file)
        .expect("a file")
        .write_all_at(&[0xff; 64], 0)
        .expect("damage");
    eventually("the corrupt file is reported", || (success(&exporter) == 0.0).then_some(()));
    // two if journald has renamed it meanwhile
    assert!(damaged() >= Some(1.0));
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    counter.logs(20);
    assert_eq!(success(&exporter), 1.0, "{}", exporter.log());

    // truncate it while journald writes: journald still stores what it can
    let file = current(&machine);
    OpenOptions::new().write(true).open(&file).expect("a file").set_len(4096).expect("damage");
    machine.ok(&["systemctl", "kill", "--signal=KILL", "systemd-journald"]);
    eventually("journald has a new file", || {
        (current(&machine).metadata().ok()?.len() > 4096).then_some(())
    });
    counter.logs(20);
    eventually("the collector succeeds again", || (success(&exporter) == 1.0).then_some(()));

    // garbage in other files, one named like those that journald renames when corrupt
    let directory = current(&machine).parent().expect("a directory").to_owned();
    for (name, content) in [
        ("system@0004fc6ad2e85a9c-8ad9a5da2b3e1b64.journal~", &[0xaa; 5000][..]),
        ("user-7.journal", b""),
        ("other.journal", b"x"),
    ] {
        std::fs::write(directory.join(name), content).expect("a file");
    }
    std::fs::create_dir(directory.join("user-8.journal")).expect("a directory");
    counter.logs(20);
    std::fs::remove_dir(directory.join("user-8.journal")).expect("a directory");
    counter.logs(20);
    assert_eq!(success(&exporter), 1.0, "{}", exporter.log());
}

#[test]
fn logs_missing_permission_and_serves_other_metrics() {
    let machine = shared();
    let unprivileged = machine.exporter_unit(&["User=nobody"], &[]).ready();
    for _scrape in 0..5 {
        let page = unprivileged.samples();
        let unread = [("collector", "journal")];
        assert_eq!(page.value("unit_exporter_collector_success", &unread), Some(0.0));
        assert_eq!(page.all("systemd_journal_messages_total", &[]).count(), 0);
        assert!(page.all("systemd_unit_state", &[]).count() > 100);
    }
    thread::sleep(Duration::from_secs(2));
    let log = unprivileged.log();
    assert_eq!(
        log.lines().filter(|line| line.contains("group systemd-journal")).count(),
        1,
        "{log}"
    );

    let member = ["User=nobody", "CapabilityBoundingSet=", "SupplementaryGroups=systemd-journal"];
    let member = machine.exporter_unit(&member, &[]).ready();
    let counter = Counter::new(machine, &member);
    counter.logs(5);
    assert_eq!(success(&member), 1.0, "{}", member.log());
}

#[test]
fn hidden_boot_id_is_reported_by_the_collector() {
    let machine = shared();
    for hiding in [
        "ProcSubset=pid",
        // empty
        "BindReadOnlyPaths=/dev/null:/proc/sys/kernel/random/boot_id",
        "BindReadOnlyPaths=/etc/os-release:/proc/sys/kernel/random/boot_id",
    ] {
        let exporter = machine.exporter_unit(&[hiding], &[]).ready();
        assert_eq!(success(&exporter), 0.0, "{hiding}");
        let log = exporter.log();
        assert!(log.contains("failed to read the boot ID"), "{hiding}: {log}");
        assert!(log.contains("ProcSubset=all"), "{hiding}: {log}");
        let page = exporter.samples();
        assert_eq!(page.all(MESSAGES, &[]).count(), 0, "{hiding}: no count of messages");
        let units = [("collector", "units")];
        assert_eq!(page.value("unit_exporter_collector_success", &units), Some(1.0), "{hiding}");
    }
}

#[test]
fn logs_once_when_no_journal_is_stored() {
    let machine = booted("Storage=none\n");
    machine.ok(&["sh", "-c", "rm -rf /var/log/journal/* /run/log/journal"]);
    // log to a file, as the journal stores nothing
    let exporter = machine.exporter_unit(&["StandardError=file:/opt/log"], &[]).ready();
    let log = || std::fs::read_to_string(machine.path("opt/log")).expect("a log");
    for _scrape in 0..5 {
        assert_eq!(success(&exporter), 0.0);
    }
    let page = exporter.samples();
    assert_eq!(page.all("systemd_journal_messages_total", &[]).count(), 0);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(log().lines().filter(|line| line.contains("Storage=")).count(), 1, "{}", log());
    machine.write(CONFIG, "[Journal]\nRateLimitIntervalSec=0\nStorage=volatile\n");
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    let counter = Counter::new(&machine, &exporter);
    counter.logs(10);
    assert_eq!(success(&exporter), 1.0, "{}", log());
}

#[test]
fn counts_core_dumps_by_unit_and_signal() {
    let machine = Machine::options().daemons().boot();
    add_user(&machine);
    machine.units(&[
        ("root.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
        ("user.service", "[Service]\nUser=app\nExecStart=/bin/sleep infinity\n"),
    ]);
    machine.ok(&["systemctl", "start", "root", "user", "systemd-coredump.socket"]);
    let exporter = machine.exporter(&[]);
    exporter.scrape();
    for (unit, uid, signal) in
        [("root", "0", "11"), ("root", "0", "6"), ("user", "1500", "11"), ("user", "1500", "11")]
    {
        let pid = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", unit]);
        // the kernel's call
        let call = format!(
            "/lib/systemd/systemd-coredump {} {uid} {uid} {signal} $(date +%s) 9223372036854775808 booted < /bin/true",
            pid.trim()
        );
        machine.ok(&["sh", "-c", &call]);
    }
    let dumps = |page: &Samples| -> Vec<(String, String, f64)> {
        let of = |sample: &support::Sample| {
            (sample.label("name").to_owned(), sample.label("signal").to_owned(), sample.value)
        };
        page.all(CORE_DUMPS, &[]).map(of).collect()
    };
    let expected = [
        ("root.service", "SIGABRT", 1.0),
        ("root.service", "SIGSEGV", 1.0),
        ("user.service", "SIGSEGV", 2.0),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(unit, signal, n)| ((*unit).to_owned(), (*signal).to_owned(), *n))
        .collect();
    eventually("all core dumps are counted", || {
        (dumps(&exporter.samples()) == expected).then_some(())
    });
    let entries = machine.ok(&[
        "journalctl",
        "--output=cat",
        "--output-fields=COREDUMP_UNIT",
        &format!("MESSAGE_ID={CORE_DUMP_ID}"),
    ]);
    assert_eq!(entries.lines().count(), 4, "{entries}");
}

#[test]
fn counts_dropped_messages_as_journald_reports_them() {
    let machine = shared();
    machine.unit(
        "flood.service",
        &logging_service(machine, "native 200 100000", "")
            .replace("IntervalSec=0", "IntervalSec=2s\nLogRateLimitBurst=10"),
    );
    let exporter = machine.exporter(&[]);
    exporter.scrape();
    machine.ok(&["systemctl", "start", "flood"]);
    wait_until_inactive(machine, &["flood"]);
    thread::sleep(Duration::from_millis(2500));
    machine.ok(&["systemctl", "start", "flood"]);
    wait_until_inactive(machine, &["flood"]);
    machine.ok(&["journalctl", "--sync"]);
    let records = records(machine, &["_TRANSPORT=driver", "OBJECT_SYSTEMD_UNIT=flood.service"]);
    let number = |record: &Value| -> f64 {
        record["N_DROPPED"].as_str().expect("a number").parse().expect("a number")
    };
    let truth: f64 = records.iter().map(number).sum();
    assert!(truth > 0.0, "{records:#?}");
    let page = exporter.samples();
    assert_eq!(page.value(DROPPED, &[("name", "flood.service")]), Some(truth));
    assert_eq!(counted(&page, "flood.service"), by_priority(machine, "flood.service"));
}

/// A unit that logs a known number of messages, again and again.
struct Counter<'a> {
    machine: &'a Machine,
    exporter: &'a Exporter<'a>,
    logged: std::cell::Cell<u32>,
}

impl<'a> Counter<'a> {
    fn new(machine: &'a Machine, exporter: &'a Exporter<'a>) -> Self {
        machine.write("opt/log.py", LOG_SCRIPT);
        exporter.scrape();
        Self { machine, exporter, logged: 0.into() }
    }

    /// Logs `count` messages and checks the total.
    #[track_caller]
    fn logs(&self, count: u32) {
        let count_of = count.to_string();
        // alternate between root and a user, who has a separate journal file
        let user = if self.logged.get().is_multiple_of(20) { "User=app" } else { "User=root" };
        let run = ["systemd-run", "--quiet", "--wait", "--unit=counted", "--property", user];
        let say = ["/usr/bin/python3", "/opt/log.py", "native", &count_of, "100000", "1"];
        self.machine.ok(&[&run[..], &say[..]].concat());
        // journald rejects requests while it restarts
        eventually("the journal is synced", || {
            let synced = self.machine.exec(&["journalctl", "--sync"]);
            synced.status.success().then_some(())
        });
        self.logged.set(self.logged.get() + count);
        self.check();
    }

    #[track_caller]
    fn check(&self) {
        let labels = [("name", "counted.service"), ("priority", "alert")];
        let counted = self.exporter.samples().value(MESSAGES, &labels);
        assert_eq!(counted, Some(self.logged.get().into()), "{}", self.exporter.log());
    }
}

/// The shared machine, with the user.
fn shared() -> &'static Machine {
    static USER: Once = Once::new();
    USER.call_once(|| add_user(machine()));
    machine()
}

/// A machine whose journald drops nothing; `config` is appended to its configuration.
fn booted(config: &str) -> Machine {
    let machine = Machine::options().boot();
    add_user(&machine);
    machine.write(CONFIG, format!("[Journal]\nRateLimitIntervalSec=0\n{config}"));
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    machine
}

/// A service that runs `log.py`.
fn logging_service(machine: &Machine, arguments: &str, properties: &str) -> String {
    machine.write("opt/log.py", LOG_SCRIPT);
    format!(
        "[Service]\nLogRateLimitIntervalSec=0\n{properties}ExecStart=/usr/bin/python3 /opt/log.py {arguments}\n"
    )
}

/// Adds a user above the range of system users, whose messages journald stores in a separate file.
fn add_user(machine: &Machine) {
    machine.ok(&["systemd-sysusers", "--inline", "u app 1500"]);
}

#[track_caller]
fn wait_until_inactive(machine: &Machine, units: &[&str]) {
    for unit in units {
        eventually("the service is inactive", || {
            let state =
                machine.ok(&["systemctl", "show", "--property=ActiveState", "--value", unit]);
            (state.trim() == "inactive").then_some(())
        });
    }
}

/// The exporter's counts of a unit, by priority.
fn counted(page: &Samples, unit: &str) -> BTreeMap<String, f64> {
    let of_unit = [("name", unit)];
    let counts = page.all(MESSAGES, &of_unit);
    counts.map(|sample| (sample.label("priority").to_owned(), sample.value)).collect()
}

/// journalctl's counts of a unit, by priority: its own messages, and those of PID 1 about it.
#[track_caller]
fn by_priority(machine: &Machine, unit: &str) -> BTreeMap<String, f64> {
    let (own, about) = (format!("_SYSTEMD_UNIT={unit}"), format!("UNIT={unit}"));
    let mut counts = BTreeMap::new();
    for record in records(machine, &[&own, "+", "_PID=1", &about]) {
        // a repeated field is a list; systemd 247 also keeps equal values
        let priority = record["PRIORITY"].as_str().or_else(|| record["PRIORITY"][0].as_str());
        let priority = priority.and_then(|value| value.parse::<usize>().ok());
        let name = priority.and_then(|at| PRIORITIES.get(at)).unwrap_or(&"none");
        *counts.entry((*name).to_owned()).or_default() += 1.0;
    }
    counts
}

#[track_caller]
fn records(machine: &Machine, matches: &[&str]) -> Vec<Value> {
    machine.ok(&["journalctl", "--sync"]);
    let fields = "--output-fields=PRIORITY,N_DROPPED,NUMBER";
    let command = ["journalctl", "--output=json", fields, "--no-pager", "--quiet"];
    let lines = machine.ok(&[&command[..], matches].concat());
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The file that journald writes.
#[track_caller]
fn current(machine: &Machine) -> PathBuf {
    let directories = std::fs::read_dir(machine.path("var/log/journal")).expect("a directory");
    let directory = directories.flatten().next().expect("the machine's directory");
    directory.path().join("system.journal")
}

#[track_caller]
fn assert_nothing_unread(page: &Samples, exporter: &Exporter) {
    let journal = [("collector", "journal")];
    assert_eq!(
        page.value("unit_exporter_collector_success", &journal),
        Some(1.0),
        "{}",
        exporter.log()
    );
    for metric in ["entries_waiting", "entries_unreadable_total", "files_damaged_total"] {
        let metric = format!("unit_exporter_journal_{metric}");
        assert_eq!(page.value(&metric, &[]), Some(0.0), "{metric}");
    }
}

#[track_caller]
fn success(exporter: &Exporter) -> f64 {
    let journal = [("collector", "journal")];
    exporter.samples().value("unit_exporter_collector_success", &journal).expect("a result")
}

fn cpu_while(exporter: &Exporter, work: impl FnOnce()) -> Duration {
    let pid = exporter.pid();
    let before = support::cpu(pid);
    work();
    support::cpu(pid) - before
}

const PRIORITIES: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const MESSAGES: &str = "systemd_unit_journal_messages_total";
const CORE_DUMPS: &str = "systemd_unit_core_dumps_total";
const DROPPED: &str = "systemd_unit_journal_messages_dropped_total";
const CORE_DUMP_ID: &str = "fc2e22bc6ee647b6b90729ab34a250b1";
const LOG_SCRIPT: &str = include_str!("journal/log.py");
const CONFIG: &str = "etc/systemd/journald.conf.d/test.conf";
