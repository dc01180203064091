//! T8: a flood of sockets, each in its control group.

use std::time::{Duration, Instant};

use crate::support::{Machine, Samples, eventually};
use crate::{SLEEP, megabytes, resident, run_script};

#[test]
fn ten_thousand_listening_cgroups_displace_no_unit_listener() {
    let machine = Machine::options().boot();
    let listening = "[Service]\nExecStart=/usr/bin/python3 -c 'import socket, time; \
                     s = socket.create_server((\"127.0.0.1\", 7777)); time.sleep(100000)'\n";
    machine.units(&[("listening.service", listening), ("honest.service", SLEEP)]);
    // like a user manager: a unit that is not exported and has delegated control groups
    let exclude = r"--systemd.collector.unit-exclude=sockets\.service";
    let exporter = machine.exporter(&[exclude]);
    exporter.scrape();
    let (before, _) = resident(exporter.pid());
    let properties = ["Delegate=yes", "LimitNOFILE=200000", "TasksMax=infinity"];
    run_script(&machine, "sockets", LISTEN, &properties, &["10000", "1"]);
    // started last, so that its control group is the newest
    machine.ok(&["systemctl", "start", "listening"]);
    let labels = [("name", "listening.service"), ("port", "7777"), ("address", "127.0.0.1")];
    // one exporter started before the sockets, one after
    let late = machine.exporter(&[exclude]);
    for exporter in [&exporter, &late] {
        eventually("the listener of listening.service is exported", || {
            let samples = exporter.samples();
            (samples.value("systemd_listener_info", &labels) == Some(1.0)).then_some(())
        });
    }
    let truncated = |samples: &Samples| {
        samples
            .value("unit_exporter_truncated_listeners_total", &[])
            .expect("the number of truncated sockets")
    };
    let mut before_scrape = truncated(&exporter.samples());
    for _scrape in 0..3 {
        let sent = Instant::now();
        let samples = exporter.samples();
        let took = sent.elapsed();
        assert_eq!(samples.value("systemd_listener_info", &labels), Some(1.0));
        let exported = samples.all("systemd_listener_info", &[]).count();
        let counted: f64 =
            samples.all("systemd_unit_listeners", &[]).map(|sample| sample.value).sum();
        let total = truncated(&samples);
        let truncated = total - before_scrape;
        before_scrape = total;
        eprintln!("{exported} listeners exported, {truncated} sockets truncated, in {took:?}");
        assert_eq!(exported, 1000);
        assert!(counted + truncated >= 10_001.0);
        assert!(took < Duration::from_secs(10));
    }
    let (_, peak) = resident(exporter.pid());
    assert!(peak < before + (64 << 20), "{} → {}", megabytes(before), megabytes(peak));
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sockets"]);
}

/// Creates control groups with listening sockets in each; arguments: number of groups, of sockets per group.
pub(crate) const LISTEN: &str = include_str!("many_sockets.py");
