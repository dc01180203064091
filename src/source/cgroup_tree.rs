//! The cgroup directories: where a hierarchy is mounted, the cgroup of a unit, the cgroups below it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, FsWord, Mode, OFlags, Stat, fstatfs, openat, statat};

use super::kernel_file::{open_directory, open_root};
use super::{Activity, Error};
use crate::systemd::unit::Unit;

/// A unit and its cgroup, as systemd reports them. `K` identifies the unit: by its name, if only one
/// service manager is read.
#[derive(Clone, Debug)]
pub struct UnitGroup<K = Arc<str>> {
    /// The unit: its full name.
    pub unit: K,
    /// `ControlGroup` of the unit, such as `/system.slice/nginx.service`; `/` for the root, empty for
    /// a unit without processes.
    pub control_group: Arc<str>,
    /// `MainPID` of a service; `None` if it has none.
    pub main_pid: Option<u32>,
    /// The properties that systemd last reported; `None` if they are not known: then all values are
    /// read in each pass.
    pub properties: Option<Arc<Unit>>,
    /// Whether its processes have run, as its cgroup shows; `None` until that has been read.
    pub activity: Option<Activity>,
}

impl<K> UnitGroup<K> {
    /// A unit all of whose values are read in each pass.
    #[must_use]
    pub fn new(unit: K, control_group: Arc<str>, main_pid: Option<u32>) -> Self {
        Self { unit, control_group, main_pid, properties: None, activity: None }
    }
}

/// A mounted cgroup hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub(crate) path: PathBuf,
    pub(crate) fd: OwnedFd,
}

/// The two interfaces of the kernel.
#[derive(Clone, Copy)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Hierarchy {
    /// Opens the directory at `path`; its version is not checked.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), fd: open_root(path)? })
    }

    /// Opens the hierarchy in which every unit has its processes: v2, or `name=systemd` of v1.
    pub(crate) fn open_with_processes(sys_fs_cgroup: &Path) -> Result<Option<Self>, Error> {
        let root = Self::open(sys_fs_cgroup)?;
        if root.is(Version::V2) {
            return Ok(Some(root));
        }
        match root.beneath(HYBRID, Version::V2)? {
            Some(v2) => Ok(Some(v2)),
            None => root.beneath("systemd", Version::V1),
        }
    }

    /// Opens the hierarchy of this version at the subdirectory `name`.
    pub(crate) fn beneath(&self, name: &str, version: Version) -> Result<Option<Self>, Error> {
        let path = self.path.join(name);
        match open_directory(&self.fd, name) {
            Ok(fd) => Ok(fd.map(|fd| Self { path, fd }).filter(|found| found.is(version))),
            Err(error) => Err(Error::io(&path)(error.into())),
        }
    }

    /// Whether the hierarchy has this version, by the magic number of the file system. On another
    /// file system, such as that of a fixture, the file that only v2 has decides.
    pub(crate) fn is(&self, version: Version) -> bool {
        let magic = fstatfs(&self.fd).map(|fs| fs.f_type);
        match (magic, version) {
            (Ok(CGROUP2_SUPER_MAGIC), version) => matches!(version, Version::V2),
            (Ok(CGROUP_SUPER_MAGIC), version) => matches!(version, Version::V1),
            (_, Version::V1) => !has_controllers_file(&self.fd),
            (_, Version::V2) => has_controllers_file(&self.fd),
        }
    }

    /// The path of a file in this hierarchy, for errors.
    pub(crate) fn path_of(&self, file: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(file))
    }
}

/// The path beneath a hierarchy, `.` for its root; `None` without a cgroup, and for a path that could
/// lead out of the hierarchy.
pub(crate) fn relative(control_group: &str) -> Option<&str> {
    let path = control_group.strip_prefix('/')?;
    if path.is_empty() {
        return Some(".");
    }
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    path.split('/').all(plain).then_some(path)
}

/// The names and inode numbers of the cgroups directly below `path`; none if it was removed. A name
/// may be any bytes.
pub(crate) fn children(root: impl AsFd, path: &[u8]) -> impl Iterator<Item = (Vec<u8>, u64)> {
    let directory = openat(root, path, DIRECTORY, Mode::empty());
    let entries = directory.and_then(Dir::new).into_iter().flatten();
    entries
        .map_while(Result::ok)
        .filter(|entry| entry.file_type() == FileType::Directory)
        .map(|entry| (entry.file_name().to_bytes().to_vec(), entry.ino()))
        .filter(|(name, _)| !matches!(name.as_slice(), b"." | b".."))
}

/// Whether a cgroup has none below it: a directory has one link by its name, one by its own `.`, and
/// one by the `..` of each directory in it. Some file systems always report 1.
pub(crate) fn is_leaf(directory: &Stat) -> bool {
    directory.st_nlink == 2
}

fn has_controllers_file(directory: impl AsFd) -> bool {
    statat(directory, c"cgroup.controllers", AtFlags::empty()).is_ok()
}

/// Where systemd mounts v2 on a host whose controllers are on v1.
pub(crate) const HYBRID: &str = "unified";
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const CGROUP_SUPER_MAGIC: FsWord = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn rejects_path_that_leads_out_of_the_mount() {
        for path in ["/..", "/system.slice/../..", "//etc", "relative", "/a/./b", "/a//b", "/a\0b"]
        {
            assert_eq!(relative(path), None, "{path:?}");
        }
        assert_eq!(relative("/"), Some("."));
        assert_eq!(relative(r"/a.slice/dev-\x2d.swap"), Some(r"a.slice/dev-\x2d.swap"));
    }
}
