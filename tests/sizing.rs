//! Size of the scrape response by number of units: the figures of docs/sizing.md.
#![allow(clippy::disallowed_types)]

mod support;

use std::collections::BTreeMap;

use support::{Machine, eventually};

/// Prints the tables of docs/sizing.md: cargo test --test sizing -- --ignored --nocapture
#[test]
#[ignore = "a measurement that takes minutes"]
fn response_size_by_number_of_units() {
    println!("| units | live | minimal | fleet | default | full | text | gzip |");
    for units in [0, 100, 300, 1000] {
        let machine = machine_with_limits();
        populate(&machine, units);
        let exporter = machine.exporter(&["--profile=default"]);
        let page = eventually("all units are exported", || {
            let page = exporter.samples();
            let all = page.all("systemd_unit_state", &[("state", "active")]);
            let ours = all.filter(|sample| sample.label("name").starts_with("sized-"));
            (ours.count() >= units).then_some(page)
        });
        let live = page.all("systemd_process_cpu_seconds_total", &[]).count();
        let [minimal, fleet, full] = ["minimal", "fleet", "full"].map(|profile| {
            let flag = format!("--profile={profile}");
            machine.exporter(&[&flag]).samples().0.len()
        });
        println!(
            "| {} | {live} | {minimal} | {fleet} | {} | {full} | {} | {} |",
            page.all("systemd_unit_state", &[("state", "active")]).count(),
            page.0.len(),
            kilobytes(exporter.get("/metrics", &[]).body.len()),
            kilobytes(exporter.get("/metrics", &[("accept-encoding", "gzip")]).body.len()),
        );
        if units == 100 {
            largest_families(&page.0);
        }
    }
}

/// A machine with the memory and pids controllers: hybrid where the host mounts them as v1.
fn machine_with_limits() -> Machine {
    Machine::options().cgroup_v1().try_boot().unwrap_or_else(|_| Machine::options().boot())
}

/// Of ten units, six are running services, one a completed oneshot, one an inactive service, one a timer, and one a
/// socket or a failed service, alternately.
fn populate(machine: &Machine, units: usize) {
    let name = |n: usize| match n % 10 {
        0..=5 => format!("sized-{n}.service"),
        6 => format!("sized-job-{n}.service"),
        7 => format!("sized-idle-{n}.service"),
        8 => format!("sized-{n}.timer"),
        _ if n % 20 == 9 => format!("sized-{n}.socket"),
        _ => format!("sized-failed-{n}.service"),
    };
    let text = |n: usize| match n % 10 {
        0..=5 => {
            "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nMemoryMax=1G\n".to_owned()
        }
        6 => "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n".to_owned(),
        7 => "[Service]\nExecStart=/bin/true\n".to_owned(),
        8 => format!("[Timer]\nOnCalendar=yearly\nUnit=sized-idle-{}.service\n", n - 1),
        _ if n % 20 == 9 => {
            format!("[Socket]\nListenStream=127.0.0.1:{}\nAccept=yes\n", 10_000 + n)
        }
        _ => "[Service]\nExecStart=/bin/false\n".to_owned(),
    };
    let mut files: Vec<(String, String)> = (0..units).map(|n| (name(n), text(n))).collect();
    files.push(("sized-all.target".to_owned(), {
        let names: Vec<String> = (0..units).map(name).collect();
        format!("[Unit]\nWants={}\n", names.join(" "))
    }));
    let sockets = (0..units).filter(|n| n % 20 == 9);
    files
        .extend(sockets.map(|n| {
            (format!("sized-{n}@.service"), "[Service]\nExecStart=/bin/cat\n".to_owned())
        }));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    machine.units(&files);
    machine.ok(&["systemctl", "start", "sized-all.target"]);
}

fn largest_families(page: &[support::Sample]) {
    let mut families = BTreeMap::new();
    for sample in page {
        *families.entry(&*sample.name).or_insert(0) += 1;
    }
    let mut families: Vec<(&str, usize)> = families.into_iter().collect();
    families.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    for (name, count) in &families[..15] {
        println!("  {count:6} {name}");
    }
}

fn kilobytes(bytes: usize) -> String {
    format!("{} kB", (bytes + 500) / 1000)
}
