//! A unit as the mirror holds it: plain data, typed by kind.

pub(super) mod decode;
pub mod dependencies;
pub mod name;
pub mod properties;
mod property_tables;
pub mod sandbox;
pub mod value;

use std::sync::Arc;
use std::time::Duration;

use self::dependencies::Dependencies;
use self::name::Kind;
use self::sandbox::Sandbox;
use self::value::{InvocationId, Timestamp, Word};

/// What is known of one unit. A field is `None` until PID 1 has told it, and where it is not
/// set.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The primary name.
    pub name: Arc<str>,
    /// What stands behind the last dot of the name.
    pub kind: Kind,
    /// Whether the selection exports it; of other units only the states are kept.
    pub selected: bool,
    /// `LoadState`: loaded, not-found, masked, bad-setting, error …
    pub load_state: Option<Word>,
    /// `ActiveState`: active, inactive, failed, activating, deactivating …
    pub active_state: Option<Word>,
    /// `SubState`: running, dead, auto-restart, listening …
    pub sub_state: Option<Word>,
    /// `ActiveEnterTimestamp`, wall clock.
    pub active_enter: Option<Timestamp>,
    /// `ActiveExitTimestamp`, wall clock.
    pub active_exit: Option<Timestamp>,
    /// `InactiveEnterTimestamp`, wall clock.
    pub inactive_enter: Option<Timestamp>,
    /// `InactiveExitTimestamp`, wall clock.
    pub inactive_exit: Option<Timestamp>,
    /// `InvocationID` of the current or last run.
    pub invocation_id: Option<InvocationId>,
    /// `ControlGroup`: the path below the cgroup root, as long as one was realized.
    pub control_group: Option<Arc<str>>,
    /// `OOMKills`: processes of this run that the kernel killed for want of memory; systemd 259.
    pub oom_kills: Option<u64>,
    /// `ManagedOOMKills`: how often systemd-oomd did.
    pub managed_oom_kills: Option<u64>,
    /// `ConditionResult`: whether the unit's conditions were met when it was last started; asked
    /// only if it is exported.
    pub conditions_met: Option<bool>,
    /// `ConditionTimestamp`: when they were checked.
    pub conditions_checked: Option<Timestamp>,
    /// `UnitFileState`: enabled, disabled, static …; asked only if it is exported.
    pub file_state: Option<Word>,
    /// `UnitFilePreset`: what the distribution wants that to be.
    pub file_preset: Option<Word>,
    /// When it last changed its state, since boot.
    pub since_boot: SinceBoot,
    /// `NeedDaemonReload`: whether its files have changed since PID 1 read them.
    pub needs_reload: Option<bool>,
    /// What only units of its kind have.
    pub detail: Detail,
}

/// When a unit last changed its state, on the monotonic clock: told by signals, and asked of a few
/// to know how long they took to start at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SinceBoot {
    /// `InactiveExitTimestampMonotonic`
    pub inactive_exit: Option<Timestamp>,
    /// `ActiveEnterTimestampMonotonic`
    pub active_enter: Option<Timestamp>,
    /// `InactiveEnterTimestampMonotonic`
    pub inactive_enter: Option<Timestamp>,
}

/// What only units of one kind have.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A service's.
    Service(Box<Service>),
    /// A timer's.
    Timer(Timer),
    /// A socket unit's.
    Socket(Socket),
    /// A mount's `Type`, the file system.
    Mount(Option<Word>),
    /// Nothing beyond what every unit has.
    None,
}

/// What only services have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// `Type`: simple, exec, forking, oneshot, notify …
    pub service_type: Option<Word>,
    /// `Restart`: no, always, on-failure …
    pub restart: Option<Word>,
    /// `User`: what it runs as; empty for the user of PID 1.
    pub user: Option<Arc<str>>,
    /// `Slice`: the slice that it is in.
    pub slice: Option<Arc<str>>,
    /// `RestartUSec`: the pause before a restart.
    pub restart_delay: Option<Duration>,
    /// `StartLimitBurst`: starts allowed in the interval; asked where `Restart` is set.
    pub start_limit_burst: Option<u64>,
    /// `StartLimitIntervalUSec`; `None` without a limit.
    pub start_limit_interval: Option<Duration>,
    /// `WatchdogUSec`: how often it has to say that it is well; `None` if it has not to.
    pub watchdog: Option<Duration>,
    /// `WatchdogTimestamp`: when it last said so.
    pub watchdog_ping: Option<Timestamp>,
    /// `FileDescriptorStoreMax`
    pub fd_store_max: Option<u64>,
    /// `NFileDescriptorStore`
    pub fd_store: Option<u64>,
    /// `StatusErrno`: what it said went wrong; 0 for nothing.
    pub status_errno: Option<u64>,
    /// `ReloadResult` of the last reload.
    pub reload_result: Option<Word>,
    /// `IPAccounting`
    pub ip_accounting: Option<bool>,
    /// What it sent and received, with `IPAccounting`.
    pub ip: Ip,
    /// What it needs and wants.
    pub dependencies: Dependencies,
    /// What it may not do.
    pub sandbox: Sandbox,
    /// `Result` of the last run: success, exit-code, signal, core-dump, oom-kill …
    pub result: Option<Word>,
    /// `NRestarts`: automatic restarts since the last manual start.
    pub restarts: Option<u64>,
    /// `MainPID`; `None` while there is none.
    pub main_pid: Option<u32>,
    /// `ExecMainCode`: how the main process ended: 1 exited, 2 killed, 3 dumped.
    pub exit_code: Option<u64>,
    /// `ExecMainStatus`: exit status or signal number.
    pub exit_status: Option<u64>,
    /// `ExecMainStartTimestamp`, wall clock.
    pub main_start: Option<Timestamp>,
    /// `ExecMainExitTimestamp`, wall clock.
    pub main_exit: Option<Timestamp>,
    /// `ExecMainExitTimestampMonotonic`: tells one exit from the next; never while running.
    pub main_exit_monotonic: Option<Timestamp>,
    /// `TasksMax`; `None` without a limit.
    pub tasks_max: Option<u64>,
}

