//! What a metric's declaration is, and the sinks that read it.

use std::fmt;
use std::time::Duration;

use crate::snapshot::Histogram;
use crate::systemd::unit::value::Timestamp;

/// Everything a reader needs to know of a metric family.
///
/// The full name on the wire stands in the source, so that grepping an alert's metric leads to
/// its declaration. Text is plain: one sentence or more, no line break, no backslash, no `|`.
#[derive(Clone, Copy, Debug)]
pub struct Family<const LABELS: usize> {
    /// The name on the wire, suffixes included.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// The thing that has one series, or a few.
    pub per: Per,
    /// What it means, and when it is absent.
    pub help: &'static str,
    /// Where the value comes from: a D-Bus property or signal, or a file and key, with the
    /// systemd or kernel version it needs if that is newer than the oldest supported one.
    pub source: &'static str,
    /// The label names, in the order of the values.
    pub labels: [&'static str; LABELS],
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for the reset named.
    Counter(Resets),
    /// A counter whose inherited name lacks `_total`, as OpenMetrics requires of one: its type is
    /// unknown there.
    InheritedCounter(Resets),
    /// Rises and falls.
    Gauge,
    /// Counts by bucket; resets with the exporter.
    Histogram,
}

/// What sets a counter back to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resets {
    /// A restart of the exporter.
    WithExporter,
    /// A restart of the unit.
    WithUnit,
    /// A new process.
    WithProcess,
    /// A reboot.
    WithBoot,
}

/// The thing that a family has series of: it decides how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// The host.
    Host,
    /// A service manager: the system's, and each user's that is followed.
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
    /// A count, a state, or an info metric's 1.
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

    /// The end of the names of metrics that have this unit.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bytes => "_bytes",
            Self::Seconds => "_seconds",
            Self::Ratio => "_ratio",
        }
    }
}

/// One line of the page.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a, const LABELS: usize> {
    /// Label values, as they are: sinks escape.
    pub labels: [&'a str; LABELS],
    /// The number.
    pub value: Value,
    /// Leads from a counter to what it last counted (OpenMetrics only).
    pub exemplar: Option<Exemplar<'a>>,
    /// The user whose manager the unit belongs to, as the label `manager_user`; `None` for the system's
    /// manager.
    pub user: Option<&'a str>,
}

/// What a counter last counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// `_SYSTEMD_INVOCATION_ID` of the run concerned: 32 hex digits.
    pub invocation_id: &'a str,
    /// When it happened.
    pub at: std::time::SystemTime,
}

/// A sample's value; integers keep their precision on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(u64),
    /// Seconds, or seconds since the Unix epoch, to the nanosecond.
    Seconds(Duration),
    /// Anything else.
    Float(f64),
}

/// Takes every family in turn: to expose it, or to document it.
pub trait Sink {
    /// Announces the families of one collector; where it returns false, they are left out.
    fn subject(&mut self, subject: Subject) -> bool;

    /// Takes one family with its samples, if it has any.
    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result;

    /// Takes one histogram.
    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result;
}

/// A group of families that is collected, or left out, as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name: see [`crate::collector`].
    pub collector: &'static str,
    /// The heading in the reference.
    pub title: &'static str,
}

impl<'a, const N: usize, V: Into<Value>> From<([&'a str; N], V)> for Sample<'a, N> {
    fn from((labels, value): ([&'a str; N], V)) -> Self {
        Self { labels, value: value.into(), exemplar: None, user: None }
    }
}

impl<'a, const N: usize, V: Into<Value>> From<([&'a str; N], V, Option<Exemplar<'a>>)>
    for Sample<'a, N>
{
    fn from((labels, value, exemplar): ([&'a str; N], V, Option<Exemplar<'a>>)) -> Self {
        Self { labels, value: value.into(), exemplar, user: None }
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
