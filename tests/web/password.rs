//! Asking for a password on a real terminal.
#![expect(clippy::disallowed_types, reason = "the terminal is another process's")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use unit_exporter::cli::read_password;

use crate::child::STARTED;

#[test]
fn a_password_is_asked_twice_and_not_shown() {
    let (shown, told) = ask(b"secret\n", b"secret\n");
    assert_eq!(told, "read 6 bytes\n");
    assert!(shown.contains("Password: ") && shown.contains("Once more: "), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn two_different_passwords_are_refused() {
    let (_, told) = ask(b"secret\n", b"sceret\n");
    assert_eq!(told, "failed: the two are not the same\n");
}

#[test]
fn an_interrupt_ends_it_and_leaves_the_terminal_as_it_was() {
    let (_, told) = ask(b"secr\x03", b"");
    assert!(told.starts_with("failed: "), "{told}");
}

#[test]
#[ignore = "this is the process that other tests start"]
fn read() {
    assert!(std::env::var_os(STARTED).is_some(), "only other tests start this");
    match read_password() {
        Ok(password) => println!("{TOLD}read {} bytes", password.len()),
        Err(error) => println!("{TOLD}failed: {error}"),
    }
}

/// What the terminal showed and what the process told.
fn ask(first: &[u8], second: &[u8]) -> (String, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal: OwnedFd =
        open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "password::read"])
        .env(STARTED, "1")
        .stdin(terminal.try_clone().unwrap())
        .stderr(terminal.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut master = File::from(master);
    let mut shown = until(&mut master, "Password: ");
    master.write_all(first).unwrap();
    if !second.is_empty() {
        shown += &until(&mut master, "Once more: ");
        master.write_all(second).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let modes = tcgetattr(&terminal).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let told = told.lines().find_map(|line| line.split_once(TOLD)).unwrap().1;
    (shown, format!("{told}\n"))
}

fn until(master: &mut File, prompt: &str) -> String {
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

const TOLD: &str = "told: ";