/// IP traffic of one run of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ip {
    /// `IPIngressBytes`
    pub ingress_bytes: Option<u64>,
    /// `IPIngressPackets`
    pub ingress_packets: Option<u64>,
    /// `IPEgressBytes`
    pub egress_bytes: Option<u64>,
    /// `IPEgressPackets`
    pub egress_packets: Option<u64>,
}

/// What only timers have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timer {
    /// `Unit`: what it starts.
    pub unit: Option<Arc<str>>,
    /// `LastTriggerUSec`, wall clock.
    pub last_trigger: Option<Timestamp>,
    /// `NextElapseUSecRealtime`, wall clock.
    pub next_realtime: Option<Timestamp>,
    /// `NextElapseUSecMonotonic`, since boot.
    pub next_monotonic: Option<Timestamp>,
    /// `AccuracyUSec`.
    pub accuracy: Option<Duration>,
    /// `RandomizedDelayUSec`.
    pub randomized_delay: Option<Duration>,
    /// `Result`.
    pub result: Option<Word>,
}

/// What only socket units have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Socket {
    /// `NAccepted`: connections accepted since the socket unit was started (Accept=yes).
    pub accepted: Option<u64>,
    /// `NConnections`: connections open now (Accept=yes).
    pub connections: Option<u64>,
    /// `NRefused`: connections refused for a limit.
    pub refused: Option<u64>,
    /// `Listen`: what it listens on, as pairs of type and address.
    pub listen: Vec<(String, String)>,
    /// `Accept`: whether a service is started for every connection.
    pub accept: Option<bool>,
    /// `Triggers`: the service it starts; with Accept=yes those it started last.
    pub triggers: Box<[Arc<str>]>,
    /// `Result`.
    pub result: Option<Word>,
}

impl Unit {
    /// A unit of which nothing is known yet.
    #[must_use]
    pub fn new(name: Arc<str>, kind: Kind, selected: bool) -> Self {
        Self {
            name,
            kind,
            selected,
            load_state: None,
            active_state: None,
            sub_state: None,
            active_enter: None,
            active_exit: None,
            inactive_enter: None,
            inactive_exit: None,
            invocation_id: None,
            control_group: None,
            oom_kills: None,
            managed_oom_kills: None,
            conditions_met: None,
            conditions_checked: None,
            file_state: None,
            file_preset: None,
            since_boot: SinceBoot::default(),
            needs_reload: None,
            detail: match kind {
                Kind::Service => Detail::Service(Box::default()),
                Kind::Timer => Detail::Timer(Timer::default()),
                Kind::Socket => Detail::Socket(Socket::default()),
                Kind::Mount => Detail::Mount(None),
                _ => Detail::None,
            },
        }
    }

    /// A unit that PID 1 has only just loaded: it has not run, so whatever it does is new.
    #[must_use]
    pub fn fresh(name: Arc<str>, kind: Kind, selected: bool) -> Self {
        let mut unit = Self::new(name, kind, selected);
        unit.invocation_id = Some(InvocationId::default());
        if let Detail::Service(service) = &mut unit.detail {
            service.restarts = Some(0);
            service.result = Some("success".into());
            service.main_exit_monotonic = Some(Timestamp(0));
        }
        if let Detail::Timer(timer) = &mut unit.detail {
            timer.last_trigger = Some(Timestamp(0));
        }
        unit
    }

    /// Whether `ActiveState` is this.
    #[must_use]
    pub fn is(&self, active_state: &str) -> bool {
        self.active_state.as_deref() == Some(active_state)
    }

    /// Whether it has no file and does nothing: only others mention it.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.load_state.as_deref() == Some("not-found") && self.is("inactive")
    }

    /// Its run: the present one, or the last; `None` if it never ran.
    #[must_use]
    pub fn run(&self) -> Option<InvocationId> {
        self.invocation_id.filter(|id| id.is_set())
    }

    /// The service part, if it is a service.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        match &self.detail {
            Detail::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The timer part, if it is a timer.
    #[must_use]
    pub fn timer(&self) -> Option<&Timer> {
        match &self.detail {
            Detail::Timer(timer) => Some(timer),
            _ => None,
        }
    }

    /// The socket part, if it is a socket unit.
    #[must_use]
    pub fn socket(&self) -> Option<&Socket> {
        match &self.detail {
            Detail::Socket(socket) => Some(socket),
            _ => None,
        }
    }
}

impl Service {
    /// Whether `Restart=` asks for restarts.
    #[must_use]
    pub fn is_restarted(&self) -> bool {
        self.restart.as_deref().is_some_and(|restart| restart != "no")
    }
}
