//! What we ask of a dashboard beyond what Grafana's linter does.

#![allow(clippy::disallowed_types, reason = "promtool is a program")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::Command;

use serde_json::Value;

use super::json::{panels, substituted, targets, text, variables};
use super::promql::{Vocabulary, rules};
use super::{committed, folder};

#[test]
fn uids_are_fixed_and_every_link_leads_to_one() {
    let pages = committed();
    let uids: BTreeSet<_> = pages.iter().map(|page| text(&page["uid"])).collect();
    assert_eq!(uids.len(), pages.len());
    assert!(uids.iter().all(|uid| uid.len() <= 40 && uid.starts_with("systemd-")));
    let mut links = 0;
    for page in &pages {
        for url in urls(page) {
            let (uid, query) =
                url.strip_prefix("/d/").and_then(|rest| rest.split_once('?')).unwrap();
            let to = pages.iter().find(|page| page["uid"] == uid);
            let to = to.unwrap_or_else(|| panic!("{url} leads nowhere"));
            let has: BTreeSet<_> = variables(to).map(|variable| text(&variable["name"])).collect();
            for part in query.split('&') {
                let name = part.strip_prefix("var-").and_then(|rest| rest.split_once('='));
                assert!(name.is_none_or(|(name, _)| has.contains(name)), "{url}: no such variable");
            }
            for carried in ["${datasource:queryparam}", "${job:queryparam}", "${__url_time_range}"]
            {
                assert!(query.contains(carried), "{url} does not carry {carried}");
            }
            links += 1;
        }
    }
    println!("{links} links");
    assert!(links > 90, "{links}");
}

