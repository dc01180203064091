//! Why signals are missing.

/// Why signals may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The bus, or PID 1's connection to it, was away.
    Reconnect,
    /// PID 1 reloaded its configuration, or was re-executed.
    Reload,
    /// A comparison on schedule found a difference.
    Drift,
    /// The exporter was not running.
    Downtime,
}

impl Gap {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::Reload => "reload",
            Self::Drift => "drift",
            Self::Downtime => "downtime",
        }
    }
}
