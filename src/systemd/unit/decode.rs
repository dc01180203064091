//! Decodes the properties of a message.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::LazyLock;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zbus::Variant;
use zbus::wire::{Signature, Type};

use super::properties::{Property, TRIGGERS};
use super::property_tables::{CGROUP, SERVICE, SOCKET, TIMER, UNIT};
use crate::systemd::unit::dependencies::Relation;
use crate::systemd::unit::files::ServiceFiles;
use crate::systemd::unit::sandbox::SETTINGS;

/// The properties of a message that the mirror keeps, for any kind of unit, in the message's order.
/// Most properties that systemd sends are not needed; they are skipped without being decoded.
#[derive(Debug)]
pub struct Values<'m>(Vec<(&'static str, Variant<'m>)>);

impl<'m> Values<'m> {
    /// Each property's name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Variant<'m>)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

impl Type for Values<'_> {
    const SIGNATURE: &'static Signature = <HashMap<&str, Variant<'_>>>::SIGNATURE;
}

impl<'m> Deserialize<'m> for Values<'m> {
    fn deserialize<D: Deserializer<'m>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KnownProperties)
    }
}

/// Reads the known properties of a map.
struct KnownProperties;

impl<'m> Visitor<'m> for KnownProperties {
    type Value = Values<'m>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties with their values")
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Values<'m>, A::Error> {
        let mut values = Vec::new();
        while let Some(name) = map.next_key::<&str>()? {
            match NAMES.get(name) {
                Some(name) => values.push((*name, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Values(values))
    }
}

/// Every property that the mirror keeps, for any kind of unit.
static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    fn names<T>(table: &[Property<T>]) -> impl Iterator<Item = &'static str> {
        table.iter().map(|property| property.name)
    }
    let own = names(CGROUP).chain(names(SERVICE)).chain(names(TIMER)).chain(names(SOCKET));
    let files = ServiceFiles::OF_UNIT.into_iter().chain(ServiceFiles::OF_SERVICE);
    let related = Relation::PROPERTIES.into_iter().chain([TRIGGERS]).chain(files);
    names(UNIT).chain(own).chain(related).chain(SETTINGS).chain(["Type"]).collect()
});

#[cfg(test)]
mod tests {
    use zbus::wire::serialized::Context;
    use zbus::wire::{Endian, to_bytes};

    use super::*;

    #[test]
    fn decodes_known_properties_and_skips_others() {
        let nested = (vec![("/bin/true", vec!["true"], false)], 7_u64);
        let mut all: HashMap<&str, Variant<'_>> = HashMap::new();
        for (name, value) in [
            ("BPFProgram", Variant::from(nested)),
            ("MainPID", 7_u32.into()),
            ("Slice", "system.slice".into()),
            ("Delegate", true.into()),
            ("Environment", vec!["A=1", "B=2"].into()),
            ("MemoryCurrent", u64::MAX.into()),
            ("RootImagePolicy", Variant::Variant(Box::new("inner".into()))),
            ("Requires", vec!["a.target", "b.target"].into()),
        ] {
            all.insert(name, value);
        }
        // the order differs in each run
        for _ in 0..20 {
            let bytes = to_bytes(Context::new(Endian::Little, 0), &all).unwrap();
            let (values, read): (Values<'_>, _) = bytes.deserialize().unwrap();
            assert_eq!(read, bytes.len());
            let mut values: Vec<_> = values.iter().collect();
            values.sort_by_key(|(name, _)| *name);
            let expected = ["MainPID", "Requires", "Slice"].map(|name| (name, &all[name]));
            assert_eq!(values, expected);
            all = all.into_iter().collect();
        }
    }
}
