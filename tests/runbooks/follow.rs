//! Follows a runbook: reads its commands and queries, runs them on the machine, and compares their output with the text.

use std::fs;
use std::path::Path;

use regex::Regex;

use crate::support::{EXPORTER_INSIDE, Machine, Prometheus, eventually, in_time};

/// A machine with the packaged service, and a Prometheus that scrapes it and evaluates the recording rules.
pub(crate) struct Host<'m> {
    pub machine: &'m Machine,
    pub prometheus: Prometheus<'m>,
}

/// The output of a command: its beginning as in the runbook, its exit status, and a part of the output.
pub(crate) type Shown<'a> = (&'a str, i32, &'a str);

impl<'m> Host<'m> {
    /// Starts the packaged service with these flags, and Prometheus.
    pub(crate) fn start(machine: &'m Machine, flags: &str) -> Self {
        Self::start_with_targets(machine, flags, &["localhost:9558"])
    }

    /// The same, with a Prometheus that scrapes the machine under several names.
    pub(crate) fn start_with_targets(machine: &'m Machine, flags: &str, targets: &[&str]) -> Self {
        for (from, to) in [
            ("system/unit-exporter.service", "etc/systemd/system/unit-exporter.service"),
            ("sysusers.d/unit-exporter.conf", "etc/sysusers.d/unit-exporter.conf"),
        ] {
            let text = fs::read_to_string(root().join("systemd").join(from)).expect("a file");
            machine.write(to, text.replace("/usr/bin/unit-exporter", EXPORTER_INSIDE));
        }
        machine.write("etc/default/unit-exporter", format!("ARGS=\"{flags}\"\n"));
        machine.ok(&["systemd-sysusers"]);
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "start", "unit-exporter"]);
        std::mem::forget(machine.exporter_of("unit-exporter.service", 9558));
        for name in ["systemd-lists.yml", "systemd-rules.yml"] {
            let rules = fs::read_to_string(root().join("alerts").join(name)).expect("rules");
            let rules = rules.replace("interval: 3m", "interval: 1s");
            machine.write(&format!("/run/rules/{name}"), rules);
        }
        let prometheus = machine.prometheus(&format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [/run/rules/*.yml]\n\
             scrape_configs:\n- job_name: hosts\n  static_configs:\n  - targets: {targets:?}\n",
        ));
        let host = Self { machine, prometheus };
        host.wait_for("job:systemd_hosts:count");
        host
    }

    /// Waits until a query returns a series.
    #[track_caller]
    pub(crate) fn wait_for(&self, query: &str) {
        eventually(query, || self.prometheus.query(query).pop());
    }

    fn run(&self, command: &str) -> (i32, String) {
        let output = self.machine.exec(&["bash", "-o", "pipefail", "-c", command]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }
}

/// A runbook with the values of its placeholders.
pub(crate) struct Runbook<'h> {
    host: &'h Host<'h>,
    name: &'static str,
    text: String,
    values: Vec<(&'static str, String)>,
}

impl<'h> Runbook<'h> {
    pub(crate) fn of(host: &'h Host<'h>, name: &'static str, unit: &'static str) -> Self {
        let path = root().join(format!("docs/runbooks/{name}.md"));
        let text = fs::read_to_string(path).expect("a runbook");
        // a template has no process
        let show = ["systemctl", "show", "--value", "--property=MainPID", unit];
        let pid = String::from_utf8_lossy(&host.machine.exec(&show).stdout).into_owned();
        let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
        let values = [
            ("INSTANCE", "localhost:9558"),
            ("HOST", "localhost"),
            ("UNIT", unit),
            ("JOB", "hosts"),
            ("MAINPID", pid.trim()),
            ("PID", pid.trim()),
            ("PREFIX", stem),
            ("PART", stem),
        ];
        let values = values.map(|(name, value)| (name, value.to_owned())).into();
        Self { host, name, text, values }
    }

    pub(crate) fn with(mut self, placeholder: &'static str, value: &str) -> Self {
        self.values.push((placeholder, value.to_owned()));
        self
    }

    /// Runs all commands and queries of the diagnosis. Each command shows what is given for it, the others are an error;
    /// each query returns a series, unless it is given with an empty text.
    #[track_caller]
    pub(crate) fn diagnosis(&self, shown: &[Shown<'_>]) -> &Self {
        let section = self.section("Diagnosis");
        let blocks = fences(section, "console");
        let commands: Vec<&str> =
            blocks.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        for command in &commands {
            let expected: Vec<_> =
                shown.iter().filter(|(start, ..)| command.starts_with(start)).collect();
            assert!(!expected.is_empty(), "{}: nothing is expected of {command:?}", self.name);
            for (_, status, part) in expected {
                self.shows(command, *status, part);
            }
        }
        let queries = fences(section, "promql");
        let queries: Vec<&str> =
            queries.split("\n\n").filter(|query| !query.trim().is_empty()).collect();
        assert!(!queries.is_empty(), "{}: no query", self.name);
        for query in &queries {
            let nothing =
                shown.iter().any(|(start, _, part)| query.starts_with(start) && part.is_empty());
            self.returns(query, !nothing);
        }
        for (start, ..) in shown {
            let used = commands.iter().chain(&queries).any(|line| line.starts_with(start));
            assert!(used, "{}: no command {start:?}", self.name);
        }
        self
    }

    /// Runs the commands of one step of the mitigation.
    #[track_caller]
    pub(crate) fn mitigation(&self, step: usize) -> &Self {
        let steps = self.section("Mitigation");
        let step =
            steps.lines().find(|line| line.starts_with(&format!("{step}. "))).expect("a step");
        let commands: Vec<String> = inline(step).filter(|code| is_command(code)).collect();
        assert!(!commands.is_empty(), "{}: no command in {step:?}", self.name);
        for command in commands {
            self.shows(&command, 0, "");
        }
        self
    }

    /// Runs the commands of the verification, which print what the text says, and its queries.
    #[track_caller]
    pub(crate) fn verification(&self) {
        let section = self.section("Verification");
        let printed =
            Regex::new("`([^`]+)` (?:prints|shows) [`\"]([^`\"]+)[`\"](?: or `([^`]+)`)?")
                .expect("a pattern");
        for found in printed.captures_iter(section) {
            let (command, part) = (&found[1], &found[2]);
            let other = found.get(3).map_or(part, |other| other.as_str());
            if is_command(command) {
                let command = self.substituted(command);
                let shows = in_time(|| {
                    let printed = self.host.run(&command).1;
                    (printed.contains(part) || printed.contains(other)).then_some(())
                });
                assert!(
                    shows.is_some(),
                    "{}: {command} does not print {part}: {}",
                    self.name,
                    self.host.run(&command).1
                );
            }
        }
        for query in
            fences(section, "promql").split("\n\n").filter(|query| !query.trim().is_empty())
        {
            self.returns(query, true);
        }
    }

    /// Runs a command of the text, and checks its exit status and a part of its output.
    #[track_caller]
    pub(crate) fn shows(&self, command: &str, status: i32, part: &str) -> String {
        let command = self.substituted(command);
        let mut last = (0, String::new());
        let shown = in_time(|| {
            last = self.host.run(&command);
            (last.0 == status && last.1.contains(part)).then_some(())
        });
        assert!(
            shown.is_some(),
            "{}: {command}: status {status} and {part:?} expected: {last:?}",
            self.name
        );
        eprintln!("{}: $ {command}\n{}", self.name, last.1);
        last.1
    }

    #[track_caller]
    fn returns(&self, query: &str, something: bool) {
        let query = self.substituted(query);
        let returned = in_time(|| {
            let series = self.host.prometheus.query(&query);
            (series.is_empty() != something).then_some(())
        });
        assert!(returned.is_some(), "{}: {query}: a series is expected: {something}", self.name);
    }

    fn substituted(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (placeholder, value)| {
            let whole = Regex::new(&format!(r"\b{placeholder}\b")).expect("a pattern");
            whole.replace_all(&text, regex::NoExpand(value)).into_owned()
        })
    }

    fn section(&self, heading: &str) -> &str {
        let (_, after) = self.text.split_once(&format!("\n## {heading}\n")).expect("a section");
        after.split("\n## ").next().expect("a text").trim()
    }
}

fn is_command(code: &str) -> bool {
    let program = code.split(' ').next().unwrap_or_default();
    ["systemctl", "journalctl", "prlimit"].contains(&program) && code.contains(' ')
}

/// The inline code of a text.
fn inline(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The contents of the code blocks of a language, with an empty line between two blocks.
fn fences(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|block| block.split("```").next()).collect();
    blocks.join("\n")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
