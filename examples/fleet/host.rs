//! One host: its state, and the scrape responses from it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use bytes::Bytes;
use unit_exporter::collector::{COLLECTORS, Profile};
use unit_exporter::metrics::{Format, MetricsQuery, RenderState, render};
use unit_exporter::snapshot::{Attempt, ExporterStats, Histogram, Snapshot};
use unit_exporter::systemd::ledger::Ledger;
use unit_exporter::systemd::mirror::Mirror;
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::{Shared, State};
use unit_exporter::unit_filter::Selection;

use crate::resources::{self, Moment};
use crate::units;

pub(crate) struct Host {
    number: u32,
    profile: Profile,
    started: SystemTime,
    state: Shared,
    rendered: Arc<RenderState>,
    stopped: AtomicBool,
    /// Minutes for which timers have elapsed.
    minutes: AtomicU64,
    responses: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
}

impl Host {
    pub(crate) fn new(number: u32, profile: Profile) -> Self {
        let state = Shared::new(Mirror::new(Selection::default()), Ledger::default());
        units::boot(&mut state.lock());
        Self {
            number,
            profile,
            started: SystemTime::now(),
            state,
            rendered: Arc::default(),
            stopped: AtomicBool::new(false),
            minutes: AtomicU64::new(0),
            responses: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + self.number)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Responses, samples and bytes since the start.
    pub(crate) fn served(&self) -> [u64; 3] {
        [&self.responses, &self.samples, &self.bytes].map(|count| count.load(Relaxed))
    }

    pub(crate) fn oom_kill(&self, unit: &str) -> anyhow::Result<()> {
        let state = &mut *self.state.lock();
        ensure!(state.mirror.unit(unit).is_some(), "there is no unit {unit}");
        let restarts = restarts(state, unit);
        units::crash(state, unit, "oom-kill", SystemTime::now());
        units::recover(state, unit, restarts + 1, SystemTime::now());
        Ok(())
    }

    pub(crate) fn hit_start_limit(&self, unit: &str) -> anyhow::Result<()> {
        let state = &mut *self.state.lock();
        ensure!(state.mirror.unit(unit).is_some(), "there is no unit {unit}");
        let restarts = restarts(state, unit);
        for restart in 1..=5 {
            units::crash(state, unit, "signal", SystemTime::now());
            match restart {
                5 => units::refuse(state, unit, restarts + restart, SystemTime::now()),
                _ => units::recover(state, unit, restarts + restart, SystemTime::now()),
            }
        }
        Ok(())
    }

    /// The scrape response of this moment; `None` once the host has been stopped.
    pub(crate) fn response(&self, format: Format) -> Option<Bytes> {
        if self.stopped.load(Relaxed) {
            return None;
        }
        let snapshot = self.snapshot();
        let query = MetricsQuery {
            without: COLLECTORS
                .iter()
                .filter(|one| !self.profile.has(one))
                .map(|one| one.name)
                .collect(),
            names: Vec::new(),
            metrics: self.profile.into(),
            max_series: 200_000,
            max_family_series: 50_000,
        };
        let body = render(&snapshot, format, &query, &self.rendered).ok()?;
        let samples = body.split(|byte| *byte == b'\n').filter(|line| is_sample(line)).count();
        self.responses.fetch_add(1, Relaxed);
        self.samples.fetch_add(samples as u64, Relaxed);
        self.bytes.fetch_add(body.len() as u64, Relaxed);
        Some(body.into())
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let now = SystemTime::now();
        let up = now.duration_since(self.started).unwrap_or_default();
        let state = &mut *self.state.lock();
        self.pass(state, now, up.as_secs() / 60);
        let mut systemd = SystemdSnapshot::copy(state, false);
        systemd.boot_offset = Duration::ZERO;
        let at = Moment { host: self.number, seconds: up.as_secs_f64() + 3600.0 };
        let responses = self.responses.load(Relaxed);
        let collectors = COLLECTORS.iter().filter(|one| self.profile.has(one));
        Arc::new(Snapshot {
            systemd: Some(systemd),
            status: state.status.clone(),
            last_seen: Some(now - Duration::from_secs(3)),
            expected: vec![("nginx.service".into(), false)],
            cgroups: Some(resources::cgroups(at)),
            cgroup_layout: Some(unit_exporter::source::cgroup::Layout::Unified),
            processes: Some(resources::processes(at)),
            pid1: Some(resources::process(at, 1)),
            own: Some(resources::process(at, 2)),
            exporter: ExporterStats {
                requests: [("200".to_owned(), responses)].into(),
                scrapes: Histogram {
                    buckets: vec![(0.01, responses), (0.1, 0), (f64::INFINITY, 0)],
                    sum: responses as f64 * 0.004,
                },
                started: Some(self.started),
                truncated_units: [("cgroup", 0), ("process", 0)].into(),
                failed_reads: [("cgroup", 0), ("process", 0)].into(),
                ..ExporterStats::default()
            },
            journal: Some(resources::journal(at)),
            listeners: Some(resources::listeners(at)),
            attempts: collectors
                .map(|collector| Attempt {
                    collector: collector.name,
                    error: None,
                    took: Duration::from_micros(200 + responses % 100),
                    last_success: Some(now),
                    panics: 0,
                })
                .collect(),
            ..Snapshot::default()
        })
    }

    /// Every minute a timer of each host elapses. Every ten minutes a service is deployed, and on every 20th host a service crashes
    /// once and recovers: neither is an incident.
    fn pass(&self, state: &mut State, now: SystemTime, minutes: u64) {
        for minute in self.minutes.fetch_max(minutes, Relaxed)..minutes {
            let phase = minute + u64::from(self.number);
            let timer = u32::try_from(phase % u64::from(units::TIMERS)).unwrap_or_default();
            units::elapse(state, timer, now, now + Duration::from_secs(60 * 11));
            if phase.is_multiple_of(10) {
                units::restart(state, "app-30.service", now);
            }
            if phase.is_multiple_of(20) && minute < 20 {
                units::crash(state, "app-31.service", "exit-code", now);
                units::recover(state, "app-31.service", 1, now);
            }
        }
    }
}

fn restarts(state: &State, name: &str) -> u32 {
    let counted = state.ledger.counters().find(|(unit, _)| ***unit == *name);
    counted.map_or(0, |(_, counters)| u32::try_from(counters.restarts).unwrap_or(u32::MAX))
}

fn is_sample(line: &[u8]) -> bool {
    line.first().is_some_and(|first| *first != b'#')
}
