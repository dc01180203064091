//! Reading the files of a configuration, and detecting changes.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

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

/// The wait for the end of a rewrite in place.
#[derive(Debug, Default)]
pub(in crate::http) struct RewriteWait(Option<Observed>);

/// When a rewrite was first seen, since when without a pause, and when last.
#[derive(Debug, Clone, Copy)]
struct Observed {
    first: Instant,
    since: Instant,
    last: Instant,
}

impl RewriteWait {
    /// Notes that a rewrite is seen now. Returns whether to wait for its end.
    pub(in crate::http) fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        let seen = self.0.get_or_insert(Observed { first: now, since: now, last: now });
        if now.duration_since(seen.last) > CLOCK_RESOLUTION {
            // the one before may have ended meanwhile
            seen.since = now;
        }
        seen.last = now;
        now.duration_since(seen.since) < MAX_REWRITE_TIME
            && now.duration_since(seen.first) < MAX_REWRITES_TIME
    }
}

/// The content of a file, wiped from memory on drop because it may contain keys, and its stamp.
pub(in crate::http) fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, FileStamp), ConfigError> {
    let io = |error: std::io::Error| ConfigError::new(path, error.to_string());
    // opening a FIFO would block otherwise
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(io)?;
    let now = SystemTime::now();
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(ConfigError::new(path, "not a regular file"));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    (&file).take(MAX_BYTES as u64).read_to_end(&mut content).map_err(io)?;
    if content.len() >= MAX_BYTES {
        return Err(ConfigError::new(path, "larger than 1 MiB"));
    }
    Ok((content, FileStamp::new(&metadata, now)))
}

/// Whether the file at `path` still has this stamp.
pub(in crate::http) fn unchanged(path: &Path, stamp: &FileStamp) -> bool {
    !stamp.fresh && has_stamp(path, stamp)
}

/// Whether the file at `path` still has this stamp, although a change right after it was taken may
/// be overlooked.
pub(in crate::http) fn has_stamp(path: &Path, stamp: &FileStamp) -> bool {
    let now = FileStamp::of(path);
    now.is_ok_and(|now| FileStamp { fresh: stamp.fresh, ..now } == *stamp)
}

/// Whether the file at `path` is the one with this stamp, changed a moment ago.
pub(in crate::http) fn is_being_rewritten(path: &Path, stamp: &FileStamp) -> bool {
    FileStamp::of(path).is_ok_and(|now| {
        let same_file = (now.device, now.inode) == (stamp.device, stamp.inode);
        let same_content = (now.size, now.modified) == (stamp.size, stamp.modified);
        // the kernel truncates a file before it updates the time
        same_file && !same_content && (now.fresh || now.modified == stamp.modified)
    })
}

impl FileStamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let now = SystemTime::now();
        Ok(Self::new(&std::fs::metadata(path)?, now))
    }

    /// `now` is from before the metadata were read: this thread may have been interrupted in between.
    fn new(metadata: &Metadata, now: SystemTime) -> Self {
        let is_fresh = |modified: SystemTime| match now.duration_since(modified) {
            Ok(age) => age < CLOCK_RESOLUTION,
            Err(later) => later.duration() < MAX_INTERRUPTION,
        };
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            fresh: metadata.modified().is_ok_and(is_fresh),
        }
    }
}

/// Files of this size or larger are rejected.
const MAX_BYTES: usize = 1 << 20;

/// Ten times the coarsest resolution of file times in Linux.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(100);

/// A file that keeps changing for longer is read as it is.
const MAX_REWRITE_TIME: Duration = Duration::from_secs(1);

/// The same for a file that is being rewritten whenever it is looked at.
const MAX_REWRITES_TIME: Duration = Duration::from_secs(60);

/// A file that is newer than this was dated in the future, or the clock was set back.
const MAX_INTERRUPTION: Duration = Duration::from_secs(10);

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
    fn file_that_is_truncated_at_an_unchanged_time_is_being_rewritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        std::fs::write(&path, "old").unwrap();
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(hour_ago).unwrap();
        let (_, stamp) = read(&path).unwrap();
        assert!(unchanged(&path, &stamp) && !is_being_rewritten(&path, &stamp));
        // the kernel sets the size first
        let file = File::create(&path).unwrap();
        file.set_modified(hour_ago).unwrap();
        assert!(is_being_rewritten(&path, &stamp));
        file.set_modified(hour_ago + Duration::from_secs(1)).unwrap();
        assert!(!is_being_rewritten(&path, &stamp) && !unchanged(&path, &stamp));
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
