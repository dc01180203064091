//! Making the hash of a password for the configuration file.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::http::MAX_PASSWORD_BYTES;

/// Reads a password and prints its hash.
pub(super) fn run(cost: u32) -> anyhow::Result<ExitCode> {
    let password = read_password().context("failed to read the password")?;
    writeln!(io::stdout(), "{}", hash_password(&password, cost)?)?;
    Ok(ExitCode::SUCCESS)
}

/// A password that cannot be hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// There is nothing to hash.
    #[error("the password is empty")]
    Empty,
    /// bcrypt would ignore what follows.
    #[error("the password is longer than 72 bytes, all that bcrypt looks at")]
    Long,
    /// bcrypt ends there.
    #[error("the password holds a NUL byte")]
    Nul,
    /// The cost is not one of bcrypt's, or there was no randomness.
    #[error("{0}")]
    Failed(String),
}

/// The bcrypt hash of a password, as `basic_auth_users` wants it; `cost` doubles the work with
/// every step.
///
/// # Errors
/// Passwords that bcrypt would not look at as a whole, costs beyond 4 to 31.
pub fn hash_password(password: &[u8], cost: u32) -> Result<String, BadPassword> {
    if password.is_empty() {
        return Err(BadPassword::Empty);
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(BadPassword::Long);
    }
    if password.contains(&0) {
        return Err(BadPassword::Nul);
    }
    bcrypt::hash(password, cost).map_err(|error| BadPassword::Failed(error.to_string()))
}

/// A password from the terminal, asked twice and not shown, or the first line of the standard
/// input if that is none.
///
/// # Errors
/// Reading failed, was interrupted, or gave two different passwords.
pub fn read_password() -> io::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&mut stdin.lock());
    }
    let silence = Silence::begin()?;
    let first = ask("Password: ")?;
    let second = ask("Once more: ")?;
    drop(silence);
    if first != second {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the two are not the same"));
    }
    Ok(first)
}

fn ask(prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut stderr = io::stderr();
    stderr.write_all(prompt.as_bytes())?;
    let answer = line(&mut io::stdin().lock());
    stderr.write_all(b"\n")?;
    let answer = answer?;
    if answer.contains(&INTERRUPT) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(answer)
}

/// One line without its end.
fn line(input: &mut impl BufRead) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    for byte in input.take(LONGEST_LINE as u64).bytes() {
        match byte? {
            b'\n' => break,
            INTERRUPT => {
                line.push(INTERRUPT);
                break;
            }
            byte => line.push(byte),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// A terminal that does not show what is typed, until dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        // Ctrl-C must not end the program with the terminal left silent: it ends the line instead
        silent.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // nothing can be done if the terminal has gone
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// The byte that Ctrl-C types.
const INTERRUPT: u8 = 3;

const LONGEST_LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_whole_password() {
        let password = [b'x'; MAX_PASSWORD_BYTES];
        let hash = hash_password(&password, 4).unwrap();
        assert_eq!(bcrypt::verify(password, &hash).ok(), Some(true));
        assert_eq!(bcrypt::verify(&password[1..], &hash).ok(), Some(false));
        assert_eq!(hash_password(&[b'x'; MAX_PASSWORD_BYTES + 1], 4), Err(BadPassword::Long));
        assert_eq!(hash_password(b"", 4), Err(BadPassword::Empty));
        assert_eq!(hash_password(b"a\0b", 4), Err(BadPassword::Nul));
        assert!(matches!(hash_password(b"a", 3), Err(BadPassword::Failed(_))));
    }

    #[test]
    fn a_line_ends_where_it_ends() {
        for (input, expected) in [
            (&b"secret\nmore"[..], &b"secret"[..]),
            (b"secret\r\n", b"secret"),
            (b"secret", b"secret"),
            (b"a b \n", b"a b "),
            (b"", b""),
        ] {
            let mut input = input;
            assert_eq!(*line(&mut input).unwrap(), expected);
        }
    }
}
