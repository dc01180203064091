//! The rules of the house: licences of dependencies, the size and opening of sources, flags that README.md tells.
#![allow(clippy::disallowed_types)]

#[path = "support/sources.rs"]
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;
use sources::sources;

#[test]
fn every_dependency_carries_a_licence_that_deny_toml_allows() {
    let deny = read("deny.toml");
    let allowed =
        deny.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']')).expect("a list").0;
    let allowed: Vec<&str> = allowed.split('"').skip(1).step_by(2).collect();
    let metadata =
        stdout(Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--locked"]));
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 50, "{} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .map(|package| (package["name"].to_string(), package["license"].as_str().unwrap_or("none")))
        .filter(|(_, licence)| !permits(licence, &allowed))
        .map(|(name, licence)| format!("{name}: {licence}"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn a_licence_expression_is_read_as_spdx_means_it() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"];
    for yes in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR LGPL-2.1-or-later) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "GPL-2.0 AND MIT OR Apache-2.0",
    ] {
        assert!(permits(yes, &allowed), "{yes}");
    }
    for no in [
        "",
        "none",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR GPL-2.0) AND LGPL-2.1",
        "MIT AND (GPL-2.0 OR AGPL-3.0)",
    ] {
        assert!(!permits(no, &allowed), "{no}");
    }
}

#[test]
fn every_source_opens_with_what_it_is_about() {
    let silent: Vec<PathBuf> =
        sources("src").into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "no //! line at the top of {silent:?}");
}

#[test]
fn no_source_is_longer_than_500_lines() {
    let long: Vec<PathBuf> =
        sources("src").into_iter().filter(|path| read(path).lines().count() > 500).collect();
    assert!(long.is_empty(), "to be split into folders: {long:?}");
}

#[test]
fn the_readme_has_every_flag_and_no_other() {
    let help = stdout(Command::new(env!("CARGO_BIN_EXE_unit-exporter")).arg("--help"));
    let readme = read("README.md");
    let table = readme
        .split_once("## Flags")
        .and_then(|(_, rest)| rest.split_once("\n## "))
        .expect("a section")
        .0;
    assert_eq!(flags(table), flags(&help));
}

/// Whether a licence can be chosen so that only allowed ones hold.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut words, allowed) && words.is_empty()
}

fn any_of(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut permitted = all_of(words, allowed);
    while words.pop_if(|word| *word == "OR").is_some() {
        permitted |= all_of(words, allowed);
    }
    permitted
}

fn all_of(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut permitted = one(words, allowed);
    while words.pop_if(|word| *word == "AND").is_some() {
        permitted &= one(words, allowed);
    }
    permitted
}

fn one(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    if words.pop_if(|word| *word == "(").is_some() {
        let permitted = any_of(words, allowed);
        return words.pop() == Some(")") && permitted;
    }
    let permitted = words.pop().is_some_and(|licence| allowed.contains(&licence));
    // An exception only permits more.
    if words.pop_if(|word| *word == "WITH").is_some() {
        words.pop();
    }
    permitted
}

/// The long flags that a text mentions.
fn flags(text: &str) -> BTreeSet<&str> {
    let words = text
        .split(|character: char| !(character.is_ascii_alphanumeric() || "-._".contains(character)));
    words
        .map(|word| word.trim_end_matches(['.', '-']))
        .filter(|word| word.starts_with("--"))
        .collect()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn stdout(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().expect("a program that starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
