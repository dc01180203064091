//! A unit in the mirror: plain data, typed by kind.

pub(super) mod decode;
pub mod dependencies;
pub mod files;
mod hidden_names;
pub mod name;
pub mod properties;
mod property_tables;
pub mod results;
pub mod sandbox;
pub(crate) mod serial;
mod starters;
pub mod template;
pub mod value;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use zbus::Variant;

use self::dependencies::Dependencies;
use self::files::ServiceFiles;
use self::name::{UnitKind, is_valid};
use self::results::Mount;
use self::sandbox::Sandbox;
pub use self::starters::{Path, Socket, Timer};
use self::value::{InternedStr, InvocationId, Timestamp, as_strings};

/// The properties of one unit. A field is `None` until it has been read, and where it is not set.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The primary name.
    pub name: Arc<str>,
    /// `Names` without the primary name: a unit may be requested by any of them.
    pub aliases: Box<[Arc<str>]>,
    /// The name under which a unit with a short-lived name is summed; `None` for other units.
    pub group: Option<Arc<str>>,
    /// The suffix of the name.
    pub kind: UnitKind,
    /// Whether the unit is exported; of other units only the states are kept.
    pub selected: bool,
    /// `LoadState`: loaded, not-found, masked, bad-setting, error …
    pub load_state: Option<InternedStr>,
    /// `ActiveState`: active, inactive, failed, activating, deactivating …
    pub active_state: Option<InternedStr>,
    /// `SubState`: running, dead, auto-restart, listening …
    pub sub_state: Option<InternedStr>,
    /// `ActiveEnterTimestamp`, wall clock.
    pub active_enter: Option<Timestamp>,
    /// `ActiveExitTimestamp`, wall clock.
    pub active_exit: Option<Timestamp>,
    /// `InactiveEnterTimestamp`, wall clock.
    pub inactive_enter: Option<Timestamp>,
    /// `InactiveExitTimestamp`, wall clock.
    pub inactive_exit: Option<Timestamp>,
    /// `StateChangeTimestamp`: the last change of the state or sub-state, wall clock; carried by
    /// signals, and read of failed services.
    pub state_change: Option<Timestamp>,
    /// `InvocationID` of the current or last run.
    pub invocation_id: Option<InvocationId>,
    /// `ControlGroup`: the path below the cgroup root, as long as one was realized.
    pub control_group: Option<Arc<str>>,
    /// `OOMKills`: processes of this run that the OOM killer killed; systemd 259.
    pub oom_kills: Option<u64>,
    /// `ManagedOOMKills`: how often systemd-oomd killed processes of this run.
    pub managed_oom_kills: Option<u64>,
    /// `ConditionResult`: whether the unit's conditions were met when it was last started; carried by
    /// signals, and read if it is exported and of inactive units that a service depends on.
    pub conditions_met: Option<bool>,
    /// `ConditionTimestamp`: when they were checked.
    pub conditions_checked: Option<Timestamp>,
    /// `UnitFileState`: enabled, disabled, static …; read only if it is exported.
    pub file_state: Option<InternedStr>,
    /// `UnitFilePreset`: the distribution's default for that.
    pub file_preset: Option<InternedStr>,
    /// When the unit last changed its state, since boot.
    pub since_boot: SinceBoot,
    /// `FreezerState`: running, frozen, frozen-by-parent …; carried by signals, and read of services,
    /// scopes and slices that are active.
    pub freezer_state: Option<InternedStr>,
    /// `NeedDaemonReload`: whether its files have changed since PID 1 read them.
    pub needs_reload: Option<bool>,
    /// Properties that only units of its kind have.
    pub detail: Detail,
}

/// When a unit last changed its state, on the monotonic clock: reported by signals, and read of a
/// few units for their start time at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SinceBoot {
    /// `InactiveExitTimestampMonotonic`
    pub inactive_exit: Option<Timestamp>,
    /// `ActiveEnterTimestampMonotonic`
    pub active_enter: Option<Timestamp>,
    /// `InactiveEnterTimestampMonotonic`
    pub inactive_enter: Option<Timestamp>,
}

/// Properties that only units of one kind have.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Of a service.
    Service(Box<Service>),
    /// Of a timer.
    Timer(Timer),
    /// Of a socket unit.
    Socket(Socket),
    /// Of a mount.
    Mount(Mount),
    /// The units that a target wants or requires.
    Target(Box<Dependencies>),
    /// Of a path unit.
    Path(Path),
    /// `Result` of an automount, scope or swap.
    Other(Option<InternedStr>),
    /// Of devices and slices.
    None,
}

