//! The size of PID 1's replies that list units. A reply beyond the limit of the bus, 32 MiB, would make
//! PID 1 lose its connection, for all programs of the host.
//!
//! A row has the description of its unit, which is as long as a line of its file: up to 1 MiB.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::systemd::unit::name::{UNIT_PATH, UnitKind, from_object_path};

/// The sizes of large unit files.
#[derive(Debug, Default)]
pub(super) struct LargeFiles {
    /// By the name of a unit or template.
    by_name: HashMap<String, u64>,
    /// Of drop-ins that may belong to any unit.
    of_all: u64,
}

impl LargeFiles {
    /// Looks through the directories of unit files.
    pub(super) fn find() -> Self {
        let mut files = Self::default();
        for directory in DIRECTORIES {
            files.add_directory(Path::new(directory));
        }
        files
    }

    fn add_directory(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten().take(MAX_ENTRIES) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // of the file, if it is a link
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if metadata.is_file() {
                self.add(&name, metadata.len());
            } else if let Some(unit) = name.strip_suffix(".d") {
                let drop_ins = fs::read_dir(entry.path()).into_iter().flatten().flatten();
                let sizes = drop_ins.filter_map(|file| Some(fs::metadata(file.path()).ok()?.len()));
                for size in sizes.take(MAX_ENTRIES) {
                    self.add(unit, size);
                }
            }
        }
    }

    fn add(&mut self, name: &str, size: u64) {
        if size <= ROW {
            return;
        }
        let size = size.min(MAX_LINE);
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        // drop-ins of a type (service.d) or of a prefix (foo-.service.d)
        if stem.is_empty() || stem.ends_with('-') {
            self.of_all += size;
        } else {
            *self.by_name.entry(name.to_owned()).or_default() += size;
        }
    }

    /// The maximum size of a unit's row.
    pub(super) fn row(&self, name: &str) -> u64 {
        let of = |name: &str| self.by_name.get(name).copied().unwrap_or_default();
        ROW + self.of_all + of(name) + template(name).map_or(0, |template| of(&template))
    }

    /// The maximum size of the rows of this many units.
    pub(super) fn rows(&self, units: u64) -> u64 {
        let files = self.by_name.iter().map(|(name, size)| match name.contains("@.") {
            true => size.saturating_mul(units),
            false => *size,
        });
        units.saturating_mul(ROW + self.of_all).saturating_add(files.sum())
    }

    /// Patterns that match all of `names`, in parts that PID 1 can list in one reply each.
    pub(super) fn parts<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
    ) -> Vec<(UnitKind, Vec<String>)> {
        let mut by_kind: BTreeMap<UnitKind, BTreeMap<&str, u64>> = BTreeMap::new();
        for name in names {
            let Some((stem, _)) = name.rsplit_once('.') else { continue };
            if let Some(kind) = UnitKind::of(name) {
                by_kind.entry(kind).or_default().insert(stem, self.row(name));
            }
        }
        let mut parts = Vec::new();
        for (kind, stems) in by_kind {
            let mut patterns = Vec::new();
            split(&stems.into_iter().collect::<Vec<_>>(), 0, &mut patterns);
            let (mut part, mut size) = (Vec::new(), 0);
            for (pattern, bytes) in patterns {
                if size + bytes > MAX_REPLY && !part.is_empty() {
                    parts.push((kind, std::mem::take(&mut part)));
                    size = 0;
                }
                part.push(format!("{pattern}.{kind}"));
                size += bytes;
            }
            parts.push((kind, part));
        }
        // the number of units is limited
        parts.sort_by_key(|(kind, _)| (!kind.is_urgent(), *kind == UnitKind::Device));
        parts
    }
}

/// Patterns that match all stems, which are sorted and have their first `depth` bytes in common.
fn split(stems: &[(&str, u64)], depth: usize, patterns: &mut Vec<(String, u64)>) {
    let size = stems.iter().map(|(_, bytes)| bytes).sum();
    match stems {
        [] => {}
        [(stem, bytes)] => patterns.push(((*stem).to_owned(), *bytes)),
        [(first, _), ..] if size <= MAX_REPLY => {
            patterns.push((format!("{}*", &first[..depth]), size));
        }
        _ => {
            let next = |stem: &str| stem.as_bytes().get(depth).copied();
            for group in stems.chunk_by(|(one, _), (other, _)| next(one) == next(other)) {
                split(group, depth + 1, patterns);
            }
        }
    }
}

