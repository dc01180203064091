//! Lists the journal files.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::stat;

use super::Journal;
use super::file::{FileError, Inode};
use crate::systemd::unit::value::{Id128, id128_to_hex};

/// The directories of this machine's journal.
#[derive(Debug)]
pub(super) struct JournalDirectory {
    persistent: PathBuf,
    volatile: PathBuf,
    /// The names of the directory in both, the newest first: the machine ID may change.
    machine_ids: Vec<String>,
    /// Archived files that need not be opened again.
    seen: HashSet<PathBuf>,
    /// Why the journal is incomplete; the first reason since the last listing.
    problem: Option<String>,
}

/// The path of a journal file, and the properties that its name implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    path: PathBuf,
    current: bool,
    volatile: bool,
    /// The user whose entries the file contains; `None` for the system's.
    user: Option<u32>,
}

impl Journal {
    /// The directories in which a change may be a new entry.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.directory.directories()
    }
}

impl JournalDirectory {
    pub(super) fn new(persistent: &Path, volatile: &Path, machine_id: Id128) -> Self {
        Self {
            persistent: persistent.to_owned(),
            volatile: volatile.to_owned(),
            machine_ids: vec![id128_to_hex(machine_id)],
            seen: HashSet::new(),
            problem: None,
        }
    }

    /// Adds the machine ID; false if it is the newest one already.
    pub(super) fn add_machine_id(&mut self, machine_id: Id128) -> bool {
        let name = id128_to_hex(machine_id);
        if self.machine_ids.first() == Some(&name) {
            return false;
        }
        self.machine_ids.retain(|known| *known != name);
        self.machine_ids.insert(0, name);
        self.machine_ids.truncate(MAX_MACHINE_IDS);
        true
    }

    /// The files to open, the most important first: current ones, unless `is_open` holds for their inode, and new archived ones.
    /// Files that are archived at the `first` listing are ignored.
    pub(super) fn list(&mut self, is_open: impl Fn(Inode) -> bool, first: bool) -> Vec<FileName> {
        self.problem = None;
        let mut listed = Vec::new();
        for (base, volatile) in [(self.persistent.clone(), false), (self.volatile.clone(), true)] {
            if let Err((path, error)) = self.list_in(&base, volatile, &mut listed) {
                self.record_problem_at(&path, &FileError::Io(error));
            }
        }
        let archived: HashSet<&PathBuf> =
            listed.iter().filter(|name| !name.current).map(|name| &name.path).collect();
        self.seen.retain(|path| archived.contains(path));
        if first {
            self.seen.extend(archived.into_iter().cloned());
        }
        listed.retain(|name| match name.current {
            true => !stat(&name.path).is_ok_and(|there| is_open((there.st_dev, there.st_ino))),
            false => !self.seen.contains(&name.path),
        });
        listed.sort_by_key(FileName::rank);
        listed
    }

