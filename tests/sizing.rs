//! Size of the scrape response by number of units: the figures of docs/sizing.md.
#![allow(clippy::disallowed_types)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use support::{EXPORTER_INSIDE, Machine, eventually};

/// Prints the tables of docs/sizing.md: cargo test --test sizing -- --ignored --nocapture
///
/// With `SIZING_BASELINE=PROGRAM`, another build of the exporter is the first column of profiles; `SIZING_RESPONSES=DIRECTORY`
/// keeps all responses.
#[test]
#[ignore = "a measurement that takes minutes"]
fn response_size_by_number_of_units() {
    let mut columns = PROFILES.map(Column::profile).to_vec();
    if env::var_os(BASELINE).is_some() {
        columns.insert(0, Column { title: "baseline", program: BASELINE_INSIDE, flags: "" });
    }
    columns.extend(PEERS);
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    println!("| units | live | {} | text | gzip |", titles.join(" | "));
    for units in [0, 100, 200, 300, 1000] {
        let machine = machine_with_limits();
        populate(&machine, units);
        let exporter = machine.exporter(&["--profile=default"]);
        let page = eventually("all units are exported", || {
            let page = exporter.samples();
            let all = page.all("systemd_unit_state", &[("state", "active")]);
            let ours = all.filter(|sample| sample.label("name").starts_with("sized-"));
            (ours.count() >= units).then_some(page)
        });
        let exported = page.all("systemd_unit_state", &[("state", "active")]).count();
        let live = page.all("systemd_process_cpu_seconds_total", &[]).count();
        let series = columns.iter().map(|column| column.series(&machine, units).to_string());
        println!(
            "| {exported} | {live} | {} | {} | {} |",
            series.collect::<Vec<_>>().join(" | "),
            kilobytes(exporter.get("/metrics", &[]).body.len()),
            kilobytes(exporter.get("/metrics", &[("accept-encoding", "gzip")]).body.len()),
        );
        if units == 100 {
            largest_families(&page.0);
        }
    }
}

/// An exporter whose series are counted.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    program: &'static str,
    flags: &'static str,
}

impl Column {
    const fn profile(flags: &'static str) -> Self {
        let (_, title) = flags.split_at("--profile=".len());
        Self { title, program: EXPORTER_INSIDE, flags }
    }

    /// Starts the exporter, and counts the series of its first response with all running services.
    fn series(&self, machine: &Machine, units: usize) -> usize {
        let (unit, listen) = ("column.service", "--web.listen-address=127.0.0.1:9700");
        let mut command = vec!["systemd-run", "--quiet", "--collect", "--unit", unit];
        command.extend([self.program, listen]);
        command.extend(self.flags.split_whitespace());
        machine.ok(&command);
        let start = Instant::now();
        let text = loop {
            assert!(start.elapsed() < Duration::from_secs(300), "no response of {}", self.title);
            thread::sleep(Duration::from_millis(500));
            // 404 from an exporter without this path
            let is_ready =
                machine.get(9700, "/-/ready", &[]).is_ok_and(|response| response.status != 503);
            let Some(response) = machine.get(9700, "/metrics", &[]).ok().filter(|_| is_ready)
            else {
                continue;
            };
            let mut running = (0..units).filter(|n| n % 10 < 6);
            let text = response.text();
            if running.all(|n| text.contains(&format!("\"sized-{n}.service"))) {
                break text.to_owned();
            }
        };
        machine.ok(&["systemctl", "stop", unit]);
        if let Some(directory) = env::var_os(RESPONSES) {
            let directory = Path::new(&directory);
            fs::create_dir_all(directory).expect("a directory");
            let file = directory.join(format!("{}-{units}.txt", self.title));
            fs::write(file, &text).expect("a file");
        }
        series(&text)
    }
}

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// A machine with the memory and pids controllers: hybrid where the host mounts them as v1.
fn machine_with_limits() -> Machine {
    let mut options = Machine::options().bind(SYSTEMD_EXPORTER, SYSTEMD_EXPORTER_INSIDE);
    if let Some(baseline) = env::var_os(BASELINE) {
        options = options.bind(baseline, BASELINE_INSIDE);
    }
    options.clone().cgroup_v1().try_boot().unwrap_or_else(|_| options.boot())
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

const PROFILES: [&str; 4] =
    ["--profile=minimal", "--profile=fleet", "--profile=default", "--profile=full"];

/// With the flags that add the metrics of a unit that this exporter always has.
const PEERS: [Column; 2] = [
    Column {
        title: "systemd_exporter",
        program: SYSTEMD_EXPORTER_INSIDE,
        flags: "--systemd.collector.enable-restart-count",
    },
    Column {
        title: "node_exporter",
        program: "/usr/bin/prometheus-node-exporter",
        flags: "--web.disable-exporter-metrics --collector.disable-defaults --collector.systemd \
            --collector.systemd.enable-restarts-metrics --collector.systemd.enable-start-time-metrics \
            --collector.systemd.enable-task-metrics",
    },
];

const SYSTEMD_EXPORTER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/forky/prometheus-systemd-exporter");
const SYSTEMD_EXPORTER_INSIDE: &str = "/usr/local/bin/systemd_exporter";
const BASELINE: &str = "SIZING_BASELINE";
const BASELINE_INSIDE: &str = "/usr/local/bin/baseline";
const RESPONSES: &str = "SIZING_RESPONSES";
