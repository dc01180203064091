//! Units that are active, but do nothing: dead timers, frozen units; and failed paths.

use crate::support::{Machine, eventually};
use crate::units::{ONCE, SLEEP};

/// `elapsed` is also the end of a timer that has done its work.
#[test]
fn timers_that_never_elapse_are_dead() {
    let machine = &Machine::options().boot();
    let exporter = &machine.exporter(&[]);
    let date = machine.ok(&["date", "-u", "-d", "3 seconds", "+%F %T UTC"]);
    let dated = format!("OnCalendar={date}\nAccuracySec=1us\n");
    let unit = "Unit=ran-once.service\n";
    let timer = |settings: &str| format!("[Timer]\n{settings}");
    machine.units(&[
        ("ran-once.service", ONCE),
        ("runs.service", SLEEP),
        ("wanted.target", "[Unit]\nWants=ran-once.service\n"),
        // dead
        ("never-ran.timer", &timer("OnUnitActiveSec=1h\nUnit=idle-one.service\n")),
        ("never-stopped.timer", &timer("OnUnitInactiveSec=1h\nUnit=idle-two.service\n")),
        ("idle-one.service", ONCE),
        ("idle-two.service", ONCE),
        ("past.timer", &timer(&format!("OnCalendar=2001-02-03\n{unit}"))),
        // not dead
        ("active.timer", &timer(&format!("OnActiveSec=1s\nAccuracySec=1us\n{unit}"))),
        ("boot.timer", &timer(&format!("OnBootSec=1s\n{unit}"))),
        ("dated.timer", &timer(&format!("{dated}{unit}"))),
        ("running.timer", &timer("OnUnitInactiveSec=1h\nUnit=runs.service\n")),
        ("clock.timer", &timer(&format!("OnClockChange=yes\n{unit}"))),
        ("daily.timer", &timer(&format!("OnCalendar=daily\n{unit}"))),
    ]);
    let dead = ["never-ran.timer", "never-stopped.timer", "past.timer"];
    let elapsed = ["active.timer", "boot.timer", "dated.timer"];
    let waiting = ["clock.timer", "daily.timer"];
    machine.ok(&["systemctl", "start", "wanted.target", "runs.service"]);
    let names = [&dead[..], &elapsed, &waiting, &["running.timer"]].concat();
    machine.ok(&[&["systemctl", "start"][..], &names].concat());
    let sub_state =
        |name: &str| machine.ok(&["systemctl", "show", "-P", "SubState", name]).trim().to_owned();
    for (names, expected) in [(&dead[..], "elapsed"), (&elapsed, "elapsed"), (&waiting, "waiting")]
    {
        for name in names {
            eventually(name, || (sub_state(name) == expected).then_some(()));
        }
    }
    assert_eq!(sub_state("running.timer"), "elapsed");
    let exported = || {
        let page = exporter.samples();
        let all = page.all("systemd_timer_dead", &[]);
        all.map(|sample| (sample.label("name").to_owned(), sample.value)).collect::<Vec<_>>()
    };
    let is_dead = |name: &str| (name.to_owned(), 1.0);
    eventually("three timers are dead", || (exported() == dead.map(is_dead)).then_some(()));
    // the first run, and the end of the unit, set the timers
    machine.ok(&["systemctl", "start", "idle-one.service", "idle-two.service"]);
    machine.ok(&["systemctl", "stop", "runs.service"]);
    eventually("a date in the past is left", || {
        (exported() == [is_dead("past.timer")]).then_some(())
    });
    assert_eq!(sub_state("running.timer"), "waiting");
    machine.ok(&[&["systemctl", "stop"][..], &names].concat());
    eventually("no stopped timer is dead", || exported().is_empty().then_some(()));
}

