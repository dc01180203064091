//! Unit names, their kinds, and the object paths that PID 1 derives from them.

use std::fmt::{self, Write};

/// The kind of a unit: the suffix of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnitKind {
    /// `.automount`
    Automount,
    /// `.device`
    Device,
    /// `.mount`
    Mount,
    /// `.path`
    Path,
    /// `.scope`
    Scope,
    /// `.service`
    Service,
    /// `.slice`
    Slice,
    /// `.socket`
    Socket,
    /// `.swap`
    Swap,
    /// `.target`
    Target,
    /// `.timer`
    Timer,
}

/// The label `type` of a unit: the suffix of its name; empty if it has none.
#[must_use]
pub fn type_of(name: &str) -> &'static str {
    UnitKind::of(name).map_or("", UnitKind::as_str)
}

impl UnitKind {
    /// Every kind, in the order of their names.
    pub const ALL: [Self; 11] = [
        Self::Automount,
        Self::Device,
        Self::Mount,
        Self::Path,
        Self::Scope,
        Self::Service,
        Self::Slice,
        Self::Socket,
        Self::Swap,
        Self::Target,
        Self::Timer,
    ];

    /// Whether sub-states and starts differ from the active state: not for devices, slices and
    /// targets, which have no processes and do not fail on their own.
    #[must_use]
    pub fn has_own_sub_states(self) -> bool {
        !matches!(self, Self::Device | Self::Slice | Self::Target)
    }

    /// Whether units of the kind come first where the number of units is limited.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        matches!(self, Self::Service | Self::Socket | Self::Timer)
    }

    /// The kind of the unit of that name; `None` if its suffix is not known.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let dot = name.bytes().rposition(|byte| byte == b'.')?;
        Self::ALL.into_iter().find(|kind| kind.as_str() == &name[dot + 1..])
    }

    /// The suffix without its dot: the label `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automount => "automount",
            Self::Device => "device",
            Self::Mount => "mount",
            Self::Path => "path",
            Self::Scope => "scope",
            Self::Service => "service",
            Self::Slice => "slice",
            Self::Socket => "socket",
            Self::Swap => "swap",
            Self::Target => "target",
            Self::Timer => "timer",
        }
    }

    /// The D-Bus interface of this kind's own properties.
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Automount => "org.freedesktop.systemd1.Automount",
            Self::Device => "org.freedesktop.systemd1.Device",
            Self::Mount => "org.freedesktop.systemd1.Mount",
            Self::Path => "org.freedesktop.systemd1.Path",
            Self::Scope => "org.freedesktop.systemd1.Scope",
            Self::Service => "org.freedesktop.systemd1.Service",
            Self::Slice => "org.freedesktop.systemd1.Slice",
            Self::Socket => "org.freedesktop.systemd1.Socket",
            Self::Swap => "org.freedesktop.systemd1.Swap",
            Self::Target => "org.freedesktop.systemd1.Target",
            Self::Timer => "org.freedesktop.systemd1.Timer",
        }
    }

    /// Whether units of this kind can have several names. Devices can, too, but of a device only the
    /// primary name is of use: links to it are units that follow it.
    #[must_use]
    pub fn can_have_aliases(self) -> bool {
        matches!(self, Self::Path | Self::Service | Self::Socket | Self::Target | Self::Timer)
    }

    /// Whether `systemctl freeze` accepts units of this kind.
    #[must_use]
    pub fn can_be_frozen(self) -> bool {
        matches!(self, Self::Service | Self::Slice | Self::Scope)
    }

    /// Whether units of this kind can have a cgroup.
    #[must_use]
    pub fn has_cgroup(self) -> bool {
        matches!(
            self,
            Self::Service | Self::Slice | Self::Scope | Self::Socket | Self::Mount | Self::Swap
        )
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The D-Bus object path of a unit, escaped as sd-bus does: every byte but letters and digits
/// (and a digit at the start) becomes `_` and two hex digits.
#[must_use]
pub fn object_path(name: &str) -> String {
    let mut path = UNIT_PATH.to_owned();
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(byte.into());
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

/// The name of the unit with this object path; `None` if it is not the path of a unit, or the name
/// is invalid.
#[must_use]
pub fn from_object_path(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNIT_PATH)?.as_bytes();
    let mut name = Vec::with_capacity(label.len());
    let mut at = 0;
    while at < label.len() {
        if label[at] == b'_' {
            let digits = std::str::from_utf8(label.get(at + 1..at + 3)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            name.push(label[at]);
            at += 1;
        }
    }
    String::from_utf8(name).ok().filter(|name| is_valid(name))
}

/// Whether PID 1 could have a unit of that name: systemd.unit(5), "up to 255 characters" of
/// letters, digits and `:-_.\@`, with a prefix before `@` and before the suffix.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    name.len() <= MAX_LENGTH
        && UnitKind::of(name).is_some_and(|kind| name.len() > kind.as_str().len() + 1)
        && !name.starts_with('@')
        && name.bytes().all(is_valid_byte)
}

/// Checks the name of a unit that is expected to be loaded.
///
/// # Errors
/// Why no unit can have that name, and the name to write instead.
pub fn check_expected(name: &str) -> Result<(), String> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let Some(kind) = UnitKind::of(name) else {
        let kinds = UnitKind::ALL.map(UnitKind::as_str).join(", ");
        return Err(match name.starts_with('/') {
            true => {
                "a path, not a unit name; systemd-escape --path --suffix=mount prints the name \
                     of its mount unit, e.g. srv-data.mount for /srv/data"
                    .to_owned()
            }
            false => format!(
                "not a unit name; write it with its suffix, e.g. nginx.service (suffixes: {kinds})"
            ),
        });
    };
    if name.contains(['*', '?', '[']) {
        return Err("a pattern, not a unit name; name each unit, e.g. queue@1.service,\
                    queue@2.service"
            .to_owned());
    }
    if let Some(byte) = name.bytes().find(|byte| !is_valid_byte(*byte)) {
        let character = char::from(byte);
        return Err(format!(
            "not a unit name: {character:?} is not allowed in it; systemd-escape prints the name \
             with such characters escaped, e.g. a\\x20b.service"
        ));
    }
    if name.len() > MAX_LENGTH {
        return Err(format!("not a unit name: longer than {MAX_LENGTH} characters"));
    }
    if stem.ends_with('@') && stem.len() > 1 {
        return Err(format!(
            "a template, which is never loaded itself; name an instance, e.g. {stem}1.{kind}"
        ));
    }
    if !is_valid(name) {
        return Err(format!("not a unit name: nothing before the first @ or .{kind}"));
    }
    Ok(())
}

