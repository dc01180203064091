//! Sources: one module per interface of the host.
//!
//! A source reads and parses; it names no metric and does not decide what is exported.

pub mod cgroup;
pub mod cgroup_tree;
pub mod dbus_daemons;
mod fd_cache;
mod idle_units;
pub mod journal;
mod kernel_file;
pub mod process;
pub mod restart_due;
pub mod security_assessment;
pub mod sockets;
mod unit_readings;

use std::io;
use std::path::{Path, PathBuf};

pub use idle_units::Activity;
pub use kernel_file::Limit;
pub use unit_readings::{Failures, UnitReadings};

/// Why a source failed. Every error names the file or interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed; `path` is the file, directory or interface.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file, directory or interface.
        path: PathBuf,
        /// The error of the kernel.
        error: io::Error,
    },
    /// The content is not in the format that the kernel documents.
    #[error("{}: unexpected content {text:?}", path.display())]
    Malformed {
        /// The file or interface that was read.
        path: PathBuf,
        /// The start of the content.
        text: String,
    },
    /// The source did not finish before its deadline.
    #[error("no answer in time")]
    Late,
    /// Reading panicked: a bug of the exporter, which fails only this source.
    #[error(
        "internal error while reading (bug); \
         please report it at https://github.com/unit-exporter/unit-exporter/issues"
    )]
    Panicked,
    /// The source cannot work here; the text names the cause and the remedy.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// The tree at `root` is that of a container: it has the cgroup of no unit.
    #[must_use]
    pub fn without_units(root: &Path, effect: &str) -> Self {
        let root = root.display();
        Self::Unavailable(format!(
            "{root} has no unit's cgroup: {effect}; mount the host's /sys/fs/cgroup there, or run the \
             exporter in the cgroup namespace of the host"
        ))
    }

    /// An I/O error at `path`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    /// Unexpected content at `path`.
    #[must_use]
    pub fn malformed(path: &Path, content: &[u8]) -> Self {
        let start = &content[..content.len().min(80)];
        Self::Malformed { path: path.to_owned(), text: String::from_utf8_lossy(start).into_owned() }
    }
}
