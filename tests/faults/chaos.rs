//! Half an hour of random faults while twenty services crash: every crash is counted.
//! `make chaos` runs it; CI does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use crate::crashers::Crashers;
use crate::scrapes::{Scrapes, TIMEOUT};
use crate::support::{Exporter, Frozen, Machine, Random};
use crate::truth::{Truth, disable_journal_rate_limit};

#[test]
#[ignore = "takes half an hour: make chaos"]
fn every_crash_is_counted_under_random_faults() {
    let minutes = std::env::var("CHAOS_MINUTES").ok().and_then(|text| text.parse::<f64>().ok());
    let length = Duration::from_secs_f64(60.0 * minutes.unwrap_or(30.0));
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let mut random = Random(seed.unwrap_or(20_261_125));
    let machine = &Machine::options().boot();
    disable_journal_rate_limit(machine);
    machine.write("/opt/churn.py", CHURN);
    machine.write("/opt/notify.py", NOTIFY);
    machine.write("/opt/forge.sh", FORGE);
    // the log must survive restarts of journald
    let log = ["StandardError=append:/run/host/exporter"];
    let exporter = &machine.exporter_unit(&log, &["--log.level=debug"]).ready();
    let pid = exporter.pid();
    let crashers = Crashers::start(machine, &PAUSES);

    let mut host = Host { machine, exporter, clients: Vec::new() };
    let mut faults = BTreeMap::<&str, u32>::new();
    let mut fault_log = String::new();
    let begun = Instant::now();
    let (scrapes, ()) = Scrapes::during(exporter, Duration::from_secs(1), || {
        while begun.elapsed() < length {
            let fault = random.of(&FAULTS);
            *faults.entry(fault).or_default() += 1;
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
            writeln!(fault_log, "{now:.3} {fault}").unwrap();
            host.inject(fault, &mut random);
            thread::sleep(Duration::from_millis(random.below(4000) as u64));
        }
    });
    crashers.stop_crashing();

    let longest = scrapes.longest();
    // the faults include restarts of journald and of the bus
    let unexpected = scrapes.failed_but(&["units", "journal"]);
    let accounts = crashers.accounts(exporter);
    let page = exporter.samples();
    let truth = Truth::of(machine);
    let sum = |of: fn(&crate::crashers::Account) -> u64| -> u64 {
        accounts.iter().map(|(_, account)| of(account)).sum()
    };
    let journal: f64 = accounts.iter().map(|(name, _)| truth.failures(name)).sum();
    let lost: Vec<_> = page
        .all("unit_exporter_events_lost_total", &[])
        .map(|sample| format!("{} {}", sample.label("reason"), sample.value))
        .collect();
    let unaccounted: u64 =
        accounts.iter().map(|(_, account)| account.unaccounted().unsigned_abs()).sum();
    eprintln!(
        "{:.1} minutes, faults: {faults:?}\n\
         {} scrapes, the longest {longest:?}; events lost: {}\n\
         crashes in the services' own lists {}, in the journal {journal}; counted with cause {}, as unknown {}, \
         unaccounted {unaccounted}",
        begun.elapsed().as_secs_f64() / 60.0,
        scrapes.0.len(),
        lost.join(", "),
        sum(|account| account.crashes),
        sum(|account| account.with_cause),
        sum(|account| account.unknown),
    );
    let wrong: Vec<_> = accounts.iter().filter(|(_, account)| account.unaccounted() != 0).collect();
    if !wrong.is_empty() || !unexpected.is_empty() {
        let log = fs::read_to_string(machine.path("/run/host/exporter")).unwrap();
        let names = wrong.iter().map(|(name, _)| *name);
        save_logs(&fault_log, &log, names.map(|name| (name, crashers.list(name))));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(unexpected.is_empty(), "collectors that failed: {unexpected:#?}");
    assert_eq!(exporter.pid(), pid, "the exporter was restarted");
    assert!(longest < TIMEOUT, "{longest:?}");
    let drift = page.value("unit_exporter_cache_inconsistencies_total", &[]);
    assert_eq!(drift, Some(0.0), "mirror drift");
}

/// Target of the faults.
struct Host<'a> {
    machine: &'a Machine,
    exporter: &'a Exporter<'a>,
    clients: Vec<TcpStream>,
}

