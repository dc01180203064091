//! The sink of the protobuf format: `io.prometheus.client.MetricFamily` messages, each after its length. Prometheus
//! requests it for start timestamps, which only this format has here.

use std::fmt;
use std::iter;
use std::time::SystemTime;

use super::created_times::CreatedTimes;
use super::text_format::seconds;
use crate::metrics::{BaseUnit, Exemplar, Family, Kind, Resets, Sample, Sink, Subject, Value};
use crate::snapshot::Histogram;

/// The value of `Content-Type`.
pub(super) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Appends the response to `body`.
pub(super) struct Protobuf<'b> {
    body: &'b mut Vec<u8>,
    created: CreatedTimes,
    /// When the exporter was started.
    started: Option<SystemTime>,
    /// The messages in work: each is written after its length, which is known last.
    family: Message,
    metric: Message,
    value: Message,
    part: Message,
}

impl<'b> Protobuf<'b> {
    /// A sink that appends to `body`.
    pub(super) fn new(
        body: &'b mut Vec<u8>,
        created: CreatedTimes,
        started: Option<SystemTime>,
    ) -> Self {
        let (family, metric, value, part) = Default::default();
        Self { body, created, started, family, metric, value, part }
    }

    /// The created times, with those that this response has.
    pub(super) fn into_created(self) -> CreatedTimes {
        self.created
    }

    fn begin<const N: usize>(&mut self, family: &Family<N>) {
        self.family.clear();
        self.family.text(family::NAME, family.name);
        self.family.text(family::HELP, family.help);
        self.family.number(
            family::TYPE,
            match family.kind {
                Kind::Counter(_) | Kind::InheritedCounter(_) => 0,
                Kind::Gauge => 1,
                Kind::Histogram => 4,
            },
        );
    }

    fn end(&mut self, name: &str) {
        let unit = BaseUnit::of(name).suffix();
        if !unit.is_empty() {
            self.family.text(family::UNIT, &unit[1..]);
        }
        write_varint(self.body, self.family.0.len() as u64);
        self.body.extend_from_slice(&self.family.0);
    }

    /// Writes the value of a counter.
    fn counter(
        &mut self,
        value: Value,
        exemplar: Option<Exemplar<'_>>,
        created: Option<SystemTime>,
    ) {
        self.value.double(VALUE, as_float(value));
        if let (Some(Exemplar { invocation_id, at }), Value::Integer(1..)) = (exemplar, value) {
            let mut written = Message::default();
            self.part.label("invocation_id", invocation_id);
            written.message(exemplar::LABEL, &mut self.part);
            written.double(exemplar::VALUE, 1.0);
            self.part.timestamp(at);
            written.message(exemplar::TIMESTAMP, &mut self.part);
            self.value.message(counter::EXEMPLAR, &mut written);
        }
        if let Some(created) = created.filter(|at| self.created.is_plausible(*at)) {
            self.part.timestamp(created);
            self.value.message(counter::CREATED, &mut self.part);
        }
    }
}

