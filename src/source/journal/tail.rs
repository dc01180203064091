//! A file that is followed: how far it has been read, and whether journald still writes to it.

use std::time::Instant;

use super::directory::Name;
use super::entry::Reader;
use super::file::{Fault, File, Inode};
use super::format::{Id, Stamp};
use super::totals::Totals;

/// Two points of `CLOCK_MONOTONIC`, both inside.
pub(super) type Span = (u64, u64);

#[derive(Debug)]
pub(super) struct Followed {
    file: File,
    name: Name,
    /// How many entries it has, at the last look.
    end: u64,
    is_current: bool,
    /// Whether it is followed from its end, so that all that is read was written since.
    from_end: bool,
    span: Option<Span>,
    fault: Option<Fault>,
    was_damaged: bool,
}

impl Followed {
    pub(super) fn new(file: File, name: Name) -> Self {
        let (end, is_current) = (file.position(), name.is_current());
        let from_end = end > 0;
        Self { file, name, end, is_current, from_end, span: None, fault: None, was_damaged: false }
    }

    pub(super) fn id(&self) -> Id {
        self.file.id()
    }

    pub(super) fn inode(&self) -> Inode {
        self.file.inode()
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Whether it was still what journald writes to, at the last look.
    pub(super) fn is_current(&self) -> bool {
        self.is_current
    }

    /// Whether what is read of it now was written while it was followed.
    pub(super) fn is_live(&self) -> bool {
        self.is_current && self.from_end
    }

    /// Of a file in /run, the times that it has entries of.
    pub(super) fn span(&self) -> Option<Span> {
        self.span
    }

    /// Entries that there are and that have not been read.
    pub(super) fn waiting(&self) -> u64 {
        self.end.saturating_sub(self.file.position())
    }

    /// Whether it need not be kept: journald has left it, and no more of it can be read.
    pub(super) fn is_finished(&self) -> bool {
        !self.is_current && (self.waiting() == 0 || self.fault.is_some())
    }

    /// Why it is not read to its end; `None` if all is well.
    pub(super) fn trouble(&self) -> Option<String> {
        Some(format!("{}: {}", self.name.path().display(), self.fault.as_ref()?))
    }

    /// Looks whether journald still writes to it.
    pub(super) fn look(&mut self) {
        self.is_current = self.name.is_current() && self.file.is_at(self.name.path());
    }

    /// Looks how many entries it has.
    pub(super) fn refresh(&mut self, reader: &mut Reader) {
        match self.file.refresh() {
            Ok(end) => (self.end, self.fault) = (end, None),
            Err(fault) => self.fault = Some(fault),
        }
        if self.name.is_volatile() && self.end > 0 {
            let begun = self.span.map(|(from, _)| from);
            let begun = begun.or_else(|| reader.first_monotonic(&self.file));
            self.span = begun.map(|from| (from, self.file.header().tail_monotonic));
        }
    }

    /// Counts the entries that there were at the last look, and says how many make no sense.
    pub(super) fn read(
        &mut self,
        reader: &mut Reader,
        deadline: Instant,
        counts: impl Fn(&Stamp) -> bool,
        totals: &mut Totals,
    ) -> u64 {
        if self.fault.is_some() {
            return 0;
        }
        let outcome = reader.read(&mut self.file, self.end, deadline, counts, totals);
        self.fault = outcome.fault;
        outcome.unreadable
    }

    /// Whether it is damaged, and was not before.
    pub(super) fn is_newly_damaged(&mut self) -> bool {
        let is_damaged = matches!(self.fault, Some(Fault::Damaged(..)));
        is_damaged && !std::mem::replace(&mut self.was_damaged, true)
    }
}
