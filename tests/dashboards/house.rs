//! The project's rules for dashboards, in addition to those of Grafana's linter.

#![allow(clippy::disallowed_types, reason = "promtool is a program")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::Command;

use serde_json::Value;

use super::json::{panels, substituted, targets, text, variables};
use super::promql::{Vocabulary, rules};
use super::{committed, folder};

#[test]
fn links_target_existing_dashboards_and_variables() {
    let dashboards = committed();
    let uids: BTreeSet<_> = dashboards.iter().map(|dashboard| text(&dashboard["uid"])).collect();
    assert_eq!(uids.len(), dashboards.len());
    assert!(uids.iter().all(|uid| uid.len() <= 40 && uid.starts_with("systemd-")));
    let mut links = 0;
    for dashboard in &dashboards {
        for url in urls(dashboard) {
            let (uid, query) =
                url.strip_prefix("/d/").and_then(|rest| rest.split_once('?')).unwrap();
            let to = dashboards.iter().find(|dashboard| dashboard["uid"] == uid);
            let to = to.unwrap_or_else(|| panic!("{url} has no target"));
            let has: BTreeSet<_> = variables(to).map(|variable| text(&variable["name"])).collect();
            for part in query.split('&') {
                let name = part.strip_prefix("var-").and_then(|rest| rest.split_once('='));
                assert!(name.is_none_or(|(name, _)| has.contains(name)), "{url}: no such variable");
            }
            for carried in [
                "${datasource:queryparam}",
                "${cluster:queryparam}",
                "${job:queryparam}",
                "${__url_time_range}",
            ] {
                assert!(query.contains(carried), "{url} does not carry {carried}");
            }
            links += 1;
        }
    }
    println!("{links} links");
    assert!(links > 90, "{links}");
}

#[test]
fn hosts_and_units_link_to_their_dashboards() {
    for dashboard in committed() {
        for panel in panels(&dashboard) {
            let place = format!("{}: {}", dashboard["title"], panel["title"]);
            let config = &panel["fieldConfig"];
            if panel["type"] == "table" {
                for (title, uid) in [("Host", "systemd-host"), ("Unit", "systemd-unit")] {
                    let columns = renamed(panel);
                    if columns.values().any(|column| column == title) {
                        let link = property(panel, title, "links");
                        assert!(
                            text(&link[0]["url"]).starts_with(&format!("/d/{uid}?")),
                            "{place}"
                        );
                    }
                }
            }
            let links = config["defaults"]["links"].as_array().into_iter().flatten();
            let links: Vec<_> = links.map(|link| text(&link["url"])).collect();
            let links_to =
                |uid: &str| links.iter().any(|url| url.starts_with(&format!("/d/{uid}?")));
            let targets = panel["targets"].as_array().into_iter().flatten();
            for legend in targets.map(|target| text(&target["legendFormat"])) {
                let to_unit = links_to("systemd-unit");
                if legend.contains("{{name}}") && dashboard["uid"] != "systemd-unit" {
                    assert!(to_unit, "{place}");
                } else if legend.contains("{{instance}}") {
                    assert!(to_unit || links_to("systemd-host"), "{place}");
                }
            }
        }
    }
}

#[test]
fn panel_ids_are_unique_and_panels_do_not_overlap() {
    for dashboard in committed() {
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{}: {}",
                dashboard["title"],
                panel["id"]
            );
        }
        disjoint(dashboard["panels"].as_array().unwrap());
        for row in dashboard["panels"].as_array().unwrap() {
            disjoint(row["panels"].as_array().unwrap_or(&vec![]));
        }
    }
}

#[test]
fn panels_have_title_description_and_no_value_text() {
    let mut seen = 0;
    for dashboard in committed() {
        let mut titles = HashSet::new();
        assert!(text(&dashboard["description"]).ends_with('.'), "{}", dashboard["title"]);
        for panel in panels(&dashboard) {
            let title = text(&panel["title"]);
            let place = format!("{}: {title}", dashboard["title"]);
            if panel["type"] == "row" {
                assert!(!title.is_empty() && !title.ends_with('?'), "{place}: a row names a topic");
                continue;
            }
            seen += 1;
            assert!(titles.insert((&panel["type"], title)), "{place}: not unique");
            assert!(title.len() <= 40, "{place}: too long");
            let description = text(&panel["description"]);
            assert!(description.ends_with('.') && description != title, "{place}");
            if panel["type"] != "text" {
                let defaults = &panel["fieldConfig"]["defaults"];
                assert!(
                    !text(&defaults["noValue"]).is_empty(),
                    "{place}: no text instead of No data"
                );
            }
        }
    }
    println!("{seen} panels");
    assert!(seen > 100, "{seen}");
}

#[test]
fn dashboards_start_with_one_line_of_stats() {
    for dashboard in committed() {
        let panels = dashboard["panels"].as_array().unwrap();
        let first: Vec<_> =
            panels.iter().skip(1).take_while(|panel| panel["type"] != "row").collect();
        assert!((4..=8).contains(&first.len()), "{}", dashboard["title"]);
        assert!(first.iter().all(|panel| panel["type"] == "stat" && panel["gridPos"]["y"] == 1));
        let bottom = panels.iter().map(|panel| {
            panel["gridPos"]["y"].as_u64().unwrap() + panel["gridPos"]["h"].as_u64().unwrap()
        });
        assert!(bottom.max() < Some(65), "{}: too long", dashboard["title"]);
    }
}

