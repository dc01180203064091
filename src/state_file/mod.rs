//! The file in which the counters survive a restart of the exporter: in a directory that is removed at
//! reboot, as counters end with the boot.

mod content;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use tracing::warn;

pub use content::{Boot, InvalidState, SavedState};

/// The path of the file, and counters of its use.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    boot: Boot,
    is_restored: AtomicBool,
    saves: AtomicU64,
    failed_saves: AtomicU64,
    /// Whether the last save failed, which has been logged.
    is_failing: AtomicBool,
}

/// The exported values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateFileStats {
    /// Whether the counters continue those of the exporter before its restart.
    pub restored: bool,
    /// Completed saves.
    pub saves: u64,
    /// Failed saves.
    pub failed_saves: u64,
}

/// The content of the file at the start.
#[derive(Debug)]
pub enum FoundState {
    /// A valid state of this boot.
    Restorable(Box<SavedState>),
    /// No state of this boot: this is the first start after the boot.
    FirstStart,
    /// A file that cannot be used.
    Unusable(InvalidState),
}

impl StateFile {
    /// The file in this directory, for this boot.
    #[must_use]
    pub fn new(directory: &Path, boot: Boot) -> Self {
        Self {
            path: directory.join(NAME),
            boot,
            is_restored: AtomicBool::new(false),
            saves: AtomicU64::new(0),
            failed_saves: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
        }
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks the file.
    #[must_use]
    pub fn read(&self) -> FoundState {
        let content = match self.content() {
            Ok(Some(content)) => content,
            Ok(None) => return FoundState::FirstStart,
            Err(error) => return FoundState::Unusable(error),
        };
        match SavedState::parse(&content, &self.boot) {
            Ok(state) => FoundState::Restorable(Box::new(state)),
            Err(InvalidState::OtherBoot) => FoundState::FirstStart,
            Err(error) => FoundState::Unusable(error),
        }
    }

    /// Notes that the state has been restored.
    pub fn mark_restored(&self) {
        self.is_restored.store(true, Ordering::Relaxed);
    }

    /// The exported values.
    #[must_use]
    pub fn stats(&self) -> StateFileStats {
        StateFileStats {
            restored: self.is_restored.load(Ordering::Relaxed),
            saves: self.saves.load(Ordering::Relaxed),
            failed_saves: self.failed_saves.load(Ordering::Relaxed),
        }
    }

    /// Replaces the file; logs and counts a failure, which leaves the old file.
    pub fn save(&self, state: &SavedState) {
        let outcome = state.to_bytes(&self.boot).and_then(|content| self.replace(&content));
        match outcome {
            Ok(()) => {
                self.saves.fetch_add(1, Ordering::Relaxed);
                self.is_failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed_saves.fetch_add(1, Ordering::Relaxed);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    let path = self.path.display();
                    warn!(%path, %error, "failed to save the state; a restart of the exporter may lose counts");
                }
            }
        }
    }

    /// The content; `None` without a file. A path that is no regular file of this user is not read.
    fn content(&self) -> Result<Option<Vec<u8>>, InvalidState> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match open(&self.path, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(InvalidState::NotRegular),
            Err(error) => return Err(InvalidState::Io(error.into())),
        };
        let stat = fstat(&file).map_err(|error| InvalidState::Io(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(InvalidState::NotRegular);
        }
        if stat.st_uid != geteuid().as_raw() {
            return Err(InvalidState::OtherOwner);
        }
        if u64::try_from(stat.st_size).is_ok_and(|size| size > MAX_SIZE) {
            return Err(InvalidState::TooLarge);
        }
        let mut content = Vec::new();
        let file = std::fs::File::from(file);
        file.take(MAX_SIZE + 1).read_to_end(&mut content).map_err(InvalidState::Io)?;
        match content.len() as u64 > MAX_SIZE {
            true => Err(InvalidState::TooLarge),
            false => Ok(Some(content)),
        }
    }

    /// Writes a new file and renames it, so that the file is never incomplete. No fsync: the file does
    /// not outlive the boot.
    fn replace(&self, content: &[u8]) -> io::Result<()> {
        if content.len() as u64 > MAX_SIZE {
            return Err(io::Error::other(InvalidState::TooLarge));
        }
        let new = self.path.with_extension("new");
        let written = create(&new).and_then(|file| std::fs::File::from(file).write_all(content));
        let renamed = written.and_then(|()| std::fs::rename(&new, &self.path));
        if renamed.is_err() {
            // on a full disk, half a file would be in the way of others
            let _ = std::fs::remove_file(&new);
        }
        renamed
    }
}

/// A new, empty file, which only this user can read and write.
fn create(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    match open(path, flags, mode) {
        Err(Errno::EXIST) => {
            // of a write that was interrupted
            std::fs::remove_file(path)?;
            Ok(open(path, flags, mode)?)
        }
        other => Ok(other?),
    }
}

const NAME: &str = "state.json";

/// Bytes: some 20,000 units.
const MAX_SIZE: u64 = 16 << 20;
