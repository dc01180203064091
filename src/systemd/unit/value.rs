//! Converts D-Bus values of properties to plain types.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use zbus::Variant;

use super::{CommandExit, serial};
use crate::clock;

/// A state, result or type of systemd. Known strings are static; unknown ones are kept as they are,
/// so that those of a newer systemd are exported.
pub type InternedStr = Cow<'static, str>;

/// A point in time, as in systemd: microseconds since the epoch of its clock, 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

/// A 128-bit id, as of a machine, a boot or a run of a unit.
pub type Id128 = [u8; 16];

/// The id of one run of a unit; all zeros where it never ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InvocationId(#[serde(with = "serial::hex")] pub Id128);

impl Timestamp {
    /// Now, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn monotonic() -> Self {
        Self(clock::monotonic())
    }

    /// The age of a point on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn age(self) -> Duration {
        Self::monotonic().since_epoch().saturating_sub(self.since_epoch())
    }

    /// Since the epoch of its clock; 0 for never, as in systemd.
    #[must_use]
    pub fn since_epoch(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// `None` for never (0) and for u64::MAX, which systemd uses for "not set".
    #[must_use]
    pub fn set(self) -> Option<Self> {
        (self.0 != 0 && self.0 != u64::MAX).then_some(self)
    }

    /// On the wall clock.
    #[must_use]
    pub fn system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(self.since_epoch()).unwrap_or(clock::wall())
    }
}

impl InvocationId {
    /// Whether it names a run.
    #[must_use]
    pub fn is_set(self) -> bool {
        self.0 != [0; 16]
    }

    /// Reads 32 hex digits; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        id128_from_hex(text).map(Self)
    }

    /// 32 hex digits, as in the journal's `_SYSTEMD_INVOCATION_ID`.
    #[must_use]
    pub fn hex(self) -> String {
        id128_to_hex(self.0)
    }
}

/// Parses 32 hex digits; `None` for anything else.
pub(crate) fn id128_from_hex(text: &str) -> Option<Id128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    Some(number.to_be_bytes())
}

pub(crate) fn id128_to_hex(id: Id128) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

/// Interns any text from the host; cut at a length that no state, result or type of systemd has.
#[must_use]
pub fn intern(text: &str) -> InternedStr {
    match KNOWN_STRINGS.binary_search(&text) {
        Ok(at) => Cow::Borrowed(KNOWN_STRINGS[at]),
        Err(_) => Cow::Owned(text[..text.floor_char_boundary(MAX_LENGTH)].to_owned()),
    }
}

pub(in crate::systemd) fn as_interned(value: &Variant<'_>) -> Option<InternedStr> {
    as_str(value).map(intern)
}

pub(in crate::systemd) fn as_str<'v>(value: &'v Variant<'_>) -> Option<&'v str> {
    if let Variant::Str(text) = value { Some(text.as_str()) } else { None }
}

/// An array of strings; empty for any other type.
pub(in crate::systemd) fn as_strings(value: &Variant<'_>) -> Box<[Arc<str>]> {
    let Variant::Array(array) = value else { return Box::default() };
    array.iter().filter_map(as_str).map(Into::into).collect()
}

/// The first field, a name, of each structure of an array; `None` for any other type.
pub(in crate::systemd) fn as_settings<'v>(value: &'v Variant<'_>) -> Option<Vec<&'v str>> {
    let Variant::Array(array) = value else { return None };
    let first = |item: &'v Variant<'_>| match item {
        Variant::Structure(fields) => fields.fields().first().and_then(as_str),
        _ => None,
    };
    array.iter().map(first).collect()
}

