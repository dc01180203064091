//! T8: sockets beyond number, in control groups beyond number.

use std::time::{Duration, Instant};

use crate::support::{Machine, eventually};
use crate::{SLEEP, megabytes, python, resident};

#[test]
fn ten_thousand_groups_that_listen_displace_no_listener_of_a_unit() {
    let machine = Machine::options().boot();
    let listening = "[Service]\nExecStart=/usr/bin/python3 -c 'import socket, time; \
                     s = socket.create_server((\"127.0.0.1\", 7777)); time.sleep(100000)'\n";
    machine.units(&[("listening.service", listening), ("honest.service", SLEEP)]);
    // as a user's manager is: a unit that is not exported, and may make control groups
    let exclude = r"--systemd.collector.unit-exclude=squatting\.service";
    let exporter = machine.exporter(&[exclude]);
    exporter.scrape();
    let (before, _) = resident(exporter.pid());
    let properties = ["Delegate=yes", "LimitNOFILE=200000", "TasksMax=infinity"];
    python(&machine, "squatting", SQUATTING, &properties, &["10000", "1"]);
    // only now: its control group is the youngest of all
    machine.ok(&["systemctl", "start", "listening"]);
    let labels = [("name", "listening.service"), ("port", "7777"), ("address", "127.0.0.1")];
    // an exporter that was there before, and one that comes only now
    let late = machine.exporter(&[exclude]);
    for exporter in [&exporter, &late] {
        eventually("the honest listener is told with its unit", || {
            let page = exporter.samples();
            (page.value("systemd_listener_info", &labels) == Some(1.0)).then_some(())
        });
    }
    for _scrape in 0..3 {
        let asked = Instant::now();
        let page = exporter.samples();
        let took = asked.elapsed();
        assert_eq!(page.value("systemd_listener_info", &labels), Some(1.0));
        let told = page.all("systemd_listener_info", &[]).count();
        let kept: f64 = page.all("systemd_unit_listeners", &[]).map(|sample| sample.value).sum();
        let truncated =
            page.value("systemd_listeners_truncated", &[]).expect("how many are not told");
        eprintln!("{told} listeners told, {truncated} sockets not, in {took:?}");
        assert_eq!(told, 1000);
        assert!(kept + truncated >= 10_001.0);
        assert!(took < Duration::from_secs(10));
    }
    let (_, most) = resident(exporter.pid());
    assert!(most < before + (64 << 20), "{} → {}", megabytes(before), megabytes(most));
    machine.ok(&["systemctl", "kill", "--signal=KILL", "squatting"]);
}

/// Makes so many control groups with so many listeners in each.
pub(crate) const SQUATTING: &str = include_str!("squatting.py");
