//! The exporter's log is not read: no scrape waits for it.

use std::process::Stdio;
use std::time::Duration;
use std::{fs, thread};

use crate::scrapes::{Scrape, Scrapes, TIMEOUT};
use crate::support::{Exporter, Frozen, Machine, eventually};

#[test]
fn full_log_pipe_drops_lines_and_delays_nothing() {
    let machine = &Machine::options().boot();
    machine.ok(&["mkfifo", "/run/log-pipe"]);
    // holds the pipe open, and reads it once /run/read exists
    let reader = "exec 3< /run/log-pipe; until [ -e /run/read ]; do sleep 0.1; done; exec cat <&3 > /run/read";
    let mut reader =
        machine.command("sh").args(["-c", reader]).stdout(Stdio::null()).spawn().unwrap();
    let exporter = &machine
        .exporter_unit(&["StandardError=file:/run/log-pipe"], &["--log.level=debug"])
        .ready();
    machine.unit("often.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n");
    let (scrapes, ()) = Scrapes::during(exporter, Duration::from_millis(100), || {
        eventually("lines are dropped", || {
            machine.ok(&["systemctl", "start", "often.service"]);
            (dropped(exporter) > Some(0.0)).then_some(())
        });
        for _ in 0..10 {
            machine.ok(&["systemctl", "start", "often.service"]);
        }
    });
    let (count, longest) = (scrapes.0.len(), scrapes.longest());
    eprintln!(
        "{count} scrapes with a full log pipe, at most {longest:?}; {:?} lines dropped",
        dropped(exporter)
    );
    assert!(longest < TIMEOUT, "{longest:?}");
    let wrong = scrapes.failed_but(&["units"]);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // signals were processed all the time
    let starts = [("name", "often.service")];
    let started = machine.ok(&["journalctl", "--output=cat", "--unit=often", "--grep=^Starting"]);
    let starts = exporter.samples().value("systemd_unit_starts_total", &starts).unwrap();
    assert!((started.lines().count() as f64 - starts).abs() < 1.0, "{starts}");

    // the pipe is read again: logging continues
    machine.write("/run/read", "");
    let length = || fs::metadata(machine.path("/run/read")).unwrap().len();
    eventually("buffered lines are written", || (length() > 60_000).then_some(()));
    thread::sleep(Duration::from_millis(500));
    let (before, lost) = (length(), dropped(exporter));
    machine.ok(&["systemctl", "start", "often.service"]);
    eventually("new lines are written", || (length() > before).then_some(()));
    assert_eq!(dropped(exporter), lost);
    reader.kill().unwrap();
    reader.wait().unwrap();
    // the exporter survives the exit of the reader (SIGPIPE, EPIPE)
    machine.ok(&["systemctl", "start", "often.service"]);
    assert!(Scrape::of(exporter).failed.is_empty());
}

#[test]
fn hung_or_stopped_journald_fails_at_most_journal_collector() {
    let machine = &Machine::options().boot();
    let exporter = &machine.exporter(&["--log.level=debug"]);
    machine.unit(
        "often.service",
        "[Service]\nType=oneshot\nExecStart=/bin/true\nStandardOutput=null\nStandardError=null\n",
    );
    let journald = machine.ok(&["systemctl", "show", "-P", "MainPID", "systemd-journald"]);
    let journald = machine.outer_pid(journald.trim().parse().unwrap()).unwrap();

    let frozen = Frozen::process(journald);
    let (scrapes, ()) = Scrapes::during(exporter, Duration::from_millis(100), || {
        // PID 1's own logging does not block on journald, but starting units may: start few
        for _ in 0..20 {
            machine.exec(&["timeout", "5", "systemctl", "start", "--no-block", "often.service"]);
        }
        thread::sleep(Duration::from_secs(5));
    });
    drop(frozen);
    assert_only_journal_failed("journald frozen", &scrapes);

    let sockets = ["systemd-journald.socket", "systemd-journald-dev-log.socket"];
    let stop = [&["timeout", "60", "systemctl", "stop", "systemd-journald.service"][..], &sockets];
    let (scrapes, ()) = Scrapes::during(exporter, Duration::from_millis(100), || {
        machine.exec(&stop.concat());
        thread::sleep(Duration::from_secs(3));
        machine.exec(&["timeout", "60", "systemctl", "start", "systemd-journald.service"]);
    });
    assert_only_journal_failed("journald stopped", &scrapes);
    eventually("no collector fails", || Scrape::of(exporter).failed.is_empty().then_some(()));
}

#[track_caller]
fn assert_only_journal_failed(fault: &str, scrapes: &Scrapes) {
    let (count, longest) = (scrapes.0.len(), scrapes.longest());
    eprintln!("{fault}: {count} scrapes, at most {longest:?}");
    assert!(count > 5 && longest < TIMEOUT, "{count} {longest:?}");
    let wrong = scrapes.failed_but(&["journal"]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn dropped(exporter: &Exporter<'_>) -> Option<f64> {
    exporter.samples().value("unit_exporter_log_lines_dropped_total", &[])
}
