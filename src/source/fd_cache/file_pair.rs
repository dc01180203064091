//! A file that is read together with the state of a directory, both of which may stay open.

use std::hash::Hash;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Stat, fstat, statat};
use rustix::path::Arg;

use super::{Descriptors, FdCache, IS_SHORT_OF_FDS};
use crate::source::kernel_file::{Buffer, is_gone, open, open_path};

/// The paths of a file and of a directory whose state complements the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePair<'a, P> {
    /// The directory that both paths are relative to.
    pub(crate) root: &'a OwnedFd,
    pub(crate) directory: P,
    pub(crate) file: P,
}

/// The state of the directory and the content of the file.
#[derive(Debug)]
pub(crate) struct PairContent {
    /// The state of the directory; `None` if it cannot be read.
    pub(crate) directory: Option<Stat>,
    /// The length of the file's content in the buffer.
    pub(crate) length: usize,
}

impl<K: Eq + Hash> FdCache<K, OpenFilePair> {
    /// Reads a pair whose files may be kept open under `key`. Open files of a process or cgroup that
    /// was removed are opened again by path. `None` if it was removed.
    ///
    /// # Errors
    /// As [`Buffer::read`], of the file.
    pub(crate) fn read(
        &mut self,
        key: K,
        pair: FilePair<'_, impl Arg + Copy>,
        buffer: &mut Buffer,
    ) -> rustix::io::Result<Option<PairContent>> {
        // if descriptors are short, files have precedence: opening costs more than walking a path
        let short = IS_SHORT_OF_FDS.load(Ordering::Relaxed);
        if let Some(mut kept) = self.take(&key) {
            if short && kept.directory.take().is_some() {
                self.count(self.open - 1);
            }
            if let Some(content) = kept.read(pair, buffer)? {
                self.keep(key, kept);
                return Ok(Some(content));
            }
        }
        let ample = !short && self.open < self.budget / 2;
        let Some(opened) = OpenFilePair::open(pair, ample)? else { return Ok(None) };
        let content = opened.read(pair, buffer)?;
        if content.is_some() && self.reserve(opened.descriptors()) {
            self.keep(key, opened);
        }
        Ok(content)
    }
}

impl<P: Arg + Copy> FilePair<'_, P> {
    /// Reads the pair without keeping it open: the directory first.
    ///
    /// # Errors
    /// As [`Buffer::read`], of the file.
    pub(crate) fn read(self, buffer: &mut Buffer) -> rustix::io::Result<Option<PairContent>> {
        let opened = OpenFilePair::open(self, false)?;
        opened.map_or(Ok(None), |opened| opened.read(self, buffer))
    }
}

/// An open file, and its directory if that is open, too.
#[derive(Debug)]
pub(crate) struct OpenFilePair {
    directory: Option<OwnedFd>,
    file: OwnedFd,
}

impl OpenFilePair {
    fn open(pair: FilePair<'_, impl Arg + Copy>, both: bool) -> rustix::io::Result<Option<Self>> {
        let directory = match both.then(|| open_path(pair.root, pair.directory)) {
            // then there is no file either
            Some(Ok(None)) => return Ok(None),
            directory => directory.and_then(Result::ok).flatten(),
        };
        let file = open(pair.root, pair.file)?;
        Ok(file.map(|file| Self { directory, file }))
    }

    fn read(
        &self,
        pair: FilePair<'_, impl Arg + Copy>,
        buffer: &mut Buffer,
    ) -> rustix::io::Result<Option<PairContent>> {
        let directory = match &self.directory {
            Some(directory) => fstat(directory),
            None => statat(pair.root, pair.directory, AtFlags::empty()),
        };
        if self.directory.is_some() && directory.is_err_and(is_gone) {
            return Ok(None);
        }
        let length = buffer.fill(&self.file)?;
        Ok(length.map(|length| PairContent { directory: directory.ok(), length }))
    }
}

impl Descriptors for OpenFilePair {
    fn descriptors(&self) -> usize {
        1 + usize::from(self.directory.is_some())
    }
}