    /// The directories in which files appear and change, as far as they exist.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let bases = [&self.persistent, &self.volatile];
        let own = bases.iter().flat_map(|base| self.own_directories(base).unwrap_or_default());
        bases.into_iter().cloned().chain(own).collect()
    }

    /// All files.
    pub(super) fn all(&self) -> Vec<FileName> {
        let mut listed = Vec::new();
        for (base, volatile) in [(&self.persistent, false), (&self.volatile, true)] {
            // an error is reported by the listing of the files to follow
            let _ = self.list_in(base, volatile, &mut listed);
        }
        listed
    }

    /// Excludes an archived file from further listings.
    pub(super) fn remember(&mut self, name: &FileName) {
        if !name.current {
            self.seen.insert(name.path.clone());
        }
    }

    /// Records that a path cannot be read.
    pub(super) fn record_problem_at(&mut self, path: &Path, error: &FileError) {
        let hint = match error {
            FileError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => GROUP_HINT,
            _ => "",
        };
        self.record_problem(format!("{}: {error}{hint}", path.display()));
    }

    pub(super) fn record_problem(&mut self, why: String) {
        self.problem.get_or_insert(why);
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// Why there is no file to read.
    pub(super) fn why_no_files(&self) -> String {
        self.problem.clone().unwrap_or_else(|| {
            format!(
                "no journal in {}/{id} or {}/{id}; is systemd-journald running with Storage= other than none?",
                self.persistent.display(),
                self.volatile.display(),
                id = self.machine_ids.first().map(String::as_str).unwrap_or_default()
            )
        })
    }

    /// Lists the directory of this machine and those of its journal namespaces (`LogNamespace=`).
    fn list_in(
        &self,
        base: &Path,
        volatile: bool,
        listed: &mut Vec<FileName>,
    ) -> Result<(), (PathBuf, io::Error)> {
        for directory in self.own_directories(base)? {
            for file in names(&directory)? {
                if let Some((current, user)) = classify(&file) {
                    listed.push(FileName { path: directory.join(file), current, volatile, user });
                }
            }
        }
        Ok(())
    }

    fn own_directories(&self, base: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
        let is_own = |name: &String| {
            let rest = self.machine_ids.iter().find_map(|id| name.strip_prefix(&**id));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        Ok(names(base)?.into_iter().filter(is_own).map(|name| base.join(name)).collect())
    }
}

impl FileName {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether journald writes to a file of this name.
    pub(super) fn is_current(&self) -> bool {
        self.current
    }

    /// Whether it is `system.journal`.
    pub(super) fn is_of_system(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "system.journal")
    }

    /// Whether the file is in /run: removed at the next boot, or copied to /var before.
    pub(super) fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// The user whose entries the file contains; `None` for the system's.
    pub(super) fn user(&self) -> Option<u32> {
        self.user
    }

    /// The order of importance: files of the system, then of users by ID. IDs of containers, which
    /// any user may have thousands of, are the highest.
    pub(super) fn rank(&self) -> u64 {
        self.user.map_or(0, |user| u64::from(user) + 1)
    }
}

/// Whether journald writes to a file of this name, and the user of its entries; `None` if it is not a
/// journal file.
fn classify(file: &str) -> Option<(bool, Option<u32>)> {
    let owner = |stem: &str| match stem {
        "system" => Some(None),
        _ => Some(Some(stem.strip_prefix("user-")?.parse().ok()?)),
    };
    let stem = file.strip_suffix(".journal");
    if let Some(user) = stem.and_then(owner) {
        return Some((true, user));
    }
    let stem = stem.or_else(|| file.strip_suffix(".journal~"))?;
    // rotated, or renamed because it is corrupt
    let (of, _) = stem.split_once('@')?;
    Some((false, owner(of)?))
}

/// The names in a directory; empty if the directory does not exist.
fn names(directory: &Path) -> Result<Vec<String>, (PathBuf, io::Error)> {
    let failed = |error: io::Error| (directory.to_owned(), error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // journald uses ASCII names only
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// More than an ID that is set up twice, as on a cloned host.
const MAX_MACHINE_IDS: usize = 4;

const GROUP_HINT: &str = "; add the exporter's user to the group systemd-journal";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_files_by_name() {
        for (name, user) in [("system.journal", None), ("user-1000.journal", Some(1000))] {
            assert_eq!(classify(name), Some((true, user)), "{name}");
        }
        for (name, user) in [
            ("system@0004fc6ad2e85a9c-8ad9a5da2b3e1b64.journal~", None),
            (
                "system@c7a1c9d4a5d04a6f8cbf0a3d1cb1c0f4-0000000000000001-0005f0f1d4f3b2a1.journal",
                None,
            ),
            (
                "user-1000@c7a1c9d4a5d04a6f8cbf0a3d1cb1c0f4-0000000000000001-0005f0f1d4f3b2a1.journal",
                Some(1000),
            ),
        ] {
            assert_eq!(classify(name), Some((false, user)), "{name}");
        }
        for name in
            ["fss", "system.journal.bak", "remote-host.journal", "user-x.journal", "@.journal"]
        {
            assert_eq!(classify(name), None, "{name}");
        }
    }
}
