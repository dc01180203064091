//! The base for Kustomize: complete, and valid for Kubernetes.

use std::fmt::Write as _;

use serde_json::Value;

use super::*;

#[test]
fn kustomize_base_has_the_current_rules() {
    let mut expected = String::from(
        "# The rules of alerts/systemd-*.yml for the Prometheus operator, written by\n\
         # `UPDATE=1 cargo test --test package rules`.\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: unit-exporter\nspec:\n  groups:\n",
    );
    for name in ["systemd-alerts.yml", "systemd-lists.yml", "systemd-rules.yml"] {
        let text = fs::read_to_string(in_project("alerts").join(name)).expect("a file of rules");
        let groups = text.split_once("\ngroups:\n").expect("groups").1;
        for line in groups.lines() {
            let indent = if line.is_empty() { "" } else { "  " };
            writeln!(expected, "{indent}{line}").expect("a string");
        }
    }
    let path = in_project("packaging/kustomize/prometheusrule.yaml");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).expect("a written file");
    }
    let written = fs::read_to_string(&path).expect("the rules of the base");
    assert!(written == expected, "not current: UPDATE=1 cargo test --test package rules");
}

#[test]
fn kustomize_base_has_every_dashboard() {
    let dashboards = yaml("dashboards/kustomization.yaml");
    let maps = dashboards["configMapGenerator"].as_array().expect("a list");
    let mut listed: Vec<&str> = maps.iter().filter_map(|map| map["files"][0].as_str()).collect();
    listed.sort_unstable();
    let files = fs::read_dir(in_project("dashboards")).expect("the dashboards").flatten();
    let names = files.map(|file| file.file_name().into_string().expect("a name"));
    let mut present: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
    present.sort_unstable();
    assert_eq!(listed, present);
}

#[test]
#[ignore = "needs kubectl; make test-package runs it"]
fn kustomize_base_is_valid_for_kubernetes() {
    let kubectl = in_project("target/forky/kubectl");
    let mut build = Command::new(&kubectl);
    let manifests = succeeds(build.arg("kustomize").arg(in_project("packaging/kustomize")));
    let directory = tempfile::tempdir().expect("a directory");
    let mut kinds = BTreeSet::new();
    for (number, manifest) in manifests.split("\n---\n").enumerate() {
        let value: Value = serde_saphyr::from_str(manifest).expect("YAML");
        kinds.insert(value["kind"].as_str().expect("a kind").to_owned());
        // not a kind of Kubernetes itself
        if value["apiVersion"] == "monitoring.coreos.com/v1" {
            continue;
        }
        let file = directory.path().join(format!("{number}.yaml"));
        fs::write(&file, manifest).expect("a file");
        let mut validate = Command::new("/usr/bin/python3");
        validate.args([
            "-m",
            "kubernetes_validate",
            "--strict",
            "--quiet",
            "--kubernetes-version",
            "1.37",
        ]);
        succeeds(validate.arg(&file).env("PYTHONPATH", in_project(".cache/python")));
    }
    let expected = ["ConfigMap", "DaemonSet", "PodMonitor", "PrometheusRule", "Service"];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}

fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(in_project(path)).expect("a file");
    serde_saphyr::from_str(&text).expect("YAML")
}