#[test]
fn state_timelines_are_followed_by_failure_counts() {
    let mut timelines = 0;
    for dashboard in committed() {
        let all: Vec<_> = panels(&dashboard).collect();
        for (at, panel) in
            all.iter().enumerate().filter(|(_, panel)| panel["type"] == "state-timeline")
        {
            let below = &all[at + 1];
            let bars = &below["fieldConfig"]["defaults"]["custom"]["drawStyle"] == "bars";
            assert!(
                bars && text(&below["title"]).starts_with("Failures"),
                "{}: {}",
                dashboard["title"],
                panel["title"]
            );
            timelines += 1;
        }
    }
    assert!(timelines >= 3, "{timelines}");
}

#[test]
fn dashboards_annotate_failures_starts_and_reboots() {
    for dashboard in committed() {
        let annotations = dashboard["annotations"]["list"].as_array().unwrap();
        let names: Vec<_> = annotations.iter().map(|one| text(&one["name"])).collect();
        assert_eq!(
            names,
            [
                "Annotations & Alerts",
                "Failures",
                "Starts on request",
                "Reboots",
                "Exporter restarts"
            ]
        );
    }
}

#[test]
fn words_have_the_same_color_on_all_dashboards() {
    let mut colors: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for dashboard in committed() {
        for panel in panels(&dashboard) {
            each_object(panel, &mut |object| {
                if let (Some(word), Some(color)) =
                    (object["text"].as_str(), object["color"].as_str())
                {
                    colors.entry(word.to_owned()).or_default().insert(color.to_owned());
                }
                if object["matcher"]["id"] == "byName" {
                    let properties = object["properties"].as_array().into_iter().flatten();
                    for property in properties.filter(|property| property["id"] == "color") {
                        let word = text(&object["matcher"]["options"]).to_owned();
                        let color = text(&property["value"]["fixedColor"]).to_owned();
                        if word.starts_with(char::is_lowercase) {
                            colors.entry(word).or_default().insert(color);
                        }
                    }
                }
            });
        }
    }
    assert!(colors.len() > 30, "{colors:?}");
    colors.retain(|_, of_word| of_word.len() > 1);
    assert!(colors.is_empty(), "{colors:#?}");
}

#[test]
fn legends_and_columns_use_labels_of_their_queries() {
    let vocabulary = Vocabulary::of_the_project();
    let mut checked = 0;
    for dashboard in committed() {
        for (panel, target) in targets(&dashboard) {
            let labels = vocabulary.labels_of(&substituted(text(&target["expr"])));
            let place = format!("{}: {}: {}", dashboard["title"], panel["title"], target["expr"]);
            for part in text(&target["legendFormat"]).split("{{").skip(1) {
                let label = part.split_once("}}").unwrap().0;
                assert!(labels.contains(label), "{place}: {label} is not in {labels:?}");
                checked += 1;
            }
            if target["format"] == "table" {
                for label in &labels {
                    assert!(renamed(panel).contains_key(label), "{place}: {label} has no column");
                }
            }
        }
        for panel in panels(&dashboard).filter(|panel| panel["type"] == "table") {
            let of_panel: BTreeSet<String> = targets(&dashboard)
                .filter(|(of, _)| of["id"] == panel["id"])
                .flat_map(|(_, target)| vocabulary.labels_of(&substituted(text(&target["expr"]))))
                .collect();
            for (field, column) in
                renamed(panel).into_iter().filter(|(field, _)| !field.starts_with("Value"))
            {
                assert!(
                    of_panel.contains(&field),
                    "{}: {column}: no label {field}",
                    panel["title"]
                );
                checked += 1;
            }
        }
    }
    println!("{checked} labels");
    assert!(checked > 100, "{checked}");
}

