//! The files of control groups, some of them kept open between scrapes.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Mount, Readings, relative};
use crate::source::Error;
use crate::source::fd_cache::Held;
use crate::source::kernel_file::{Buffer, open};

/// Every file that is open, and the buffer that all are read into.
#[derive(Debug)]
pub(super) struct Files {
    held: Held<Place, Kept>,
    buffer: Buffer,
    path: Vec<u8>,
}

/// A control group: the hierarchy's descriptor, and the path in it.
type Place = (i32, Arc<str>);
type Kept = Vec<(&'static CStr, OwnedFd)>;

impl Files {
    pub(super) fn new(descriptors: usize) -> Self {
        Self { held: Held::new(descriptors), buffer: Buffer::new(), path: Vec::new() }
    }

    /// Begins a pass over the units.
    pub(super) fn start(&mut self) {
        self.held.start();
    }

    /// Ends it: what was not come to is closed, unless the pass was cut short.
    pub(super) fn finish(&mut self, cut_short: bool) {
        self.held.finish(cut_short);
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
        let kept = self.held.take(&place).unwrap_or_default();
        let mut group = Group { mount, relative, files: self, kept, readings };
        read(&mut group);
        let kept = group.kept;
        if !kept.is_empty() {
            self.held.keep(place, kept);
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
        let Files { buffer, path, held } = &mut *self.files;
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
        if length.is_some() && held.has_room(1) {
            self.kept.push((name, file));
        }
        Ok(length)
    }

    fn path_of(&self, name: &CStr) -> PathBuf {
        self.mount.path.join(self.relative).join(&*name.to_string_lossy())
    }
}
