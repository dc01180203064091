//! Sets the compiler version and the source revision that the program reports.
#![allow(clippy::disallowed_types, reason = "a build script may run the compiler and git")]

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = output(Command::new(rustc).arg("--version"));
    let revision = output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    // only the number of `rustc 1.91.0 (hash date)`
    let version = version.split(' ').nth(1).unwrap_or_default().to_owned();
    println!("cargo::rustc-env=BUILT_BY={version}");
    println!("cargo::rustc-env=BUILT_FROM={revision}");
    println!("cargo::rerun-if-changed=build.rs");
    // a missing file would cause a rebuild each time
    let head = output(Command::new("git").args(["rev-parse", "--git-path", "HEAD"]));
    if !head.is_empty() {
        println!("cargo::rerun-if-changed={head}");
    }
}

/// Standard output of a command; empty if it fails, as git does outside a checkout.
fn output(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
