//! Directories whose changes the kernel reports (inotify), instead of a look at intervals.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Reports changes of the entries of directories: files and directories that appear, disappear, or
/// change, but not what happens in directories below.
#[derive(Debug)]
pub struct DirectoryWatcher {
    inotify: AsyncFd<OwnedFd>,
    directories: HashMap<i32, PathBuf>,
}

/// A change in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryChange<'a> {
    /// An entry has changed; without a name, the directory itself.
    Entry(&'a Path, Option<&'a OsStr>),
    /// The kernel dropped changes of any directory.
    Unknown,
}

impl DirectoryWatcher {
    /// A watcher without directories, on the runtime of the caller.
    ///
    /// # Errors
    /// The limit of watchers of the user is reached (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[allow(
            deprecated,
            reason = "its replacement is unsafe, for types that change their descriptor"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self { inotify, directories: HashMap::new() })
    }

    /// Watches a directory. Returns whether it was not watched: not at all, or another directory at
    /// the same path was.
    ///
    /// # Errors
    /// The directory is missing or may not be read, or one of the limits is reached:
    /// [`MAX_DIRECTORIES`], and `fs.inotify.max_user_watches` of the user.
    pub fn watch(&mut self, directory: &Path) -> io::Result<bool> {
        if self.directories.len() >= MAX_DIRECTORIES {
            return Err(Errno::NOSPC.into());
        }
        let watch = inotify::add_watch(&self.inotify, directory, CHANGES | WatchFlags::ONLYDIR)?;
        Ok(self.directories.insert(watch, directory.to_owned()).is_none())
    }

    /// Waits until something has changed since the last [`Self::take`].
    pub async fn changed(&self) {
        // the guard keeps the readiness, until nothing is left to take
        if self.inotify.readable().await.is_err() {
            // the runtime is shutting down
            std::future::pending::<()>().await;
        }
    }

    /// Passes the changes since the last call to `change`, and returns whether there were any.
    pub fn take(&mut self, mut change: impl FnMut(DirectoryChange<'_>)) -> bool {
        let (mut any, mut gone) = (false, Vec::new());
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let directories = &self.directories;
        let mut read = |inotify: &OwnedFd| {
            let mut events = Reader::new(inotify, &mut buffer);
            for _ in 0..MAX_CHANGES {
                let event = events.next()?;
                any = true;
                if event.events().contains(ReadFlags::IGNORED) {
                    gone.push(event.wd());
                } else if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                    change(DirectoryChange::Unknown);
                } else if let Some(directory) = directories.get(&event.wd()) {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    change(DirectoryChange::Entry(directory, name));
                }
            }
            Ok(())
        };
        // an error means that nothing is left: the kernel has no other
        let _ = self.inotify.try_io(Interest::READABLE, &mut read);
        // the runtime may not have seen the changes yet
        let _: io::Result<()> = read(self.inotify.get_ref());
        for watch in gone {
            self.directories.remove(&watch);
        }
        any
    }
}

const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Each takes 1 KiB of kernel memory.
const MAX_DIRECTORIES: usize = 4096;

/// At one call: a writer that is faster than the reader must not hold it forever.
const MAX_CHANGES: usize = 20_000;

/// Bytes read at once: some hundred changes.
const BUFFER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, remove_dir, rename, write};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn taken(watcher: &mut DirectoryWatcher) -> Vec<String> {
        let mut names = Vec::new();
        watcher.take(|change| {
            names.push(match change {
                DirectoryChange::Entry(_, Some(name)) => name.to_string_lossy().into_owned(),
                other => format!("{other:?}"),
            });
        });
        names.dedup();
        names
    }

    async fn is_changed(watcher: &DirectoryWatcher) -> bool {
        timeout(Duration::from_millis(100), watcher.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn reports_each_change_once() {
        let root = tempfile::tempdir().unwrap();
        let mut watcher = DirectoryWatcher::new().unwrap();
        assert!(watcher.watch(root.path()).unwrap());
        assert!(!watcher.watch(root.path()).unwrap(), "it is watched already");
        assert!(!is_changed(&watcher).await && taken(&mut watcher).is_empty());
        write(root.path().join("a"), "1").unwrap();
        assert!(is_changed(&watcher).await && is_changed(&watcher).await, "not taken yet");
        assert_eq!(taken(&mut watcher), ["a"]);
        assert!(!is_changed(&watcher).await && taken(&mut watcher).is_empty());
        rename(root.path().join("a"), root.path().join("b")).unwrap();
        create_dir(root.path().join("c")).unwrap();
        assert!(is_changed(&watcher).await);
        assert_eq!(taken(&mut watcher), ["a", "b", "c"]);
        std::fs::read(root.path().join("b")).unwrap();
        assert!(!is_changed(&watcher).await, "reading is no change");
        // journald sets the length of a file that it writes through a mapping to what it is
        let file = std::fs::OpenOptions::new().write(true).open(root.path().join("b")).unwrap();
        file.set_len(1).unwrap();
        assert!(is_changed(&watcher).await);
        assert_eq!(taken(&mut watcher), ["b"]);
    }

    #[tokio::test]
    async fn directory_that_is_replaced_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d");
        create_dir(&directory).unwrap();
        let mut watcher = DirectoryWatcher::new().unwrap();
        assert!(watcher.watch(&directory).unwrap());
        assert!(watcher.watch(&root.path().join("missing")).is_err());
        remove_dir(&directory).unwrap();
        assert!(is_changed(&watcher).await && !taken(&mut watcher).is_empty());
        create_dir(&directory).unwrap();
        assert!(watcher.watch(&directory).unwrap(), "it is another one");
        write(directory.join("a"), "").unwrap();
        assert!(is_changed(&watcher).await);
        assert_eq!(taken(&mut watcher), ["a"]);
    }
}
