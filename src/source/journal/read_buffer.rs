//! Reading a file piece by piece, with what comes next already at hand.

use std::io;
use std::os::fd::AsFd;

use rustix::io::{Errno, pread};

/// A piece of one file in memory. What is in it is as old as the piece.
#[derive(Debug)]
pub(super) struct Window {
    piece: Vec<u8>,
    at: u64,
    aside: Vec<u8>,
}

impl Window {
    /// Forgets the piece: it is another file's, or old.
    pub(super) fn clear(&mut self) {
        self.piece.clear();
    }

    /// So many bytes, or as many as the file has. Moves the window if they are not in it.
    pub(super) fn advance(
        &mut self,
        file: impl AsFd,
        offset: u64,
        length: usize,
    ) -> io::Result<&[u8]> {
        if self.within(offset, length).is_none() {
            // what an entry has of its own stands right before it
            self.at = offset.saturating_sub(BEFORE as u64);
            let before = usize::try_from(offset - self.at).unwrap_or_default();
            self.piece.resize(SIZE.max(before + length), 0);
            let read = fill(file, &mut self.piece, self.at)?;
            self.piece.truncate(read);
        }
        let start = self.index(offset).unwrap_or_default().min(self.piece.len());
        let end = start.saturating_add(length).min(self.piece.len());
        Ok(&self.piece[start..end])
    }

    /// So many bytes, or as many as the file has. The window stays where it is.
    pub(super) fn look(
        &mut self,
        file: impl AsFd,
        offset: u64,
        length: usize,
    ) -> io::Result<&[u8]> {
        if let Some(start) = self.within(offset, length) {
            return Ok(&self.piece[start..start + length]);
        }
        self.aside.resize(length, 0);
        let read = fill(file, &mut self.aside, offset)?;
        Ok(&self.aside[..read])
    }

    fn within(&self, offset: u64, length: usize) -> Option<usize> {
        let start = self.index(offset)?;
        (start.checked_add(length)? <= self.piece.len()).then_some(start)
    }

    fn index(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.at)?).ok()
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { piece: Vec::with_capacity(SIZE), at: 0, aside: Vec::new() }
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

/// Some fifteen common entries.
const SIZE: usize = 16 << 10;
const BEFORE: usize = 4 << 10;
