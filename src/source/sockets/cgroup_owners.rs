//! Units by cgroup id, the inode number of the cgroup; looked up when a socket has a new id.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, statat};

use crate::source::Error;
use crate::source::cgroup_tree::{children, is_leaf};
use crate::source::kernel_file::open_root;

/// Units by cgroup id. An id is kept while sockets have it: they outlive the cgroup that they were
/// made in.
#[derive(Debug)]
pub(super) struct CgroupOwners {
    root: PathBuf,
    known: HashMap<u64, Known>,
    unknown: HashMap<u64, Unknown>,
    /// The number of calls of [`Self::learn`].
    generation: u64,
    /// Whether the last lookup found no unit's cgroup.
    no_unit_found: bool,
    /// The end and the duration of the last walk below units.
    walked: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct Known {
    /// `None` for slices and the root, which have no processes but the kernel's.
    unit: Option<Arc<str>>,
    /// Below the root.
    path: Box<[u8]>,
    /// The generation in which a socket or the cgroup tree last had the id.
    seen: u64,
}

/// An id without a unit: that of a container, or of a unit that is not in the mirror yet.
#[derive(Debug)]
struct Unknown {
    retry: Instant,
    interval: Duration,
}

impl CgroupOwners {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: HashMap::new(),
            unknown: HashMap::new(),
            generation: 0,
            no_unit_found: false,
            walked: None,
        }
    }

    /// The unit of a cgroup; `None` without one.
    pub(super) fn of(&self, cgroup: u64) -> Option<&Arc<str>> {
        self.known.get(&cgroup)?.unit.as_ref()
    }

    /// Whether the cgroup still exists, as far as is known. Otherwise another unit than the one that
    /// made the socket may have it now.
    pub(super) fn exists(&self, cgroup: u64) -> bool {
        let Some(known) = self.known.get(&cgroup) else { return false };
        let path = self.root.join(OsStr::from_bytes(&known.path));
        fs::symlink_metadata(path).is_ok_and(|directory| directory.ino() == cgroup)
    }

    /// Looks up the units of `cgroups`; reads the file system only if one of them is new, or if they
    /// are only a `part` of those needed.
    ///
    /// `units` are names and control groups. A cgroup below that of a unit belongs to the unit.
    pub(super) fn learn(
        &mut self,
        cgroups: &BTreeSet<u64>,
        part: bool,
        units: &[(Arc<str>, Arc<str>)],
        deadline: Instant,
    ) -> Result<(), Error> {
        self.generation += 1;
        for cgroup in cgroups {
            if let Some(known) = self.known.get_mut(cgroup) {
                known.seen = self.generation;
            }
        }
        self.unknown.retain(|cgroup, _| cgroups.contains(cgroup));

        let now = Instant::now();
        if part || cgroups.iter().any(|cgroup| self.is_due(*cgroup, now)) {
            let root = open_root(&self.root)?;
            let tree = self.learn_units(&root, units);
            self.no_unit_found = tree.units.is_empty() && !units.is_empty();
            if cgroups.iter().any(|cgroup| self.is_due(*cgroup, now)) && self.walk_is_due() {
                let start = Instant::now();
                self.walk(&root, &tree, deadline);
                self.walked = Some((Instant::now(), start.elapsed()));
            }
            for cgroup in cgroups {
                self.delay_retry(*cgroup, now);
            }
        }
        self.evict(units.len());
        if self.no_unit_found {
            return Err(Error::without_units(&self.root, "listeners are exported without units"));
        }
        Ok(())
    }

    fn is_due(&self, cgroup: u64, now: Instant) -> bool {
        !self.known.contains_key(&cgroup)
            && self.unknown.get(&cgroup).is_none_or(|unknown| unknown.retry <= now)
    }

    /// Doubles the interval before the next lookup of an id that was not found.
    fn delay_retry(&mut self, cgroup: u64, now: Instant) {
        if self.known.contains_key(&cgroup) {
            self.unknown.remove(&cgroup);
        } else if self.is_due(cgroup, now) {
            let before = self.unknown.get(&cgroup).map(|unknown| unknown.interval);
            let interval = before.map_or(Duration::ZERO, |interval| {
                (interval * 2).clamp(Duration::from_secs(1), MAX_RETRY_INTERVAL)
            });
            self.unknown.insert(cgroup, Unknown { retry: now + interval, interval });
        }
    }

    /// Reads the ids of all units' cgroups.
    fn learn_units<'a>(&mut self, root: &OwnedFd, units: &'a [(Arc<str>, Arc<str>)]) -> Tree<'a> {
        if let Ok(stat) = statat(root, ".", AtFlags::empty()) {
            self.insert(stat.st_ino, None, b"");
        }
        let mut tree = Tree::default();
        for (unit, control_group) in units {
            let path = control_group.trim_start_matches('/');
            if path.is_empty() {
                continue;
            }
            // A unit may stop at any time; then its cgroup no longer exists.
            let Ok(stat) = statat(root, path, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_slice = unit.ends_with(".slice");
            let owner = (!is_slice).then(|| unit.clone());
            self.insert(stat.st_ino, owner, path.as_bytes());
            tree.units.insert(stat.st_ino);
            if !is_slice && !is_leaf(&stat) {
                tree.parents.push((unit, path));
            }
        }
        tree
    }

    fn insert(&mut self, cgroup: u64, unit: Option<Arc<str>>, path: &[u8]) {
        self.known.insert(cgroup, Known { unit, path: path.into(), seen: self.generation });
    }

    /// Limits walks to a twentieth of the time.
    fn walk_is_due(&self) -> bool {
        self.walked.is_none_or(|(ended, took)| ended.elapsed() >= took * 19)
    }

    /// Reads the ids of cgroups below units: of each unit at most [`MAX_CGROUPS_BELOW_UNIT`], in all at
    /// most [`MAX_CGROUPS_BELOW_UNITS`].
    fn walk(&mut self, root: &OwnedFd, tree: &Tree<'_>, deadline: Instant) {
        let mut total = 0;
        for (unit, path) in &tree.parents {
            let mut found = 0;
            let mut todo = vec![path.as_bytes().to_vec()];
            while let Some(path) = todo.pop()
                && found < MAX_CGROUPS_BELOW_UNIT
            {
                if total >= MAX_CGROUPS_BELOW_UNITS || Instant::now() >= deadline {
                    return;
                }
                for (name, id) in children(root, &path).take(MAX_CGROUPS_BELOW_UNIT) {
                    // Units may be nested, as those of a user's manager are.
                    if !tree.units.contains(&id) {
                        let below = [&path, &b"/"[..], &name].concat();
                        self.insert(id, Some(Arc::clone(unit)), &below);
                        todo.push(below);
                        (found, total) = (found + 1, total + 1);
                    }
                }
            }
        }
    }

    /// Bounds the number of ids that neither sockets nor the tree have any more.
    fn evict(&mut self, units: usize) {
        let room = units + MAX_OTHER_CGROUPS;
        if self.known.len() <= room * 2 {
            return;
        }
        let mut seen: Vec<u64> = self.known.values().map(|known| known.seen).collect();
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = seen[room];
        let generation = self.generation;
        self.known.retain(|_, known| known.seen > oldest || known.seen == generation);
    }
}

