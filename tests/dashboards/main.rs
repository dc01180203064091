//! The dashboards: generated as they are committed, and sound by rules that Grafana's own linter has and some that it has not.

#![allow(clippy::unwrap_used)]

#[path = "../../dashboards/generate/mod.rs"]
mod generate;

use std::path::{Path, PathBuf};

#[test]
fn the_dashboards_are_current() {
    for dashboard in generate::all() {
        let path = folder().join(format!("{}.json", dashboard.uid));
        let json = serde_json::to_string_pretty(&dashboard).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &json).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == json, "{}: if that is meant: UPDATE=1 cargo test --test dashboards", path.display());
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}
