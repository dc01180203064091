//! The password prompt on a pseudoterminal.
#![expect(clippy::disallowed_types, reason = "the prompt runs in a child process")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use unit_exporter::cli::read_password;

use crate::server_process::CHILD_MARKER;

#[test]
fn password_is_read_twice_without_echo() {
    let (shown, result) = prompt(b"secret\n", b"secret\n");
    assert_eq!(result, "read 6 bytes\n");
    assert!(shown.contains("Password: ") && shown.contains("Once more: "), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn mismatched_passwords_are_rejected() {
    let (_, result) = prompt(b"secret\n", b"sceret\n");
    assert_eq!(result, "failed: the two are not the same\n");
}

#[test]
fn interrupt_aborts_prompt_and_restores_terminal() {
    let (_, result) = prompt(b"secr\x03", b"");
    assert!(result.starts_with("failed: "), "{result}");
}

#[test]
#[ignore = "the child process of other tests"]
fn read_password_from_terminal() {
    assert!(std::env::var_os(CHILD_MARKER).is_some(), "must be started by another test");
    match read_password() {
        Ok(password) => println!("{RESULT_PREFIX}read {} bytes", password.len()),
        Err(error) => println!("{RESULT_PREFIX}failed: {error}"),
    }
}

/// The output on the terminal, and the result that the process printed.
fn prompt(first: &[u8], second: &[u8]) -> (String, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal: OwnedFd =
        open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "password::read_password_from_terminal"])
        .env(CHILD_MARKER, "1")
        .stdin(terminal.try_clone().unwrap())
        .stderr(terminal.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut master = File::from(master);
    let mut shown = read_until(&mut master, "Password: ");
    master.write_all(first).unwrap();
    if !second.is_empty() {
        shown += &read_until(&mut master, "Once more: ");
        master.write_all(second).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let modes = tcgetattr(&terminal).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
    let result = String::from_utf8(output.stdout).unwrap();
    let result = result.lines().find_map(|line| line.split_once(RESULT_PREFIX)).unwrap().1;
    (shown, format!("{result}\n"))
}

fn read_until(master: &mut File, prompt: &str) -> String {
    let start = Instant::now();
    let mut shown = Vec::new();
    while !shown.ends_with(prompt.as_bytes()) {
        assert!(start.elapsed() < Duration::from_secs(20));
        let mut byte = [0];
        master.read_exact(&mut byte).unwrap();
        shown.push(byte[0]);
    }
    String::from_utf8(shown).unwrap()
}

const RESULT_PREFIX: &str = "result: ";