/// A number; `None` if negative, and for u64::MAX, which is "not set".
pub(crate) fn as_number(value: &Variant<'_>) -> Option<u64> {
    match *value {
        Variant::U64(u64::MAX) => None,
        Variant::U64(number) => Some(number),
        Variant::U32(number) => Some(number.into()),
        Variant::U16(number) => Some(number.into()),
        Variant::U8(number) => Some(number.into()),
        Variant::I32(number) => u64::try_from(number).ok(),
        Variant::I64(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

pub(crate) fn as_bool(value: &Variant<'_>) -> Option<bool> {
    if let Variant::Bool(value) = *value { Some(value) } else { None }
}

pub(in crate::systemd) fn as_time(value: &Variant<'_>) -> Option<Timestamp> {
    match *value {
        Variant::U64(micros) => Some(Timestamp(micros)),
        _ => None,
    }
}

/// A duration in microseconds; `None` for 0 and for infinity.
pub(in crate::systemd) fn as_duration(value: &Variant<'_>) -> Option<Duration> {
    as_number(value).filter(|micros| *micros != 0).map(Duration::from_micros)
}

pub(in crate::systemd) fn as_invocation_id(value: &Variant<'_>) -> Option<InvocationId> {
    let Variant::Array(array) = value else { return None };
    let mut id = [0; 16];
    for (slot, byte) in id.iter_mut().zip(array.iter()) {
        let Variant::U8(byte) = byte else { return None };
        *slot = *byte;
    }
    Some(InvocationId(id))
}

/// The last exit of each command in `ExecStart` and the like; empty for any other type.
pub(in crate::systemd) fn as_command_exits(value: &Variant<'_>) -> Box<[CommandExit]> {
    let Variant::Array(commands) = value else { return Box::default() };
    let exit = |command: &Variant<'_>| {
        let Variant::Structure(command) = command else { return CommandExit::default() };
        let fields = command.fields();
        let number = |index: usize| fields.get(index).and_then(as_number).unwrap_or(0);
        // path, arguments, whether failures are ignored, start, exit, pid, code, status
        let ignores_failure = fields.get(2).and_then(as_bool).unwrap_or(false);
        let [started, at, monotonic] = [number(3), number(5), number(6)].map(Timestamp);
        let (code, status) = (number(8), number(9));
        CommandExit { at, monotonic, code, status, started, ignores_failure }
    };
    commands.iter().take(MAX_COMMANDS).map(exit).collect()
}

/// Commands of one service; further ones are ignored.
const MAX_COMMANDS: usize = 256;

/// In bytes; longer than any state, result or type.
const MAX_LENGTH: usize = 128;

/// Nearly all values, sorted.
const KNOWN_STRINGS: &[&str] = &[
    "abandoned",
    "activating",
    "activating-done",
    "active",
    "always",
    "auto-restart",
    "auto-restart-queued",
    "bad-setting",
    "canceled",
    "cleaning",
    "collected",
    "condition",
    "core-dump",
    "dbus",
    "deactivating",
    "dead",
    "dead-before-auto-restart",
    "dead-resources-pinned",
    "degraded",
    "dependency",
    "done",
    "elapsed",
    "error",
    "exec",
    "exec-condition",
    "exit-code",
    "exited",
    "ext4",
    "failed",
    "failed-before-auto-restart",
    "final-sigkill",
    "final-sigterm",
    "final-watchdog",
    "forking",
    "frozen",
    "idle",
    "inactive",
    "initializing",
    "listening",
    "loaded",
    "maintenance",
    "masked",
    "merged",
    "mounted",
    "mounting",
    "no",
    "not-found",
    "notify",
    "notify-reload",
    "offline",
    "on-abnormal",
    "on-abort",
    "on-failure",
    "on-success",
    "on-watchdog",
    "once",
    "oneshot",
    "oom-kill",
    "plugged",
    "proc",
    "protocol",
    "refreshing",
    "reload",
    "reload-notify",
    "reload-signal",
    "reloading",
    "remounting",
    "resources",
    "running",
    "signal",
    "simple",
    "skipped",
    "start",
    "start-chown",
    "start-limit-hit",
    "start-post",
    "start-pre",
    "starting",
    "stop",
    "stop-post",
    "stop-pre",
    "stop-pre-sigkill",
    "stop-pre-sigterm",
    "stop-sigkill",
    "stop-sigterm",
    "stop-watchdog",
    "stopping",
    "stub",
    "success",
    "sysfs",
    "tentative",
    "timeout",
    "tmpfs",
    "trigger-limit-hit",
    "unmounting",
    "waiting",
    "watchdog",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_strings_are_sorted_and_unknown_ones_kept() {
        assert!(KNOWN_STRINGS.is_sorted());
        assert!(matches!(intern("failed"), Cow::Borrowed("failed")));
        assert_eq!(intern("quiescing"), "quiescing");
        assert_eq!(intern(&"ä".repeat(100)).len(), MAX_LENGTH);
    }

    #[test]
    fn unset_values_are_none() {
        assert_eq!(as_number(&Variant::U64(u64::MAX)), None);
        assert_eq!(as_number(&Variant::I32(-1)), None);
        assert_eq!(as_duration(&Variant::U64(0)), None);
        assert_eq!(as_duration(&Variant::U64(u64::MAX)), None);
        for (micros, is_set) in [(0, false), (1, true), (u64::MAX - 1, true), (u64::MAX, false)] {
            assert_eq!(Timestamp(micros).set().is_some(), is_set, "{micros}");
        }
        assert!(!InvocationId::default().is_set());
    }

    #[test]
    fn converts_each_type_that_a_value_may_have() {
        let numbers = [
            Variant::U8(7),
            Variant::U16(7),
            Variant::U32(7),
            Variant::U64(7),
            Variant::I32(7),
            Variant::I64(7),
        ];
        assert_eq!(numbers.each_ref().map(as_number), [Some(7); 6]);
        assert_eq!(as_number(&Variant::from("7")), None);
        assert_eq!([true, false].map(|it| as_bool(&Variant::Bool(it))), [Some(true), Some(false)]);
        assert_eq!(as_bool(&Variant::U8(1)), None);
        assert_eq!(as_time(&Variant::U64(7)), Some(Timestamp(7)));
        assert_eq!(as_time(&Variant::U32(7)), None);
        assert_eq!(as_duration(&Variant::U64(7)), Some(Duration::from_micros(7)));
        assert_eq!(*as_strings(&Variant::from(["a", "b"].as_slice())), ["a".into(), "b".into()]);
        assert_eq!(as_strings(&Variant::from("a")).len(), 0);
    }

    #[test]
    fn invocation_id_is_written_as_in_the_journal() {
        let bytes = 0x0111_2131_4151_6171_8191_a1b1_c1d1_e1f1_u128.to_be_bytes();
        let id = as_invocation_id(&Variant::from(bytes.as_slice())).unwrap();
        assert!(id.is_set());
        assert_eq!(id.hex(), "01112131415161718191a1b1c1d1e1f1");
        assert_eq!(as_invocation_id(&Variant::from(["a"].as_slice())), None);
    }

    #[test]
    fn timestamp_converts_to_wall_clock() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_763_862_000_123_456);
        assert_eq!(Timestamp(1_763_862_000_123_456).system_time(), time);
    }
}
