//! The files of cgroups, some of them kept open between scrapes.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::source::cgroup_tree::{Hierarchy, relative};
use crate::source::fd_cache::FdCache;
use crate::source::kernel_file::{Buffer, open};
use crate::source::{Error, Failures};

/// The open files, and the buffer that all are read into.
#[derive(Debug)]
pub(super) struct Files {
    cache: FdCache<GroupKey, OpenFiles>,
    pub(super) buffer: Buffer,
    path: Vec<u8>,
}

/// A cgroup: the descriptor of the hierarchy, and the path in it.
type GroupKey = (i32, Arc<str>);
type OpenFiles = Vec<(&'static CStr, OwnedFd)>;

impl Files {
    pub(super) fn new(descriptors: usize) -> Self {
        Self { cache: FdCache::new(descriptors), buffer: Buffer::new(), path: Vec::new() }
    }

    /// Begins a pass over the units.
    pub(super) fn start_pass(&mut self) {
        self.cache.start_pass();
    }

    /// Ends the pass and closes files that it did not read, unless it was cut short.
    pub(super) fn finish_pass(&mut self, cut_short: bool) {
        self.cache.finish_pass(cut_short);
    }

    /// Reads files of the cgroup at `path` in a hierarchy; nothing if [`relative`] rejects the path.
    pub(super) fn group(
        &mut self,
        hierarchy: &Hierarchy,
        path: &Arc<str>,
        failures: &mut Failures,
        read: impl FnOnce(&mut GroupFiles<'_>),
    ) {
        let Some(relative) = relative(path) else { return };
        let key = (hierarchy.fd.as_raw_fd(), Arc::clone(path));
        let open = self.cache.take(&key).unwrap_or_default();
        let is_absent = false;
        let mut group = GroupFiles { hierarchy, relative, files: self, open, is_absent, failures };
        read(&mut group);
        let open = group.open;
        if !open.is_empty() {
            self.cache.keep(key, open);
        }
    }
}

/// The files of one cgroup in one hierarchy.
pub(super) struct GroupFiles<'a> {
    hierarchy: &'a Hierarchy,
    relative: &'a str,
    files: &'a mut Files,
    open: OpenFiles,
    /// Whether the last file did not exist.
    is_absent: bool,
    failures: &'a mut Failures,
}

impl GroupFiles<'_> {
    /// The value of a file; `None` if the kernel does not offer it, and if it cannot be read or
    /// parsed, which counts as a failure.
    pub(super) fn value<T>(
        &mut self,
        name: &'static CStr,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let read = self.read(name);
        self.is_absent = matches!(read, Ok(None));
        let error = match read {
            Ok(None) => return None,
            Ok(Some(length)) => {
                let content = self.files.buffer.content(length);
                match parse(content) {
                    Some(value) => return Some(value),
                    None => Error::malformed(&self.path_of(name), content),
                }
            }
            Err(error) => Error::io(&self.path_of(name))(error.into()),
        };
        self.failures.add(error);
        None
    }

    /// Whether the cgroup has been removed, given that the last file is one that every cgroup has but
    /// the root.
    pub(super) fn is_removed(&self) -> bool {
        self.is_absent && self.relative != "."
    }

    /// Reads a file into the buffer and returns its length.
    fn read(&mut self, name: &'static CStr) -> rustix::io::Result<Option<usize>> {
        let Files { buffer, path, cache } = &mut *self.files;
        if let Some((_, file)) = self.open.iter().find(|(open, _)| *open == name) {
            let length = buffer.fill(file)?;
            if length.is_some() {
                return Ok(length);
            }
            // The cgroup was removed; there may be another of the same name.
            self.open.clear();
        }
        path.clear();
        path.extend_from_slice(self.relative.as_bytes());
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        let Some(file) = open(&self.hierarchy.fd, path.as_slice())? else { return Ok(None) };
        let length = buffer.fill(&file)?;
        if length.is_some() && cache.reserve(1) {
            self.open.push((name, file));
        }
        Ok(length)
    }

    fn path_of(&self, name: &CStr) -> PathBuf {
        self.hierarchy.path.join(self.relative).join(&*name.to_string_lossy())
    }
}
