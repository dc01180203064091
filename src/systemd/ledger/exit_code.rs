//! Exit codes of main processes, and the names of signals.

use serde::{Deserialize, Serialize};

use crate::systemd::unit::value::{InternedStr, intern};

/// How a main process exited: `ExecMainCode`, the `CLD_*` numbers of waitid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ExitCode {
    /// Normally, with an exit status.
    Exited,
    /// By a signal.
    Killed,
    /// By a signal, with a core dump.
    Dumped,
}

impl ExitCode {
    /// From `ExecMainCode`; `None` for codes that no ended process has.
    #[must_use]
    pub fn from_number(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Exited),
            CLD_KILLED => Some(Self::Killed),
            3 => Some(Self::Dumped),
            _ => None,
        }
    }

    /// As shown by systemctl.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Killed => "killed",
            Self::Dumped => "dumped",
        }
    }

    /// The exit status or the signal's name, from a number or a name without `SIG`.
    #[must_use]
    pub(super) fn status_of_text(self, status: &str) -> InternedStr {
        match (status.parse(), self) {
            (Ok(number), _) => self.status(number),
            (Err(_), Self::Exited) => intern(status),
            (Err(_), Self::Killed | Self::Dumped) => intern(&format!("SIG{status}")),
        }
    }

    /// The exit status as a number, or the signal's name.
    #[must_use]
    pub fn status(self, status: u64) -> InternedStr {
        let name = match self {
            Self::Exited => None,
            Self::Killed | Self::Dumped => signal_name(status),
        };
        name.unwrap_or_else(|| status.to_string().into())
    }
}

/// The name of a signal, such as `SIGKILL` or `SIGRTMIN+1`; `None` for numbers that have no name in
/// systemd either: 32 and 33 are reserved by the C library.
fn signal_name(number: u64) -> Option<InternedStr> {
    if (SIGRTMIN..=SIGRTMAX).contains(&number) {
        return Some(format!("SIGRTMIN+{}", number - SIGRTMIN).into());
    }
    let name = *NAMES.get(usize::try_from(number).ok()?)?;
    name.map(InternedStr::Borrowed)
}

/// The code of a process that a signal ended, without a core dump.
pub(super) const CLD_KILLED: u64 = 2;

/// The signal of the OOM killer.
pub(super) const SIGKILL: u64 = 9;

/// The first real-time signal that the C library leaves to programs.
const SIGRTMIN: u64 = 34;

/// The last real-time signal.
const SIGRTMAX: u64 = 64;

/// By number, as in signal(7) for Linux (not Alpha, MIPS or PA-RISC).
const NAMES: [Option<&str>; 32] = [
    None,
    Some("SIGHUP"),
    Some("SIGINT"),
    Some("SIGQUIT"),
    Some("SIGILL"),
    Some("SIGTRAP"),
    Some("SIGABRT"),
    Some("SIGBUS"),
    Some("SIGFPE"),
    Some("SIGKILL"),
    Some("SIGUSR1"),
    Some("SIGSEGV"),
    Some("SIGUSR2"),
    Some("SIGPIPE"),
    Some("SIGALRM"),
    Some("SIGTERM"),
    Some("SIGSTKFLT"),
    Some("SIGCHLD"),
    Some("SIGCONT"),
    Some("SIGSTOP"),
    Some("SIGTSTP"),
    Some("SIGTTIN"),
    Some("SIGTTOU"),
    Some("SIGURG"),
    Some("SIGXCPU"),
    Some("SIGXFSZ"),
    Some("SIGVTALRM"),
    Some("SIGPROF"),
    Some("SIGWINCH"),
    Some("SIGIO"),
    Some("SIGPWR"),
    Some("SIGSYS"),
];