#[test]
fn every_cell_and_series_that_names_a_host_or_unit_links_on() {
    for page in committed() {
        for panel in panels(&page) {
            let told = format!("{}: {}", page["title"], panel["title"]);
            let config = &panel["fieldConfig"];
            if panel["type"] == "table" {
                for (title, uid) in [("Host", "systemd-host"), ("Unit", "systemd-unit")] {
                    let columns = renamed(panel);
                    if columns.values().any(|column| column == title) {
                        let link = property(panel, title, "links");
                        assert!(text(&link[0]["url"]).starts_with(&format!("/d/{uid}?")), "{told}");
                    }
                }
            }
            let links = config["defaults"]["links"].as_array().into_iter().flatten();
            let links: Vec<_> = links.map(|link| text(&link["url"])).collect();
            let leads = |uid: &str| links.iter().any(|url| url.starts_with(&format!("/d/{uid}?")));
            let targets = panel["targets"].as_array().into_iter().flatten();
            for legend in targets.map(|target| text(&target["legendFormat"])) {
                let to_unit = leads("systemd-unit");
                if legend.contains("{{name}}") && page["uid"] != "systemd-unit" {
                    assert!(to_unit, "{told}");
                } else if legend.contains("{{instance}}") {
                    assert!(to_unit || leads("systemd-host"), "{told}");
                }
            }
        }
    }
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    for page in committed() {
        let mut ids = BTreeSet::new();
        for panel in panels(&page) {
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{}: {}",
                page["title"],
                panel["id"]
            );
        }
        disjoint(page["panels"].as_array().unwrap());
        for row in page["panels"].as_array().unwrap() {
            disjoint(row["panels"].as_array().unwrap_or(&vec![]));
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_what_emptiness_means() {
    let mut seen = 0;
    for page in committed() {
        let mut titles = HashSet::new();
        assert!(text(&page["description"]).ends_with('?'), "{}", page["title"]);
        for panel in panels(&page) {
            let title = text(&panel["title"]);
            let told = format!("{}: {title}", page["title"]);
            if panel["type"] == "row" {
                assert!(title.ends_with('?'), "{told}: a row is a question");
                continue;
            }
            seen += 1;
            assert!(titles.insert((&panel["type"], title)), "{told}: twice on the page");
            assert!(title.len() <= 40, "{told}: long");
            let description = text(&panel["description"]);
            assert!(description.ends_with(['.', '?']) && description != title, "{told}");
            if panel["type"] != "text" {
                let defaults = &panel["fieldConfig"]["defaults"];
                assert!(
                    !text(&defaults["noValue"]).is_empty(),
                    "{told}: nothing instead of No data"
                );
            }
        }
    }
    println!("{seen} panels");
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_page_opens_with_at_most_eight_numbers_in_one_line() {
    for page in committed() {
        let panels = page["panels"].as_array().unwrap();
        let first: Vec<_> =
            panels.iter().skip(1).take_while(|panel| panel["type"] != "row").collect();
        assert!((4..=8).contains(&first.len()), "{}", page["title"]);
        assert!(first.iter().all(|panel| panel["type"] == "stat" && panel["gridPos"]["y"] == 1));
        let bottom = panels.iter().map(|panel| {
            panel["gridPos"]["y"].as_u64().unwrap() + panel["gridPos"]["h"].as_u64().unwrap()
        });
        assert!(bottom.max() < Some(65), "{}: too long", page["title"]);
    }
}

#[test]
fn states_are_never_shown_without_the_bars_that_count_failures() {
    let mut timelines = 0;
    for page in committed() {
        let all: Vec<_> = panels(&page).collect();
        for (at, panel) in
            all.iter().enumerate().filter(|(_, panel)| panel["type"] == "state-timeline")
        {
            let below = &all[at + 1];
            let bars = &below["fieldConfig"]["defaults"]["custom"]["drawStyle"] == "bars";
            assert!(
                bars && text(&below["title"]).starts_with("Failures"),
                "{}: {}",
                page["title"],
                panel["title"]
            );
            timelines += 1;
        }
    }
    assert!(timelines >= 3, "{timelines}");
}

#[test]
fn failures_reboots_and_new_exporters_are_marked_on_every_page() {
    for page in committed() {
        let annotations = page["annotations"]["list"].as_array().unwrap();
        let names: Vec<_> = annotations.iter().map(|one| text(&one["name"])).collect();
        assert_eq!(names, ["Annotations & Alerts", "Failures", "Reboots", "Exporter restarts"]);
    }
}

#[test]
fn a_word_has_one_colour_everywhere() {
    let mut colors: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for page in committed() {
        for panel in panels(&page) {
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
fn legends_and_columns_name_labels_that_their_queries_have() {
    let vocabulary = Vocabulary::of_the_project();
    let mut checked = 0;
    for page in committed() {
        for (panel, target) in targets(&page) {
            let labels = vocabulary.labels_of(&substituted(text(&target["expr"])));
            let told = format!("{}: {}: {}", page["title"], panel["title"], target["expr"]);
            for part in text(&target["legendFormat"]).split("{{").skip(1) {
                let label = part.split_once("}}").unwrap().0;
                assert!(labels.contains(label), "{told}: {label} is not in {labels:?}");
                checked += 1;
            }
            if target["format"] == "table" {
                for label in &labels {
                    assert!(renamed(panel).contains_key(label), "{told}: {label} has no column");
                }
            }
        }
        for panel in panels(&page).filter(|panel| panel["type"] == "table") {
            let of_panel: BTreeSet<String> = targets(&page)
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
fn it_imports_anywhere() {
    for page in committed() {
        assert!((41..=42).contains(&page["schemaVersion"].as_u64().unwrap()));
        assert_eq!(page["tags"], serde_json::json!(["systemd"]));
        assert!(page["__inputs"].is_null() && page["id"].is_null());
        assert_eq!(page["links"][0]["includeVars"], true);
        assert_eq!(page["links"][0]["keepTime"], true);
        for variable in variables(&page) {
            assert!(variable["current"].is_null(), "a choice of somebody's is saved");
        }
    }
}

#[test]
fn every_page_has_a_picture_in_the_readme() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for page in committed() {
        let uid = text(&page["uid"]);
        let picture = format!("pictures/{uid}.png");
        assert!(readme.contains(&picture) && readme.contains(&format!("{uid}.json")), "{uid}");
        let size = std::fs::metadata(folder().join(&picture)).unwrap().len();
        assert!((10_000..150_000).contains(&size), "{picture}: {size} bytes");
    }
}

#[test]
fn the_provisioning_files_are_what_grafana_and_prometheus_read() {
    let read =
        |path: &str| std::fs::read_to_string(folder().join("provisioning").join(path)).unwrap();
    let yaml = |path| -> Value { serde_saphyr::from_str(&read(path)).unwrap() };
    let provider = &yaml("grafana/dashboards/systemd.yaml")["providers"][0];
    let path = text(&provider["options"]["path"]);
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    assert!(readme.contains(&format!("-t {path}/ dashboards/*.json")), "{path}");
    let source = &yaml("grafana/datasources/prometheus.yaml")["datasources"][0];
    assert_eq!(source["type"], "prometheus");

    // as it is installed, with the rules beside it
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
    let said = String::from_utf8_lossy(&promtool.stdout);
    assert!(promtool.status.success() && said.contains("3 rule files found"), "{said}{promtool:?}");
}

/// Every URL of a link in the JSON.
fn urls(page: &Value) -> Vec<String> {
    let mut urls = Vec::new();
    each_object(page, &mut |object| urls.extend(object["url"].as_str().map(str::to_owned)));
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

/// The columns of a table: what the field is called, and what the reader sees.
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
            assert!(apart, "{} lies on another", panels[at]["title"]);
        }
    }
}
