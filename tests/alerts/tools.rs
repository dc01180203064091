//! The rules in promtool, amtool and a real Alertmanager.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use super::promql::{Vocabulary, rules};
use super::support::eventually;
use super::texts;

#[test]
fn promtool_accepts_all_rules() {
    for path in rules::paths() {
        let output = run(Command::new("promtool")
            .args(["check", "rules", "--lint=all", "--lint-fatal"])
            .arg(&path));
        assert!(output.status.success(), "{}", said(&output));
    }
    let json =
        ["alerts", "rules"].map(|name| rules::directory().join(format!("mixin/{name}.json")));
    let output = run(Command::new("promtool").args(["check", "rules"]).args(json));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn mixin_evaluates_in_go_jsonnet() {
    let config = "{ dashboards: 'https://g', alertLabels: { team: 'a' }, ruleLabels: { cluster: 'b' }, tags: ['c'] }";
    let files = fs::read_dir(rules::directory().join("../dashboards")).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name.ends_with(".json"));
    let dashboards: Vec<String> =
        names.map(|name| format!("'{name}': import 'dashboards/{name}'")).collect();
    assert!(dashboards.len() > 7, "{dashboards:?}");
    let code = format!(
        "local mixin = (import 'alerts/mixin/mixin.libsonnet') {{ _config+:: {config} }};\n\
         local shown = mixin.grafanaDashboards;\n\
         local files = {{ {} }};\n\
         [mixin.prometheusAlerts, mixin.prometheusRules, [\n\
           name for name in std.set(std.objectFields(files) + std.objectFields(shown))\n\
           if std.get(shown, name) != std.get(files, name) {{ tags+: ['c'] }}\n\
         ]]",
        dashboards.join(", ")
    );
    let script = "import _gojsonnet, sys; print(_gojsonnet.evaluate_snippet('test', sys.argv[1]))";
    let output = run(Command::new("/usr/bin/python3")
        .current_dir(rules::directory().join(".."))
        .env("PYTHONPATH", ".cache/python")
        .args(["-c", script, &code]));
    assert!(output.status.success(), "scripts/setup test installs gojsonnet: {}", said(&output));
    let evaluated: [serde_json::Value; 3] = serde_json::from_slice(&output.stdout).unwrap();
    let read = |path: PathBuf| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let labels = [("team", "a"), ("cluster", "b")];
    for ((name, evaluated), (label, value)) in
        ["alerts", "rules"].into_iter().zip(&evaluated).zip(labels)
    {
        let mut expected = read(rules::directory().join(format!("mixin/{name}.json")));
        for group in expected["groups"].as_array_mut().unwrap() {
            for rule in group["rules"].as_array_mut().unwrap() {
                rule["labels"][label] = value.into();
                if let Some(url) = rule["annotations"]["dashboard_url"].as_str() {
                    rule["annotations"]["dashboard_url"] = format!("https://g{url}").into();
                }
            }
        }
        assert_eq!(*evaluated, expected, "{name}");
    }
    // compared by jsonnet, whose numbers have other texts
    assert_eq!(evaluated[2], serde_json::json!([]), "dashboards that differ");
}

#[test]
fn all_rule_tests_pass_in_prometheus_2_and_3() {
    let files: Vec<PathBuf> = rules::tests().into_iter().map(|(path, _)| path).collect();
    assert!(files.len() > 5, "{files:?}");
    for promtool in ["promtool".into(), of_forky("promtool")] {
        let output = run(Command::new(&promtool).args(["test", "rules"]).args(&files));
        assert!(output.status.success(), "{}: {}", promtool.display(), said(&output));
    }
}

