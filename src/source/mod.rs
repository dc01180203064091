//! Where facts come from: one file per interface of the host.
//!
//! A source reads and parses; it names no metric and decides nothing about what is exported.

pub mod cgroup;
pub mod dbus_daemons;
mod fd_cache;
pub mod journal;
mod kernel_file;
pub mod process;
pub mod security_assessment;
pub mod sockets;

use std::io;
use std::path::{Path, PathBuf};

/// Why a source gave nothing. Every error names the place it arose from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused; `path` is the file, directory or interface asked.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file, directory or interface that was asked.
        path: PathBuf,
        /// What the kernel answered.
        error: io::Error,
    },
    /// The content is not what the kernel documents; at most its first 80 bytes are kept.
    #[error("{}: unexpected content {text:?}", path.display())]
    Malformed {
        /// The file or interface that was read.
        path: PathBuf,
        /// The start of what stood there.
        text: String,
    },
    /// The source did not answer before its deadline.
    #[error("no answer in time")]
    Late,
    /// Reading panicked: a fault of the exporter, which costs only this source.
    #[error("reading it failed in a way that it must not: please report this")]
    Panicked,
    /// The source cannot work here; the text says why and what to change.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// An I/O error at `path`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    /// Content at `path` that could not be understood.
    #[must_use]
    pub fn malformed(path: &Path, content: &[u8]) -> Self {
        let start = &content[..content.len().min(80)];
        Self::Malformed { path: path.to_owned(), text: String::from_utf8_lossy(start).into_owned() }
    }
}
