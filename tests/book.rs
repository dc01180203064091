//! Checks on the documents: expressions, metrics, flags, alerts, commands, links, configurations, summary.
#![allow(clippy::disallowed_types)]

mod promql;
#[path = "support/sources.rs"]
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

use clap::CommandFactory;
use promql::{Vocabulary, rules};
use regex::Regex;
use serde_json::Value;
use sources::sources;
use unit_exporter::cli::args::Args;
use unit_exporter::collector::{COLLECTORS, Profile};
use unit_exporter::metrics::Reference;

#[test]
fn every_expression_may_be_asked() {
    let vocabulary = Vocabulary::of_the_project();
    let name_alone = Regex::new(r"^\w+(\{[^}]*\})?$").expect("a pattern");
    let mut objections = Vec::new();
    let mut count = 0;
    for page in pages() {
        // variables of the Ansible role have such names, too
        let is_role =
            |span: &String| page.name == "docs/ansible.md" && span.starts_with("unit_exporter_");
        let spans = page.spans().filter(|span| is_about_metrics(span) && !is_role(span));
        for expression in spans.chain(page.fences("promql")) {
            count += 1;
            let is_mention = name_alone.is_match(&expression);
            let objected = vocabulary.objections(&expression).into_iter();
            // A counter may be spoken of, though not asked for, as it is.
            let objected = objected
                .filter(|objection| !(is_mention && objection.ends_with("used on its own")))
                .map(|objection| format!("{}: {expression}: {objection}", page.name));
            objections.extend(objected);
        }
    }
    assert!(objections.is_empty(), "{objections:#?}");
    assert!(count > 100, "{count} expressions");
}

