//! Which journal files are followed if there are very many.

use super::Journal;
use super::directory::FileName;

impl Journal {
    /// Whether another file may be followed. Files of users displace no file of the system, and those
    /// of containers' users no file of other users.
    pub(super) fn has_room(&self, name: &FileName) -> bool {
        let of_users = |from: u32| {
            let users = self.files.iter().filter_map(|tail| tail.name().user());
            users.filter(move |user| *user >= from).count()
        };
        let is_container = name.user().is_some_and(|user| user >= MIN_CONTAINER_USER);
        self.files.len() < MAX_FILES
            && (name.user().is_none() || of_users(0) < MAX_USER_FILES)
            && (!is_container || of_users(MIN_CONTAINER_USER) < MAX_CONTAINER_FILES)
    }

    /// Records that files are not followed.
    pub(super) fn record_limit(&mut self) {
        let text = format!(
            "more than {MAX_FILES} files, {MAX_USER_FILES} of users or {MAX_CONTAINER_FILES} of \
             users from {MIN_CONTAINER_USER} on: the others are not read"
        );
        self.directory.record_problem(text);
    }
}

/// Files that are followed at once. journald has at most 1024 users' files open.
pub(super) const MAX_FILES: usize = 1088;

/// Files of users among these.
pub(super) const MAX_USER_FILES: usize = 1024;

/// Files of containers' users among those.
pub(super) const MAX_CONTAINER_FILES: usize = 512;

/// systemd and useradd assign no user of the host an ID from here on, but for dynamic users, which
/// have no files.
pub(super) const MIN_CONTAINER_USER: u32 = 65536;
