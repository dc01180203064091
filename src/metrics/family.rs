//! The declaration of a metric family, and the trait of the sinks that receive it.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::collector::Profile;
use crate::snapshot::Histogram;
use crate::systemd::unit::value::Timestamp;

/// The declaration of a metric family.
///
/// The full exported name is a literal, so that searching the source for a metric of an alert finds
/// its declaration. Texts have no line break, no backslash and no `|`.
#[derive(Clone, Copy, Debug)]
pub struct Family<const LABELS: usize> {
    /// The exported name, suffixes included.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The object that has one series or a few.
    pub per: Per,
    /// The meaning, and when the metric is absent.
    pub help: &'static str,
    /// The source of the value: a D-Bus property or signal, or a file and key, with the required
    /// version of systemd or the kernel if it is newer than the oldest supported one.
    pub source: &'static str,
    /// The smallest profile that has it. Its collector's flag enables it in every profile.
    pub profile: Profile,
    /// The label names, in the order of the values.
    pub labels: [&'static str; LABELS],
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only increases, except for the reset.
    Counter(Resets),
    /// A counter whose inherited name lacks `_total`, as OpenMetrics requires of one: its type is
    /// unknown there.
    InheritedCounter(Resets),
    /// Increases and decreases.
    Gauge,
    /// Counts by bucket; resets when the exporter restarts.
    Histogram,
}

/// The event that resets a counter to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resets {
    /// A restart of the exporter.
    WithExporter,
    /// A restart of the unit.
    WithUnit,
    /// A restart of the process.
    WithProcess,
    /// A reboot.
    WithBoot,
}

/// The object that a family has series of: it determines the cardinality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// The host.
    Host,
    /// A service manager: the system's, and each monitored user manager.
    Manager,
    /// A unit of any kind.
    Unit,
    /// A unit that has processes.
    RunningUnit,
    /// A service.
    Service,
    /// A timer.
    Timer,
    /// A socket unit.
    Socket,
    /// A listening socket.
    Listener,
}

/// The base unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUnit {
    /// A count, a state, or the constant 1 of an info metric.
    None,
    /// Bytes.
    Bytes,
    /// Seconds; points in time are seconds since the Unix epoch.
    Seconds,
    /// A share between 0 and 1.
    Ratio,
}

impl BaseUnit {
    /// The unit that a metric's name ends in, before `_total`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let name = name.strip_suffix("_total").unwrap_or(name);
        let units = [Self::Bytes, Self::Seconds, Self::Ratio];
        let unit = units.into_iter().find(|unit| name.ends_with(unit.suffix()));
        unit.unwrap_or(Self::None)
    }

    /// The suffix of metric names with this unit.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bytes => "_bytes",
            Self::Seconds => "_seconds",
            Self::Ratio => "_ratio",
        }
    }
}

/// One sample of a family.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a, const LABELS: usize> {
    /// Label values, unescaped: sinks escape them.
    pub labels: [&'a str; LABELS],
    /// The value.
    pub value: Value,
    /// The event that a counter last counted (OpenMetrics only).
    pub exemplar: Option<Exemplar<'a>>,
    /// When the counter was 0 (protobuf only). Must not change while the counter does not reset.
    pub created: Option<SystemTime>,
    /// The user whose manager the unit belongs to, as the label `manager_user`; `None` for the system's
    /// manager.
    pub user: Option<&'a str>,
}

/// The event that a counter last counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// The invocation ID of the run (`_SYSTEMD_INVOCATION_ID`): 32 hex digits.
    pub invocation_id: &'a str,
    /// The time of the event.
    pub at: SystemTime,
}

/// The value of a sample; integers keep their precision in the response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(u64),
    /// Seconds, or seconds since the Unix epoch, to the nanosecond.
    Seconds(Duration),
    /// Any other number.
    Float(f64),
}

/// Receives every family in turn, to expose or to document it.
pub trait Sink {
    /// Starts the families of one collector; returns false if they are excluded.
    fn subject(&mut self, subject: Subject) -> bool;

    /// Receives one family with its samples, of which there may be none.
    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result;

    /// Receives one histogram.
    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result;
}

/// The families of one collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The name of the collector: see [`crate::collector`].
    pub collector: &'static str,
    /// The heading in the reference.
    pub title: &'static str,
}

impl<'a, const N: usize> Sample<'a, N> {
    /// A counter that has existed since then.
    pub(crate) fn since(sample: impl Into<Self>, created: SystemTime) -> Self {
        Self { created: Some(created), ..sample.into() }
    }

    /// A counter that is exported only after its first event.
    pub(crate) fn after(sample: impl Into<Self>, first_event: Option<SystemTime>) -> Self {
        let created = first_event.and_then(|at| at.checked_sub(JUST_BEFORE));
        Self { created, ..sample.into() }
    }
}

/// The resolution of timestamps in Prometheus.
const JUST_BEFORE: Duration = Duration::from_millis(1);

impl<'a, const N: usize, V: Into<Value>> From<([&'a str; N], V)> for Sample<'a, N> {
    fn from((labels, value): ([&'a str; N], V)) -> Self {
        Self { labels, value: value.into(), exemplar: None, created: None, user: None }
    }
}

impl<'a, const N: usize, V: Into<Value>> From<([&'a str; N], V, Option<Exemplar<'a>>)>
    for Sample<'a, N>
{
    fn from((labels, value, exemplar): ([&'a str; N], V, Option<Exemplar<'a>>)) -> Self {
        Self { labels, value: value.into(), exemplar, created: None, user: None }
    }
}

impl Value {
    pub(crate) fn is_zero(self) -> bool {
        match self {
            Self::Integer(number) => number == 0,
            Self::Seconds(duration) => duration.is_zero(),
            Self::Float(number) => number == 0.0,
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Seconds(value)
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Seconds(value.since_epoch())
    }
}
