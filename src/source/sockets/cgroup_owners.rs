//! Whose a cgroup is: the inode numbers of the cgroup tree by unit, learned when they are met.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};

use crate::source::Error;

/// Units by cgroup id. What it has once learned it remembers while sockets still tell of it:
/// they outlive the cgroup they were made in.
#[derive(Debug)]
pub(super) struct Owners {
    root: PathBuf,
    known: HashMap<u64, Known>,
    unknown: HashMap<u64, Unknown>,
    lesson: u64,
    /// Whether none of the units' cgroups was there at the last look.
    blind: bool,
    /// When the last walk below units ended, and how long it took.
    walked: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct Known {
    /// `None`: a slice or the root, which no process is in but the kernel's own.
    unit: Option<Arc<str>>,
    /// The lesson in which a socket or the cgroup tree last told of it.
    seen: u64,
}

/// An id that belonged to no unit: that of a container, or of a unit still unheard of.
#[derive(Debug)]
struct Unknown {
    retry: Instant,
    pause: Duration,
}

impl Owners {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: HashMap::new(),
            unknown: HashMap::new(),
            lesson: 0,
            blind: false,
            walked: None,
        }
    }

    /// The unit of a cgroup; `None` if it is no unit's.
    pub(super) fn of(&self, cgroup: u64) -> Option<&Arc<str>> {
        self.known.get(&cgroup)?.unit.as_ref()
    }

    /// Finds out whose `cgroups` are; asks the file system only if one of them is new, or if they
    /// are but a `part` of those that matter.
    ///
    /// `units` are names and control groups. A cgroup below a unit's is the unit's.
    pub(super) fn learn(
        &mut self,
        cgroups: &BTreeSet<u64>,
        part: bool,
        units: &[(Arc<str>, Arc<str>)],
        deadline: Instant,
    ) -> Result<(), Error> {
        self.lesson += 1;
        for cgroup in cgroups {
            if let Some(known) = self.known.get_mut(cgroup) {
                known.seen = self.lesson;
            }
        }
        self.unknown.retain(|cgroup, _| cgroups.contains(cgroup));

        let now = Instant::now();
        if part || cgroups.iter().any(|cgroup| self.is_worth_a_look(*cgroup, now)) {
            let root = openat(CWD, &self.root, DIRECTORY, Mode::empty())
                .map_err(|errno| Error::io(&self.root)(errno.into()))?;
            let tree = self.look_at_units(&root, units);
            self.blind = tree.units.is_empty() && !units.is_empty();
            if cgroups.iter().any(|cgroup| self.is_worth_a_look(*cgroup, now)) && self.may_walk() {
                let start = Instant::now();
                self.walk(&root, &tree, deadline);
                self.walked = Some((Instant::now(), start.elapsed()));
            }
            for cgroup in cgroups {
                self.wait_with(*cgroup, now);
            }
        }
        self.forget(units.len());
        if self.blind {
            let root = self.root.display();
            return Err(Error::Unavailable(format!(
                "{root}: no unit's cgroup is there: listeners are known without units; run the \
                 exporter in the cgroup namespace of the host"
            )));
        }
        Ok(())
    }

    fn is_worth_a_look(&self, cgroup: u64, now: Instant) -> bool {
        !self.known.contains_key(&cgroup)
            && self.unknown.get(&cgroup).is_none_or(|unknown| unknown.retry <= now)
    }

    /// Doubles the pause before the next look for an id that was looked for in vain.
    fn wait_with(&mut self, cgroup: u64, now: Instant) {
        if self.known.contains_key(&cgroup) {
            self.unknown.remove(&cgroup);
        } else if self.is_worth_a_look(cgroup, now) {
            let before = self.unknown.get(&cgroup).map(|unknown| unknown.pause);
            let pause = before.map_or(Duration::ZERO, |pause| {
                (pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE)
            });
            self.unknown.insert(cgroup, Unknown { retry: now + pause, pause });
        }
    }

    /// Learns the ids of all units' cgroups.
    fn look_at_units<'a>(&mut self, root: &OwnedFd, units: &'a [(Arc<str>, Arc<str>)]) -> Tree<'a> {
        if let Ok(stat) = statat(root, ".", AtFlags::empty()) {
            self.known.insert(stat.st_ino, Known { unit: None, seen: self.lesson });
        }
        let mut tree = Tree::default();
        for (unit, control_group) in units {
            let path = control_group.trim_start_matches('/');
            if path.is_empty() {
                continue;
            }
            // A unit may end at any time; then its cgroup's id is not to be had any more.
            let Ok(stat) = statat(root, path, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_slice = unit.ends_with(".slice");
            let owner = (!is_slice).then(|| unit.clone());
            self.known.insert(stat.st_ino, Known { unit: owner, seen: self.lesson });
            tree.units.insert(stat.st_ino);
            if !is_slice && stat.st_nlink > LINKS_OF_A_LEAF {
                tree.parents.push((unit, path));
            }
        }
        tree
    }

    /// Whether the last walk is so long ago that walks take at most a twentieth of the time.
    fn may_walk(&self) -> bool {
        self.walked.is_none_or(|(ended, took)| ended.elapsed() >= took * 19)
    }

    /// Learns the ids of cgroups below units: of each unit at most [`BELOW_A_UNIT`], in all at
    /// most [`BELOW_UNITS`].
    fn walk(&mut self, root: &OwnedFd, tree: &Tree<'_>, deadline: Instant) {
        let mut total = 0;
        for (unit, path) in &tree.parents {
            let mut found = 0;
            let mut todo = vec![path.as_bytes().to_vec()];
            while let Some(path) = todo.pop()
                && found < BELOW_A_UNIT
            {
                if total >= BELOW_UNITS || Instant::now() >= deadline {
                    return;
                }
                for (name, id) in directories(root, &path) {
                    // Units may be nested, as those of a user's manager are.
                    if !tree.units.contains(&id) {
                        let unit = Some(Arc::clone(unit));
                        self.known.insert(id, Known { unit, seen: self.lesson });
                        todo.push([&path, &b"/"[..], &name].concat());
                        (found, total) = (found + 1, total + 1);
                    }
                }
            }
        }
    }

    /// Bounds what is remembered of cgroups that neither sockets nor the tree tell of any more.
    fn forget(&mut self, units: usize) {
        let room = units + REMEMBERED;
        if self.known.len() <= room * 2 {
            return;
        }
        let mut seen: Vec<u64> = self.known.values().map(|known| known.seen).collect();
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = seen[room];
        let lesson = self.lesson;
        self.known.retain(|_, known| known.seen > oldest || known.seen == lesson);
    }
}

