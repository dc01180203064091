//! Which journal files there are.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::stat;

use super::file::{Fault, Inode};
use super::format::Id;

/// The directories of this machine's journal.
#[derive(Debug)]
pub(super) struct Folder {
    persistent: PathBuf,
    volatile: PathBuf,
    /// The directory's name in either.
    machine_id: String,
    /// Archived files that have been dealt with.
    seen: HashSet<PathBuf>,
    refusal: Option<String>,
}

/// A journal file, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    path: PathBuf,
    current: bool,
    volatile: bool,
}

impl Folder {
    pub(super) fn new(persistent: &Path, volatile: &Path, machine_id: Id) -> Self {
        Self {
            persistent: persistent.to_owned(),
            volatile: volatile.to_owned(),
            machine_id: machine_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            seen: HashSet::new(),
            refusal: None,
        }
    }

    /// The files that have not been dealt with: those written to, unless `is_here` knows their
    /// inode, and archived ones that have come up. Those archived at `first` never are looked at.
    pub(super) fn list(&mut self, is_here: impl Fn(Inode) -> bool, first: bool) -> Vec<Name> {
        self.refusal = None;
        let mut listed = Vec::new();
        for (base, volatile) in [(self.persistent.clone(), false), (self.volatile.clone(), true)] {
            if let Err((path, error)) = self.list_in(&base, volatile, &mut listed) {
                self.refuse_at(&path, &Fault::Io(error));
            }
        }
        let archived: HashSet<&PathBuf> =
            listed.iter().filter(|name| !name.current).map(|name| &name.path).collect();
        self.seen.retain(|path| archived.contains(path));
        if first {
            self.seen.extend(archived.into_iter().cloned());
        }
        listed.retain(|name| match name.current {
            true => !stat(&name.path).is_ok_and(|there| is_here((there.st_dev, there.st_ino))),
            false => !self.seen.contains(&name.path),
        });
        listed
    }

    /// An archived file that is not to come up again.
    pub(super) fn remember(&mut self, name: &Name) {
        if !name.current {
            self.seen.insert(name.path.clone());
        }
    }

    /// The journal is not all there is to read.
    pub(super) fn refuse_at(&mut self, path: &Path, fault: &Fault) {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let remedy = match fault {
            Fault::Io(error) if denied(error) => REMEDY,
            _ => "",
        };
        self.refuse(format!("{}: {fault}{remedy}", path.display()));
    }

    pub(super) fn refuse(&mut self, why: String) {
        self.refusal.get_or_insert(why);
    }

    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.clone()
    }

    /// Why there is no file to read.
    pub(super) fn why_nothing(&self) -> String {
        self.refusal.clone().unwrap_or_else(|| {
            format!(
                "no journal in {}/{id} or {}/{id}: does systemd-journald run, and store anything (Storage=)?",
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
        listed: &mut Vec<Name>,
    ) -> Result<(), (PathBuf, io::Error)> {
        for directory in names(base)? {
            let own = directory.strip_prefix(&*self.machine_id);
            if own.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('.')) {
                continue;
            }
            let directory = base.join(directory);
            for file in names(&directory)? {
                if let Some(current) = is_current(&file) {
                    listed.push(Name { path: directory.join(file), current, volatile });
                }
            }
        }
        Ok(())
    }
}

impl Name {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is one that journald writes to.
    pub(super) fn is_current(&self) -> bool {
        self.current
    }

    /// Whether it is gone at the next boot, or copied to /var before.
    pub(super) fn is_volatile(&self) -> bool {
        self.volatile
    }
}

/// Whether a file of that name is one that journald writes to; `None` if it is none of its.
fn is_current(file: &str) -> Option<bool> {
    let stem = file.strip_suffix(".journal");
    let is_user = |stem: &str| {
        stem.strip_prefix("user-").is_some_and(|uid| uid.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if stem.is_some_and(|stem| stem == "system" || is_user(stem)) {
        return Some(true);
    }
    let stem = stem.or_else(|| file.strip_suffix(".journal~"))?;
    // rotated, or renamed for a fault
    let (of, _) = stem.split_once('@')?;
    (of == "system" || is_user(of)).then_some(false)
}

/// What is in a directory; nothing if there is none.
fn names(directory: &Path) -> Result<Vec<String>, (PathBuf, io::Error)> {
    let failed = |error: io::Error| (directory.to_owned(), error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // no name of journald's is anything but ASCII
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

const REMEDY: &str = "; add the exporter's user to the group systemd-journal";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_names() {
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
