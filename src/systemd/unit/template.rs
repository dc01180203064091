//! Templates of units, and how many instances of one should be active.

use std::str::FromStr;
use std::sync::Arc;

use super::name::{UnitKind, is_valid};

/// The number of instances of a template that should be active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedInstances {
    /// The name of the template: `laravel-queue@.service`.
    pub template: Arc<str>,
    /// The number of instances.
    pub count: u32,
}

impl FromStr for ExpectedInstances {
    type Err = String;

    /// Reads `TEMPLATE:NUMBER`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.rsplit_once(':').and_then(|(template, count)| {
            let count = count.parse().ok().filter(|count| (1..=MAX_COUNT).contains(count))?;
            let is_template = template.contains("@.") && is_valid(template);
            let is_service = UnitKind::of(template) == Some(UnitKind::Service);
            (is_template && is_service).then(|| Self { template: template.into(), count })
        });
        parsed.ok_or_else(|| {
            format!(
                "expected instances are TEMPLATE:NUMBER with a number from 1 to {MAX_COUNT}: laravel-queue@.service:8"
            )
        })
    }
}

/// The parts of an instance's name around the instance: `laravel-queue` and `service` of
/// `laravel-queue@1.service`; `None` if the unit is no instance.
#[must_use]
pub fn template_of(name: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then_some((prefix, suffix))
}

/// More than a host runs.
const MAX_COUNT: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_instances_are_template_and_number() {
        let parsed: ExpectedInstances = "laravel-queue@.service:8".parse().unwrap();
        assert_eq!((&*parsed.template, parsed.count), ("laravel-queue@.service", 8));
        for invalid in [
            "",
            ":",
            "a@.service",
            "a@.service:",
            "a@.service:0",
            "a@.service:-1",
            "a@.service:99999999999",
            "a@1.service:2",
            "a.service:2",
            "a@.timer:2",
            "@.service:2",
        ] {
            let error = invalid.parse::<ExpectedInstances>().unwrap_err();
            assert!(error.contains("laravel-queue@.service:8"), "{error}");
        }
    }

    #[test]
    fn instance_has_a_template() {
        assert_eq!(template_of("a@1.service"), Some(("a", "service")));
        assert_eq!(template_of("a@b.c@d.service"), Some(("a", "service")));
        for name in ["a.service", "a@.service", "a@1", ""] {
            assert_eq!(template_of(name), None, "{name}");
        }
    }
}