/// `foo@.service` for `foo@bar.service`.
fn template(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let (template, _) = stem.split_once('@')?;
    Some(format!("{template}@.{kind}"))
}

/// The names of all loaded units, from the reply to Introspect.
pub(super) fn unit_names(xml: &str) -> impl Iterator<Item = String> {
    let nodes = xml.split("<node name=\"").skip(1);
    nodes.filter_map(|node| from_object_path(&format!("{UNIT_PATH}{}", node.split_once('"')?.0)))
}

/// Where systemd finds unit files.
const DIRECTORIES: [&str; 12] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Maximum number of files read in a directory.
const MAX_ENTRIES: usize = 200_000;

/// Bytes of a row: the name three times, states, and the description from a usual file.
const ROW: u64 = 512;

/// systemd reads no longer line.
const MAX_LINE: u64 = 1 << 20;

/// A quarter of the limit of the bus.
pub(super) const MAX_REPLY: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_large_files_and_drop_ins() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, size: usize| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'#'; size]).unwrap();
        };
        write("a.service", 400);
        write("b.service", 10_000);
        write("c@.service", 20_000);
        write("c@1.service.d/x.conf", 30_000);
        write("d.service", 3 << 20);
        let mut files = LargeFiles::default();
        files.add_directory(directory.path());
        for (name, size) in [
            ("a.service", 0),
            ("b.service", 10_000),
            ("c@1.service", 50_000),
            ("c@2.service", 20_000),
            ("d.service", MAX_LINE),
        ] {
            assert_eq!(files.row(name), ROW + size, "{name}");
        }
        assert_eq!(files.rows(10), 10 * ROW + 10_000 + 10 * 20_000 + 30_000 + MAX_LINE);
        write("service.d/y.conf", 1000);
        files.add_directory(&directory.path().join("."));
        assert!(files.row("z.service") == ROW + 1000);
    }

    #[test]
    fn parts_match_every_name_and_stay_below_the_limit() {
        let large: Vec<_> = (0..40).map(|n| format!("large-{n}.service")).collect();
        let small: Vec<_> = (0..300).map(|n| format!("small-{n}.service")).collect();
        let others = ["small.service", "small.timer", "a.b.service", r"x\x2dy.mount"];
        let by_name = large.iter().map(|name| (name.clone(), MAX_LINE)).collect();
        let files = LargeFiles { by_name, of_all: 0 };
        let names = large.iter().chain(&small).map(String::as_str).chain(others);
        let names: Vec<&str> = names.collect();
        let parts = files.parts(names.iter().copied());
        let matches = |pattern: &str, name: &str| match pattern.split_once('*') {
            Some((start, end)) => {
                name.len() >= start.len() + end.len()
                    && name.starts_with(start)
                    && name.ends_with(end)
            }
            None => pattern == name,
        };
        for name in &names {
            let of = |(_, patterns): &&(_, Vec<String>)| patterns.iter().any(|p| matches(p, name));
            assert_eq!(parts.iter().filter(of).count(), 1, "{name}: {parts:?}");
        }
        for (_, patterns) in &parts {
            let listed = names.iter().filter(|name| patterns.iter().any(|p| matches(p, name)));
            assert!(listed.map(|name| files.row(name)).sum::<u64>() <= MAX_REPLY);
        }
        assert!((6..12).contains(&parts.len()), "{parts:?}");
        // one pattern for each kind of few units
        let few = LargeFiles::default().parts(["a.timer", "b.timer"].into_iter());
        assert_eq!(few, [(UnitKind::Timer, vec!["*.timer".to_owned()])]);
    }

    #[test]
    fn names_are_decoded_from_introspection() {
        let xml = "<node>\n <interface name=\"x\"/>\n <node name=\"a_2eservice\"/>\n \
                   <node name=\"_2d_2eslice\"/>\n <node name=\"%\"/>\n <node name=\"";
        assert_eq!(unit_names(xml).collect::<Vec<_>>(), ["a.service", "-.slice"]);
    }
}
