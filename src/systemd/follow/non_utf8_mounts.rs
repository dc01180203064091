//! Mounts that an old systemd must not be asked to list.
//!
//! A bus closes the connection of whoever sends a text that is not UTF-8. Up to 253 (and without the
//! backports that some distributions have) PID 1 sends the path of a mount as it is, to whoever
//! lists units, and then stays away from the bus.

use crate::systemd::manager::Manager;

/// Whether there is such a mount, and a systemd that would not survive to list it.
pub(super) fn mounts(manager: &Manager) -> bool {
    would_send(manager.version_number())
        && std::fs::read(MOUNTS).is_ok_and(|mounts| has_one(&mounts))
}

/// Whether systemd sends such a path; one that has not told its version may.
fn would_send(version: Option<u64>) -> bool {
    version.is_none_or(|version| version < REFUSES)
}

/// Whether one of the lines of a mountinfo has a path that is not UTF-8.
fn has_one(mounts: &[u8]) -> bool {
    let path = |line| <[u8]>::split(line, |byte| *byte == b' ').nth(4);
    let mut paths = mounts.split(|byte| *byte == b'\n').filter_map(path);
    paths.any(|path| std::str::from_utf8(path).is_err())
}

/// What is said of it.
pub(super) const WHY: &str = "the path of a mount is not UTF-8: this systemd would be thrown off the bus if it listed mounts";

/// Where PID 1 looks itself.
const MOUNTS: &str = "/proc/1/mountinfo";

/// From this version on, PID 1 answers with an error, and later with the path escaped.
const REFUSES: u64 = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_a_mount_counts() {
        let line = |path: &[u8], source: &[u8]| {
            [b"36 35 98:0 / ", path, b" rw shared:1 - ext3 ", source, b" rw\n"].concat()
        };
        let good = line("/srv/\u{e4}".as_bytes(), b"\xff");
        assert!(!has_one(&good));
        assert!(has_one(&[good, line(b"/srv/\xff", b"tmpfs")].concat()));
        assert!(!has_one(b"") && !has_one(b"\xff"));
    }

    #[test]
    fn only_a_systemd_that_refuses_is_asked_for_such_a_mount() {
        for (version, would) in [(None, true), (Some(253), true), (Some(254), false)] {
            assert_eq!(would_send(version), would, "{version:?}");
        }
    }
}