impl Host<'_> {
    fn inject(&mut self, fault: &str, random: &mut Random) {
        let machine = self.machine;
        let seconds = Duration::from_millis(500 + random.below(4000) as u64);
        // systemctl may wait for a peer that is gone
        let run = |command: &[&str]| {
            machine.exec(&[&["timeout", "30"], command].concat());
        };
        match fault {
            "bus restarted" => run(&["systemctl", "restart", "dbus.service"]),
            "bus killed" => run(&["systemctl", "kill", "--signal=KILL", "dbus.service"]),
            "daemon-reload" => run(&["systemctl", "daemon-reload"]),
            "daemon-reexec" => run(&["systemctl", "daemon-reexec"]),
            "PID 1 stopped" => {
                let _frozen = machine.freeze();
                thread::sleep(seconds);
            }
            "exporter stopped" => {
                let _frozen = Frozen::process(self.exporter.pid());
                // a longer stop makes reads in progress miss their deadline
                thread::sleep(seconds / 2);
            }
            "journald restarted" => run(&["systemctl", "restart", "systemd-journald.service"]),
            "clients half open" => {
                self.clients.clear();
                for _client in 0..20 {
                    let Ok(mut client) = machine.tcp(self.exporter.port()) else { continue };
                    // the connection may be refused
                    let _ = client.write_all(b"GET /metrics HTTP/1.1\r\nHo");
                    self.clients.push(client);
                }
            }
            "cgroups made and removed" => {
                let unit = ["systemd-run", "--quiet", "--collect", "--property=Delegate=yes"];
                run(&[&unit[..], &["/usr/bin/python3", "/opt/churn.py"]].concat());
                for _unit in 0..10 {
                    run(&["systemd-run", "--quiet", "--collect", "true"]);
                }
            }
            "signals forged" => run(&["/bin/sh", "/opt/forge.sh"]),
            "signals flood" => {
                let unit = ["systemd-run", "--quiet", "--collect", "--property=NotifyAccess=all"];
                run(&[&unit[..], &["/usr/bin/python3", "/opt/notify.py"]].concat());
            }
            other => unreachable!("{other}"),
        }
    }
}

/// Saves the faults, the exporter's log and the services' lists, and prints the directory.
fn save_logs<'a>(fault_log: &str, log: &str, lists: impl Iterator<Item = (&'a str, String)>) {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("faults"), fault_log).unwrap();
    let warnings = log.lines().filter(|line| !line.contains("level=DEBUG"));
    fs::write(directory.join("log"), warnings.collect::<Vec<_>>().join("\n")).unwrap();
    for (name, list) in lists {
        let lines = log
            .lines()
            .filter(|line| line.contains(&format!("={name} ")) || !line.contains("level=DEBUG"));
        let lines: String = lines.flat_map(|line| [line, "\n"]).collect();
        fs::write(directory.join(format!("{name}.log")), lines).unwrap();
        fs::write(directory.join(format!("{name}.list")), list).unwrap();
    }
    eprintln!("logs of this run: {}", directory.display());
}

const FAULTS: [&str; 11] = [
    "bus restarted",
    "bus killed",
    "daemon-reload",
    "daemon-reexec",
    "PID 1 stopped",
    "exporter stopped",
    "journald restarted",
    "clients half open",
    "cgroups made and removed",
    "signals forged",
    "signals flood",
];

/// Seconds from start to crash, one service each.
pub(crate) const PAUSES: [&str; 20] = [
    "0.2", "0.3", "0.5", "0.7", "1", "1", "1.5", "2", "2", "3", "3", "4", "5", "5", "6", "8", "10",
    "12", "15", "20",
];

/// Creates and removes cgroups below its own for two seconds.
const CHURN: &str = "import os, time
own = '/sys/fs/cgroup' + open('/proc/self/cgroup').read().strip().split('::')[1]
end = time.monotonic() + 2
n = 0
while time.monotonic() < end:
    n += 1
    os.mkdir(f'{own}/{n}')
    os.rmdir(f'{own}/{n}')
";

/// Makes systemd emit D-Bus signals for one unit.
const NOTIFY: &str = "import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for n in range(5000):
    s.sendto(f'STATUS={n}'.encode(), os.environ['NOTIFY_SOCKET'])
";

/// Signals forged by an unprivileged user: units appear and vanish, a reload never ends.
const FORGE: &str = "for n in $(seq 20); do
  for what in 'UnitNew string:crasher-1.service objpath:/x' 'UnitRemoved string:crasher-1.service objpath:/x' 'Reloading boolean:true'; do
    set -- $what
    member=$1; shift
    setpriv --reuid=65534 --regid=65534 --clear-groups dbus-send --system --type=signal \\
      /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager.$member \"$@\"
  done
done
";
