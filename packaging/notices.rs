//! Prints the licenses and notices of the crates linked into the program.
//!
//! `cargo run --example notices x86_64-unknown-linux-gnu > NOTICES`
#![allow(clippy::disallowed_types, reason = "runs cargo metadata")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde_json::Value;

fn main() -> io::Result<()> {
    let target = std::env::args().nth(1).ok_or_else(|| io::Error::other("no target given"))?;
    let metadata = metadata(&target)?;
    let linked = linked(&metadata);
    let mut crates: Vec<&Value> = list(&metadata["packages"])
        .filter(|package| linked.contains(text(&package["id"])) && !package["source"].is_null())
        .collect();
    crates.sort_by_key(|package| (text(&package["name"]), text(&package["version"])));

    println!("unit-exporter is linked with these crates. Their licenses and notices follow.\n");
    // a text shared by several crates is printed once
    let mut notices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in crates {
        let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
        println!("{name}: {}, {}", text(&package["license"]), text(&package["repository"]));
        let directory = Path::new(text(&package["manifest_path"])).parent();
        for file in notice_files(directory.expect("the directory of the manifest"))? {
            let notice = String::from_utf8_lossy(&fs::read(file)?).trim().to_owned();
            notices.entry(notice).or_default().push(name.clone());
        }
    }
    let mut notices: Vec<_> = notices.into_iter().map(|(notice, of)| (of, notice)).collect();
    notices.sort();
    for (of, notice) in notices {
        println!("\n{}\n{}\n\n{notice}", "=".repeat(80), of.join(", "));
    }
    Ok(())
}

fn metadata(target: &str) -> io::Result<Value> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", target]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The IDs of the packages linked into the program, without dev- and build-dependencies.
fn linked(metadata: &Value) -> BTreeSet<&str> {
    let resolve = &metadata["resolve"];
    let mut linked = BTreeSet::new();
    let mut open = vec![text(&resolve["root"])];
    while let Some(id) = open.pop() {
        if !linked.insert(id) {
            continue;
        }
        let node = list(&resolve["nodes"]).find(|node| node["id"] == id).expect("a node");
        let normal =
            |dependency: &&Value| list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
        open.extend(list(&node["deps"]).filter(normal).map(|dependency| text(&dependency["pkg"])));
    }
    linked
}

fn notice_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        let is_notice = NOTICES.iter().any(|start| name.starts_with(start));
        if is_notice && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

const NOTICES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
