//! Units to read on this machine: real control groups with one process each.

#![allow(clippy::disallowed_types, reason = "starts processes to read")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use unit_exporter::source::cgroup_tree::UnitGroup;

/// Control groups below the roots of hierarchies, removed on drop.
pub(crate) struct Units {
    pub(crate) groups: Vec<UnitGroup>,
    children: Vec<Child>,
    directories: Vec<PathBuf>,
}

impl Units {
    /// Creates `count` units with a process each, in each of the hierarchies. Needs root.
    pub(crate) fn new(count: usize, hierarchies: &[String]) -> Self {
        let slice = format!("bench-{}-{count}.slice", std::process::id());
        let mut units = Self { groups: Vec::new(), children: Vec::new(), directories: Vec::new() };
        for index in 0..count {
            let path = format!("/{slice}/unit-{index}.service");
            let child = Command::new("sleep").arg("1000").spawn().unwrap();
            for hierarchy in hierarchies {
                let directory = Path::new(hierarchy).join(&path[1..]);
                fs::create_dir_all(&directory).expect("making control groups needs root");
                fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
                units.directories.push(directory);
            }
            let unit = format!("unit-{index}.service").into();
            units.groups.push(UnitGroup::new(unit, path.into(), Some(child.id())));
            units.children.push(child);
        }
        units.directories.extend(hierarchies.iter().map(|path| Path::new(path).join(&slice)));
        units
    }

    /// Every directory of every unit.
    #[allow(dead_code, reason = "used by one bench")]
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        let named = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "service");
        self.directories.iter().filter(named).map(PathBuf::as_path)
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().and_then(|()| child.wait()).unwrap();
        }
        for directory in &self.directories {
            fs::remove_dir(directory).unwrap();
        }
    }
}

/// The mount points of a cgroup version, `cgroup` or `cgroup2`.
pub(crate) fn mounts(version: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[2] == version).map(|fields| fields[1].to_owned()).collect()
}
