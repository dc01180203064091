//! Lists the journal files.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::stat;

use super::file::{FileError, Inode};
use crate::systemd::unit::value::{Id128, id128_to_hex};

/// The directories of this machine's journal.
#[derive(Debug)]
pub(super) struct JournalDirectory {
    persistent: PathBuf,
    volatile: PathBuf,
    /// The name of the directory in both.
    machine_id: String,
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
}

impl JournalDirectory {
    pub(super) fn new(persistent: &Path, volatile: &Path, machine_id: Id128) -> Self {
        Self {
            persistent: persistent.to_owned(),
            volatile: volatile.to_owned(),
            machine_id: id128_to_hex(machine_id),
            seen: HashSet::new(),
            problem: None,
        }
    }

    /// The files to open: current ones, unless `is_open` holds for their inode, and new archived ones.
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
        listed
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
                id = self.machine_id
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
        for directory in names(base)? {
            let own = directory.strip_prefix(&*self.machine_id);
            if own.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('.')) {
                continue;
            }
            let directory = base.join(directory);
            for file in names(&directory)? {
                if let Some(current) = is_current(&file) {
                    listed.push(FileName { path: directory.join(file), current, volatile });
                }
            }
        }
        Ok(())
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
}

/// Whether journald writes to a file of this name; `None` if it is not a journal file.
fn is_current(file: &str) -> Option<bool> {
    let stem = file.strip_suffix(".journal");
    let is_user = |stem: &str| {
        stem.strip_prefix("user-").is_some_and(|uid| uid.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if stem.is_some_and(|stem| stem == "system" || is_user(stem)) {
        return Some(true);
    }
    let stem = stem.or_else(|| file.strip_suffix(".journal~"))?;
    // rotated, or renamed because it is corrupt
    let (of, _) = stem.split_once('@')?;
    (of == "system" || is_user(of)).then_some(false)
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

const GROUP_HINT: &str = "; add the exporter's user to the group systemd-journal";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_files_by_name() {
        for name in ["system.journal", "user-1000.journal"] {
            assert_eq!(is_current(name), Some(true), "{name}");
        }
        for name in [
            "system@0004fc6ad2e85a9c-8ad9a5da2b3e1b64.journal~",
            "system@c7a1c9d4a5d04a6f8cbf0a3d1cb1c0f4-0000000000000001-0005f0f1d4f3b2a1.journal",
            "user-1000@c7a1c9d4a5d04a6f8cbf0a3d1cb1c0f4-0000000000000001-0005f0f1d4f3b2a1.journal",
        ] {
            assert_eq!(is_current(name), Some(false), "{name}");
        }
        for name in
            ["fss", "system.journal.bak", "remote-host.journal", "user-x.journal", "@.journal"]
        {
            assert_eq!(is_current(name), None, "{name}");
        }
    }
}