/// Properties that only services have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// `Type`: simple, exec, forking, oneshot, notify …
    pub service_type: Option<InternedStr>,
    /// `Restart`: no, always, on-failure …
    pub restart: Option<InternedStr>,
    /// `User`: the user it runs as; empty for the user of PID 1.
    pub user: Option<Arc<str>>,
    /// `Slice`: the slice that it is in.
    pub slice: Option<Arc<str>>,
    /// `RestartUSec`: the delay before a restart.
    pub restart_delay: Option<Duration>,
    /// `RestartUSecNext`: the delay before the next restart; systemd 254.
    pub next_restart_delay: Option<Duration>,
    /// `RestartSteps`: restarts until the delay is at its maximum; 0 without steps.
    pub restart_steps: Option<u64>,
    /// `NotifyAccess`: whose sd_notify messages are accepted: none, main, exec, all.
    pub notify_access: Option<InternedStr>,
    /// `StartLimitBurst`: starts allowed in the interval; read where `Restart` is set.
    pub start_limit_burst: Option<u64>,
    /// `StartLimitIntervalUSec`; `None` without a limit.
    pub start_limit_interval: Option<Duration>,
    /// `WatchdogUSec`: the watchdog timeout; `None` without a watchdog.
    pub watchdog: Option<Duration>,
    /// `WatchdogTimestamp`: the last watchdog ping, wall clock.
    pub watchdog_ping: Option<Timestamp>,
    /// `FileDescriptorStoreMax`
    pub fd_store_max: Option<u64>,
    /// `NFileDescriptorStore`
    pub fd_store: Option<u64>,
    /// `StatusErrno`: the errno that the service reported; 0 for none.
    pub status_errno: Option<u64>,
    /// `ReloadResult` of the last reload.
    pub reload_result: Option<InternedStr>,
    /// `IPAccounting`
    pub ip_accounting: Option<bool>,
    /// Its IP traffic, with `IPAccounting`.
    pub ip: Ip,
    /// The units it depends on.
    pub dependencies: Dependencies,
    /// The files that it runs from.
    pub files: ServiceFiles,
    /// The settings of its sandbox.
    pub sandbox: Sandbox,
    /// `Result` of the last run: success, exit-code, signal, core-dump, oom-kill …
    pub result: Option<InternedStr>,
    /// `NRestarts`: automatic restarts since the last manual start.
    pub restarts: Option<u64>,
    /// `MainPID`; `None` while there is none.
    pub main_pid: Option<u32>,
    /// `ExecMainPID`: the current or last main process.
    pub exec_main_pid: Option<u32>,
    /// `ExecMainCode`: how the main process ended: 1 exited, 2 killed, 3 dumped.
    pub exit_code: Option<u64>,
    /// `ExecMainStatus`: exit status or signal number.
    pub exit_status: Option<u64>,
    /// `ExecMainStartTimestamp`, wall clock.
    pub main_start: Option<Timestamp>,
    /// `ExecMainExitTimestamp`, wall clock.
    pub main_exit: Option<Timestamp>,
    /// `ExecMainExitTimestampMonotonic`: distinguishes one exit from the next; 0 while running.
    pub main_exit_monotonic: Option<Timestamp>,
    /// `TasksMax`; `None` without a limit.
    pub tasks_max: Option<u64>,
    /// `ExecStart`: the last exit of each command; read of oneshots only, and empty for a single
    /// command, whose exit is that of the main process.
    pub commands: Option<Box<[CommandExit]>>,
}

/// The last exit of one command of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CommandExit {
    /// When it exited, wall clock; 0 while it runs and before.
    pub at: Timestamp,
    /// The same, since boot.
    pub monotonic: Timestamp,
    /// How it ended, as `ExecMainCode`.
    pub code: u64,
    /// Exit status or signal number.
    pub status: u64,
    /// When it was started, wall clock; 0 before.
    pub started: Timestamp,
    /// Whether its failure is ignored: it begins with `-`.
    pub ignores_failure: bool,
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