/// The same tests: vmalert-tool has another name for the tests of expressions, and needs the group of an alert.
#[test]
fn all_rule_tests_pass_in_victoriametrics() {
    let groups = rules::alerts().into_iter().map(|(group, rule)| (rule.alert.unwrap(), group.name));
    let groups: BTreeMap<String, String> = groups.collect();
    let rules = format!("- {}/", rules::directory().display());
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(of_forky("vmalert-tool"));
    command.arg("unittest");
    for (path, tests) in rules::tests() {
        let mut converted = String::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let line = line.replace("promql_expr_test:", "metricsql_expr_test:");
            writeln!(converted, "{}", line.replace("- ../", &rules)).unwrap();
            if let Some((indent, alert)) = line.split_once("alertname: ")
                && indent.trim().is_empty()
            {
                writeln!(converted, "{indent}groupname: {}", groups[alert]).unwrap();
            }
        }
        let expected: usize = tests.tests.iter().map(|test| test.alert_rule_test.len()).sum();
        assert_eq!(converted.matches("groupname: ").count(), expected, "{}", path.display());
        let file = directory.path().join(path.file_name().unwrap());
        fs::write(&file, converted).unwrap();
        command.arg(format!("--files={}", file.display()));
    }
    let output = run(&mut command);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn readme_has_the_tested_versions() {
    let setup = fs::read_to_string(rules::directory().join("../scripts/setup")).unwrap();
    let readme = fs::read_to_string(rules::directory().join("README.md")).unwrap();
    for package in ["promtool", "victoria-metrics"] {
        let line =
            setup.lines().find_map(|line| line.trim().strip_prefix(&format!("newer {package} ")));
        let version = line.and_then(|line| line.split(['+', '-']).next()).expect("a version");
        assert!(readme.contains(&format!(" {version} |")), "{package} {version}");
    }
}

#[test]
fn rule_tests_evaluate_all_groups_in_order() {
    let groups: Vec<String> = rules::files()
        .iter()
        .flat_map(|file| file.groups.iter().map(|group| format!("  - {}\n", group.name)))
        .collect();
    for (path, _) in rules::tests() {
        let text = fs::read_to_string(&path).unwrap();
        let order = format!("group_eval_order:\n{}evaluation_interval:", groups.concat());
        assert!(text.contains(&order), "{}: not in the order of the files", path.display());
    }
}

#[test]
fn each_severity_has_its_receiver() {
    let checked = run(Command::new("amtool").arg("check-config").arg(example()));
    assert!(checked.status.success(), "{}", said(&checked));
    for (_, rule) in rules::alerts() {
        let severity = &rule.labels["severity"];
        let expected = match severity.as_str() {
            "critical" => "page",
            "warning" => "mail",
            _ => "log",
        };
        let labels = [
            format!("alertname={}", rule.alert.unwrap()),
            format!("severity={severity}"),
            "job=hosts".to_owned(),
        ];
        let output = run(Command::new("amtool")
            .args(["config", "routes", "test", "--config.file"])
            .arg(example())
            .arg(format!("--verify.receivers={expected}"))
            .args(&labels));
        assert!(output.status.success(), "{labels:?}: {}", said(&output));
    }
}

#[test]
fn explained_alerts_are_inhibited() {
    let alertmanager = Alertmanager::start();
    // alert, host, unit, severity, and whether Alertmanager sends it
    let alerts = [
        ("SystemdServiceStartLimitHit", "a", "web", "warning", true),
        ("SystemdUnitFailed", "a", "web", "warning", false),
        ("SystemdUnitFailed", "a", "db", "warning", true),
        ("SystemdUnitFailed", "b", "web", "warning", true),
        ("SystemdServiceCrashLooping", "c", "web", "warning", true),
        ("SystemdServiceFailureBurst", "c", "web", "info", false),
        ("SystemdListenerMissing", "c", "web", "warning", false),
        ("SystemdUnitFailedOnManyHosts", "", "release", "critical", true),
        ("SystemdUnitFailed", "d", "release", "warning", false),
        ("SystemdServiceStartLimitHit", "e", "release", "warning", false),
        ("SystemdUnitFailed", "d", "other", "warning", true),
        ("SystemdEmergencyMode", "f", "", "critical", true),
        ("SystemdUnitFailed", "f", "web", "warning", false),
        ("SystemdListenerMissing", "f", "ssh", "critical", true),
        ("SystemdNotResponding", "g", "", "warning", true),
        ("UnitExporterCollectorFailing", "g", "", "warning", false),
        ("UnitExporterCollectorFailing", "h", "", "warning", true),
        ("SystemdCriticalUnitNotActive", "i", "ssh", "critical", true),
        ("SystemdUnitFailed", "i", "ssh", "warning", false),
        ("UnitExporterDownOnManyHosts", "", "", "critical", true),
        ("UnitExporterDown", "j", "", "warning", false),
    ];
    for (alert, host, unit, severity, _) in alerts {
        let mut labels = vec![
            format!("alertname={alert}"),
            format!("severity={severity}"),
            "job=hosts".to_owned(),
        ];
        labels.extend((!host.is_empty()).then(|| format!("instance={host}")));
        labels.extend((!unit.is_empty()).then(|| format!("name={unit}")));
        let added = alertmanager.amtool(&["alert", "add"], &labels);
        assert!(added.status.success(), "{}", said(&added));
    }
    for (alert, host, unit, _, sent) in alerts {
        let labels =
            [format!("alertname={alert}"), format!("instance={host}"), format!("name={unit}")];
        let shown = |inhibited: &str| {
            let command = ["alert", "query", "--output=json", inhibited];
            let output = alertmanager.amtool(&command, &labels);
            let alerts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            alerts.as_array().map_or(0, Vec::len)
        };
        assert_eq!(
            (shown("--active"), shown("--inhibited")),
            (sent.into(), (!sent).into()),
            "{labels:?}"
        );
    }
}

