//! The settings of services' sandboxes.

use zbus::Variant;

use super::value::as_str;

/// Which settings are on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sandbox {
    /// One bit for each of [`SETTINGS`] that this systemd has.
    known: u32,
    /// One bit for each that is on.
    on: u32,
}

impl Sandbox {
    /// Sets one property of `org.freedesktop.systemd1.Service`; others are ignored.
    pub(super) fn set(&mut self, name: &str, value: &Variant<'_>) {
        let Some(at) = SETTINGS.iter().position(|setting| *setting == name) else { return };
        let Some(is_on) = is_on(value) else { return };
        self.known |= 1 << at;
        self.on = self.on & !(1 << at) | u32::from(is_on) << at;
    }

    /// Every setting that this systemd has, and whether it is on.
    pub fn iter(self) -> impl Iterator<Item = (&'static str, bool)> {
        let known =
            SETTINGS.into_iter().enumerate().filter(move |(at, _)| self.known >> at & 1 == 1);
        known.map(move |(at, setting)| (setting, self.on >> at & 1 == 1))
    }
}

/// Whether anything is restricted; some settings have degrees, some are lists.
fn is_on(value: &Variant<'_>) -> Option<bool> {
    match value {
        Variant::Bool(is_on) => Some(*is_on),
        // ProtectHome=no, ProtectProc=default
        Variant::Str(_) => as_str(value).map(|degree| !["", "no", "default"].contains(&degree)),
        // RestrictNamespaces: the kinds that are allowed
        Variant::U64(allowed) => Some(*allowed != u64::MAX),
        // SystemCallFilter, RestrictAddressFamilies: whether the list is an allow list, and the
        // list
        Variant::Structure(filter) => match filter.fields() {
            [Variant::Bool(allows), Variant::Array(list)] => Some(*allows || !list.is_empty()),
            _ => None,
        },
        _ => None,
    }
}

/// The settings, as in systemd.exec(5).
pub const SETTINGS: [&str; 23] = [
    "DynamicUser",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivateTmp",
    "PrivateUsers",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "SystemCallFilter",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_settings_of_every_type() {
        let mut sandbox = Sandbox::default();
        sandbox.set("PrivateTmp", &Variant::Bool(true));
        sandbox.set("PrivateUsers", &Variant::Bool(true));
        sandbox.set("PrivateUsers", &Variant::Bool(false));
        sandbox.set("ProtectSystem", &Variant::from("strict"));
        sandbox.set("ProtectHome", &Variant::from("no"));
        sandbox.set("RestrictNamespaces", &Variant::U64(0));
        sandbox.set("SystemCallFilter", &Variant::from((false, Vec::<String>::new())));
        sandbox.set("RestrictAddressFamilies", &Variant::from((true, Vec::<String>::new())));
        sandbox.set("Description", &Variant::from("a service"));
        let settings: Vec<_> = sandbox.iter().collect();
        assert_eq!(
            settings,
            [
                ("PrivateTmp", true),
                ("PrivateUsers", false),
                ("ProtectHome", false),
                ("ProtectSystem", true),
                ("RestrictAddressFamilies", true),
                ("RestrictNamespaces", true),
                ("SystemCallFilter", false),
            ]
        );
    }
}
