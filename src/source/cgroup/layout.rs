//! Which hierarchies a host has mounted, and where.

use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::fstatfs;

use super::Mount;
use super::v1::Controller;
use crate::source::Error;
use crate::source::kernel_file::{open_directory, open_root, read_once};

/// How a host arranges its control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One v2 hierarchy with every controller.
    Unified,
    /// Controllers on v1, and a v2 hierarchy beside them at `unified`.
    Hybrid,
    /// v1 alone.
    V1,
}

impl Layout {
    /// The name that systemd's documentation gives the layout.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::V1 => "legacy",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The hierarchies of this host.
#[derive(Debug)]
pub(crate) struct Hierarchies {
    pub(crate) layout: Layout,
    pub(crate) v2: Option<V2>,
    /// v1 hierarchies whose controller v2 does not have.
    pub(crate) v1: Vec<(Controller, Mount)>,
    /// The hierarchy that says which processes a unit has, when there is no v2.
    pub(crate) named: Option<Mount>,
}

#[derive(Debug)]
pub(crate) struct V2 {
    pub(crate) directory: Mount,
    pub(crate) controllers: Controllers,
}

/// Controllers that v2 has on this host; each may still be off for a unit.
#[derive(Debug, Default)]
pub(crate) struct Controllers {
    pub(crate) cpu: bool,
    pub(crate) io: bool,
    pub(crate) memory: bool,
    pub(crate) pids: bool,
}

impl Hierarchies {
    pub(crate) fn open(sys_fs_cgroup: &Path) -> Result<Self, Error> {
        let fd = open_root(sys_fs_cgroup)?;
        let root = Mount { path: sys_fs_cgroup.to_owned(), fd };
        if root.is(Version::V2) {
            let v2 = Some(V2::new(root)?);
            return Ok(Self { layout: Layout::Unified, v2, v1: Vec::new(), named: None });
        }
        let v2 = match root.beneath("unified", Version::V2)? {
            Some(unified) => Some(V2::new(unified)?),
            None => None,
        };
        let mut v1 = Vec::new();
        for controller in Controller::ALL {
            let on_v2 = v2.as_ref().is_some_and(|v2| controller.is_on(&v2.controllers));
            if !on_v2 && let Some(mount) = root.beneath(controller.directory(), Version::V1)? {
                v1.push((controller, mount));
            }
        }
        let named = root.beneath("systemd", Version::V1)?;
        let layout = if v2.is_some() { Layout::Hybrid } else { Layout::V1 };
        if v2.is_none() && v1.is_empty() && named.is_none() {
            return Err(Error::Unavailable(format!(
                "no control group hierarchy is mounted at {}",
                sys_fs_cgroup.display()
            )));
        }
        Ok(Self { layout, v2, v1, named })
    }

    /// The hierarchy in which every unit has its processes.
    pub(crate) fn processes(&self) -> Option<&Mount> {
        self.v2.as_ref().map(|v2| &v2.directory).or(self.named.as_ref())
    }
}

impl V2 {
    fn new(directory: Mount) -> Result<Self, Error> {
        let listed = read_once(&directory.fd, &directory.path, c"cgroup.controllers")?;
        let listed = listed.unwrap_or_default();
        let has = |name: &[u8]| listed.split(u8::is_ascii_whitespace).any(|word| word == name);
        let controllers = Controllers {
            cpu: has(b"cpu"),
            io: has(b"io"),
            memory: has(b"memory"),
            pids: has(b"pids"),
        };
        Ok(Self { directory, controllers })
    }
}

#[derive(Clone, Copy)]
enum Version {
    V1,
    V2,
}

impl Mount {
    fn beneath(&self, name: &str, version: Version) -> Result<Option<Self>, Error> {
        let path = self.path.join(name);
        match open_directory(&self.fd, name) {
            Ok(fd) => Ok(fd.map(|fd| Self { path, fd }).filter(|mount| mount.is(version))),
            Err(error) => Err(Error::io(&path)(error.into())),
        }
    }

    /// Whether a hierarchy of this version is mounted here, by the file system's magic; a copy
    /// of one, on a file system of another kind, is told by the file that only v2 has.
    fn is(&self, version: Version) -> bool {
        let magic = fstatfs(&self.fd).map(|fs| fs.f_type);
        match (magic, version) {
            (Ok(CGROUP2_SUPER_MAGIC), version) => matches!(version, Version::V2),
            (Ok(CGROUP_SUPER_MAGIC), version) => matches!(version, Version::V1),
            (_, Version::V1) => !has_controllers_file(&self.fd),
            (_, Version::V2) => has_controllers_file(&self.fd),
        }
    }
}

fn has_controllers_file(directory: impl AsFd) -> bool {
    rustix::fs::statat(directory, c"cgroup.controllers", rustix::fs::AtFlags::empty()).is_ok()
}

const CGROUP_SUPER_MAGIC: rustix::fs::FsWord = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;