#[test]
fn silence_commands_of_runbooks_silence_their_alerts() {
    let alertmanager = Alertmanager::start();
    let vocabulary = Vocabulary::of_the_project();
    let alerts = rules::alerts();
    for (_, rule) in &alerts {
        let mut labels = vec![
            format!("alertname={}", rule.alert.as_ref().unwrap()),
            format!("severity={}", rule.labels["severity"]),
        ];
        let there = vocabulary.labels_of(&rule.expr);
        let values = [
            ("job", "JOB"),
            ("instance", "INSTANCE"),
            ("name", "UNIT"),
            ("port", "PORT"),
            ("collector", "NAME"),
        ];
        let values = values.into_iter().filter(|(label, _)| there.contains(*label));
        labels.extend(values.map(|(label, value)| format!("{label}={value}")));
        let added = alertmanager.amtool(&["alert", "add"], &labels);
        assert!(added.status.success(), "{}", said(&added));
    }
    for (name, runbook) in texts::runbooks() {
        let command = format!(
            "amtool --alertmanager.url={} silence add {}",
            alertmanager.url,
            texts::silence(&runbook)
        );
        let output = run(Command::new("sh").args(["-c", &command]));
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
    let command = ["alert", "query", "--output=json", "--active", "--silenced", "--inhibited"];
    let output = alertmanager.amtool(&command, &[]);
    let shown: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown.len(), alerts.len());
    for alert in shown {
        let silences = alert["status"]["silencedBy"].as_array().map_or(0, Vec::len);
        assert_eq!(silences, 1, "{alert:#}");
    }
}

/// An Alertmanager with the example configuration, on the loopback address; it ends when dropped.
struct Alertmanager {
    process: Child,
    url: String,
    _storage: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let storage = tempfile::tempdir().unwrap();
        let process = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", example().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--storage.path={}", storage.path().display()))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager: apt-get install prometheus-alertmanager");
        let alertmanager =
            Self { process, url: format!("http://127.0.0.1:{port}"), _storage: storage };
        eventually("Alertmanager answers", || {
            alertmanager.amtool(&["cluster", "show"], &[]).status.success().then_some(())
        });
        alertmanager
    }

    fn amtool(&self, command: &[&str], labels: &[String]) -> Output {
        run(Command::new("amtool")
            .arg(format!("--alertmanager.url={}", self.url))
            .args(command)
            .args(labels))
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn example() -> PathBuf {
    rules::directory().join("alertmanager-example.yml")
}

/// A program that scripts/setup takes out of a package of Debian forky.
fn of_forky(program: &str) -> PathBuf {
    let path = rules::directory().join("../target/forky").join(program);
    assert!(path.exists(), "no {}: scripts/setup test unpacks it", path.display());
    path
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; apt-get install prometheus prometheus-alertmanager")
    })
}

fn said(output: &Output) -> String {
    (String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)).into_owned()
}
