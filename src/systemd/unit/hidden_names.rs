//! Removes the names of excluded units from the properties of others.

use std::sync::Arc;

use super::{Detail, Path, Socket, Unit};

impl Unit {
    /// The unit without the names for which `is_hidden` holds; the unit itself if it has none.
    #[must_use]
    pub fn hiding(unit: &Arc<Self>, mut is_hidden: impl FnMut(&Arc<str>) -> bool) -> Arc<Self> {
        let mut hides = |names: &[Arc<str>]| names.iter().any(&mut is_hidden);
        let has_hidden = match &unit.detail {
            Detail::Service(service) => {
                service.slice.as_ref().is_some_and(|slice| hides(std::slice::from_ref(slice)))
                    || service.dependencies.by_relation().any(|(_, names)| hides(names))
            }
            Detail::Timer(timer) => {
                timer.unit.as_ref().is_some_and(|unit| hides(std::slice::from_ref(unit)))
            }
            Detail::Socket(socket) => hides(&socket.triggers),
            Detail::Path(path) => hides(&path.triggers),
            Detail::Target(dependencies) => {
                dependencies.by_relation().any(|(_, names)| hides(names))
            }
            Detail::Mount(_) | Detail::Other(_) | Detail::None => false,
        };
        if !has_hidden {
            return unit.clone();
        }
        let mut shown = Self::clone(unit);
        match &mut shown.detail {
            Detail::Service(service) => {
                if service.slice.as_ref().is_some_and(&mut is_hidden) {
                    service.slice = Some("".into());
                    // the path has the same name
                    shown.control_group = None;
                }
                service.dependencies.retain(|name| !is_hidden(name));
            }
            Detail::Timer(timer) => timer.unit = timer.unit.take().filter(|unit| !is_hidden(unit)),
            Detail::Socket(Socket { triggers, .. }) | Detail::Path(Path { triggers, .. }) => {
                let all = std::mem::take(triggers);
                *triggers = all.into_iter().filter(|name| !is_hidden(name)).collect();
            }
            Detail::Target(dependencies) => dependencies.retain(|name| !is_hidden(name)),
            Detail::Mount(_) | Detail::Other(_) | Detail::None => {}
        }
        Arc::new(shown)
    }
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;
    use crate::systemd::unit::name::UnitKind;
    use crate::systemd::unit::properties::Interface;

    #[test]
    fn hidden_names_are_removed_from_other_units() {
        let unit = |name: &str, values: &[(Interface, &str, Variant<'_>)]| {
            let mut unit = Unit::new(name.into(), UnitKind::of(name).unwrap(), true);
            for (interface, property, value) in values {
                unit.set(*interface, property, value);
            }
            Arc::new(unit)
        };
        let service = unit(
            "a.service",
            &[
                (Interface::Kind, "Slice", "secret.slice".into()),
                (Interface::Unit, "Requires", vec!["secret.service", "b.service"].into()),
            ],
        );
        let timer = unit("a.timer", &[(Interface::Kind, "Unit", "secret.service".into())]);
        let triggers = vec!["secret.service"].into();
        let socket = unit("a.socket", &[(Interface::Unit, "Triggers", triggers)]);
        let triggers = vec!["secret.service"].into();
        let path = unit("a.path", &[(Interface::Unit, "Triggers", triggers)]);
        let wants = vec!["secret.service"].into();
        let target = unit("a.target", &[(Interface::Unit, "Wants", wants)]);
        let is_hidden = |name: &Arc<str>| name.starts_with("secret");
        for unit in [&service, &timer, &socket, &path, &target] {
            assert!(format!("{unit:?}").contains("secret"));
            let shown = Unit::hiding(unit, is_hidden);
            assert!(!format!("{shown:?}").contains("secret"), "{shown:?}");
            assert!(Arc::ptr_eq(&Unit::hiding(unit, |_| false), unit));
        }
        let shown = Unit::hiding(&service, is_hidden);
        let shown = shown.service().unwrap();
        assert_eq!(shown.slice.as_deref(), Some(""));
        let names: Vec<_> = shown.dependencies.iter().map(|(_, name)| &**name).collect();
        assert_eq!(names, ["b.service"]);
    }
}
