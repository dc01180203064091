//! Block device traffic of each unit.

use std::fmt;

use super::cgroups;
use crate::collector::Profile;
use crate::metrics::Kind::Counter;
use crate::metrics::Resets::WithUnit;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::source::cgroup::Io;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_io_read_bytes_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Bytes read by the unit from block devices (io.stat rbytes). On cgroup v1, only for units with an I/O limit.",
            source: "cgroup io.stat rbytes; v1 blkio.throttle.io_service_bytes_recursive",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        traffic(snapshot, |io| io.rbytes),
    )?;

    out.family(
        Family {
            name: "systemd_unit_io_write_bytes_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Bytes written by the unit to block devices (io.stat wbytes). Writeback counts on cgroup v2 with the memory and io controllers only.",
            source: "cgroup io.stat wbytes; v1 blkio.throttle.io_service_bytes_recursive",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        traffic(snapshot, |io| io.wbytes),
    )?;

    out.family(
        Family {
            name: "systemd_unit_io_read_operations_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Read operations of the unit on block devices (io.stat rios).",
            source: "cgroup io.stat rios; v1 blkio.throttle.io_serviced_recursive",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        traffic(snapshot, |io| io.rios),
    )?;

    out.family(
        Family {
            name: "systemd_unit_io_write_operations_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Write operations of the unit on block devices (io.stat wios).",
            source: "cgroup io.stat wios; v1 blkio.throttle.io_serviced_recursive",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        traffic(snapshot, |io| io.wios),
    )
}

fn traffic(
    snapshot: &Snapshot,
    value: impl Fn(&Io) -> u64,
) -> impl Iterator<Item = ([&str; 2], u64)> {
    cgroups(snapshot)
        .filter_map(move |(name, kind, cgroup)| Some(([name, kind], value(&cgroup.io?))))
}
