//! The hierarchies that a host has mounted, and where.

use std::fmt;
use std::path::Path;

use super::v1::Controller;
use crate::source::Error;
use crate::source::cgroup_tree::{HYBRID, Hierarchy, Version};
use crate::source::kernel_file::read_once;

/// Which cgroup versions a host has mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One v2 hierarchy with every controller.
    Unified,
    /// Controllers on v1, and a v2 hierarchy at `unified`.
    Hybrid,
    /// v1 only.
    V1,
}

impl Layout {
    /// The name of the layout in systemd's documentation.
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

/// The hierarchies that resources are read from.
#[derive(Debug)]
pub(super) struct Hierarchies {
    pub(super) layout: Layout,
    pub(super) v2: Option<V2>,
    /// v1 hierarchies whose controller v2 does not have.
    pub(super) v1: Vec<(Controller, Hierarchy)>,
}

#[derive(Debug)]
pub(super) struct V2 {
    pub(super) hierarchy: Hierarchy,
    pub(super) controllers: Controllers,
}

/// Controllers that v2 has on this host; each may still be off for a unit.
#[derive(Debug, Default)]
pub(super) struct Controllers {
    pub(super) cpu: bool,
    pub(super) io: bool,
    pub(super) memory: bool,
    pub(super) pids: bool,
}

impl Hierarchies {
    pub(super) fn open(sys_fs_cgroup: &Path) -> Result<Self, Error> {
        let root = Hierarchy::open(sys_fs_cgroup)?;
        if root.is(Version::V2) {
            return Ok(Self { layout: Layout::Unified, v2: Some(V2::new(root)?), v1: Vec::new() });
        }
        let v2 = root.beneath(HYBRID, Version::V2)?.map(V2::new).transpose()?;
        let mut v1 = Vec::new();
        for controller in Controller::ALL {
            let on_v2 = v2.as_ref().is_some_and(|v2| controller.is_on(&v2.controllers));
            if !on_v2 && let Some(found) = root.beneath(controller.directory(), Version::V1)? {
                v1.push((controller, found));
            }
        }
        let layout = if v2.is_some() { Layout::Hybrid } else { Layout::V1 };
        if v2.is_none() && v1.is_empty() && root.beneath("systemd", Version::V1)?.is_none() {
            return Err(Error::Unavailable(format!(
                "no cgroup hierarchy is mounted at {}",
                sys_fs_cgroup.display()
            )));
        }
        Ok(Self { layout, v2, v1 })
    }
}

impl V2 {
    fn new(hierarchy: Hierarchy) -> Result<Self, Error> {
        let listed = read_once(&hierarchy.fd, &hierarchy.path, c"cgroup.controllers")?;
        let listed = listed.unwrap_or_default();
        let has = |name: &[u8]| listed.split(u8::is_ascii_whitespace).any(|word| word == name);
        let controllers = Controllers {
            cpu: has(b"cpu"),
            io: has(b"io"),
            memory: has(b"memory"),
            pids: has(b"pids"),
        };
        Ok(Self { hierarchy, controllers })
    }
}
