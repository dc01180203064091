//! A read-ahead buffer for one file.

use std::io;
use std::os::fd::AsFd;

use rustix::io::{Errno, pread};

/// A part of one file. Its content is as old as the last read.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    window: Vec<u8>,
    at: u64,
    aside: Vec<u8>,
}

impl ReadBuffer {
    /// Discards the content, which is of another file or old.
    pub(super) fn clear(&mut self) {
        self.window.clear();
    }

    /// Returns `length` bytes, or as many as the file has. Moves the window if they are not in it.
    pub(super) fn advance(
        &mut self,
        file: impl AsFd,
        offset: u64,
        length: usize,
    ) -> io::Result<&[u8]> {
        if self.within(offset, length).is_none() {
            // the data objects that are new with an entry are right before it
            self.at = offset.saturating_sub(READ_BEHIND as u64);
            let before = usize::try_from(offset - self.at).unwrap_or_default();
            self.window.resize(BUFFER_SIZE.max(before + length), 0);
            let read = fill(file, &mut self.window, self.at)?;
            self.window.truncate(read);
        }
        let start = self.index(offset).unwrap_or_default().min(self.window.len());
        let end = start.saturating_add(length).min(self.window.len());
        Ok(&self.window[start..end])
    }

    /// Returns `length` bytes, or as many as the file has. Does not move the window.
    pub(super) fn peek(
        &mut self,
        file: impl AsFd,
        offset: u64,
        length: usize,
    ) -> io::Result<&[u8]> {
        if let Some(start) = self.within(offset, length) {
            return Ok(&self.window[start..start + length]);
        }
        self.aside.resize(length, 0);
        let read = fill(file, &mut self.aside, offset)?;
        Ok(&self.aside[..read])
    }

    fn within(&self, offset: u64, length: usize) -> Option<usize> {
        let start = self.index(offset)?;
        (start.checked_add(length)? <= self.window.len()).then_some(start)
    }

    fn index(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.at)?).ok()
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self { window: Vec::with_capacity(BUFFER_SIZE), at: 0, aside: Vec::new() }
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn fill(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match pread(&file, &mut buffer[length..], offset.saturating_add(length as u64)) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(length)
}

/// Bytes: some fifteen common entries.
const BUFFER_SIZE: usize = 16 << 10;
/// Bytes before the requested offset.
const READ_BEHIND: usize = 4 << 10;