#[test]
fn column_headers_fit_their_widths() {
    let mut checked = 0;
    for dashboard in committed() {
        for panel in panels(&dashboard).filter(|panel| panel["type"] == "table") {
            for column in renamed(panel).values() {
                let Some(width) = property(panel, column, "custom.width").as_u64() else {
                    continue;
                };
                let filter = property(panel, column, "custom.filterable") == true;
                let needed = PADDING + if filter { FILTER_ICON } else { 0 };
                let needed = needed + column.len() as u64 * CHARACTER_TENTHS / 10;
                assert!(width >= needed, "{}: {column}: {width} < {needed}", panel["title"]);
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn failure_panels_are_never_green() {
    let mut checked = 0;
    for dashboard in committed() {
        for panel in panels(&dashboard).filter(|panel| panel["type"] == "timeseries") {
            let title = text(&panel["title"]);
            if !["Fail", "Dropped", "D-Bus errors", "Journal errors"]
                .iter()
                .any(|part| title.starts_with(part))
            {
                continue;
            }
            let config = &panel["fieldConfig"];
            let shades = config["defaults"]["color"]["mode"] == "shades";
            let fixed = config["overrides"].as_array().unwrap().iter().any(|one| {
                one["properties"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|property| property["id"] == "color")
            });
            assert!(shades || fixed, "{}: {title}", dashboard["title"]);
            checked += 1;
        }
    }
    assert!(checked > 8, "{checked}");
}

#[test]
fn dashboards_contain_no_instance_specific_values() {
    for dashboard in committed() {
        assert!((41..=42).contains(&dashboard["schemaVersion"].as_u64().unwrap()));
        assert_eq!(dashboard["tags"], serde_json::json!(["systemd"]));
        assert!(dashboard["__inputs"].is_null() && dashboard["id"].is_null());
        assert_eq!(dashboard["links"][0]["includeVars"], true);
        assert_eq!(dashboard["links"][0]["keepTime"], true);
        for variable in variables(&dashboard) {
            assert!(variable["current"].is_null(), "a saved selection");
        }
    }
}

#[test]
fn readme_shows_a_picture_of_each_dashboard() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for dashboard in committed() {
        let uid = text(&dashboard["uid"]);
        let picture = format!("pictures/{uid}.png");
        assert!(readme.contains(&picture) && readme.contains(&format!("{uid}.json")), "{uid}");
        let size = std::fs::metadata(folder().join(&picture)).unwrap().len();
        assert!((10_000..150_000).contains(&size), "{picture}: {size} bytes");
    }
}

#[test]
fn provisioning_files_are_valid() {
    let read =
        |path: &str| std::fs::read_to_string(folder().join("provisioning").join(path)).unwrap();
    let yaml = |path| -> Value { serde_saphyr::from_str(&read(path)).unwrap() };
    let provider = &yaml("grafana/dashboards/systemd.yaml")["providers"][0];
    let path = text(&provider["options"]["path"]);
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    assert!(readme.contains(&format!("-t {path}/ dashboards/*.json")), "{path}");
    let source = &yaml("grafana/datasources/prometheus.yaml")["datasources"][0];
    assert_eq!(source["type"], "prometheus");

    // the installed layout: rules next to the configuration
    let installed = tempfile::tempdir().unwrap();
    std::fs::create_dir(installed.path().join("rules")).unwrap();
    for path in rules::paths() {
        let name = path.file_name().unwrap();
        std::fs::copy(&path, installed.path().join("rules").join(name)).unwrap();
    }
    let config = installed.path().join("prometheus.yml");
    std::fs::write(&config, read("prometheus/prometheus.yml")).unwrap();
    let promtool = Command::new("promtool").args(["check", "config"]).arg(&config).output();
    let promtool = promtool.expect("promtool: apt-get install prometheus");
    let output = String::from_utf8_lossy(&promtool.stdout);
    assert!(
        promtool.status.success() && output.contains("3 rule files found"),
        "{output}{promtool:?}"
    );
}

/// The URLs of all links in the JSON.
fn urls(dashboard: &Value) -> Vec<String> {
    let mut urls = Vec::new();
    each_object(dashboard, &mut |object| urls.extend(object["url"].as_str().map(str::to_owned)));
    urls
}

fn each_object(value: &Value, see: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(fields) => {
            see(value);
            fields.values().for_each(|field| each_object(field, see));
        }
        Value::Array(items) => items.iter().for_each(|item| each_object(item, see)),
        _ => {}
    }
}

/// The columns of a table: field name and title.
fn renamed(panel: &Value) -> BTreeMap<String, String> {
    let transformations = panel["transformations"].as_array().into_iter().flatten();
    let names =
        transformations.filter_map(|one| one["options"]["renameByName"].as_object()).flatten();
    names.map(|(field, title)| (field.clone(), text(title).to_owned())).collect()
}

/// A property that an override gives to a column.
fn property<'p>(panel: &'p Value, column: &str, id: &str) -> &'p Value {
    let overrides = panel["fieldConfig"]["overrides"].as_array().into_iter().flatten();
    let of_column = overrides.filter(|one| one["matcher"]["options"] == column);
    let mut properties =
        of_column.flat_map(|one| one["properties"].as_array().into_iter().flatten());
    properties
        .find(|property| property["id"] == id)
        .map_or(&Value::Null, |property| &property["value"])
}

fn disjoint(panels: &[Value]) {
    let boxes: Vec<_> = panels
        .iter()
        .map(|panel| ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap()))
        .collect();
    for (at, [x, y, w, h]) in boxes.iter().enumerate() {
        assert!(*w > 0 && *h > 0 && x + w <= 24, "{}", panels[at]["title"]);
        for [x2, y2, w2, h2] in &boxes[..at] {
            let apart = x + w <= *x2 || x2 + w2 <= *x || y + h <= *y2 || y2 + h2 <= *y;
            assert!(apart, "{} overlaps another panel", panels[at]["title"]);
        }
    }
}

// Of a table header in Grafana's font, in pixels: the cell without text, the filter icon, and a tenth of a character.
const PADDING: u64 = 20;
const FILTER_ICON: u64 = 20;
const CHARACTER_TENTHS: u64 = 70;