#[test]
fn path_result_is_that_of_systemctl() {
    let machine = &Machine::options().boot();
    let exporter = &machine.exporter(&[]);
    machine.units(&[
        ("spool.path", "[Path]\nPathExists=/etc/passwd\n"),
        ("spool.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
    ]);
    machine.ok(&["systemctl", "start", "spool.path"]);
    let show = || machine.ok(&["systemctl", "show", "-P", "Result", "spool.path"]);
    let result = eventually("the path unit fails", || {
        Some(show().trim().to_owned()).filter(|result| result != "success")
    });
    eprintln!("{result}");
    let labels = [("name", "spool.path"), ("result", &*result)];
    eventually("the result", || exporter.samples().value("systemd_path_result", &labels));
    let page = exporter.samples();
    assert_eq!(page.all("systemd_path_result", &[]).count(), 1, "only of paths that failed");
}

#[test]
fn results_of_other_kinds_are_those_of_systemctl() {
    let machine = &Machine::options().boot();
    let exporter = &machine.exporter(&[]);
    machine.units(&[
        ("srv-broken.mount", "[Mount]\nWhat=none\nWhere=/srv/broken\nType=absentfs\n"),
        ("srv-absent.swap", "[Swap]\nWhat=/srv/absent\n"),
        ("srv-auto.automount", "[Automount]\nWhere=/srv/auto\n"),
        ("srv-auto.mount", "[Mount]\nWhat=none\nWhere=/srv/auto\nType=absentfs\n"),
    ]);
    let start = |unit: &str| machine.exec(&["systemctl", "start", unit]);
    start("srv-broken.mount");
    start("srv-absent.swap");
    // the mount fails too often
    start("srv-auto.automount");
    for _try in 0..8 {
        machine.exec(&["ls", "/srv/auto/file"]);
    }
    // it ignores SIGTERM
    let scope = ["--scope", "--unit=stubborn.scope", "--property=TimeoutStopSec=300ms"];
    let program = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"];
    let mut run =
        machine.command("systemd-run").args(scope).args(program).spawn().expect("a scope");
    eventually("the scope runs", || {
        machine.exec(&["systemctl", "is-active", "stubborn.scope"]).status.success().then_some(())
    });
    machine.exec(&["systemctl", "stop", "stubborn.scope"]);
    run.wait().expect("its end");
    let mut shown = 0;
    for (metric, unit) in [
        ("systemd_mount_result", "srv-broken.mount"),
        ("systemd_swap_result", "srv-absent.swap"),
        ("systemd_automount_result", "srv-auto.automount"),
        ("systemd_scope_result", "stubborn.scope"),
    ] {
        let result = machine.ok(&["systemctl", "show", "-P", "Result", unit]);
        let result = result.trim();
        eprintln!("{unit}: {result}");
        if ["", "success"].contains(&result) {
            // a container has no swap, and no autofs
            eprintln!("not on this machine: {unit}");
            continue;
        }
        let labels = [("name", unit), ("result", result)];
        eventually(unit, || exporter.samples().value(metric, &labels));
        // read at the start
        let later = machine.exporter(&[]);
        assert_eq!(later.samples().value(metric, &labels), Some(1.0), "{unit}");
        assert!(exporter.get(&format!("/unit/{unit}"), &[]).text().contains(result), "{unit}");
        shown += 1;
    }
    assert!(shown >= 2, "{shown}");
    machine.exec(&["systemctl", "reset-failed"]);
    let all = ["systemd_mount_result", "systemd_scope_result"];
    eventually("no result is left", || {
        let page = exporter.samples();
        (all.iter().all(|metric| page.all(metric, &[]).count() == 0)).then_some(())
    });
}

#[test]
fn frozen_units_are_marked() {
    let machine = &Machine::options().boot();
    machine.units(&[
        ("ice.service", SLEEP),
        ("ice.slice", "[Unit]\nDescription=x\n"),
        ("ice-cube.service", &format!("{SLEEP}Slice=ice.slice\n")),
    ]);
    machine.ok(&["systemctl", "start", "ice.service", "ice-cube.service"]);
    if !machine.exec(&["systemctl", "freeze", "ice.service"]).status.success() {
        eprintln!("not on this machine: systemctl freeze");
        return;
    }
    // before systemd 256 there is no signal
    let exporter = machine.exporter(&["--systemd.resync-interval=5s"]);
    let frozen = || {
        let page = exporter.samples();
        let all = page.all("systemd_unit_frozen", &[]);
        all.map(|sample| (sample.label("name").to_owned(), sample.value)).collect::<Vec<_>>()
    };
    let is_frozen = |name: &str| (name.to_owned(), 1.0);
    eventually("the state before the start", || {
        (frozen() == [is_frozen("ice.service")]).then_some(())
    });
    let page = exporter.get("/unit/ice.service", &[]);
    assert!(page.text().contains("Freezer state"), "{}", page.text());
    machine.ok(&["systemctl", "thaw", "ice.service"]);
    eventually("a thawed unit is not marked", || frozen().is_empty().then_some(()));
    machine.ok(&["systemctl", "freeze", "ice.slice"]);
    // each version freezes the services of a slice in its own way
    let names = ["ice-cube.service", "ice.service", "ice.slice"];
    let state = |name: &&str| machine.ok(&["systemctl", "show", "-P", "FreezerState", name]);
    let states = names.map(|name| state(&name).trim().to_owned());
    eprintln!("{names:?}: {states:?}");
    let shown = names.into_iter().zip(&states).filter(|(_, state)| state.starts_with("frozen"));
    let expected: Vec<_> = shown.map(|(name, _)| is_frozen(name)).collect();
    assert!(expected.contains(&is_frozen("ice.slice")));
    eventually("the slice and its service", || (frozen() == expected).then_some(()));
    machine.ok(&["systemctl", "thaw", "ice.slice"]);
    eventually("all are thawed", || frozen().is_empty().then_some(()));
}
