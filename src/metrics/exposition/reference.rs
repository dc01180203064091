//! The sink behind docs/METRICS.md: every declared family, with or without samples.

use std::fmt::{self, Write};

use super::render::SeriesCounts;
use crate::collector::COLLECTORS;
use crate::metrics::{BaseUnit, Family, Kind, Per, Resets, Sample, Sink, Subject, all, exporter};
use crate::profile::MINIMAL;
use crate::snapshot::{Histogram, Snapshot};

/// Every declaration, in the order of the page.
#[derive(Default)]
pub struct Reference {
    /// One row for each family.
    pub rows: Vec<MetricReference>,
    subject: Option<Subject>,
}

/// One declaration.
pub struct MetricReference {
    /// The collector and heading it belongs to.
    pub subject: Subject,
    /// The name on the wire.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The base unit.
    pub unit: BaseUnit,
    /// The thing that it has series of.
    pub per: Per,
    /// What it means, and when it is absent.
    pub help: &'static str,
    /// Where the value comes from.
    pub source: &'static str,
    /// The label names.
    pub labels: Vec<&'static str>,
}

impl Reference {
    /// Runs the declarations over an empty snapshot: the families are all there.
    #[must_use]
    pub fn collect() -> Self {
        let mut reference = Self::default();
        let outcome = all(&Snapshot::default(), &mut reference)
            .and_then(|()| exporter::response(&SeriesCounts::default(), &mut reference));
        debug_assert!(outcome.is_ok(), "collecting rows writes nothing that could fail");
        reference
    }

    /// The content of docs/METRICS.md.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = PREFACE.to_owned();
        let mut heading = "";
        for row in &self.rows {
            if row.subject.title != heading {
                heading = row.subject.title;
                let collector = row.subject.collector;
                let is_off = COLLECTORS.iter().any(|c| c.name == collector && c.off.is_some());
                let off = if is_off { ", off by default" } else { "" };
                let flag = if is_off { "--collector." } else { "" };
                let _ = write!(
                    page,
                    "\n## {heading}\nCollector: `{flag}{collector}`{off}\n\n{TABLE_HEAD}"
                );
            }
            let _ = writeln!(page, "{row}");
        }
        page.push_str(PROFILES);
        for (collector, families) in MINIMAL {
            let _ = writeln!(page, "- {collector}: `{}`", families.join("`, `"));
        }
        page
    }

    fn push<const N: usize>(&mut self, family: Family<N>) {
        let Family { name, kind, per, help, source, labels } = family;
        let subject = self.subject.unwrap_or(Subject { collector: "", title: "" });
        self.rows.push(MetricReference {
            subject,
            name,
            kind,
            unit: BaseUnit::of(name),
            per,
            help,
            source,
            labels: labels.to_vec(),
        });
    }
}

impl Sink for Reference {
    fn subject(&mut self, subject: Subject) -> bool {
        self.subject = Some(subject);
        true
    }

    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        _samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result {
        self.push(family);
        Ok(())
    }

    fn histogram(&mut self, family: Family<0>, _histogram: &Histogram) -> fmt::Result {
        self.push(family);
        Ok(())
    }
}

impl fmt::Display for MetricReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter(Resets::WithExporter) => "counter, resets with the exporter",
            Kind::Counter(Resets::WithUnit) => "counter, resets with the unit",
            Kind::Counter(Resets::WithProcess) => "counter, resets with the process",
            Kind::Counter(Resets::WithBoot) => "counter, resets with a reboot",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram, resets with the exporter",
        };
        let unit = match self.unit {
            BaseUnit::None => "",
            BaseUnit::Bytes => ", bytes",
            BaseUnit::Seconds => ", seconds",
            BaseUnit::Ratio => ", ratio",
        };
        let labels: Vec<_> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        write!(
            f,
            "| `{}` | {kind}{unit} | {} | {} | {} |",
            self.name,
            labels.join(" "),
            self.help,
            self.source
        )
    }
}

const PREFACE: &str = "# Metrics

Generated from the declarations in `src/metrics/` (`UPDATE=1 cargo test --test golden` rewrites it).
Every systemd since 247 is served; where a source names a newer version, the metric is absent before it.
A value that the host does not offer is absent, never 0.
A collector is left out of one answer by `?exclude[]=NAME`, and `?collect[]=NAME` asks for some alone.
Some are off unless the exporter is started with `--collector.NAME`; `--no-collector.NAME` leaves out any other.
Units of users' own managers (`--collector.users`) carry the label `user` besides those named; the system's do not.
";

const PROFILES: &str = "
## Profiles

`--profile=full` has every collector. `--profile=minimal` has these metrics, of `systemd_unit_state` without the zeros; a
collector that is switched on beside it, as by `--collector.cgroup`, has all of its own.

";

const TABLE_HEAD: &str = "| Metric | Type | Labels | Meaning | Source |\n|---|---|---|---|---|\n";
