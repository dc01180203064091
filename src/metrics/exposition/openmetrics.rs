//! The sink of the OpenMetrics format, which Prometheus requests; encoded by prometheus-client.

use std::array;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::{CounterWithExemplar, Exemplar as WireExemplar};
use prometheus_client::registry::Unit as WireUnit;

use super::text_format::seconds;
use crate::metrics::{BaseUnit, Exemplar, Family, Kind, Sample, Sink, Subject, Value};
use crate::snapshot::Histogram;

/// The value of `Content-Type`.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Encodes every family with prometheus-client.
pub(super) struct OpenMetrics<'e> {
    pub(super) encoder: DescriptorEncoder<'e>,
}

impl Sink for OpenMetrics<'_> {
    fn subject(&mut self, _: Subject) -> bool {
        true
    }

    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let unit = BaseUnit::of(family.name).on_wire();
        let mut encoder = self.encoder.encode_descriptor(
            family.stem(),
            family.help,
            unit.as_ref(),
            family.kind.on_wire(),
        )?;
        for sample in samples {
            let Sample { labels, value, exemplar, user, .. } = sample.into();
            let labels: [_; N] = array::from_fn(|i| (family.labels[i], labels[i]));
            if let Some(user) = user {
                let labels: Vec<_> = labels.into_iter().chain([("manager_user", user)]).collect();
                write_labelled(encoder.encode_family(&labels)?, family.kind, value, exemplar)?;
            } else if N == 0 {
                // prometheus-client writes a sample outside of a family without braces
                write_value(&mut encoder, family.kind, value)?;
            } else {
                write_labelled(encoder.encode_family(&labels)?, family.kind, value, exemplar)?;
            }
        }
        Ok(())
    }

    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result {
        let unit = BaseUnit::of(family.name).on_wire();
        let count = histogram.buckets.iter().map(|(_, count)| count).sum();
        self.encoder
            .encode_descriptor(family.stem(), family.help, unit.as_ref(), family.kind.on_wire())?
            .encode_histogram::<NoLabelSet>(histogram.sum, count, &histogram.buckets, None)
    }
}

fn write_labelled(
    mut encoder: MetricEncoder<'_>,
    kind: Kind,
    value: Value,
    exemplar: Option<Exemplar<'_>>,
) -> fmt::Result {
    let (Kind::Counter(_), Value::Integer(count @ 1..), Some(exemplar)) = (kind, value, exemplar)
    else {
        return write_value(&mut encoder, kind, value);
    };
    // counting up is the only public way to set an exemplar
    let counter = CounterWithExemplar::<_>::default();
    counter.inc_by(count - 1, None, None);
    let labels = [("invocation_id", exemplar.invocation_id)];
    counter.inc_by(1, Some(labels), Some(exemplar.at));
    counter.encode(encoder)
}

fn write_value(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (_, Value::Seconds(time)) => write_value(encoder, kind, Value::Float(seconds(time))),
        (Kind::Counter(_), Value::Integer(value)) => encoder.encode_counter(&value, NO_EXEMPLAR),
        (Kind::Counter(_), Value::Float(value)) => encoder.encode_counter(&value, NO_EXEMPLAR),
        (_, Value::Integer(value)) => encoder.encode_gauge(&value),
        (_, Value::Float(value)) => encoder.encode_gauge(&value),
    }
}

impl<const N: usize> Family<N> {
    /// The name without the suffixes that prometheus-client adds.
    fn stem(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let unit = BaseUnit::of(name).suffix();
        name.strip_suffix(unit).unwrap_or(name)
    }
}

impl Kind {
    fn on_wire(self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::InheritedCounter(_) => MetricType::Unknown,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

impl BaseUnit {
    fn on_wire(self) -> Option<WireUnit> {
        match self {
            Self::None => None,
            Self::Bytes => Some(WireUnit::Bytes),
            Self::Seconds => Some(WireUnit::Seconds),
            Self::Ratio => Some(WireUnit::Other("ratio".to_owned())),
        }
    }
}

const NO_EXEMPLAR: Option<&WireExemplar<NoLabelSet, f64>> = None;