#[test]
fn sections_name_the_collector_of_metrics_beyond_the_default_profile() {
    let rows = Reference::collect().rows;
    let beyond: Vec<_> = rows.iter().filter(|row| row.profile == Profile::Full).collect();
    let word = Regex::new(r"\w+").expect("a pattern");
    let mut missing = Vec::new();
    let mut count = 0;
    for page in pages() {
        for section in page.text.split("\n## ") {
            let words: BTreeSet<&str> =
                word.find_iter(section).map(|found| found.as_str()).collect();
            for row in beyond.iter().filter(|row| words.contains(row.name)) {
                count += 1;
                let flag = format!("--collector.{}", row.subject.collector);
                if !section.contains(&flag) && !EVERY_PROFILE.contains(&&*page.name) {
                    missing.push(format!("{}: {} without {flag}", page.name, row.name));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(count > 10, "{count} metrics");
}

/// Documents that name the collector in another section.
const EVERY_PROFILE: [&str; 2] = ["docs/settings.md", "docs/user-managers.md"];

#[test]
fn every_sample_of_output_is_declared() {
    let rows = Reference::collect().rows;
    let sample =
        Regex::new(r"^((?:systemd|unit_exporter)_\w+)(?:\{(.*)\})? [0-9.]+$").expect("a pattern");
    let label = Regex::new(r#"(\w+)="[^"]*""#).expect("a pattern");
    let mut count = 0;
    for page in pages() {
        for found in page.text.lines().filter_map(|line| sample.captures(line)) {
            count += 1;
            let line = format!("{}: {}", page.name, &found[0]);
            let row = rows.iter().find(|row| *row.name == found[1]).expect(&line);
            let labels = found.get(2).map_or("", |labels| labels.as_str());
            let labels = label.captures_iter(labels).map(|label| label[1].to_owned());
            // units of users' managers have one more label
            let labels: Vec<String> = labels.filter(|label| label != "manager_user").collect();
            assert_eq!(labels, row.labels, "{line}");
        }
    }
    assert!(count > 10, "{count} samples");
}

#[test]
fn every_flag_exists() {
    let command = Args::command();
    let ours: BTreeSet<String> = command
        .get_arguments()
        .flat_map(|argument| {
            argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default())
        })
        .map(|name| format!("--{name}"))
        .collect();
    let beginnings: BTreeSet<&str> = ours.iter().map(|flag| beginning(flag)).collect();
    // node_exporter's, and flags of systemd_exporter that docs/migrating.md mentions
    let of_others = [
        "--collector.systemd",
        "--systemd.collector.enable-file-descriptor-size",
        "--systemd.collector.private",
    ];
    for page in pages() {
        let unknown: Vec<_> = flags(&page.text)
            .into_iter()
            .filter(|flag| beginnings.contains(beginning(flag)) && !ours.contains(flag))
            .filter(|flag| !of_others.contains(&&**flag))
            .collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.name);
    }
}

#[test]
fn readme_lists_every_collector_with_its_default() {
    let readme = Page::read(root().join("README.md")).text;
    let row = Regex::new(r"(?m)^\| `([a-z-]+)` \| (on|off) \|").expect("a pattern");
    let rows: BTreeSet<_> =
        row.captures_iter(&readme).map(|found| (found[1].to_owned(), &found[2] == "on")).collect();
    let collectors = COLLECTORS.iter();
    let collectors: BTreeSet<_> =
        collectors.map(|each| (each.name.to_owned(), each.profile <= Profile::Default)).collect();
    assert_eq!(rows, collectors);
}

#[test]
fn every_subcommand_exists() {
    let command = Args::command();
    let shown = |command: &clap::Command| {
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        shown.cloned().collect::<Vec<_>>()
    };
    let mut ours: BTreeSet<String> = BTreeSet::new();
    for group in shown(&command) {
        let name = group.get_name();
        ours.insert(name.to_owned());
        ours.extend(shown(&group).iter().map(|sub| format!("{name} {}", sub.get_name())));
    }
    let named =
        Regex::new(r"unit-exporter (check [a-z-]+|(?:check|hash)-[a-z]+)").expect("a pattern");
    for page in pages() {
        let named = named.captures_iter(&page.text).map(|found| found.extract::<1>().1[0]);
        let unknown: Vec<&str> = named.filter(|name| !ours.contains(*name)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.name);
    }
}

#[test]
fn every_alert_exists() {
    let files = rules::files();
    let rules = files.iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules);
    let alerts: BTreeSet<String> = rules.filter_map(|rule| rule.alert.clone()).collect();
    let breaks = Page::read(root().join("examples/demo/breaks.py"));
    let alert = Regex::new(r"\b(?:Systemd|UnitExporter)[A-Z][a-z]\w+").expect("a pattern");
    for page in pages().into_iter().chain([breaks]) {
        let named = alert.find_iter(&page.text).map(|found| found.as_str());
        let unknown: Vec<&str> = named.filter(|&name| !alerts.contains(name)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.name);
    }
}

#[test]
fn numbers_of_alerts_and_dashboards_are_right() {
    let files = |folder: &str, ending: &str| {
        let paths = fs::read_dir(root().join(folder)).expect("a folder");
        paths
            .filter(|path| path.as_ref().unwrap().path().extension().is_some_and(|of| of == ending))
            .count()
    };
    let subjects = [
        (r"([0-9]+) (?:tested )?alerts\b", files("docs/runbooks", "md")),
        (r"([0-9]+) (?:Grafana )?dashboards\b", files("dashboards", "json")),
    ];
    for (pattern, number) in subjects {
        let pattern = Regex::new(pattern).expect("a pattern");
        let mut count = 0;
        for page in pages() {
            for found in pattern.captures_iter(&page.text) {
                count += 1;
                assert_eq!(found[1], number.to_string(), "{}: {}", page.name, &found[0]);
            }
        }
        assert!(count > 2, "{count} of {pattern}");
    }
}

#[test]
fn every_panel_exists() {
    let folder = fs::read_dir(root().join("dashboards")).expect("dashboards/").flatten();
    let files = folder.map(|entry| entry.path());
    let panels: BTreeSet<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .flat_map(|path| {
            let text = fs::read_to_string(path).expect("a dashboard");
            let dashboard: Value = serde_json::from_str(&text).expect("JSON");
            let title = dashboard["title"].as_str().expect("a title");
            titles(&dashboard, title.rsplit(" / ").next().expect("a name"))
        })
        .collect();
    let panel = Regex::new(r"\*([A-Z][a-z ]+: [^*]+)\*").expect("a pattern");
    let commands = Page::read(root().join("docs/from-commands.md"));
    let named: Vec<&str> =
        panel.captures_iter(&commands.text).map(|found| found.extract::<1>().1[0]).collect();
    assert!(named.len() > 30, "{named:?}");
    let unknown: Vec<_> = named.into_iter().filter(|&name| !panels.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let rows = Reference::collect().rows;
    let metrics: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    let page = Page::read(root().join("docs/internals/robustness.md"));
    let name = Regex::new(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`").expect("a pattern");
    let named: BTreeSet<&str> = name
        .captures_iter(&page.text)
        .map(|found| found.extract::<1>().1[0])
        .filter(|name| !metrics.contains(name))
        .collect();
    assert!(named.len() > 40, "{named:?}");
    let texts: Vec<String> = ["src", "tests"].into_iter().flat_map(texts).collect();
    let exists = |name: &str| texts.iter().any(|text| text.contains(&format!("fn {name}(")));
    let unknown: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_link_has_a_target() {
    let link = Regex::new(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)").expect("a pattern");
    for page in pages() {
        let folder = page.path.parent().expect("a folder");
        for found in link.captures_iter(&page.text) {
            let target = match &found[1] {
                "" => page.path.clone(),
                path => folder.join(path),
            };
            assert!(target.exists(), "{}: {}", page.name, &found[0]);
            let Some(anchor) = found.get(2).map(|anchor| anchor.as_str()) else { continue };
            let text = fs::read_to_string(&target).expect("a document");
            assert!(anchors(&text).contains(anchor), "{}: {}", page.name, &found[0]);
        }
    }
}

#[test]
fn summary_lists_every_document_once() {
    let docs = root().join("docs");
    let summary = Page::read(docs.join("SUMMARY.md"));
    let entry = Regex::new(r"(?m)^(?:- )?\[[^\]]+\]\(([^)]+)\)$").expect("a pattern");
    let listed: Vec<PathBuf> = entry
        .captures_iter(&summary.text)
        .filter(|found| !found[1].starts_with("../"))
        .map(|found| docs.join(&found[1]))
        .collect();
    let once: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "{listed:#?}");
    let written = markdown(&docs);
    let written: BTreeSet<&PathBuf> =
        written.iter().filter(|path| !path.ends_with("SUMMARY.md")).collect();
    assert_eq!(once, written);
}

#[test]
fn every_make_target_and_script_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0))
        .flat_map(str::split_whitespace)
        .collect();
    let make = Regex::new(r"(?m)(?:`|\$ |^  )make ([a-z][a-z-]*)").expect("a pattern");
    let script = Regex::new(r"scripts/[a-z]+").expect("a pattern");
    for page in pages() {
        let named = make.captures_iter(&page.text).map(|found| found.extract::<1>().1[0]);
        let unknown: Vec<&str> = named.filter(|target| !targets.contains(target)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.name);
        for script in script.find_iter(&page.text) {
            assert!(root().join(script.as_str()).exists(), "{}: {}", page.name, script.as_str());
        }
    }
}

#[test]
fn prometheus_accepts_every_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("prometheus.yml");
    let mut count = 0;
    for page in pages() {
        for yaml in page.fences("yaml") {
            let whole = match &*yaml {
                part if part.starts_with("    ") => {
                    format!("scrape_configs:\n  - job_name: systemd\n{part}")
                }
                whole if whole.contains("scrape_configs:") || whole.contains("remote_write:") => {
                    whole.to_owned()
                }
                _ => continue, // rules, and the configuration of the exporter
            };
            count += 1;
            fs::write(&file, &whole).expect("a file");
            let promtool = Command::new("promtool")
                .args(["check", "config", "--syntax-only"])
                .arg(&file)
                .output()
                .expect("promtool is needed: apt-get install prometheus");
            let said = String::from_utf8_lossy(&promtool.stderr);
            assert!(promtool.status.success(), "{}: {said}\n{whole}", page.name);
        }
    }
    assert!(count > 5, "{count} configurations");
}

/// A page of the book.
struct Page {
    path: PathBuf,
    name: String,
    text: String,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let name = path.strip_prefix(root()).expect("a file of ours").display().to_string();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { path, name, text }
    }

    /// The code spans of the text, outside of code blocks.
    fn spans(&self) -> impl Iterator<Item = String> {
        let mut outside = true;
        let lines = self.text.lines().filter(move |line| {
            outside ^= line.trim_start().starts_with("```");
            outside && !line.trim_start().starts_with("```")
        });
        // In a table a bar is written \|.
        lines
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .map(|span| span.replace("\\|", "|"))
    }

    /// The blocks of code in a language.
    fn fences(&self, language: &str) -> impl Iterator<Item = String> {
        let opening = format!("```{language}");
        let mut lines = self.text.lines();
        iter::from_fn(move || {
            lines.find(|line| *line == opening)?;
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            Some(block.join("\n"))
        })
    }
}

/// Every document that is written by hand, except alerts and their runbooks, which have their own tests.
fn pages() -> Vec<Page> {
    let others = ["README.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md"];
    let others = others.into_iter().chain(["examples/README.md", "dashboards/README.md"]);
    let documents = markdown(&root().join("docs")).into_iter().filter(|path| {
        let generated = path.ends_with("METRICS.md") || path.ends_with("compatibility.md");
        !generated && !path.starts_with(root().join("docs/runbooks"))
    });
    others.map(|name| root().join(name)).chain(documents).map(Page::read).collect()
}

/// The Markdown files below a folder.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => markdown(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// The anchors of a document's headings, as GitHub and mdBook form them.
fn anchors(text: &str) -> BTreeSet<String> {
    let explicit = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
            title.chars().filter(kept).collect::<String>().replace(' ', "-")
        })
        .chain(explicit.map(str::to_owned))
        .collect()
}

