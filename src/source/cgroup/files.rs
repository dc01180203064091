//! The files of control groups, some of them kept open between scrapes.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};

use super::{Mount, Readings, relative};
use crate::source::Error;
use crate::source::file::{Buffer, open};

/// Every file that is open, and the buffer that all are read into.
#[derive(Debug)]
pub(super) struct Files {
    budget: usize,
    /// How many more may be kept open in this pass.
    spare: usize,
    kept: HashMap<Place, Kept>,
    /// What the pass before kept and this one has not yet come to.
    before: HashMap<Place, Kept>,
    buffer: Buffer,
    path: Vec<u8>,
}

/// A control group: the hierarchy's descriptor, and the path in it.
type Place = (i32, Arc<str>);
type Kept = Vec<(&'static CStr, OwnedFd)>;

impl Files {
    pub(super) fn new(descriptors: usize) -> Self {
        let allowed = getrlimit(Resource::Nofile).current;
        let allowed = allowed.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Self {
            budget: descriptors.min(allowed.saturating_sub(RESERVE) / 2),
            spare: 0,
            kept: HashMap::new(),
            before: HashMap::new(),
            buffer: Buffer::new(),
            path: Vec::new(),
        }
    }

    /// Begins a pass over the units.
    pub(super) fn start(&mut self) {
        self.before = std::mem::take(&mut self.kept);
        let open: usize = self.before.values().map(Vec::len).sum();
        self.spare = self.budget.saturating_sub(open);
    }

    /// Ends it: what was not come to is closed, unless the pass was cut short.
    pub(super) fn finish(&mut self, cut_short: bool) {
        let before = std::mem::take(&mut self.before);
        if cut_short {
            self.kept.extend(before);
        }
    }

    /// Reads files of the control group at `path` in a hierarchy, if the path is a plain one.
    pub(super) fn group(
        &mut self,
        mount: &Mount,
        path: &Arc<str>,
        readings: &mut Readings,
        read: impl FnOnce(&mut Group<'_>),
    ) {
        let Some(relative) = relative(path) else { return };
        let place = (mount.fd.as_raw_fd(), Arc::clone(path));
        let kept = self.before.remove(&place).unwrap_or_default();
        let mut group = Group { mount, relative, files: self, kept, readings };
        read(&mut group);
        let kept = group.kept;
        if !kept.is_empty() {
            self.kept.insert(place, kept);
        }
    }
}

/// One control group in one hierarchy.
pub(super) struct Group<'a> {
    mount: &'a Mount,
    relative: &'a str,
    files: &'a mut Files,
    kept: Kept,
    readings: &'a mut Readings,
}

impl Group<'_> {
    /// What a file holds; `None` if the kernel offers none, or if that is not understood, which
    /// counts as a failure.
    pub(super) fn value<T>(
        &mut self,
        name: &'static CStr,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let error = match self.read(name) {
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
        self.readings.fail(error);
        None
    }

    /// Reads a file into the buffer, and says how long it is.
    fn read(&mut self, name: &'static CStr) -> rustix::io::Result<Option<usize>> {
        let Files { buffer, path, spare, .. } = &mut *self.files;
        if let Some((_, file)) = self.kept.iter().find(|(kept, _)| *kept == name) {
            let length = buffer.fill(file)?;
            if length.is_some() {
                return Ok(length);
            }
            // The control group has gone, and another may have its name.
            self.kept.clear();
        }
        path.clear();
        path.extend_from_slice(self.relative.as_bytes());
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        let Some(file) = open(&self.mount.fd, path.as_slice())? else { return Ok(None) };
        let length = buffer.fill(&file)?;
        if length.is_some() && *spare > 0 {
            *spare -= 1;
            self.kept.push((name, file));
        }
        Ok(length)
    }

    fn path_of(&self, name: &CStr) -> PathBuf {
        self.mount.path.join(self.relative).join(&*name.to_string_lossy())
    }
}

/// Descriptors that everything else may need, of which there must always be some.
const RESERVE: usize = 64;
