//! The file on a real file system: valid, invalid, and one that cannot be written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::systemd::ledger::Ledger;
use crate::systemd::mirror::{ListedUnit, Mirror};
use crate::systemd::saved::SavedSystemd;
use crate::systemd::state::Shared;
use crate::unit_filter::Selection;

#[test]
fn saved_state_is_found_in_the_same_boot_only() {
    let directory = TempDir::new().unwrap();
    let file = StateFile::new(directory.path(), boot("a"));
    assert!(matches!(file.read(), FoundState::FirstStart));
    file.save(&state());
    let FoundState::Restorable(found) = file.read() else { panic!("{:?}", file.read()) };
    assert_eq!(names(*found), ["a.service"]);
    assert_eq!(file.stats(), StateFileStats { restored: false, saves: 1, failed_saves: 0 });
    let mode = fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for other in [boot("b"), Boot { pid1_start: 8, ..boot("a") }] {
        let other = StateFile::new(directory.path(), other);
        assert!(matches!(other.read(), FoundState::FirstStart));
    }
}

#[test]
fn invalid_files_are_refused() {
    let directory = TempDir::new().unwrap();
    let file = StateFile::new(directory.path(), boot("a"));
    file.save(&state());
    let valid = fs::read(file.path()).unwrap();
    let text = String::from_utf8(valid.clone()).unwrap();
    let refused = |what: &str| match file.read() {
        FoundState::Unusable(error) => error.to_string(),
        other => panic!("{what}: {other:?}"),
    };
    for length in (1..valid.len()).step_by(7) {
        fs::write(file.path(), &valid[..length]).unwrap();
        refused(&format!("{length} bytes"));
    }
    for (content, reason) in [
        (String::new(), "not a state of unit-exporter"),
        ("{}".to_owned(), "not a state of unit-exporter"),
        (text.replace("unit-exporter-state", "x"), "not a state of unit-exporter"),
        (text.replace("\"version\":1", "\"version\":2"), "of another version of the format: 2"),
        (
            text.replace("\"saved\"", "\"\\u0000\"").replace("\"reloads\":0", "\"reloads\":-1"),
            "corrupt: ",
        ),
        (text.replace("\"reloads\":0", "\"reloads\":18446744073709551615"), "out of range"),
    ] {
        fs::write(file.path(), content).unwrap();
        let error = refused(reason);
        assert!(error.contains(reason), "{error}");
    }
    let big = fs::File::create(file.path()).unwrap();
    big.set_len(1 << 30).unwrap();
    assert_eq!(refused("a gigabyte"), "too large");

    fs::rename(file.path(), directory.path().join("elsewhere")).unwrap();
    symlink(directory.path().join("elsewhere"), file.path()).unwrap();
    assert_eq!(refused("a link"), "not a regular file");
    fs::remove_file(file.path()).unwrap();
    fs::create_dir(file.path()).unwrap();
    assert_eq!(refused("a directory"), "not a regular file");
}

#[test]
fn interrupted_write_does_not_prevent_the_next_one() {
    let directory = TempDir::new().unwrap();
    let file = StateFile::new(directory.path(), boot("a"));
    fs::write(directory.path().join("target"), "unchanged").unwrap();
    symlink(directory.path().join("target"), file.path().with_extension("new")).unwrap();
    file.save(&state());
    assert_eq!(fs::read_to_string(directory.path().join("target")).unwrap(), "unchanged");
    assert!(matches!(file.read(), FoundState::Restorable(_)));
    // the directory is gone
    drop(directory);
    file.save(&state());
    assert_eq!(file.stats(), StateFileStats { restored: false, saves: 1, failed_saves: 1 });
}

fn boot(id: &str) -> Boot {
    Boot { id: id.to_owned(), pid1_start: 7 }
}

/// One unit that is active.
fn state() -> SavedState {
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    let state = &mut *shared.lock();
    let [load_state, active_state, sub_state] = ["loaded", "active", "running"].map(Into::into);
    let name = "a.service".to_owned();
    state.mirror.list(&ListedUnit { name, load_state, active_state, sub_state });
    SavedState { systemd: SavedSystemd::of(state), journal: None }
}

/// The names of the units in a restored state.
fn names(saved: SavedState) -> Vec<String> {
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    saved.systemd.restore(&mut shared.lock());
    let state = shared.lock();
    state.mirror.units().map(|unit| unit.name.to_string()).collect()
}