/// The cgroups of units.
#[derive(Default)]
struct Tree<'a> {
    /// Their ids.
    units: HashSet<u64>,
    /// Those that have cgroups below them: unit and path.
    parents: Vec<(&'a Arc<str>, &'a str)>,
}

const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(60);
const MAX_CGROUPS_BELOW_UNIT: usize = 1024;
const MAX_CGROUPS_BELOW_UNITS: usize = 8192;
/// The maximum number of ids that are kept beyond one per unit.
const MAX_OTHER_CGROUPS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, metadata, remove_dir, rename};

    use tempfile::TempDir;

    use super::*;

    // Directories of a tmpfs have inode numbers and links as cgroups have.

    #[test]
    fn cgroup_belongs_to_the_nearest_unit_above() {
        let tree = tree(&["system.slice/a.service/x/y", "system.slice/b.service", "docker/1"]);
        let mut owners = CgroupOwners::new(tree.path().to_owned());
        let ids = ["", "system.slice", "docker/1", "system.slice/b.service"]
            .into_iter()
            .chain(["system.slice/a.service", "system.slice/a.service/x/y"])
            .map(|path| id(&tree, path));
        let ids: Vec<u64> = ids.collect();
        learn(&mut owners, &ids, &["a.service", "b.service"]);
        let found: Vec<_> = ids.iter().map(|id| owners.of(*id).map(|unit| &**unit)).collect();
        let (a, b) = (Some("a.service"), Some("b.service"));
        assert_eq!(found, [None, None, None, b, a, a]);
    }

    #[test]
    fn nested_unit_keeps_its_cgroup() {
        let tree = tree(&["system.slice/a.service/system.slice/x", "system.slice/b.service"]);
        let mut owners = CgroupOwners::new(tree.path().to_owned());
        let units = [
            ("a.service".into(), "/system.slice/a.service".into()),
            ("x.service".into(), "/system.slice/a.service/system.slice/x".into()),
        ];
        let x = id(&tree, "system.slice/a.service/system.slice/x");
        owners.learn(&BTreeSet::from([x, 1]), false, &units, later()).unwrap();
        assert_eq!(owners.of(x), Some(&"x.service".into()));
    }

    #[test]
    fn removed_cgroup_keeps_its_unit() {
        let tree = tree(&["system.slice/a.service"]);
        let mut owners = CgroupOwners::new(tree.path().to_owned());
        let before = id(&tree, "system.slice/a.service");
        learn(&mut owners, &[before], &["a.service"]);
        let path = tree.path().join("system.slice/a.service");
        rename(&path, tree.path().join("away")).unwrap();
        create_dir_all(&path).unwrap();
        let after = id(&tree, "system.slice/a.service");
        learn(&mut owners, &[before, after], &["a.service"]);
        assert!(owners.exists(after) && !owners.exists(before), "another has its path");
        remove_dir(path).unwrap();
        learn(&mut owners, &[before, after], &[]);
        for id in [before, after] {
            assert!(!owners.exists(id));
            assert_eq!(owners.of(id), Some(&"a.service".into()));
        }
    }

    #[test]
    fn unknown_cgroup_is_looked_up_again_after_an_interval() {
        let tree = tree(&["system.slice/a.service"]);
        let mut owners = CgroupOwners::new(tree.path().to_owned());
        let unknown = id(&tree, "system.slice/a.service");
        learn(&mut owners, &[unknown], &[]);
        learn(&mut owners, &[unknown], &[]);
        assert!(!owners.is_due(unknown, Instant::now()));
        assert!(owners.is_due(unknown, Instant::now() + Duration::from_secs(1)));
        assert!(owners.unknown[&unknown].interval <= MAX_RETRY_INTERVAL);
    }

    #[test]
    fn ids_of_many_short_lived_cgroups_are_bounded() {
        let mut owners = CgroupOwners::new("/".into());
        for id in 0..100_000 {
            owners.generation += 1;
            owners.insert(id, None, b"");
            owners.evict(100);
        }
        assert!(owners.known.len() <= 2 * (100 + MAX_OTHER_CGROUPS) + 1, "{}", owners.known.len());
        assert!(owners.known.contains_key(&99_999));
    }

    #[test]
    fn tree_without_units_is_an_error_until_a_unit_exists() {
        let tree = tree(&["elsewhere"]);
        let mut owners = CgroupOwners::new(tree.path().to_owned());
        let units = [("a.service".into(), "/system.slice/a.service".into())];
        let mut learn = |id| owners.learn(&BTreeSet::from([id]), false, &units, later());
        for _ in 0..2 {
            let error = learn(1).unwrap_err().to_string();
            assert!(error.contains("cgroup namespace"), "{error}");
        }
        create_dir_all(tree.path().join("system.slice/a.service")).unwrap();
        learn(id(&tree, "system.slice/a.service")).unwrap();
    }

    #[test]
    fn missing_root_is_an_error_with_its_path() {
        let error =
            CgroupOwners::new("/nowhere".into()).learn(&BTreeSet::from([1]), false, &[], later());
        assert!(error.unwrap_err().to_string().starts_with("/nowhere: "));
    }

    fn tree(directories: &[&str]) -> TempDir {
        let tree = tempfile::tempdir_in("/dev/shm").unwrap();
        for directory in directories {
            create_dir_all(tree.path().join(directory)).unwrap();
        }
        tree
    }

    fn id(tree: &TempDir, path: &str) -> u64 {
        metadata(tree.path().join(path)).unwrap().ino()
    }

    fn learn(owners: &mut CgroupOwners, ids: &[u64], units: &[&str]) {
        let units: Vec<_> = units
            .iter()
            .map(|&unit| (unit.into(), format!("/system.slice/{unit}").into()))
            .chain([("system.slice".into(), "/system.slice".into())])
            .collect();
        owners.learn(&ids.iter().copied().collect(), false, &units, later()).unwrap();
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }
}
