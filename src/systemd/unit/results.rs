//! The result of a unit's last run, which all kinds but devices, slices and targets have.

use super::name::UnitKind;
use super::value::InternedStr;
use super::{Detail, Unit};

/// Properties that only mounts have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mount {
    /// `Type`, the file system.
    pub file_system: Option<InternedStr>,
    /// `Result`.
    pub result: Option<InternedStr>,
}

impl Unit {
    /// `Result`: success, or why the unit failed.
    #[must_use]
    pub fn result(&self) -> Option<&str> {
        let result = match &self.detail {
            Detail::Service(service) => &service.result,
            Detail::Timer(timer) => &timer.result,
            Detail::Socket(socket) => &socket.result,
            Detail::Path(path) => &path.result,
            Detail::Mount(mount) => &mount.result,
            Detail::Other(result) => result,
            Detail::Target(_) | Detail::None => &None,
        };
        result.as_deref()
    }

    /// Its result if it is not success.
    #[must_use]
    pub fn failed_result(&self) -> Option<&str> {
        self.result().filter(|result| *result != "success")
    }
}

impl UnitKind {
    /// Whether the only property of this kind that is read is the result.
    #[must_use]
    pub fn has_only_result(self) -> bool {
        matches!(self, Self::Automount | Self::Scope | Self::Swap)
    }
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;
    use crate::systemd::unit::properties::{Extras, Interface, is_signalled, wanted};

    #[test]
    fn every_kind_that_can_fail_has_its_result() {
        for kind in UnitKind::ALL {
            let mut unit = Unit::new("a".into(), kind, true);
            assert_eq!(unit.result(), None);
            unit.set(Interface::Kind, "Result", &Variant::from("timeout"));
            let has_result = !matches!(kind, UnitKind::Device | UnitKind::Slice | UnitKind::Target);
            assert_eq!(unit.failed_result(), has_result.then_some("timeout"), "{kind}");
            assert_eq!(is_signalled(kind, Interface::Kind, "Result"), has_result, "{kind}");
            let read = wanted(kind, Extras::default()).any(|(interface, name)| {
                interface == Interface::Kind && [Some("Result"), None].contains(&name)
            });
            assert_eq!(read, has_result, "{kind}");
            unit.set(Interface::Kind, "Result", &Variant::from("success"));
            assert_eq!(unit.failed_result(), None);
        }
    }
}
