//! The packaged manual page and shell completions are complete and well formed.
#![allow(clippy::disallowed_types)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use clap::CommandFactory;
use tempfile::TempDir;
use unit_exporter::cli::args::Args;

#[test]
fn page_and_completions_list_every_flag_and_subcommand() {
    let command = Args::command();
    let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let subcommands = subcommands.map(|sub| sub.get_name());
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let flags = shown.filter_map(|argument| argument.get_long());
    let words: Vec<&str> = flags.chain(subcommands).collect();
    assert!(words.len() > 30, "{words:?}");
    for name in ["unit-exporter.8", "unit-exporter.bash", "_unit-exporter", "unit-exporter.fish"] {
        // roff may break lines at a plain hyphen, so the page escapes it
        let text = read(name).replace(r"\-", "-");
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        assert!(missing.is_empty(), "not in {name}: {missing:?}");
    }
}

#[test]
fn manual_page_is_valid_roff() {
    let page = written().join("unit-exporter.8");
    let output = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&page).output();
    let output = output.expect("groff is needed: apt-get install groff-base");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn bash_completes_a_flag() {
    let script = format!(
        "source {}; COMP_WORDS=(unit-exporter --web.listen); COMP_CWORD=1; \
         _unit__exporter unit-exporter --web.listen unit-exporter; echo \"${{COMPREPLY[@]}}\"",
        written().join("unit-exporter.bash").display()
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).output().expect("bash");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "--web.listen-address",
        "{output:?}"
    );
}

fn read(name: &str) -> String {
    fs::read_to_string(written().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The directory with the manual page and the completions of this build.
fn written() -> &'static Path {
    static WRITTEN: OnceLock<TempDir> = OnceLock::new();
    let write = || {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "--locked", "--example", "manual", "--"]);
        let output = command.arg(directory.path()).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        directory
    };
    WRITTEN.get_or_init(write).path()
}
