//! Units whose settings `systemctl set-property` has changed: systemd writes a drop-in of the unit for
//! each change, and sends no signal.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The directories that systemd writes such drop-ins to: for the running system, for good, and for
/// transient units.
pub const CONTROL_DIRECTORIES: [&str; 3] =
    ["/run/systemd/system.control", "/etc/systemd/system.control", "/run/systemd/transient"];

/// The modification times of the drop-in directories of units.
#[derive(Debug, Default)]
pub(super) struct ControlDropIns {
    directories: Vec<PathBuf>,
    /// By unit and number of the directory.
    modified: BTreeMap<(Arc<str>, usize), SystemTime>,
}

impl ControlDropIns {
    /// The drop-ins that exist now are no changes.
    pub(super) fn new(directories: &[PathBuf]) -> Self {
        let mut drop_ins = Self { directories: directories.to_vec(), ..Self::default() };
        drop_ins.changed();
        drop_ins
    }

    /// The directories that systemd writes drop-ins to.
    pub(super) fn roots(&self) -> &[PathBuf] {
        &self.directories
    }

    /// These directories, and those of the units that have drop-ins.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let of_units = self.modified.keys();
        let of_units =
            of_units.map(|(unit, number)| self.directories[*number].join(format!("{unit}.d")));
        self.directories.iter().cloned().chain(of_units).collect()
    }

    /// Whether changes would be seen: a container may not have the directories, and those of users'
    /// managers are in their homes.
    pub(super) fn are_visible(&self) -> bool {
        let parents = self.directories.iter().filter_map(|directory| directory.parent());
        self.directories.iter().any(|directory| directory.exists())
            || parents.into_iter().any(|parent| parent.join("system").exists())
    }

    /// The units whose drop-ins have changed since the last call. Two or three system calls without
    /// drop-ins, one more for each unit with some.
    pub(super) fn changed(&mut self) -> Vec<Arc<str>> {
        let mut found = BTreeMap::new();
        for (number, directory) in self.directories.iter().enumerate() {
            // without the directory nothing was ever set
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            for entry in entries.take(MAX_ENTRIES) {
                let name = entry.file_name();
                let Some(unit) = name.to_str().and_then(|name| name.strip_suffix(".d")) else {
                    continue;
                };
                if let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) {
                    found.insert((Arc::from(unit), number), modified);
                }
            }
        }
        let before = std::mem::replace(&mut self.modified, found);
        let changed = self.modified.iter().filter(|(key, at)| before.get(*key) != Some(*at));
        let gone = before.keys().filter(|key| !self.modified.contains_key(*key));
        changed.map(|(key, _)| key).chain(gone).map(|(unit, _)| unit.clone()).collect()
    }
}

/// Entries of one directory: those of transient units are files, too.
const MAX_ENTRIES: usize = 20_000;

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, remove_dir_all, write};
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn new_changed_and_removed_drop_ins_name_their_unit() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("system.control");
        let mut drop_ins = ControlDropIns::new(std::slice::from_ref(&directory));
        assert!(!drop_ins.are_visible());
        let mut changed =
            move || drop_ins.changed().iter().map(|u| u.to_string()).collect::<Vec<_>>();
        assert!(changed().is_empty(), "no directory");
        for unit in ["a.service", "b.service"] {
            create_dir_all(directory.join(format!("{unit}.d"))).unwrap();
        }
        write(directory.join("a.service"), "").unwrap();
        assert_eq!(changed(), ["a.service", "b.service"]);
        assert!(changed().is_empty(), "nothing new");
        sleep(Duration::from_millis(20));
        write(directory.join("a.service.d/50-TasksMax.conf"), "").unwrap();
        assert_eq!(changed(), ["a.service"]);
        remove_dir_all(directory.join("b.service.d")).unwrap();
        assert_eq!(changed(), ["b.service"]);
    }

    #[test]
    fn drop_ins_that_exist_already_are_no_changes() {
        let root = tempfile::tempdir().unwrap();
        create_dir_all(root.path().join("a.service.d")).unwrap();
        let mut drop_ins = ControlDropIns::new(&[root.path().to_owned()]);
        assert!(drop_ins.are_visible());
        assert!(drop_ins.changed().is_empty());
    }
}