/// The part of the cgroup tree that is units.
#[derive(Default)]
struct Tree<'a> {
    /// The ids of their own cgroups.
    units: HashSet<u64>,
    /// Those that have cgroups below theirs, and their paths.
    parents: Vec<(&'a Arc<str>, &'a str)>,
}

/// The directories in a cgroup and their ids; none if it is gone.
fn directories(root: &OwnedFd, path: &[u8]) -> Vec<(Vec<u8>, u64)> {
    let Ok(fd) = openat(root, path, DIRECTORY, Mode::empty()) else { return Vec::new() };
    let Ok(dir) = Dir::new(fd) else { return Vec::new() };
    dir.filter_map(Result::ok)
        .filter(|entry| entry.file_type() == FileType::Directory)
        .map(|entry| (entry.file_name().to_bytes().to_vec(), entry.ino()))
        .filter(|(name, _)| name != b"." && name != b"..")
        .take(BELOW_A_UNIT)
        .collect()
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory's own name and its `.`; each directory in it adds its `..`.
const LINKS_OF_A_LEAF: u64 = 2;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const BELOW_A_UNIT: usize = 1024;
const BELOW_UNITS: usize = 8192;
/// How many ids beyond one a unit are remembered.
const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, metadata, remove_dir, rename};
    use std::os::unix::fs::MetadataExt;

    use tempfile::TempDir;

    use super::*;

    // Directories of a temporary file system have inode numbers and links as cgroups have.

    #[test]
    fn a_cgroup_is_its_units_or_that_of_the_nearest_unit_above() {
        let tree = tree(&["system.slice/a.service/x/y", "system.slice/b.service", "docker/1"]);
        let mut owners = Owners::new(tree.path().to_owned());
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
    fn a_nested_unit_keeps_its_own() {
        let tree = tree(&["system.slice/a.service/system.slice/x", "system.slice/b.service"]);
        let mut owners = Owners::new(tree.path().to_owned());
        let units = [
            ("a.service".into(), "/system.slice/a.service".into()),
            ("x.service".into(), "/system.slice/a.service/system.slice/x".into()),
        ];
        let x = id(&tree, "system.slice/a.service/system.slice/x");
        owners.learn(&BTreeSet::from([x, 1]), false, &units, later()).unwrap();
        assert_eq!(owners.of(x), Some(&"x.service".into()));
    }

    #[test]
    fn a_cgroup_that_is_gone_stays_its_units_and_a_new_one_is_learned() {
        let tree = tree(&["system.slice/a.service"]);
        let mut owners = Owners::new(tree.path().to_owned());
        let before = id(&tree, "system.slice/a.service");
        learn(&mut owners, &[before], &["a.service"]);
        let path = tree.path().join("system.slice/a.service");
        rename(&path, tree.path().join("away")).unwrap();
        create_dir_all(&path).unwrap();
        let after = id(&tree, "system.slice/a.service");
        learn(&mut owners, &[before, after], &["a.service"]);
        remove_dir(path).unwrap();
        learn(&mut owners, &[before, after], &[]);
        for id in [before, after] {
            assert_eq!(owners.of(id), Some(&"a.service".into()));
        }
    }

    #[test]
    fn an_unknown_cgroup_is_looked_for_again_only_after_a_pause() {
        let tree = tree(&["system.slice/a.service"]);
        let mut owners = Owners::new(tree.path().to_owned());
        let unknown = id(&tree, "system.slice/a.service");
        learn(&mut owners, &[unknown], &[]);
        learn(&mut owners, &[unknown], &[]);
        assert!(!owners.is_worth_a_look(unknown, Instant::now()));
        assert!(owners.is_worth_a_look(unknown, Instant::now() + Duration::from_secs(1)));
        assert!(owners.unknown[&unknown].pause <= LONGEST_PAUSE);
    }

    #[test]
    fn a_churn_of_cgroups_is_forgotten_in_time() {
        let mut owners = Owners::new("/".into());
        for id in 0..100_000 {
            owners.lesson += 1;
            owners.known.insert(id, Known { unit: None, seen: owners.lesson });
            owners.forget(100);
        }
        assert!(owners.known.len() <= 2 * (100 + REMEMBERED) + 1, "{}", owners.known.len());
        assert!(owners.known.contains_key(&99_999));
    }

    #[test]
    fn a_tree_without_any_unit_is_an_error_for_as_long_as_it_is_so() {
        let tree = tree(&["elsewhere"]);
        let mut owners = Owners::new(tree.path().to_owned());
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
    fn a_missing_root_is_an_error_that_names_it() {
        let error = Owners::new("/nowhere".into()).learn(&BTreeSet::from([1]), false, &[], later());
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

    fn learn(owners: &mut Owners, ids: &[u64], units: &[&str]) {
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
