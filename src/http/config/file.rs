//! Reading the files of a configuration, and detecting changes.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::ConfigError;

/// Identifies a version of a file: a replaced or rewritten file has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// The file changed so shortly before the read that another change may have the same time,
    /// since the file system's clock is coarse. Such a stamp never counts as unchanged.
    fresh: bool,
}

/// The content of a file, wiped from memory on drop because it may contain keys, and its stamp.
pub(in crate::http) fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, FileStamp), ConfigError> {
    let io = |error: std::io::Error| ConfigError::new(path, error.to_string());
    // opening a FIFO would block otherwise
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(ConfigError::new(path, "not a regular file"));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    (&file).take(MAX_BYTES as u64).read_to_end(&mut content).map_err(io)?;
    if content.len() >= MAX_BYTES {
        return Err(ConfigError::new(path, "larger than 1 MiB"));
    }
    Ok((content, FileStamp::new(&metadata)))
}

/// Whether the file at `path` still has this stamp.
pub(in crate::http) fn unchanged(path: &Path, stamp: &FileStamp) -> bool {
    let now = std::fs::metadata(path).ok();
    !stamp.fresh
        && now.is_some_and(|now| FileStamp { fresh: false, ..FileStamp::new(&now) } == *stamp)
}

/// Whether the file at `path` is the one with this stamp, changed a moment ago.
pub(in crate::http) fn is_being_rewritten(path: &Path, stamp: &FileStamp) -> bool {
    let now = std::fs::metadata(path).map(|now| FileStamp::new(&now));
    now.is_ok_and(|now| {
        let same_file = (now.device, now.inode) == (stamp.device, stamp.inode);
        let same_content = (now.size, now.modified) == (stamp.size, stamp.modified);
        same_file && !same_content && now.fresh
    })
}

impl FileStamp {
    fn new(metadata: &Metadata) -> Self {
        let age = metadata.modified().ok().map(|at| SystemTime::now().duration_since(at));
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            fresh: age.is_some_and(|age| age.is_ok_and(|age| age < CLOCK_RESOLUTION)),
        }
    }
}

/// Files of this size or larger are rejected.
const MAX_BYTES: usize = 1 << 20;

/// Ten times the coarsest resolution of file times in Linux.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_a_change_right_after_reading() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        for n in 0..50 {
            std::fs::write(&path, format!("{:02}", n)).unwrap();
            let (content, stamp) = read(&path).unwrap();
            assert_eq!(*content, format!("{n:02}").as_bytes());
            std::fs::write(&path, format!("{:02}", n + 1)).unwrap();
            assert!(!unchanged(&path, &stamp), "{n}");
        }
        std::thread::sleep(CLOCK_RESOLUTION * 2);
        let (_, stamp) = read(&path).unwrap();
        assert!(unchanged(&path, &stamp));
        std::fs::remove_file(&path).unwrap();
        assert!(!unchanged(&path, &stamp));
    }

    #[test]
    fn reads_only_small_regular_files() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        std::fs::write(&large, vec![b' '; MAX_BYTES]).unwrap();
        assert!(read(&large).unwrap_err().to_string().contains("1 MiB"));
        assert!(read(directory.path()).unwrap_err().to_string().contains("regular"));
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(read(&fifo).unwrap_err().to_string().contains("regular"));
        let absent = read(&directory.path().join("somefile")).unwrap_err().to_string();
        assert!(absent.contains("No such file"), "{absent}");
    }
}
