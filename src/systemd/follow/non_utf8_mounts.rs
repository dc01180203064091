//! Mounts that an old systemd must not list.
//!
//! A bus closes the connection of a client that sends text other than UTF-8. Up to 253 (and without
//! the backports that some distributions have) PID 1 sends the path of a mount unchanged when units
//! are listed, and then stays away from the bus.

use crate::systemd::manager::Manager;

/// Whether there is such a mount, and a systemd that would lose its connection by listing it.
pub(super) fn prevent_listing(manager: &Manager) -> bool {
    sends_path(manager.version_number())
        && std::fs::read(MOUNTS).is_ok_and(|mounts| has_one(&mounts))
}

/// Whether systemd sends such a path; assumed if its version is unknown.
fn sends_path(version: Option<u64>) -> bool {
    version.is_none_or(|version| version < FIXED_VERSION)
}

/// Whether one of the lines of a mountinfo has a path that is not UTF-8.
fn has_one(mounts: &[u8]) -> bool {
    let path = |line| <[u8]>::split(line, |byte| *byte == b' ').nth(4);
    let mut paths = mounts.split(|byte| *byte == b'\n').filter_map(path);
    paths.any(|path| std::str::from_utf8(path).is_err())
}

/// Why mounts are not listed.
pub(super) const ERROR: &str =
    "the path of a mount is not UTF-8: the bus would disconnect this systemd if it listed mounts";

/// The file from which PID 1 reads mounts.
const MOUNTS: &str = "/proc/1/mountinfo";

/// From this version on, PID 1 replies with an error, and in later ones with the path escaped.
const FIXED_VERSION: u64 = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_only_mount_paths() {
        let line = |path: &[u8], source: &[u8]| {
            [b"36 35 98:0 / ", path, b" rw shared:1 - ext3 ", source, b" rw\n"].concat()
        };
        let good = line("/srv/\u{e4}".as_bytes(), b"\xff");
        assert!(!has_one(&good));
        assert!(has_one(&[good, line(b"/srv/\xff", b"tmpfs")].concat()));
        assert!(!has_one(b"") && !has_one(b"\xff"));
    }

    #[test]
    fn only_old_systemd_sends_the_path() {
        for (version, sends) in [(None, true), (Some(253), true), (Some(254), false)] {
            assert_eq!(sends_path(version), sends, "{version:?}");
        }
    }
}