impl Unit {
    /// A unit without any property.
    #[must_use]
    pub fn new(name: Arc<str>, kind: UnitKind, selected: bool) -> Self {
        Self {
            name,
            aliases: Box::default(),
            group: None,
            kind,
            selected,
            load_state: None,
            active_state: None,
            sub_state: None,
            active_enter: None,
            active_exit: None,
            inactive_enter: None,
            inactive_exit: None,
            state_change: None,
            invocation_id: None,
            control_group: None,
            oom_kills: None,
            managed_oom_kills: None,
            conditions_met: None,
            conditions_checked: None,
            file_state: None,
            file_preset: None,
            since_boot: SinceBoot::default(),
            freezer_state: None,
            needs_reload: None,
            detail: match kind {
                UnitKind::Service => Detail::Service(Box::default()),
                UnitKind::Timer => Detail::Timer(Timer::default()),
                UnitKind::Socket => Detail::Socket(Socket::default()),
                UnitKind::Mount => Detail::Mount(Mount::default()),
                UnitKind::Target => Detail::Target(Box::default()),
                UnitKind::Path => Detail::Path(Path::default()),
                UnitKind::Automount | UnitKind::Scope | UnitKind::Swap => Detail::Other(None),
                UnitKind::Device | UnitKind::Slice => Detail::None,
            },
        }
    }

    /// A unit that PID 1 has just loaded: it has not run, so its first exit or restart counts.
    #[must_use]
    pub fn fresh(name: Arc<str>, kind: UnitKind, selected: bool) -> Self {
        let mut unit = Self::new(name, kind, selected);
        unit.invocation_id = Some(InvocationId::default());
        unit.state_change = Some(Timestamp(0));
        if let Detail::Service(service) = &mut unit.detail {
            service.restarts = Some(0);
            service.result = Some("success".into());
            service.main_exit_monotonic = Some(Timestamp(0));
            service.commands = Some(Box::default());
        }
        if let Detail::Timer(timer) = &mut unit.detail {
            timer.last_trigger = Some(Timestamp(0));
            timer.last_trigger_monotonic = Some(Timestamp(0));
        }
        unit
    }

    /// The name in the labels of metrics: that of its group, if it has one.
    #[must_use]
    pub fn exported_name(&self) -> &Arc<str> {
        self.group.as_ref().unwrap_or(&self.name)
    }

    /// All names of the unit, the primary one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.name].into_iter().chain(&self.aliases).map(|name| &**name)
    }

    /// Sets the names; the primary name and invalid names are dropped.
    fn set_names(&mut self, names: &Variant<'_>) {
        let aliases = as_strings(names).into_iter();
        let aliases = aliases.filter(|alias| *alias != self.name && is_valid(alias));
        let aliases: BTreeSet<_> = aliases.take(MAX_ALIASES).collect();
        self.aliases = aliases.into_iter().collect();
    }

    /// Whether `ActiveState` has this value.
    #[must_use]
    pub fn is(&self, active_state: &str) -> bool {
        self.active_state.as_deref() == Some(active_state)
    }

    /// Whether the kernel has stopped its processes (`systemctl freeze`); `None` while they run.
    #[must_use]
    pub fn is_frozen(&self) -> Option<bool> {
        let state = self.freezer_state.as_deref().filter(|state| *state != "running")?;
        Some(state.starts_with("frozen"))
    }

    /// Whether it has no file and is inactive: only other units refer to it.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.load_state.as_deref() == Some("not-found") && self.is("inactive")
    }

    /// Its current or last run; `None` if it never ran.
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
    /// Whether sd_notify may change settings of the service.
    #[must_use]
    pub fn may_notify(&self) -> bool {
        self.notify_access.as_deref().is_some_and(|access| access != "none")
    }

    /// Whether the delay grows with each restart.
    #[must_use]
    pub fn has_restart_steps(&self) -> bool {
        self.restart_steps.is_some_and(|steps| steps > 0)
    }

    /// Whether its type is oneshot, which may have several commands.
    #[must_use]
    pub fn is_oneshot(&self) -> bool {
        self.service_type.as_deref() == Some("oneshot")
    }

    /// Whether `Restart=` enables restarts.
    #[must_use]
    pub fn is_restarted(&self) -> bool {
        self.restart.as_deref().is_some_and(|restart| restart != "no")
    }
}

/// More names of one unit are ignored: a user may give a unit of a user manager any number.
const MAX_ALIASES: usize = 64;
