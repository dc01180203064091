//! The service manager itself: its version, state, boot times and watchdog.

use std::time::Duration;

use zbus::Variant;

use super::unit::value::{
    InternedStr, Timestamp, as_duration, as_interned, as_number, as_str, as_time, intern,
};

/// The properties of PID 1. A field is `None` until it has been read, and where it is not set.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    /// `Version`, such as `252.38-1~deb12u1`.
    pub version: Option<InternedStr>,
    /// `NNames`: the number of units, with an alias counted as one more.
    pub names: Option<u64>,
    /// `SystemState`: initializing starting running degraded maintenance stopping.
    pub system_state: Option<InternedStr>,
    /// `Virtualization`: kvm, docker …; empty on bare metal.
    pub virtualization: Option<InternedStr>,
    /// `Tainted`: the taint flags of the host, such as `unmerged-bin`.
    pub tainted: Vec<InternedStr>,
    /// The stages of the boot, in the order of [`STAGES`].
    pub boot: [Stage; STAGES.len()],
    /// `UnitsLoadTimestamp`, wall clock: when PID 1 last began to load its units, at boot, reload or
    /// re-execution; `None` before systemd 250, and from a reload until it has been read again.
    pub units_loaded: Option<Timestamp>,
    /// `DefaultRestartUSec`, `DefaultStartLimitIntervalUSec` and `DefaultStartLimitBurst`: the
    /// settings of services that do not set their own.
    pub default_restart_delay: Option<Duration>,
    /// See `default_restart_delay`.
    pub default_start_limit_interval: Option<Duration>,
    /// See `default_restart_delay`.
    pub default_start_limit_burst: Option<u64>,
    /// `SoftRebootsCount`: soft-reboots since the kernel was booted; systemd 256.
    pub soft_reboots: Option<u64>,
    /// `RuntimeWatchdogUSec`; `None` where the hardware watchdog is not used.
    pub runtime_watchdog: Option<Duration>,
    /// `WatchdogDevice`; empty where there is none.
    pub watchdog_device: Option<InternedStr>,
    /// `WatchdogLastPingTimestamp`, wall clock.
    pub watchdog_ping: Option<Timestamp>,
    /// `WatchdogLastPingTimestampMonotonic`
    pub watchdog_ping_monotonic: Option<Timestamp>,
}

/// When one stage of the boot was reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stage {
    /// `…Timestamp`, wall clock; 0 where the boot had no such stage.
    pub time: Option<Timestamp>,
    /// `…TimestampMonotonic`
    pub monotonic: Option<Timestamp>,
}

impl Manager {
    /// Sets one property of `org.freedesktop.systemd1.Manager`; others are ignored.
    pub fn set(&mut self, name: &str, value: &Variant<'_>) {
        match name {
            "Version" => self.version = as_interned(value),
            NAMES => self.names = as_number(value),
            "SystemState" => self.system_state = as_interned(value),
            "Virtualization" => self.virtualization = as_interned(value),
            "Tainted" => {
                let text = as_str(value).unwrap_or_default();
                self.tainted =
                    text.split(':').filter(|taint| !taint.is_empty()).map(intern).collect();
            }
            UNITS_LOADED => self.units_loaded = as_time(value),
            "DefaultRestartUSec" => self.default_restart_delay = as_duration(value),
            "DefaultStartLimitIntervalUSec" => {
                self.default_start_limit_interval = as_duration(value);
            }
            "DefaultStartLimitBurst" => self.default_start_limit_burst = as_number(value),
            "SoftRebootsCount" => self.soft_reboots = as_number(value),
            "RuntimeWatchdogUSec" => self.runtime_watchdog = as_duration(value),
            "WatchdogDevice" => self.watchdog_device = as_interned(value),
            "WatchdogLastPingTimestamp" => self.watchdog_ping = as_time(value),
            "WatchdogLastPingTimestampMonotonic" => self.watchdog_ping_monotonic = as_time(value),
            _ => self.set_stage(name, value),
        }
    }

    /// `252.38-1~deb12u1` is 252.
    #[must_use]
    pub fn version_number(&self) -> Option<u64> {
        let digits = self.version.as_deref()?.trim_start_matches('v');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    }

    /// When the boot finished; `None` before that.
    #[must_use]
    pub fn finished(&self) -> Option<Stage> {
        let at = STAGES.iter().position(|stage| *stage == "Finish")?;
        Some(self.boot[at]).filter(|stage| stage.monotonic.and_then(Timestamp::set).is_some())
    }

    fn set_stage(&mut self, name: &str, value: &Variant<'_>) {
        let (stage, monotonic) = match name.strip_suffix("TimestampMonotonic") {
            Some(stage) => (stage, true),
            None => (name.strip_suffix("Timestamp").unwrap_or_default(), false),
        };
        if let Some(at) = STAGES.iter().position(|known| *known == stage) {
            let slot = &mut self.boot[at];
            if monotonic {
                slot.monotonic = as_time(value);
            } else {
                slot.time = as_time(value);
            }
        }
    }
}

/// The properties that are read once, and again when the boot has finished.
pub fn wanted() -> impl Iterator<Item = String> {
    let stages = STAGES
        .iter()
        .flat_map(|stage| [format!("{stage}Timestamp"), format!("{stage}TimestampMonotonic")]);
    ONCE.into_iter().map(str::to_owned).chain(stages).chain(polled().map(str::to_owned))
}

/// The properties that PID 1 changes without a signal.
pub fn polled() -> impl Iterator<Item = &'static str> {
    ["SystemState", "Tainted", "WatchdogLastPingTimestamp", "WatchdogLastPingTimestampMonotonic"]
        .into_iter()
}

const ONCE: [&str; 10] = [
    NAMES,
    "Version",
    UNITS_LOADED,
    "Virtualization",
    "DefaultRestartUSec",
    "DefaultStartLimitIntervalUSec",
    "DefaultStartLimitBurst",
    "SoftRebootsCount",
    "RuntimeWatchdogUSec",
    "WatchdogDevice",
];

/// Bounds the size of a list of units.
pub const NAMES: &str = "NNames";

/// Reveals a reload whose signals were missed.
pub const UNITS_LOADED: &str = "UnitsLoadTimestamp";

/// The stages of the boot, as the manager's properties name them.
pub const STAGES: [&str; 18] = [
    "Finish",
    "Firmware",
    "Loader",
    "Kernel",
    "InitRD",
    "InitRDGeneratorsStart",
    "InitRDGeneratorsFinish",
    "InitRDSecurityStart",
    "InitRDSecurityFinish",
    "InitRDUnitsLoadStart",
    "InitRDUnitsLoadFinish",
    "GeneratorsStart",
    "GeneratorsFinish",
    "SecurityStart",
    "SecurityFinish",
    "Userspace",
    "UnitsLoadStart",
    "UnitsLoadFinish",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_number_is_the_leading_number() {
        for (version, number) in [
            ("252.38-1~deb12u1", Some(252)),
            ("v260", Some(260)),
            ("258~rc1", Some(258)),
            ("x", None),
        ] {
            let manager = Manager { version: Some(version.into()), ..Manager::default() };
            assert_eq!(manager.version_number(), number, "{version}");
        }
    }
}
