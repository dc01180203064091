//! Forms of the state file for types that serde does not cover: ids, points in time, shared text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::{Id128, Timestamp, id128_from_hex, id128_to_hex};
use crate::clock;

/// An id as 32 hex digits.
pub(crate) mod hex {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(id: &Id128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&id128_to_hex(*id))
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Id128, D::Error> {
        id128_from_hex(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("not an id"))
    }
}

/// Shared text.
pub(crate) mod text {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Arc<str>, D::Error> {
        Ok(String::deserialize(from)?.into())
    }
}

/// A point on the wall clock, in microseconds since the epoch.
pub(crate) mod wall_clock {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        micros(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()).serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<SystemTime, D::Error> {
        Ok(Timestamp(u64::deserialize(from)?).system_time())
    }
}

/// [`wall_clock`], or none.
pub(crate) mod wall_clock_option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        at: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct At<'a>(#[serde(with = "super::wall_clock")] &'a SystemTime);
        at.as_ref().map(At).serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        #[derive(Deserialize)]
        struct At(#[serde(with = "super::wall_clock")] SystemTime);
        Ok(Option::<At>::deserialize(from)?.map(|at| at.0))
    }
}

/// A point in time of this boot, as microseconds of `CLOCK_MONOTONIC`.
pub(crate) mod monotonic {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &Instant, to: S) -> Result<S::Ok, S::Error> {
        Timestamp::monotonic()
            .0
            .saturating_sub(micros(clock::instant().duration_since(*at)))
            .serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Instant, D::Error> {
        let now = clock::instant();
        Ok(now.checked_sub(Timestamp(u64::deserialize(from)?).age()).unwrap_or(now))
    }
}

/// [`monotonic`], or none.
pub(crate) mod monotonic_option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &Option<Instant>, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct At<'a>(#[serde(with = "super::monotonic")] &'a Instant);
        at.as_ref().map(At).serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Option<Instant>, D::Error> {
        #[derive(Deserialize)]
        struct At(#[serde(with = "super::monotonic")] Instant);
        Ok(Option::<At>::deserialize(from)?.map(|at| at.0))
    }
}

/// A map whose keys are no text, as pairs.
pub(crate) mod pairs {
    use super::*;

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(crate) fn deserialize<'d, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'d> + Ord,
        V: Deserialize<'d>,
        D: Deserializer<'d>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Shared values with a name.
pub(crate) mod named {
    use super::*;

    type NamedValues<T> = Vec<(Arc<str>, Arc<T>)>;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        values: &[(Arc<str>, Arc<T>)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|(name, value)| (&**name, &**value)))
    }

    pub(crate) fn deserialize<'d, T: Deserialize<'d>, D: Deserializer<'d>>(
        from: D,
    ) -> Result<NamedValues<T>, D::Error> {
        let values = Vec::<(String, T)>::deserialize(from)?.into_iter();
        Ok(values.map(|(name, value)| (name.into(), Arc::new(value))).collect())
    }
}

/// Shared values.
pub(crate) mod shared {
    use super::*;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        values: &[Arc<T>],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|value| &**value))
    }

    pub(crate) fn deserialize<'d, T: Deserialize<'d>, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Vec<Arc<T>>, D::Error> {
        Ok(Vec::<T>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