impl Sink for Protobuf<'_> {
    fn subject(&mut self, _: Subject) -> bool {
        true
    }

    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result {
        let is_counter = matches!(family.kind, Kind::Counter(_) | Kind::InheritedCounter(_));
        let since = self.started.filter(|_| family.kind == Kind::Counter(Resets::WithExporter));
        let mut is_first = true;
        samples.into_iter().for_each(|sample| {
            if std::mem::take(&mut is_first) {
                self.begin(&family);
            }
            let Sample { labels, value, exemplar, created, user } = sample.into();
            let user = user.map(|user| ("manager_user", user));
            for (name, value) in iter::zip(family.labels, labels).chain(user) {
                self.part.label(name, value);
                self.metric.message(metric::LABEL, &mut self.part);
            }
            if is_counter {
                self.counter(value, exemplar, created.or(since));
                self.metric.message(metric::COUNTER, &mut self.value);
            } else {
                self.value.double(VALUE, as_float(value));
                self.metric.message(metric::GAUGE, &mut self.value);
            }
            self.family.message(family::METRIC, &mut self.metric);
        });
        if !is_first {
            self.end(family.name);
        }
        Ok(())
    }

    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result {
        self.begin(&family);
        let mut below = 0;
        for (bound, count) in &histogram.buckets {
            below += count;
            self.part.number(bucket::CUMULATIVE_COUNT, below);
            self.part.double(bucket::UPPER_BOUND, *bound);
            self.value.message(histogram::BUCKET, &mut self.part);
        }
        self.value.number(histogram::COUNT, below);
        self.value.double(histogram::SUM, histogram.sum);
        if let Some(started) = self.started.filter(|at| self.created.is_plausible(*at)) {
            self.part.timestamp(started);
            self.value.message(histogram::CREATED, &mut self.part);
        }
        self.metric.message(metric::HISTOGRAM, &mut self.value);
        self.family.message(family::METRIC, &mut self.metric);
        self.end(family.name);
        Ok(())
    }
}

/// The fields of one message, encoded.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn number(&mut self, field: u32, number: u64) {
        self.key(field, VARINT);
        write_varint(&mut self.0, number);
    }

    fn double(&mut self, field: u32, number: f64) {
        self.key(field, EIGHT_BYTES);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    /// Writes another message, and clears it.
    fn message(&mut self, field: u32, message: &mut Self) {
        self.bytes(field, &message.0);
        message.clear();
    }

    /// Writes a `LabelPair`.
    fn label(&mut self, name: &str, value: &str) {
        self.text(pair::NAME, name);
        self.text(pair::VALUE, value);
    }

    /// Writes a `google.protobuf.Timestamp`; 0 for times before 1970.
    fn timestamp(&mut self, at: SystemTime) {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.number(timestamp::SECONDS, at.as_secs());
        self.number(timestamp::NANOS, at.subsec_nanos().into());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, LENGTH);
        write_varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn key(&mut self, field: u32, kind: u32) {
        write_varint(&mut self.0, (field << 3 | kind).into());
    }
}

fn write_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has floats only")]
fn as_float(value: Value) -> f64 {
    match value {
        Value::Integer(number) => number as f64,
        Value::Seconds(time) => seconds(time),
        Value::Float(number) => number,
    }
}

// the field numbers of github.com/prometheus/client_model, io/prometheus/client/metrics.proto

mod family {
    pub(super) const NAME: u32 = 1;
    pub(super) const HELP: u32 = 2;
    pub(super) const TYPE: u32 = 3;
    pub(super) const METRIC: u32 = 4;
    pub(super) const UNIT: u32 = 5;
}

mod metric {
    pub(super) const LABEL: u32 = 1;
    pub(super) const GAUGE: u32 = 2;
    pub(super) const COUNTER: u32 = 3;
    pub(super) const HISTOGRAM: u32 = 7;
}

mod pair {
    pub(super) const NAME: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// `Gauge.value` and `Counter.value`.
const VALUE: u32 = 1;

mod counter {
    pub(super) const EXEMPLAR: u32 = 2;
    pub(super) const CREATED: u32 = 3;
}

mod exemplar {
    pub(super) const LABEL: u32 = 1;
    pub(super) const VALUE: u32 = 2;
    pub(super) const TIMESTAMP: u32 = 3;
}

mod histogram {
    pub(super) const COUNT: u32 = 1;
    pub(super) const SUM: u32 = 2;
    pub(super) const BUCKET: u32 = 3;
    pub(super) const CREATED: u32 = 15;
}

mod bucket {
    pub(super) const CUMULATIVE_COUNT: u32 = 1;
    pub(super) const UPPER_BOUND: u32 = 2;
}

mod timestamp {
    pub(super) const SECONDS: u32 = 1;
    pub(super) const NANOS: u32 = 2;
}

// the wire types
const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH: u32 = 2;