/// `Page: Title` of every panel, those in rows too.
fn titles(of: &Value, page: &str) -> Vec<String> {
    let panels = of["panels"].as_array().map_or(&[][..], Vec::as_slice);
    panels
        .iter()
        .flat_map(|panel| {
            let title = panel["title"].as_str().unwrap_or_default();
            iter::once(format!("{page}: {title}")).chain(titles(panel, page))
        })
        .collect()
}

fn is_about_metrics(span: &str) -> bool {
    let ours = Regex::new(r"\b(systemd|unit_exporter)_[a-z]").expect("a pattern");
    ours.is_match(span) && span != "systemd_exporter"
}

/// The long flags that a text mentions.
fn flags(text: &str) -> BTreeSet<String> {
    let flag = Regex::new(r"(^|[\s`(\[])(--[a-z][a-z0-9.-]*[a-z0-9])").expect("a pattern");
    flag.captures_iter(text).map(|found| found[2].to_owned()).collect()
}

/// `--web.` of `--web.config.file`: by this a flag is known as one of ours.
fn beginning(flag: &str) -> &str {
    flag.find('.').map_or(flag, |end| &flag[..=end])
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of every Rust file below a directory of the project.
fn texts(directory: &str) -> Vec<String> {
    let read = |path| fs::read_to_string(path).expect("a source");
    sources(directory).into_iter().map(read).collect()
}
