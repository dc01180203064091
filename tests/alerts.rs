//! The rules of alerts/: what they ask exists, and they say what a reader needs.

mod promql;

use promql::{Vocabulary, rules};

#[test]
fn every_expression_asks_for_what_there_is() {
    let vocabulary = Vocabulary::of_the_project();
    let mut asked = 0;
    for rule in rules::files().iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules) {
        let objections = vocabulary.objections(&rule.expr);
        assert!(objections.is_empty(), "{rule:#?}\n{objections:#?}");
        asked += 1;
    }
    assert!(asked > 20, "{asked} rules");
}

#[test]
fn good_expressions_meet_no_objection() {
    let vocabulary = Vocabulary::of_the_project();
    for good in [
        "up == 0",
        "rate(systemd_unit_starts_total{type=\"service\"}[5m]) > 1",
        "sum without (result) (increase(systemd_failures_total[15m]))",
        "systemd_unit_tasks_current / ignoring (type) (systemd_unit_tasks_max > 0)",
        "systemd_unit_state{state=\"failed\"} * on (job, instance, name) group_left (service_type) systemd_unit_info",
        "count by (unit) (label_replace(systemd_version, \"unit\", \"$1\", \"version\", \"(.+)\"))",
        "job:systemd_hosts:count > 3",
        "histogram_quantile(0.9, sum by (le) (rate(systemd_exporter_scrape_duration_seconds_bucket[5m])))",
    ] {
        assert_eq!(vocabulary.objections(good), [""; 0], "{good}");
    }
}

#[test]
fn bad_expressions_meet_one_objection_each() {
    let vocabulary = Vocabulary::of_the_project();
    for (bad, why) in [
        ("rate(", "does not parse"),
        ("systemd_unit_stat", "neither declared nor recorded"),
        ("{name=\"x\"}", "names no metric"),
        ("systemd_unit_state{service=\"x\"}", "has no label service"),
        ("systemd_unit_state{state=~\"failed\"}", "says no more than ="),
        ("systemd_unit_state{state=~\"^(failed|active)\"}", "is anchored anyway"),
        ("systemd_unit_starts_total > 3", "is a counter, and used on its own"),
        ("sum(systemd_unit_starts_total)", "is a counter, and used on its own"),
        ("max_over_time(systemd_unit_starts_total[5m])", "is a counter, and used max_over_time"),
        ("rate(systemd_units[5m])", "is no counter"),
        ("rate(systemd_unit_starts_total[1m])", "over less than"),
        ("sum by (service) (systemd_unit_state)", "no label service"),
        ("sum without (service) (systemd_unit_state)", "no label service"),
        ("systemd_version / on (name) systemd_units", "no label name"),
        ("systemd_version / ignoring (name) systemd_jobs_queued", "no label name"),
        ("sort_by_label(up, \"job\")", "is not in Prometheus 2.42"),
    ] {
        let objections = vocabulary.objections(bad);
        assert!(objections.len() == 1 && objections[0].contains(why), "{bad}: {objections:?}");
    }
}
