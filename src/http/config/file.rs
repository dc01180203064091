//! Reading the files of a configuration, and noticing that they changed.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::ConfigError;

/// Which file was read; another one, or the same written to, has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// The file changed so shortly before it was read that it may have changed again within the
    /// same tick of the file system's clock. Such a stamp equals none.
    fresh: bool,
}

/// The content of a file, its key material wiped when dropped, and its stamp.
pub(in crate::http) fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Stamp), ConfigError> {
    let io = |error: std::io::Error| ConfigError::new(path, error.to_string());
    // a FIFO would block the open for ever
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(ConfigError::new(path, "not a regular file"));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(LARGEST));
    (&file).take(LARGEST as u64).read_to_end(&mut content).map_err(io)?;
    if content.len() >= LARGEST {
        return Err(ConfigError::new(path, "larger than 1 MiB"));
    }
    Ok((content, Stamp::new(&metadata)))
}

/// Whether the file at `path` is still the one that was stamped.
pub(in crate::http) fn unchanged(path: &Path, stamp: &Stamp) -> bool {
    let now = std::fs::metadata(path).ok();
    !stamp.fresh && now.is_some_and(|now| Stamp { fresh: false, ..Stamp::new(&now) } == *stamp)
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        let age = metadata.modified().ok().map(|at| SystemTime::now().duration_since(at));
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            fresh: age.is_some_and(|age| age.is_ok_and(|age| age < TICK)),
        }
    }
}

const LARGEST: usize = 1 << 20;

/// Ten times the coarsest clock that Linux stamps files with.
const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed_even_right_after_reading() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        for n in 0..50 {
            std::fs::write(&path, format!("{:02}", n)).unwrap();
            let (content, stamp) = read(&path).unwrap();
            assert_eq!(*content, format!("{n:02}").as_bytes());
            std::fs::write(&path, format!("{:02}", n + 1)).unwrap();
            assert!(!unchanged(&path, &stamp), "{n}");
        }
        std::thread::sleep(TICK * 2);
        let (_, stamp) = read(&path).unwrap();
        assert!(unchanged(&path, &stamp));
        std::fs::remove_file(&path).unwrap();
        assert!(!unchanged(&path, &stamp));
    }

    #[test]
    fn only_regular_files_of_sane_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        std::fs::write(&large, vec![b' '; LARGEST]).unwrap();
        assert!(read(&large).unwrap_err().to_string().contains("1 MiB"));
        assert!(read(folder.path()).unwrap_err().to_string().contains("regular"));
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(read(&fifo).unwrap_err().to_string().contains("regular"));
        let absent = read(&folder.path().join("somefile")).unwrap_err().to_string();
        assert!(absent.contains("No such file"), "{absent}");
    }
}
