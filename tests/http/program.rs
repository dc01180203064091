//! The subcommands `check web-config`, `check config` and `hash-password`, and startup with an invalid configuration.
#![expect(clippy::disallowed_types, reason = "the tests run the program")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::certificates::ConfigDir;

#[test]
fn check_config_and_startup_reject_invalid_file() {
    let dir = ConfigDir::new();
    let tls = "cert_file: server.crt, key_file: server.key";
    for (text, expected) in [
        ("hWkNKRkXfGGHBqtG".to_owned(), "yaml"),
        (
            "tls_server_config: {cert_file: nowhere, key_file: server.key}".to_owned(),
            "No such file",
        ),
        (
            "tls_server_config: {key_file: server.key}".to_owned(),
            "missing one of cert or cert_file",
        ),
        (format!("tls_server_config: {{{tls}, min_version: TLS111}}"), "unknown TLS version"),
        (format!("tls_server_config: {{{tls}, cipher_suites: [X]}}"), "unknown cipher"),
        (format!("tls_server_config: {{{tls}, curve_preferences: [X]}}"), "unknown curve"),
        (format!("tls_server_config: {{{tls}, client_auth_type: X}}"), "invalid ClientAuth"),
        (
            "basic_auth_users: {dave: short}".to_owned(),
            "user \"dave\": not a bcrypt hash; create one with: unit-exporter hash-password",
        ),
        ("http_server_config: {headers: {Server: x}}".to_owned(), "can not be configured"),
    ] {
        let file = dir.write("web.yml", &text);
        let flag = format!("--web.config.file={}", file.display());
        let checked = run(&["check".as_ref(), "web-config".as_ref(), &*file]);
        let served = run(&[Path::new(&flag), "--web.listen-address=127.0.0.1:0".as_ref()]);
        for output in [checked, served] {
            // the log escapes quotes
            let stderr = String::from_utf8_lossy(&output.stderr).replace("\\\"", "\"");
            assert_eq!(output.status.code(), Some(1), "{text}: {stderr}");
            assert!(stderr.contains(expected), "{text}: {stderr}");
        }
    }
    let absent = dir.path().join("nowhere.yml");
    for command in [&["check", "web-config"][..], &["check", "config"], &["check-config"]] {
        let command: Vec<&Path> = command.iter().map(Path::new).chain([&*absent]).collect();
        assert_eq!(run(&command).status.code(), Some(1));
    }
}

#[test]
fn check_config_accepts_valid_file_and_prints_warnings() {
    let dir = ConfigDir::new();
    let file = dir.tls(&["client_auth_type: VerifyClientCertIfGiven"]);
    let output = run(&["check".as_ref(), "web-config".as_ref(), &*file]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let (name, lines) = (file.display(), stdout.lines().collect::<Vec<_>>());
    assert_eq!(lines[0], format!("Checking {name}"));
    assert!(lines[1].starts_with(" WARNING: "), "{stdout}");
    assert_eq!(lines.last(), Some(&&*format!(" SUCCESS: {name} is a valid web configuration")));
}

#[test]
fn check_config_rejects_file_that_refuses_every_request() {
    let dir = ConfigDir::new();
    let tls = "cert_file: server.crt, key_file: server.key";
    for text in [
        "rate_limit: {interval: 1s}",
        &format!("tls_server_config: {{{tls}, client_auth_type: RequireAndVerifyClientCert}}"),
    ] {
        let file = dir.write("web.yml", text);
        let output = run(&["check".as_ref(), "web-config".as_ref(), &*file]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("every request is refused"), "{stderr}");
        assert!(stderr.starts_with(" FAILED: "), "{stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(stdout, format!("Checking {}\n", file.display()));
    }
}

#[test]
fn invalid_configuration_file_is_reported_with_its_line() {
    let dir = ConfigDir::new();
    let file = dir.write("config.yml", "profile: full\nexpect_units:\n- nginx\n");
    let flag = format!("--config.file={}", file.display());
    let checked = run(&["check".as_ref(), "config".as_ref(), &*file]);
    let served = run(&[Path::new(&flag), "--web.listen-address=127.0.0.1:0".as_ref()]);
    for output in [checked, served] {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("config.yml: ") && stderr.contains("line 3"), "{stderr}");
    }
    let file = dir.write("config.yml", "profile: full\nexpect_units:\n- nginx.service\n");
    let output = run(&["check".as_ref(), "config".as_ref(), &*file]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.ends_with(b"config.yml is a valid configuration\n"), "{output:?}");
}

#[test]
fn hash_password_prints_bcrypt_hash_of_stdin() {
    let mut program = Command::new(PROGRAM)
        .args(["hash-password", "--cost=4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(b"dave123\n").unwrap();
    let output = program.wait_with_output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    assert!(bcrypt::verify("dave123", hash.trim()).unwrap(), "{hash}");
}

fn run(arguments: &[&Path]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_unit-exporter");
