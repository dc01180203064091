//! The files that a service runs from: its unit files, its program and its directory.

use std::sync::Arc;

use zbus::Variant;

use super::value::{as_str, as_strings};

/// The files of a service, as configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceFiles {
    /// The program of the last `ExecStart=`.
    pub program: Option<Arc<str>>,
    /// Its first arguments, up to the one that may be the script of an interpreter.
    pub arguments: Box<[Box<str>]>,
    /// `WorkingDirectory=`
    pub directory: Option<Arc<str>>,
    /// `FragmentPath` and `DropInPaths`.
    fragment: Option<Arc<str>>,
    drop_ins: Box<[Arc<str>]>,
    /// `RootDirectory=` and `RootImage=`: the paths are those of another root.
    roots: [bool; 2],
}

impl ServiceFiles {
    /// The properties of `org.freedesktop.systemd1.Unit`.
    pub(super) const OF_UNIT: [&str; 2] = ["FragmentPath", "DropInPaths"];

    /// The properties of `org.freedesktop.systemd1.Service`.
    pub(super) const OF_SERVICE: [&str; 4] =
        ["ExecStart", "WorkingDirectory", "RootDirectory", "RootImage"];

    /// Sets one property; others are ignored.
    pub(super) fn set(&mut self, name: &str, value: &Variant<'_>) {
        let path = || as_str(value).filter(|path| path.starts_with('/')).map(Arc::from);
        match name {
            "FragmentPath" => self.fragment = path(),
            "DropInPaths" => self.drop_ins = as_strings(value),
            "ExecStart" => (self.program, self.arguments) = command(value).unwrap_or_default(),
            // ! if the directory may be absent
            "WorkingDirectory" => {
                let path = as_str(value).map(|path| path.trim_start_matches('!'));
                self.directory = path.filter(|path| path.starts_with('/')).map(Arc::from);
            }
            "RootDirectory" => self.roots[0] = as_str(value).is_some_and(|path| path.len() > 1),
            "RootImage" => self.roots[1] = as_str(value).is_some_and(|path| !path.is_empty()),
            _ => {}
        }
    }

    /// Whether the paths are those of this host.
    #[must_use]
    pub fn are_of_this_root(&self) -> bool {
        self.roots == [false; 2]
    }

    /// The unit file and its drop-ins, without those that systemd writes itself: generated ones are
    /// new after each reload, and `systemctl set-property` takes effect at once.
    pub fn unit_files(&self) -> impl Iterator<Item = &Arc<str>> {
        let is_written_by_hand = |path: &&Arc<str>| {
            let by_systemd = ["/run/systemd/generator", "/run/systemd/transient/"];
            !by_systemd.iter().any(|start| path.starts_with(start))
                && !path.contains("/systemd/system.control/")
        };
        self.fragment.iter().chain(&self.drop_ins).filter(is_written_by_hand)
    }
}

type Command = (Option<Arc<str>>, Box<[Box<str>]>);

/// The last command: its program and first arguments.
fn command(value: &Variant<'_>) -> Option<Command> {
    let Variant::Array(commands) = value else { return None };
    let Variant::Structure(command) = commands.last()? else { return None };
    let program = command.fields().first().and_then(as_str)?;
    let arguments = command.fields().get(1).map(as_strings).unwrap_or_default();
    let short = |argument: &&Arc<str>| argument.len() <= MAX_ARGUMENT;
    let arguments = arguments.iter().skip(1).take(MAX_ARGUMENTS).take_while(short);
    Some((Some(program.into()), arguments.map(|argument| (**argument).into()).collect()))
}

/// A script comes after few options.
const MAX_ARGUMENTS: usize = 8;

/// In bytes: the longest path.
const MAX_ARGUMENT: usize = 4096;