fn is_valid_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// In bytes: `UNIT_NAME_MAX` of systemd, without the NUL.
const MAX_LENGTH: usize = 255;

pub(in crate::systemd) const UNIT_PATH: &str = "/org/freedesktop/systemd1/unit/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_round_trip() {
        for (name, path) in [
            ("x.service", "x_2eservice"),
            ("0.mount", "_30_2emount"),
            ("-.slice", "_2d_2eslice"),
            ("dev-disk-by\\x2duuid-1.swap", "dev_2ddisk_2dby_5cx2duuid_2d1_2eswap"),
        ] {
            let path = format!("{UNIT_PATH}{path}");
            assert_eq!(object_path(name), path);
            assert_eq!(from_object_path(&path).as_deref(), Some(name));
        }
    }

    #[test]
    fn paths_of_other_objects_are_none() {
        for path in ["/", "unit/x_2eservice", "x", "x_2", "x_zzservice", "_0a_2eservice", "a_2eb"] {
            assert_eq!(from_object_path(&format!("{UNIT_PATH}{path}")), None, "{path}");
        }
        assert_eq!(from_object_path("/org/freedesktop/systemd1"), None);
    }

    #[test]
    fn name_has_up_to_255_characters() {
        let named = |length: usize| format!("{}.service", "a".repeat(length - ".service".len()));
        assert!(is_valid(&named(255)));
        assert!(!is_valid(&named(256)));
    }

    #[test]
    fn unit_that_cannot_be_loaded_is_rejected_with_a_valid_name() {
        for name in ["nginx.service", "queue@1.service", "-.mount", "a@b@c.timer", "a\\x20b.path"] {
            assert_eq!(check_expected(name), Ok(()), "{name}");
        }
        let long = format!("{}.service", "a".repeat(250));
        for (name, hint) in [
            ("", "nginx.service"),
            ("nginx", "nginx.service"),
            ("nginx.servcie", "suffixes: automount"),
            ("queue@.service", "e.g. queue@1.service"),
            ("queue@.timer", "e.g. queue@1.timer"),
            ("queue@*.service", "queue@1.service,queue@2.service"),
            ("/srv/data", "srv-data.mount"),
            ("a b.service", "' ' is not allowed"),
            ("a/b.service", "'/' is not allowed"),
            (".service", "nothing before"),
            ("@.service", "nothing before"),
            ("@1.service", "nothing before"),
            (&long, "longer than 255"),
        ] {
            let error = check_expected(name).unwrap_err();
            assert!(error.contains(hint), "{name}: {error}");
        }
    }

    #[test]
    fn kinds_match_their_dbus_interfaces() {
        for kind in UnitKind::ALL {
            assert_eq!(UnitKind::of(&format!("a.{kind}")), Some(kind));
            let interface = format!("org.freedesktop.systemd1.{kind}");
            assert_eq!(kind.interface().to_lowercase(), interface);
            let has_none =
                ["automount", "device", "path", "target", "timer"].contains(&kind.as_str());
            assert_eq!(kind.has_cgroup(), !has_none);
        }
    }
}
