//! The sink of docs/METRICS.md: every declared family, with or without samples.

use std::fmt::{self, Write};

use super::render::SeriesCounts;
use crate::collector::{COLLECTORS, Profile};
use crate::metrics::{BaseUnit, Family, Kind, Per, Resets, Sample, Sink, Subject, all, exporter};
use crate::snapshot::{Histogram, Snapshot};

/// Every declaration, in the order of a scrape response.
#[derive(Default)]
pub struct Reference {
    /// One row for each family.
    pub rows: Vec<MetricReference>,
    subject: Option<Subject>,
}

/// One declaration.
pub struct MetricReference {
    /// The collector and its heading.
    pub subject: Subject,
    /// The exported name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The base unit.
    pub unit: BaseUnit,
    /// The object that has one series or a few.
    pub per: Per,
    /// The meaning, and when the metric is absent.
    pub help: &'static str,
    /// The source of the value.
    pub source: &'static str,
    /// The smallest profile that has it.
    pub profile: Profile,
    /// The label names.
    pub labels: Vec<&'static str>,
}

impl Reference {
    /// Collects all declarations, over an empty snapshot.
    #[must_use]
    pub fn collect() -> Self {
        let mut reference = Self::default();
        let result = all(&Snapshot::default(), &mut reference)
            .and_then(|()| exporter::response(&SeriesCounts::default(), &mut reference));
        debug_assert!(result.is_ok(), "collecting rows does no I/O");
        reference
    }

    /// The content of docs/METRICS.md.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = PREFACE.to_owned();
        let sections: Vec<_> = self.rows.chunk_by(|a, b| a.subject == b.subject).collect();
        for rows in &sections {
            let Subject { collector, title } = rows[0].subject;
            let count = rows.len();
            let _ = writeln!(page, "| [`{collector}`](#{collector}) | {title} | {count} |");
        }
        for rows in sections {
            let Subject { collector, title } = rows[0].subject;
            let is_off =
                COLLECTORS.iter().any(|c| c.name == collector && c.profile == Profile::Full);
            let state = if is_off {
                format!("Off by default: enable it with `--collector.{collector}`.")
            } else {
                format!("On by default: disable it with `--no-collector.{collector}`.")
            };
            let _ = write!(page, "\n## {collector}\n\n{title}. {state}\n\n{TABLE_HEAD}");
            for row in rows {
                let _ = writeln!(page, "{row}");
            }
        }
        page
    }

    fn push<const N: usize>(&mut self, family: Family<N>) {
        let Family { name, kind, per, help, source, profile, labels } = family;
        let subject = self.subject.unwrap_or(Subject { collector: "", title: "" });
        self.rows.push(MetricReference {
            subject,
            name,
            kind,
            unit: BaseUnit::of(name),
            per,
            help,
            source,
            profile,
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

impl MetricReference {
    /// Whether name, labels and values are those of systemd_exporter.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        INHERITED.iter().any(|name| match name.strip_suffix('*') {
            Some(prefix) => self.name.starts_with(prefix),
            None => self.name == *name,
        })
    }
}

impl fmt::Display for MetricReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter(_) | Kind::InheritedCounter(_) => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let resets = match self.kind {
            Kind::Counter(resets) | Kind::InheritedCounter(resets) => match resets {
                Resets::WithExporter => ", resets with the exporter",
                Resets::WithUnit => ", resets with the unit",
                Resets::WithProcess => ", resets with the process",
                Resets::WithBoot => ", resets at boot",
            },
            Kind::Gauge => "",
            Kind::Histogram => ", resets with the exporter",
        };
        let unit = match self.unit {
            BaseUnit::None => "",
            BaseUnit::Bytes => ", bytes",
            BaseUnit::Seconds => ", seconds",
            BaseUnit::Ratio => ", ratio",
        };
        let stability = match self.profile {
            _ if self.is_inherited() => "inherited",
            Profile::Full => "experimental",
            _ => "stable",
        };
        let profile = match self.profile {
            Profile::Minimal => "minimal",
            Profile::Fleet => "fleet",
            Profile::Default => "default",
            Profile::Full => "full",
        };
        let per = match self.per {
            Per::Host => "host",
            Per::Manager => "service manager",
            Per::Unit => "unit",
            Per::RunningUnit => "unit with processes",
            Per::Service => "service",
            Per::Timer => "timer",
            Per::Socket => "socket unit",
            Per::Listener => "listener",
        };
        let labels: Vec<_> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        write!(
            f,
            "| <a id=\"{name}\"></a>`{name}` | {kind}{unit}{resets} | {} | {per} | {profile} | {stability} | {} | {} |",
            labels.join(" "),
            self.help,
            self.source,
            name = self.name,
        )
    }
}

/// The names that systemd_exporter 0.7 exports; `*` is any suffix.
const INHERITED: &[&str] = &[
    "systemd_boot_monotonic_seconds",
    "systemd_boot_time_seconds",
    "systemd_exporter_build_info",
    "systemd_resolved_*",
    "systemd_service_ip_egress_bytes",
    "systemd_service_ip_ingress_bytes",
    "systemd_service_restart_total",
    "systemd_socket_accepted_connections_total",
    "systemd_socket_current_connections",
    "systemd_socket_refused_connections_total",
    "systemd_timer_last_trigger_seconds",
    "systemd_unit_active_enter_time_seconds",
    "systemd_unit_active_exit_time_seconds",
    "systemd_unit_inactive_enter_time_seconds",
    "systemd_unit_inactive_exit_time_seconds",
    "systemd_unit_info",
    "systemd_unit_start_time_seconds",
    "systemd_unit_state",
    "systemd_unit_tasks_current",
    "systemd_unit_tasks_max",
    "systemd_version",
    "systemd_virtualization_info",
    "systemd_watchdog_*",
];

const PREFACE: &str = "# Metrics

The reference of all metrics, for people who write queries, alerts and dashboards, generated from the declarations
in `src/metrics/`; `UPDATE=1 cargo test --test golden` rewrites it.

- Every systemd since 247 is supported. Where a source names a newer version, the metric is absent before it.
- A value that the host does not provide is absent, not 0.
- Of a unit whose CPU time has not changed, the values of `/proc` and of most cgroup files are those of an earlier scrape, at most
  the eighth before. Not read each time are: RSS that the kernel reclaims, limits written by others than systemd, and, without the pids
  controller, processes moved into or out of the unit. Nothing else changes without CPU time.
- `?collect[]=NAME` selects collectors, `?exclude[]=NAME` excludes them.
- Counters that *reset at boot* [continue after a restart of the exporter](stability.md#counters-across-restarts) if it has a
  state directory, as the packaged service has; otherwise they reset with the exporter.
- Units of users' service managers (`--collector.user-managers`) have the additional label `manager_user`.
- *Per* is the object that has one series or a few: it determines the cardinality.
- *Profile* is the smallest profile (`--profile`) that exports the metric: `minimal`, `fleet`, `default` and `full`, of which
  each contains those before it. A collector that is enabled by its flag, as by `--collector.process`, has all of its
  metrics in every profile.
- *Stability*: `inherited` names, labels and values are those of systemd_exporter and never change; `stable` ones change
  in major versions only; `experimental` ones may change in any version.

| Collector | Subject | Metrics |
|---|---|---|
";

const TABLE_HEAD: &str = "| Metric | Type | Labels | Per | Profile | Stability | Meaning | Source |\n|---|---|---|---|---|---|---|---|\n";
